from __future__ import annotations

import os
import signal

import pytest

from flare_core.datasets.flare.processes import map_cases
from flare_core.errors import InputError


def halved(number: int) -> tuple[int, int]:
    if number == 3:
        raise InputError("number", "3", "another number", "Take one.")
    if number == 5:
        raise MemoryError
    return number // 2, os.getpid()


def died(number: int) -> int:
    os._exit(9)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_case_has_one_outcome_and_a_bad_one_stops_no_other(workers):
    found = dict(map_cases(halved, range(7), workers))
    assert sorted(found) == list(range(7))
    assert [found[n].value[0] for n in (0, 1, 2, 4, 6)] == [0, 0, 1, 2, 3]
    assert found[3].error.parts[1] == "3"
    assert "memory" in found[5].error.parts[1]
    elsewhere = {found[n].value[1] for n in (0, 1, 2, 4, 6)} - {os.getpid()}
    assert bool(elsewhere) == (workers > 1)


def test_an_unexpected_error_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        list(map_cases(lambda number: 1 // number, [0]))


def test_tasks_are_handed_out_as_results_are_taken():
    taken = []

    def note(number: int) -> int:
        taken.append(number)
        return number

    results = map_cases(note, range(1000))
    next(results)
    assert taken == [0]


def test_a_killed_process_is_told_as_such():
    with pytest.raises(InputError, match="ended from outside"):
        list(map_cases(died, range(4), 2))


def died_once(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


def test_a_case_whose_process_crashes_costs_that_case_alone():
    found = dict(map_cases(died_once, range(7), 2))
    assert [found[n].value for n in (0, 1, 2, 4, 5, 6)] == [0, 1, 2, 4, 5, 6]
    assert "the case 3, whose process crashed (SIGSEGV)" in found[3].error.parts[1]
