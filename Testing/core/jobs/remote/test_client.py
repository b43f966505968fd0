from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace

import numpy as np
import pytest

import served
from flare_core.errors import Cancelled, InputError, NothingFound
from flare_core.imaging.volume import Volume
from flare_core.jobs.remote import client, connection, wire
from flare_core.jobs.remote.access import Access, server_tls
from flare_core.jobs.remote.client import check, engine_on
from flare_core.jobs.remote.connection import ServerFailed
from flare_core.jobs.remote.server import ServerLimits
from flare_core.segment.settings import Settings
from served import CRASH, DEAF, EMPTY, ENGINE, RAN, SLOW, Cable, scan, serving


def run(access: Access, image: Volume, *, steps=None, cancelled=lambda: False, scores=False):
    engine = engine_on(access, ENGINE, scores=scores)
    told = (lambda step: None) if steps is None else steps.append
    return engine.segment(image, Settings(), told, cancelled)


def test_a_result_is_that_of_this_computer():
    image = Volume(scan().array, scan().geometry, ("read with care",))
    here = ENGINE.segment(image, Settings(), lambda step: None, lambda: False)
    with serving() as access:
        there = run(access, image)
    assert np.array_equal(there.labels.array, here.labels.array)
    assert there.labels.geometry == image.geometry
    assert repr(there.rows) == repr(here.rows)
    assert there.notes == ("read with care", "a note")
    assert there.timings == here.timings
    assert there.provenance == {**here.provenance, "computed_on": access.address}
    assert there.lesions is None
    assert there.scores is None


def test_the_servers_own_model_is_said():
    facts = {"model": "theirs", "model_version": "1.0.0", "settings": {"model": "theirs"}}

    def segment(*given):
        return replace(ENGINE.segment(*given), provenance=facts)

    with serving(replace(ENGINE, segment=segment)) as access:
        assert run(access, scan()).notes[-1] == "The server's own model: theirs 1.0.0."


def test_a_server_does_not_tell_where_things_lie_on_it(tmp_path):
    """Not its model, which it may have been given as a folder, nor what an error names."""
    model, home = tmp_path / "a folder" / "model", tmp_path / "home"
    model.mkdir(parents=True)
    own = Settings(model=str(model), home=str(home))

    def segment(image, settings, *more):
        if image.array.flat[0] == EMPTY:
            raise InputError(str(model / "card.json"), f"no file in {home}", "one", "Ask.")
        facts = {"model": "theirs", "model_version": "1.0.0", "settings": settings.to_dict()}
        return replace(ENGINE.segment(image, settings, *more), provenance=facts)

    with serving(replace(ENGINE, segment=segment), settings=own) as access:
        found = run(access, scan())
        with pytest.raises(InputError) as refused:
            run(access, scan(EMPTY))
    told = repr(found.provenance) + str(refused.value)
    assert str(tmp_path) not in told
    assert found.provenance["settings"]["model"] == "(the server's model)"
    assert found.notes[-1] == "The server's own model: theirs 1.0.0."
    argument, came = refused.value.parts[:2]
    assert argument.endswith("(the server's model)/card.json")
    assert came == "no file in (the server's models)"


def test_scores_come_along_if_they_are_wanted():
    image = scan()
    here = ENGINE.segment(image, Settings(), lambda step: None, lambda: False)
    with serving() as access:
        there = run(access, image, scores=True)
    assert np.array_equal(there.scores.probabilities, here.scores.probabilities)
    assert (there.scores.organs, there.scores.geometry) == ((0, 1), here.scores.geometry)


@pytest.mark.parametrize("kind", wire.TYPES)
def test_all_types_of_voxels_travel(kind):
    image = scan()
    with serving() as access:
        run(access, image.with_array(image.array.clip(0, 100).astype(kind)))
    assert RAN == [5]


def test_lesions_travel(monkeypatch):
    from flare_core.segment.lesion_list import EXAMPLE

    def with_lesions(*arguments):
        return replace(served.segment(*arguments), lesions=(EXAMPLE,))

    with serving(replace(ENGINE, segment=with_lesions)) as access:
        assert run(access, scan()).lesions == (EXAMPLE,)


def test_progress_rises_and_names_the_steps():
    steps = []
    with serving() as access:
        run(access, scan(DEAF), steps=steps)
    shares = [step.fraction for step in steps]
    assert shares == sorted(shares)
    names = list(dict.fromkeys(step.stage for step in steps))
    assert names[:2] == ["packing the scan", "sending the scan"]
    assert names[-2:] == ["organs", "receiving the result"]


