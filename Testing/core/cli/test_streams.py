from __future__ import annotations

import os
import sys
import threading

from flare_core.cli.streams import lines_of, protected_stdout


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
