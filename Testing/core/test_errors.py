"""Errors have four parts and survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from flare_core.errors import Cancelled, FlareError, InputError, NothingFound


def test_the_four_parts_are_in_the_text_and_apart() -> None:
    error = InputError("--threads", "-3", "0 or more", "Leave the option out.")
    assert error.parts == ("--threads", "-3", "0 or more", "Leave the option out.")
    first, came, legal, action = str(error).splitlines()
    assert first.startswith("--threads")
    assert came.split() == ["came:", "-3"]
    assert legal.endswith("0 or more")
    assert action.endswith("Leave the option out.")


def test_it_crosses_a_process_border_whole() -> None:
    error = InputError("a", "b", "c", "d")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), again.parts, str(again)) == (InputError, error.parts, str(error))


@pytest.mark.parametrize("kind", [InputError, Cancelled, NothingFound])
def test_one_root_catches_all_and_bad_input_is_a_value_error(kind: type[Exception]) -> None:
    assert issubclass(kind, FlareError)
    assert issubclass(InputError, ValueError)


def test_no_part_of_an_error_is_empty_endless_or_hard_to_show() -> None:
    error = InputError("x\0", "", "a\udcff\x1b[2J", "Do.\nNow.")
    assert error.parts == ("x\\x00", "nothing (an empty text)", "a\\udcff\\x1b[2J", "Do.\nNow.")
    str(error).encode("utf-8")
    long = InputError("x", "y" * 10**6, "z", "w")
    assert long.parts[1].startswith("yyy") and long.parts[1].endswith("yyy")
    for odd in ("y" * 10**6, "\0" * 599, "\ud800" * 10**4):
        error = InputError(odd, odd, odd, odd)
        assert max(map(len, error.parts)) <= 600 and len(str(error)) < 2500
    assert InputError("Größe", "‑5 mm", "≥ 0", "Weglassen.").parts[1] == "‑5 mm"