def test_twenty_clients_at_once_get_their_own_results():
    with serving() as access, ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda n: run(access, scan(liver=n)), range(1, 21)))
    assert [np.count_nonzero(each.labels.array) for each in found] == list(range(1, 21))
    assert sorted(RAN) == list(range(1, 21))


def test_who_waits_knows_the_position_and_moves_up():
    with serving() as access, ThreadPoolExecutor(3) as pool:
        stops, heard = [threading.Event() for _ in range(3)], [[], [], []]
        runs = []
        for number, (stop, steps) in enumerate(zip(stops, heard, strict=True)):
            runs.append(pool.submit(swallow, access, steps, stop))
            assert served.eventually(lambda n=number: placed(heard, n))
        assert stages(heard[2])[-1] == "position 2 of 2 in the queue"
        stops[0].set()
        assert served.eventually(lambda: "position 1 of 1 in the queue" in stages(heard[2]))
        for stop, each in zip(stops, runs, strict=True):
            stop.set()
            each.result()


def swallow(access, steps, stop):
    with suppress(Cancelled):
        run(access, scan(SLOW), steps=steps, cancelled=stop.is_set)


def stages(steps):
    return [step.stage for step in steps]


def placed(heard, number):
    """Whether the last one has its place: it runs, or waits behind those before it."""
    wanted = "organs" if number == 0 else f"position {number} of {number} in the queue"
    return wanted in stages(heard[number])


def test_a_cancelled_run_makes_place_and_leaves_nothing():
    with serving() as access:
        stop, steps = threading.Event(), []
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(run, access, scan(SLOW), steps=steps, cancelled=stop.is_set)
            assert served.eventually(lambda: RAN == [5])
            began = time.monotonic()
            stop.set()
            with pytest.raises(Cancelled):
                running.result()
            assert time.monotonic() - began < 5
        assert np.count_nonzero(run(access, scan(liver=7)).labels.array) == 7
        assert served.left_files() == []


def test_a_cancelled_wait_never_runs():
    with serving() as access, ThreadPoolExecutor(2) as pool:
        first, second, steps = threading.Event(), threading.Event(), []
        running = pool.submit(run, access, scan(SLOW), cancelled=first.is_set)
        assert served.eventually(lambda: RAN == [5])
        waiting = pool.submit(run, access, scan(liver=9), steps=steps, cancelled=second.is_set)
        assert served.eventually(lambda: "position 1 of 1 in the queue" in stages(steps))
        assert len(served.left_files()) == 1
        second.set()
        with pytest.raises(Cancelled):
            waiting.result()
        assert served.eventually(lambda: served.left_files() == [])
        first.set()
        with pytest.raises(Cancelled):
            running.result()
        run(access, scan(liver=3))
        assert RAN == [5, 3]


@pytest.mark.parametrize(("what", "kind", "words"), [
    (EMPTY, NothingFound, "no abdominal organ found"),
    (CRASH, ServerFailed, "the network fell over"),
])  # fmt: skip
def test_what_fails_there_is_told_here_and_the_server_goes_on(what, kind, words):
    with serving() as access:
        with pytest.raises(kind, match=words):
            run(access, scan(what))
        assert run(access, scan()).rows


def test_nothing_leaves_that_the_server_would_not_take():
    with serving(limits=ServerLimits(image_bytes=5000)) as access:
        with pytest.raises(InputError) as caught:
            run(access, scan())
        assert caught.value.parts[0] == f"server {access.address}: image"
        assert "at most" in caught.value.parts[2]
        assert served.left_files() == []
    with serving(limits=ServerLimits(jobs=1)) as access, ThreadPoolExecutor(1) as pool:
        stop = threading.Event()
        running = pool.submit(run, access, scan(SLOW), cancelled=stop.is_set)
        assert served.eventually(lambda: RAN == [5])
        with pytest.raises(InputError, match="1 scans at a time"):
            run(access, scan())
        stop.set()
        assert running.exception()


def test_only_installed_models_and_only_by_name(tmp_path):
    with serving() as access:
        for model in (str(tmp_path), ".", "../x", "nonsense", "default@9.9"):
            with pytest.raises(InputError, match="models") as caught:
                check(access, Settings(model=model))
            assert "default" in caught.value.parts[2]
        check(access, Settings())
        check(access, Settings(home=str(tmp_path), device="cuda", threads=7))  # stay here


