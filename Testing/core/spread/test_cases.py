from __future__ import annotations

from types import SimpleNamespace

import pytest

from flare_core.errors import InputError
from flare_core.spread import cases as module
from flare_core.spread.cases import Outcome, Pace, WorkerLost, input_error, paced


def test_pace_is_that_of_the_last_cases(monkeypatch):
    clock = iter([0.0, 10.0, 20.0, 25.0])
    # the module's own: with everybody's, Dask's loop takes a value and ends when none is left
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    paces = [pace for _, pace in paced([Outcome("a"), Outcome("b"), Outcome("c")], of=6)]
    assert [pace.per_minute for pace in paces] == [6.0, 6.0, 7.2]
    assert paces[-1] == Pace(3, 6, 7.2)
    assert paces[-1].seconds_left == pytest.approx(25.0)


def test_what_is_wrong_with_files_is_told_in_four_parts():
    own = InputError("a", "b", "c", "d")
    assert input_error(Outcome("x", 1)) is None
    assert input_error(Outcome("x", error=own)) is own
    missing = FileNotFoundError(2, "No such file", "scan.nii")
    assert input_error(Outcome("x", error=missing)).parts[0] == "scan.nii"
    assert "memory" in input_error(Outcome("x", error=MemoryError())).parts[1]
    lost = input_error(Outcome("case7", error=WorkerLost("its process crashed, 2 times")))
    assert lost.parts[:2] == ("workers", "the case case7: its process crashed, 2 times")


def test_a_fault_of_the_program_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        input_error(Outcome("x", error=ZeroDivisionError()))
