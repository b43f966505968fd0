from __future__ import annotations

import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fake_engine
import served
from fake_engine import FAKE
from flare_core.jobs import one_case, outputs
from flare_core.jobs.worker import Worker
from flare_core.segment.settings import Settings

PROGRAM = [sys.executable, str(Path(fake_engine.__file__)), "segment", "--worker"]
ROOT = Path(__file__).parents[3]
PATIENCE_S = 120


class Client:
    """A program that drives a worker through its pipes, as Slicer does."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.answers: queue.Queue[dict] = queue.Queue()
        self.log: list[str] = []
        self.listening = threading.Thread(target=self._listen, daemon=True)
        self.listening.start()
        threading.Thread(target=self._keep_log, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(json.loads(line))

    def _keep_log(self) -> None:
        for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace"))

    def write(self, line: bytes) -> None:
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def send(self, **request: object) -> None:
        """Send a request as UTF-8 JSON."""
        self.write(json.dumps(request, ensure_ascii=False).encode("utf-8"))

    def until(self, event: str, name: object = None) -> dict:
        """Return the next answer of this kind (and id); progress in between is dropped."""
        end = time.monotonic() + PATIENCE_S
        while True:
            answer = self.answers.get(timeout=max(0.01, end - time.monotonic()))
            if answer["event"] == event and (name is None or answer.get("id") == name):
                return answer
            assert answer["event"] in ("progress", event), f"{answer}{self.log}"

    def end(self) -> int:
        """Wait for the end of the process; return its exit code."""
        return self.process.wait(timeout=PATIENCE_S)

    def is_idle(self) -> bool:
        """Whether it has said nothing odd, and nothing is left of what it was asked."""
        if self.process.poll() is not None or self.log:
            return False
        self.send(id="idle", command="ping")
        answer = self.answers.get(timeout=PATIENCE_S)
        idle = {"id": "idle", "event": "pong", "busy": False, "waiting": 0}
        return answer == idle and self.answers.empty()

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


def started() -> Client:
    """Return a worker that has said that it is ready."""
    one = Client()
    ready = one.until("ready")
    assert (ready["protocol"], ready["pid"]) == (1, one.process.pid)
    assert ready["version"]
    return one


@pytest.fixture
def fresh():
    """A worker that nobody has asked anything."""
    one = started()
    yield one
    one.close()


@pytest.fixture(scope="module")
def resting():
    """Workers that are idle after a test, for the next one: a start takes two seconds."""
    kept: list[Client] = []
    yield kept
    for one in kept:
        one.close()


@pytest.fixture
def client(resting):
    """A worker that is ready; it may have worked before."""
    one = resting.pop() if resting else started()
    yield one
    if one.is_idle():
        resting.append(one)
    else:
        one.close()


def test_segments_again_and_again_and_says_what_it_wrote(client, tmp_path):
    for number, name in enumerate(("a b", "腹部 ü"), start=1):
        output = tmp_path / name
        client.send(id=number, command="segment", input=f"{tmp_path}/{name}.nrrd",
                    output=str(output))  # fmt: skip
        result = client.until("result", number)
        assert set(result["files"]) == {"labels", "statistics_csv", "statistics_json", "png"}
        assert all(Path(path).exists() for path in result["files"].values())
        assert result["rows"][0]["organ"] == "liver"
        assert None in [row["value"] for row in result["rows"] if row["organ"] == "spleen"]
        assert result["notes"] == ["a note"]
        assert result["timings_s"]["case"] > 0
    client.send(command="shutdown", id="end")
    assert client.until("bye")["id"] == "end"
    assert client.end() == 0


def test_only_labels_as_an_uncompressed_file(client, tmp_path):
    output = tmp_path / "x" / "labels.nii"
    client.send(id=1, command="segment", input="/a/ct.nrrd", output=str(output),
                outputs=["labels"], settings={"organs": ["liver"], "fast": True})  # fmt: skip
    assert client.until("result")["files"] == {"labels": str(output)}
    assert os.listdir(output.parent) == ["labels.nii"]


def test_strokes_are_answered_with_corrected_labels(fresh, tmp_path):
    from flare_core.imaging.files import write_volume

    scan = fake_engine.scan()
    before, strokes = (scan.with_array(np.zeros(scan.array.shape, np.uint8)) for _ in range(2))
    before.array[1:4, 6:12, 6:14] = 1
    strokes.array[2, 8:10, 8:12] = 2
    paths = {name: str(tmp_path / f"{name}.nrrd") for name in ("image", "labels", "strokes")}
    write_volume(paths["image"], scan)
    write_volume(paths["labels"], before)
    write_volume(paths["strokes"], strokes)
    fresh.send(id=7, command="correct", **paths, organ="liver", recompute=False,
                output=str(tmp_path / "x" / "after.nrrd"))  # fmt: skip
    told = fresh.until("corrected", 7)
    assert told["removed"] >= 8 and not told["with_scores"]
    assert Path(told["file"]).is_file()
    fresh.send(id=8, command="correct", **paths, organ="toe", output=str(tmp_path / "y.nrrd"))
    assert fresh.until("error", 8)["argument"] == "organ"
    fresh.send(id=9, command="correct", **paths, organ="liver", output=str(tmp_path / "y.nrrd"),
                recompute=3)  # fmt: skip
    assert fresh.until("error", 9)["argument"] == "recompute"


def written_for_strokes(folder: Path) -> dict[str, str]:
    """Write a scan, labels and strokes, which mark the same voxels; return their paths."""
    from flare_core.imaging.files import write_volume

    scan = fake_engine.scan()
    marked = scan.with_array(np.zeros(scan.array.shape, np.uint8))
    marked.array[2, 8:10, 8:12] = 1
    paths = {name: str(folder / f"{name}.nrrd") for name in ("image", "labels", "strokes")}
    write_volume(paths["image"], scan)
    for name in ("labels", "strokes"):
        write_volume(paths[name], marked)
    return paths


def test_another_computer_computes_and_strokes_have_its_scores(fresh, tmp_path):
    paths = written_for_strokes(tmp_path)
    with served.serving() as access:
        on = {"address": access.address, "token": access.token}
        fresh.send(id=1, command="segment", input=paths["image"], output=paths["labels"],
                    outputs=["labels"], on=on)  # fmt: skip
        assert fresh.until("result", 1)["provenance"]["computed_on"] == access.address
        fresh.send(id=2, command="correct", **paths, organ="liver",
                    output=str(tmp_path / "after.nrrd"))  # fmt: skip
        assert fresh.until("corrected", 2)["with_scores"]
    fresh.send(id=3, command="preload", on=on)
    assert fresh.until("error", 3)["argument"] == f"server {access.address}"
    fresh.send(id=4, command="preload", on={"address": "x"})
    assert fresh.until("error", 4)["argument"] == "on"
    fresh.send(id=5, command="preload")
    fresh.until("preloaded", 5)
    assert access.token not in "".join(fresh.log)


def test_scores_that_are_gone_are_made_again(fresh, tmp_path):
    paths = written_for_strokes(tmp_path)
    fresh.send(id=1, command="scores", scan=paths["image"])
    assert fresh.until("scores", 1)["there"] is False
    with served.serving() as access:
        on = {"address": access.address, "token": access.token}
        fresh.send(id=2, command="scores", scan=paths["image"], recompute=True, on=on)
        fresh.until("progress", 2)
        assert fresh.until("scores", 2)["there"] is True
    fresh.send(id=3, command="scores", scan=paths["image"])
    assert fresh.until("scores", 3)["there"] is True
    fresh.send(id=4, command="correct", **paths, organ="liver", output=str(tmp_path / "x.nrrd"))
    assert fresh.until("corrected", 4)["with_scores"]
    fresh.send(id=5, command="scores", scan="bad.nrrd", recompute=True)
    assert fresh.until("error", 5)["kind"] == "input"
    fresh.send(id=7, command="scores", scan="", recompute=True)
    assert fresh.until("error", 7)["argument"] == "scan"


def test_strokes_wait_for_no_run_and_scores_give_way_to_one(fresh, tmp_path):
    paths = written_for_strokes(tmp_path)
    strokes = {"command": "correct", **paths, "organ": "liver", "output": f"{tmp_path}/x.nrrd"}
    fresh.send(id=0, **strokes)  # the first one loads what it needs
    fresh.until("corrected", 0)
    fresh.send(id=1, command="scores", scan="slow.nrrd", recompute=True)
    fresh.until("progress", 1)
    fresh.send(id=2, **strokes)
    fresh.until("corrected", 2)
    fresh.send(id=3, command="ping")
    assert fresh.until("pong", 3)["busy"]
    fresh.send(id=4, command="segment", input="a.nrrd", output=str(tmp_path))
    fresh.until("cancelled", 1)
    fresh.until("result", 4)


def test_progress_rises_to_one(client, tmp_path):
    client.send(id=1, command="segment", input="a.nrrd", output=str(tmp_path))
    seen = []
    while (answer := client.answers.get(timeout=PATIENCE_S))["event"] == "progress":
        seen.append(answer)
    assert answer["event"] == "result"
    fractions = [answer["fraction"] for answer in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {"reading the scan", "localiser", "organs", "writing"} <= {x["stage"] for x in seen}
    assert any(answer["seconds_left"] == 2.0 for answer in seen)


def test_cancel_stops_long_before_the_end_and_leaves_nothing(client, tmp_path):
    client.send(id="long", command="segment", input="slow.nrrd", output=str(tmp_path))
    client.until("progress", "long")
    time.sleep(0.3)
    start = time.monotonic()
    client.send(id=2, command="cancel", target="long")
    assert client.until("ok", 2)["cancelled"] is True
    assert client.until("cancelled", "long")
    assert time.monotonic() - start < 10
    assert os.listdir(tmp_path) == []
    client.send(id=3, command="cancel", target="long")
    assert client.until("ok", 3)["cancelled"] is False
    client.send(id=4, command="segment", input="a.nrrd", output=str(tmp_path))
    assert client.until("result", 4)


def test_ping_and_the_queue_are_answered_during_a_run(client, tmp_path):
    client.send(id=1, command="segment", input="slow.nrrd", output=str(tmp_path))
    client.until("progress", 1)
    client.send(id=2, command="segment", input="a.nrrd", output=str(tmp_path))
    client.send(id=3, command="ping")
    pong = client.until("pong", 3)
    assert (pong["busy"], pong["waiting"]) == (True, 1)
    client.send(id=4, command="cancel", target=2)
    assert client.until("ok", 4)["cancelled"] is True
    assert client.until("cancelled", 2)
    client.send(id=5, command="cancel", target=1)
    client.until("ok", 5)
    client.until("cancelled", 1)
    end = time.monotonic() + 20
    while client.send(id=6, command="ping") or (pong := client.until("pong", 6))["busy"]:
        assert time.monotonic() < end
    assert pong == {"id": 6, "event": "pong", "busy": False, "waiting": 0}
    assert os.listdir(tmp_path) == []


def test_preload_tells_how_long_it_took(client):
    client.send(id=1, command="preload", settings={"model": "default"})
    assert client.until("preloaded", 1)["seconds"] >= 0


@pytest.mark.parametrize(
    ("name", "kind"), [("bad", "input"), ("empty", "nothing_found"), ("crash", "internal")]
)
def test_errors_have_a_kind_and_the_worker_goes_on(client, tmp_path, name, kind):
    client.send(id=1, command="segment", input=f"{name}.nrrd", output=str(tmp_path))
    error = client.until("error", 1)
    assert error["kind"] == kind
    assert {"argument", "came", "legal", "action", "message"} <= set(error)
    assert os.listdir(tmp_path) == []
    client.send(id=2, command="segment", input="a.nrrd", output=str(tmp_path))
    client.until("result", 2)
    assert ("Traceback" in "".join(client.log)) is (kind == "internal")


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        (b"hello", None, "request"),
        (b"{", None, "request"),
        (b"[1, 2]", None, "request"),
        (b"\xff\xfe\x00", None, "request"),
        (b"[" * 100_000, None, "request"),
        (b'{"id": 9}', 9, "command"),
        (b'{"id": 9, "command": "fly"}', 9, "command"),
        (b'{"id": 9, "command": ["ping"]}', 9, "command"),
        (b'{"id": [9], "command": "ping"}', None, "id"),
        (b'{"id": true, "command": "ping"}', None, "id"),
        (b'{"command": "segment", "input": "a", "output": "b"}', None, "id"),
        (b'{"id": 9, "command": "segment", "input": "a"}', 9, "output"),
        (b'{"id": 9, "command": "segment", "input": 1, "output": "b"}', 9, "input"),
        (b'{"id": 9, "command": "segment", "input": "a", "output": "b", "x": 1}', 9, "x"),
        (b'{"id": 9, "command": "cancel"}', 9, "target"),
        (b'{"id": 9, "command": "preload", "settings": {"devise": "cpu"}}', 9, "settings"),
        (b'{"id": 9, "command": "preload", "settings": {"threads": "4"}}', 9, "threads"),
        (b'{"id": 9, "command": "preload", "settings": {"organs": "livr"}}', 9, "organ"),
        (
            b'{"id": 9, "command": "segment", "input": "a", "output": "b", "outputs": ["pdf"]}',
            9,
            "outputs",
        ),
        (b'{"id": 9, "command": "segment", "input": "a.nii", "output": "a.nii"}', 9, "output"),
    ],
)
def test_a_bad_line_is_answered_and_the_worker_goes_on(line, name, argument):
    answers = talk(line, b'{"id": "still", "command": "ping"}')
    (error,) = [answer for answer in answers if answer["event"] == "error"]
    assert (error["id"], error["kind"], error["argument"]) == (name, "input", argument)
    assert any(answer["event"] == "pong" for answer in answers)


@pytest.mark.parametrize(
    ("field", "legal"),
    [
        ({"series": 3}, "a text or null"),
        ({"outputs": "labels"}, "a list"),
        ({"settings": []}, "an object"),
    ],
)
def test_a_field_of_another_type_is_told_in_words_of_json(field, legal):
    request = {"id": 9, "command": "segment", "input": "a", "output": "b", **field}
    answers = talk(json.dumps(request).encode())
    (error,) = [answer for answer in answers if answer["event"] == "error"]
    assert (error["argument"], error["legal"]) == (next(iter(field)), legal)


def talk(*lines: bytes, linger: object = None) -> list[dict]:
    """Run a worker in this process on these lines; return what it answers.

    The end of the lines waits for the last answer to the request `linger`.
    """
    stream = io.StringIO()

    def texts():
        for line in lines:
            yield line.decode("utf-8", "replace")
        end = time.monotonic() + 20
        while linger is not None and time.monotonic() < end:
            answers = [json.loads(line) for line in stream.getvalue().splitlines()]
            if any(x.get("id") == linger and x["event"] != "progress" for x in answers):
                return
            time.sleep(0.01)

    assert Worker(FAKE, Settings(), stream, leave=lambda: None).run(texts()) == 0
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_id_that_is_in_use_is_refused(client, tmp_path):
    for _ in range(2):
        client.send(id=1, command="segment", input="slow.nrrd", output=str(tmp_path))
    assert client.until("error", 1)["argument"] == "id"
    client.send(id=2, command="cancel", target=1)
    client.until("ok")
    client.until("cancelled", 1)


def test_empty_lines_mean_nothing():
    assert [answer["event"] for answer in talk(b"", b"  ", b"\r")] == ["ready"]


def test_prints_of_libraries_go_to_the_log(client, tmp_path):
    client.send(id=1, command="segment", input="noisy.nrrd", output=str(tmp_path))
    client.until("result", 1)
    client.send(command="shutdown")
    client.until("bye")
    client.end()
    assert "a library says hello" in "".join(client.log)
    assert "a C++ library says hello" in "".join(client.log)


def test_the_end_of_input_ends_the_worker_even_during_a_run(client, tmp_path):
    client.send(id=1, command="segment", input="slow.nrrd", output=str(tmp_path))
    client.until("progress", 1)
    start = time.monotonic()
    client.process.stdin.close()
    assert client.end() == 0
    assert time.monotonic() - start < 10
    assert os.listdir(tmp_path) == []


def test_shutdown_cancels_the_rest(client, tmp_path):
    for number in (1, 2):
        client.send(id=number, command="segment", input="slow.nrrd", output=str(tmp_path))
    client.until("progress", 1)
    client.send(id=3, command="shutdown")
    rest = []
    assert client.end() == 0
    time.sleep(0.1)
    while not client.answers.empty():
        rest.append(client.answers.get())
    ends = [(answer["id"], answer["event"]) for answer in rest if answer["event"] != "progress"]
    assert sorted(ends) == [(1, "cancelled"), (2, "cancelled"), (3, "bye")]


def test_a_cancel_is_answered_even_if_the_run_is_deaf(client, tmp_path):
    client.send(id=1, command="segment", input="deaf.nrrd", output=str(tmp_path))
    client.until("progress", 1)
    time.sleep(0.2)
    start = time.monotonic()
    client.send(id=2, command="cancel", target=1)
    client.until("cancelled", 1) if client.until("ok", 2)["cancelled"] else pytest.fail("late")
    assert time.monotonic() - start < 1.9  # the run takes 2
    client.send(id=1, command="segment", input="a.nrrd", output=str(tmp_path / "next"))
    assert client.until("result", 1)["files"]
    assert os.listdir(tmp_path) == ["next"]


def test_a_run_that_writes_cannot_be_cancelled_any_more(tmp_path):
    stream = io.StringIO()
    worker = Worker(FAKE, Settings(), stream, leave=lambda: None)
    requests: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    write = outputs.write_outputs

    def cancel_then_write(*arguments):
        requests.put('{"id": 2, "command": "cancel", "target": 1}')
        requests.put('{"id": 3, "command": "ping"}')
        end = time.monotonic() + 20
        while "pong" not in stream.getvalue() and time.monotonic() < end:
            time.sleep(0.01)
        write(*arguments)
        requests.put(None)

    requests.put(json.dumps({"id": 1, "command": "segment", "input": "a", "output": str(tmp_path)}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_case, "write_outputs", cancel_then_write)
        assert worker.run(iter(requests.get, None)) == 0
    answers = {x["id"]: x for x in map(json.loads, stream.getvalue().splitlines()[1:])}
    assert answers[2]["cancelled"] is False
    assert answers[1]["event"] == "result"
    assert len(os.listdir(tmp_path)) == 4


def test_a_run_that_does_not_listen_is_left_behind():
    left = threading.Event()
    stream = io.StringIO()
    worker = Worker(FAKE, Settings(), stream, leave=left.set)
    import flare_core.jobs.worker as module

    old, module.GRACE_S = module.GRACE_S, 0.01
    try:
        worker.run([])
        assert left.wait(5)
    finally:
        module.GRACE_S = old


def test_ctrl_c_ends_the_worker(client, tmp_path):
    client.send(id=1, command="segment", input="slow.nrrd", output=str(tmp_path))
    client.until("progress", 1)
    client.process.send_signal(signal.SIGINT)
    assert client.end() == 130
    assert os.listdir(tmp_path) == []
    time.sleep(0.1)
    assert "Traceback" not in "".join(client.log)


def test_an_unwritable_output_is_an_input_error(client, tmp_path):
    (tmp_path / "file").write_text("")
    client.send(id=1, command="segment", input="a.nrrd", output=str(tmp_path / "file" / "out"))
    error = client.until("error", 1)
    assert (error["kind"], error["argument"]) == ("input", "output")


def test_options_of_the_worker_are_the_defaults_of_its_requests(tmp_path):
    one = Client("--organs", "livr")
    assert one.end() == 2
    one = Client("--model", "mine", "--organs", "spleen")
    one.until("ready")
    one.send(id=1, command="segment", input="a.nrrd", output=str(tmp_path),
             settings={"organs": ["liver"]})  # fmt: skip
    facts = one.until("result")["provenance"]
    assert (facts["model"], facts["organs"]) == ("mine", ["liver"])
    one.process.stdin.close()
    assert one.end() == 0


ODD_PATHS = {
    "NUL": "a\0b.nii",
    "lone surrogate": "a\ud800.nii",
    "no UTF-8": "a\udcff.nii",
    "empty": "",
    "long": "x" * 300 + ".nii",
    "endless": "x/" * 4000,
    "loop": "{loop}/a.nii",
    "below a file": "{file}/a.nii",
}


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("path", ODD_PATHS.values(), ids=ODD_PATHS)
def test_an_odd_path_gets_one_answer_and_the_worker_goes_on(tmp_path, path, side):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    odd = path.format(loop=tmp_path / "loop", file=tmp_path / "file")
    request = {"id": 1, "command": "segment", "input": "a.nii", "output": str(tmp_path / "o")}
    answers = talk(
        json.dumps({**request, side: odd}).encode(), b'{"id": 2, "command": "ping"}', linger=1
    )
    last = [answer["event"] for answer in answers if answer.get("id") == 1]
    assert last.count("error") + last.count("result") == 1
    assert any(answer["event"] == "pong" for answer in answers)
    for answer in answers:
        assert answer.get("kind") != "internal"


@pytest.mark.parametrize("thrown", [RuntimeError(), SystemExit(3), RecursionError(), KeyError("x")])
def test_whatever_is_thrown_there_is_one_answer(tmp_path, monkeypatch, thrown):
    def throw(*_):
        raise thrown

    request = {"id": 1, "command": "segment", "input": "a.nii", "output": str(tmp_path)}
    for place in ("job_of", "run_case"):
        with monkeypatch.context() as patch:
            patch.setattr(f"flare_core.jobs.worker.{place}", throw)
            if place == "job_of" and isinstance(thrown, SystemExit):
                continue
            answers = talk(json.dumps(request).encode(), b'{"id": 2, "command": "ping"}', linger=1)
        assert [answer["event"] for answer in answers if answer.get("id") == 1] == ["error"]
        assert any(answer["event"] == "pong" for answer in answers)


def test_numbers_that_json_does_not_have_do_not_cost_the_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "flare_core.jobs.worker.result_fields", lambda result: {"rows": [float("nan")]}
    )
    request = {"id": 1, "command": "segment", "input": "a.nrrd", "output": str(tmp_path)}
    (result,) = [x for x in talk(json.dumps(request).encode(), linger=1) if x["event"] == "result"]
    assert result["rows"] == [None]


def test_what_a_run_started_neither_reads_requests_nor_holds_the_answers(client, tmp_path):
    client.send(id=1, command="segment", input="spawn.nrrd", output=str(tmp_path))
    client.until("result", 1)
    client.send(id=2, command="ping")
    assert client.until("pong", 2)
    client.process.stdin.close()
    assert client.end() == 0
    end = time.monotonic() + 2  # the pipe of the answers ends, though the grandchild lives
    while client.listening.is_alive() and time.monotonic() < end:
        time.sleep(0.02)
    assert not client.listening.is_alive()


def test_the_end_of_input_ends_a_worker_whose_answers_nobody_reads(tmp_path):
    process = subprocess.Popen(
        PROGRAM, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        line = json.dumps({"id": 1, "command": "x" * 1000}).encode() + b"\n"
        process.stdin.write(line * 50)  # answered with more than the pipe holds
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
