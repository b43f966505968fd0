from __future__ import annotations

import json
from pathlib import Path

import pytest

from flare_core.cli import failure
from flare_core.cli.failure import json_line, log_traceback
from flare_core.errors import Cancelled, InputError, NothingFound


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InputError("a", "b", "c", "d"), "input", 2),
        (NothingFound("no abdominal organ found"), "nothing_found", 2),
        (Cancelled(), "cancelled", 130),
        (KeyboardInterrupt(), "cancelled", 130),
        (ValueError("x"), "internal", 1),
        (MemoryError(), "internal", 1),
    ],
)
def test_failures(error, kind, code):
    found = failure.failure_of(error)
    assert (found.kind, found.exit_code) == (kind, code)
    assert found.message


def test_out_of_memory_says_what_helps():
    class OutOfMemoryError(RuntimeError):
        """Named as torch names it."""

    assert "--fast" in failure.failure_of(OutOfMemoryError("CUDA out of memory")).action


def test_the_four_parts_arrive_as_fields():
    fields = failure.failure_of(InputError("a", "b", "c", "d")).fields()
    assert [fields[name] for name in ("argument", "came", "legal", "action")] == list("abcd")


def test_a_traceback_is_kept_in_a_file():
    try:
        raise KeyError("Ü")
    except KeyError as error:
        log = Path(log_traceback(error))
    text = log.read_text(encoding="utf-8")
    log.unlink()
    assert "Traceback" in text
    assert "test_failure.py" in text
    assert "KeyError: 'Ü'" in text


def test_json_lines_are_ascii_and_one_line():
    event = {"text": "腹\n部", "path": "a\udcff"}
    line = json_line(event)
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == event
    with pytest.raises(ValueError, match="JSON"):
        json_line({"value": float("nan")})


def test_a_stop_says_what_it_has_to_say() -> None:
    own = "what has come is kept"
    assert failure.failure_of(Cancelled(own)).message == f"Stopped: {own}"
    assert "nothing half-written" in failure.failure_of(KeyboardInterrupt()).message