def test_a_false_result_is_refused():
    """A server that is broken, or worse, makes no wrong labels and takes no memory."""

    def other(labels):
        return lambda *arguments: replace(served.segment(*arguments), labels=labels)

    image = scan()
    wrong = [
        image.with_array(np.full(image.array.shape, 200, np.uint8)),
        image.with_array(image.array),
        Volume(np.zeros((3, 4, 5), np.uint8), replace(image.geometry, shape=(3, 4, 5))),
    ]
    for labels in wrong:
        with serving(replace(ENGINE, segment=other(labels))) as access, unusable():
            run(access, image)


def unusable():
    return pytest.raises(InputError, match="cannot be used")


@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
def test_a_cut_cable_leaves_nothing_on_either_side(down):
    """At every kind of place: a clear error here, and the server goes on."""
    image = scan()
    with serving() as access:
        with closing(Cable(access, down=down)) as whole:
            run(whole.access, image)
        length = whole.carried[down] * 9 // 10
        for position in [*range(1, 400, 13), *range(400, length, (length - 400) // 20)]:
            cable = closing(Cable(access, position, down=down))
            with cable as cut, pytest.raises(InputError) as caught:
                run(cut.access, image)
            assert caught.value.parts[0] == f"server {cut.access.address}"
            assert "nothing was written" in caught.value.parts[3]
        assert served.eventually(lambda: served.left_files() == [])
        assert run(access, image).rows


def test_a_wrong_token_is_told_and_never_sent(monkeypatch):
    monkeypatch.setattr("flare_core.jobs.remote.server.WRONG_S", 0.01)
    with serving() as access:
        wrong = replace(access, token="another token, just as long as it")
        with pytest.raises(InputError, match="token") as caught:
            run(wrong, scan())
        assert wrong.token not in str(caught.value)
        assert served.TOKEN not in str(caught.value)
        assert not any(served.TOKEN in line or wrong.token in line for line in served.LOG)
    assert RAN == []
    assert served.TOKEN not in repr(access)


def test_another_version_is_told(monkeypatch):
    with serving() as access:
        monkeypatch.setattr(wire, "PROTOCOL", 2)
        real = wire.fields_of
        monkeypatch.setattr(wire, "fields_of", lambda line: as_old(real(line)))
        with pytest.raises(InputError, match="protocol") as caught:
            run(access, scan())
        assert "same version" in caught.value.parts[3]


def as_old(fields):
    return {**fields, "protocol": 1} if "protocol" in fields else fields


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        access = Access("127.0.0.1", mute.getsockname()[1], served.TOKEN)
        with pytest.raises(InputError, match="said nothing"):
            run(access, scan())


def test_a_server_that_falls_silent_later_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(connection, "STALL_S", 1.5)
    quiet = served.Patience(alive_s=60.0)
    silent = pytest.raises(InputError, match="said nothing for")
    with serving(limits=ServerLimits(patience=quiet)) as access, silent:
        run(access, scan(SLOW))
    with serving(limits=ServerLimits(patience=served.QUICK)) as access:  # this one says it is alive
        assert run(access, scan(DEAF)).rows


def test_a_server_that_stops_says_so():
    with ThreadPoolExecutor(1) as pool:
        with serving() as access:
            running = pool.submit(run, access, scan(SLOW))
            assert served.eventually(lambda: RAN == [5])
        with pytest.raises(InputError, match="stopped by whoever runs it"):
            running.result()
    with pytest.raises(InputError, match="nobody answers"):
        check(access, Settings())


def test_by_tls_with_a_certificate_that_is_named(certificate):
    with serving(tls=server_tls(*certificate)) as access:
        named = replace(access, certificate=certificate[0])
        assert named.tls
        assert run(named, scan(), scores=True).scores is not None
        with pytest.raises(InputError, match="is none of `flare serve`|cut|hung"):
            check(access, Settings())  # speaks no TLS


def test_a_certificate_that_nobody_named_is_not_trusted(certificate, monkeypatch):
    monkeypatch.setattr("flare_core.jobs.remote.access.is_here", lambda host: False)
    with serving(tls=server_tls(*certificate)) as access:
        assert access.tls
        with pytest.raises(InputError, match="not trusted") as caught:
            check(access, Settings())
        assert "--certificate" in caught.value.parts[3]
        other = replace(access, host="localhost", certificate=certificate[0])
        with pytest.raises(InputError, match="not trusted.*mismatch"):
            check(other, Settings())
    with serving() as plain, pytest.raises(InputError, match="no encrypted talk"):
        check(plain, Settings())


def test_what_a_server_calls_a_stage_is_bounded():
    progress = client._progress_of({"stage": "x" * 10_000, "fraction": "7", "seconds_left": None})
    assert (len(progress.stage), progress.fraction) == (client.LONGEST_STAGE, 0.0)
