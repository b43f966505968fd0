from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

import fake_engine
from flare_core import cli
from flare_core.jobs import streams
from flare_core.jobs.streams import lines_of, protected_stdout


def test_only_the_stream_reaches_standard_output(capfd):
    number = sys.stdout.fileno()
    with protected_stdout() as stream:
        print("from Python")
        os.write(number, b"from C\n")
        stream.write('{"answer": "Ü"}\n')
        stream.flush()
    print("afterwards")
    out, err = capfd.readouterr()
    assert out == '{"answer": "Ü"}\nafterwards\n'
    assert set(err.splitlines()) == {"from Python", "from C"}


def test_what_was_printed_before_stays_before(capfd):
    sys.stdout.write("before ")
    with protected_stdout() as stream:
        stream.write("during ")
    print("after")
    assert capfd.readouterr().out == "before during after\n"


def test_a_stream_without_a_descriptor_will_do(capsys):
    with protected_stdout() as stream:
        print("a print")
        stream.write("the stream")
    assert capsys.readouterr() == ("the stream", "a print\n")


def test_an_error_inside_gives_standard_output_back(capfd):
    try:
        with protected_stdout():
            raise KeyError
    except KeyError:
        print("still here")
    assert capfd.readouterr().out == "still here\n"


def test_lines_come_as_they_arrive_and_end_with_the_pipe():
    reading, writing = os.pipe()
    lines = lines_of(reading)
    os.write(writing, "a\nÜ".encode()[:3])  # in the middle of a letter
    assert next(lines) == "a"
    threading.Timer(0.1, lambda: os.write(writing, "Ü".encode()[1:] + b"b\n\nlast")).start()
    assert next(lines) == "Üb"
    assert next(lines) == ""
    os.close(writing)
    assert list(lines) == ["last"]
    os.close(reading)


def test_bytes_that_are_no_text_do_not_stop_the_reader():
    reading, writing = os.pipe()
    os.write(writing, b"\xff\xfe\nnext\n")
    os.close(writing)
    assert list(lines_of(reading)) == ["\ufffd\ufffd", "next"]
    os.close(reading)


FAKE = Path(fake_engine.__file__)
SEGMENT = 'exec "$0" "$1" segment "$2" -o "$3" --outputs labels,statistics'


def shell(tail: str, scan: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Run `flare segment` from a shell that does something to its streams."""
    return subprocess.run(
        ["sh", "-c", f"{SEGMENT} {tail}", sys.executable, str(FAKE), str(scan), str(out)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("tail", ["2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_the_work_is_done_without_streams(scans, tmp_path, tail, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    done = shell(tail, scans("a") / "a.nii.gz", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = {"a.nii.gz", "a_statistics.csv", "a_statistics.json"}
    assert set(os.listdir(tmp_path / "out")) == names
    assert "Traceback" not in done.stderr
    record = (tmp_path / "out" / "a_statistics.json").read_text("utf-8")
    assert json.loads(record)["case"] == "a"  # no message got among the data


def test_a_program_without_a_console_has_streams(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    streams.forgiving_streams()
    print("to nobody, or to who holds the descriptor", file=sys.stderr)
    assert sys.stdout.fileno() == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_what_is_lost_is_noted_and_told_where_words_are_the_result(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        forgiving = streams._text(full.fileno())
        monkeypatch.setattr(sys, "stdout", forgiving)
        print("lost")
        sys.stdout.flush()
        assert streams.lost_output() == "No space left on device"
        for output, code in ((None, 1), ("out", 0)):
            assert cli._code_of_output(0, argparse.Namespace(output=output)) == code
        assert cli._code_of_output(2, argparse.Namespace()) == 2
        forgiving.close()


def test_a_reader_of_standard_output_that_left_is_told_one_of_errors_is_not():
    for number, told in ((1, True), (2, False)):
        reading, writing = os.pipe()
        saved = os.dup(number)
        try:
            os.dup2(writing, number)
            os.close(reading)
            os.close(writing)
            raw = streams.Forgiving(number, "wb", closefd=False)
            with pytest.raises(BrokenPipeError) if told else nullcontext():
                raw.write(b"x")
        finally:
            os.dup2(saved, number)
            os.close(saved)


def test_a_line_without_an_end_takes_no_more_memory_than_a_request(monkeypatch):
    monkeypatch.setattr(streams, "MOST_LINE_BYTES", 10)
    reading, writing = os.pipe()
    os.write(writing, b"x" * 1000 + b"\nshort\n" + b"y" * 1000)
    os.close(writing)
    assert list(lines_of(reading)) == ["x" * 10, "short", "y" * 10]
    os.close(reading)
