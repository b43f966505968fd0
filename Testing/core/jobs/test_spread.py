from __future__ import annotations

import ast
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import spread_cases
from flare_core.errors import InputError
from flare_core.jobs import spread as module
from flare_core.jobs.spread import (
    Outcome,
    Pace,
    Shared,
    Terms,
    Unseen,
    WorkerLost,
    check_resources,
    paced,
    shared,
    spread,
    unwanted,
)
from spread_cases import numbers


def test_it_uses_nothing_of_ours_but_errors():
    names = [
        node.module
        for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flare_core")
    ]
    assert names == ["flare_core.errors"]


def test_each_case_has_its_value_and_both_workers_help(workers, proof):
    found = list(spread(workers, spread_cases.double, numbers(40), Terms(proof)))
    assert {each.case: each.value[0] for each in found} == {f"case{n}": 2 * n for n in range(40)}
    assert len({each.value[1] for each in found}) == 2


def test_cases_are_read_only_as_fast_as_they_are_done(workers, proof):
    read = []

    def cases():
        for case in numbers(30):
            read.append(case)
            yield case

    ahead = [
        len(read) - done
        for done, _ in enumerate(spread(workers, spread_cases.double, cases(), Terms(proof)))
    ]
    assert max(ahead) <= 2 * 2 + 2
    assert len(read) == 30


def test_a_case_that_raises_is_named_with_its_traceback(workers, proof):
    found = {o.case: o for o in spread(workers, spread_cases.refuse, numbers(6), Terms(proof))}
    assert len(found) == 6
    assert [each.case for each in found.values() if each.error] == ["case3"]
    error = found["case3"].error
    assert isinstance(error, ValueError)
    files = [frame.tb_frame.f_code.co_filename for frame in _frames(error)]
    assert any(file.endswith("spread_cases.py") for file in files)


def _frames(error):
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next


def test_a_case_that_kills_its_worker_is_tried_twice_and_the_others_are_done(
    mortal_workers, proof, tmp_path
):
    do = partial(spread_cases.deadly, tmp_path)
    found = {each.case: each for each in spread(mortal_workers, do, numbers(8), Terms(proof))}
    assert sorted(found) == [f"case{n}" for n in range(8)]
    assert [each.case for each in found.values() if each.error] == ["case2"]
    assert isinstance(found["case2"].error, WorkerLost)
    assert "2 times" in str(found["case2"].error)
    assert (tmp_path / "tried_2").read_text() == "xx"
    assert (tmp_path / "tried_4").read_text() in ("xx", "xxx")  # once beside case 2, perhaps


def test_cases_under_way_stop_when_the_caller_does(workers, proof, tmp_path):
    do = partial(spread_cases.until_unwanted, tmp_path)
    outcomes = spread(workers, _first_or(do), [("quick", -1), *numbers(2)], Terms(proof))
    assert next(outcomes).case == "quick"
    _wait_for(tmp_path, "begun_*", 2)
    outcomes.close()
    _wait_for(tmp_path, "stopped_*", 2)


def _first_or(do):
    return partial(spread_cases.quick_or, do)


def _wait_for(folder, pattern, count):
    end = time.monotonic() + 30
    while len(list(folder.glob(pattern))) < count:
        assert time.monotonic() < end, list(folder.iterdir())
        time.sleep(0.02)


def test_a_worker_that_does_not_see_the_folder_is_told(workers, proof, tmp_path):
    proof.check(workers)
    other = replace(proof, text="0" * 32)
    with pytest.raises(Unseen, match="does not see") as caught:
        other.check(workers)
    assert caught.value.parts[0] == "--cluster"
    assert str(tmp_path) in caught.value.parts[1]
    with pytest.raises(Unseen, match="does not see"):
        list(spread(workers, spread_cases.double, numbers(4), Terms(other)))
    missing = replace(proof, text="1" * 32, inputs=(tmp_path / "scans",))
    with pytest.raises(Unseen, match="scans"):
        missing.check(workers)


def test_the_proof_goes_and_a_folder_that_is_not_there_is_told(tmp_path):
    with shared(tmp_path) as seen:
        assert seen.file.exists()
        assert seen.look() == ""
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="a folder to write to"), shared(tmp_path / "none"):
        pass


def test_resources_that_nobody_offers_are_refused(workers):
    check_resources(workers, {})
    with pytest.raises(InputError, match="GPU=1"):
        check_resources(workers, {"GPU": 1.0})


def test_pace_is_that_of_the_last_cases(monkeypatch):
    clock = iter([0.0, 10.0, 20.0, 25.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    paces = [pace for _, pace in paced([Outcome("a"), Outcome("b"), Outcome("c")], of=6)]
    assert [pace.per_minute for pace in paces] == [6.0, 6.0, 7.2]
    assert paces[-1] == Pace(3, 6, 7.2)
    assert paces[-1].seconds_left == pytest.approx(25.0)


def test_outside_a_worker_everything_is_wanted():
    pytest.importorskip("distributed")
    assert not unwanted()()


def test_what_was_seen_is_looked_at_once(tmp_path):
    file = tmp_path / "seen"
    file.write_text("f" * 32)
    seen = Shared(file, "f" * 32)
    assert seen.look() == ""
    file.unlink()
    assert seen.look() == ""
