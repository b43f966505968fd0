from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from functools import partial

import pytest

from flare_core.errors import InputError
from flare_core.spread.cases import WorkerLost
from flare_core.spread.here import in_processes, in_turn
from spread_cases import numbers


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
    outcomes = list(in_processes(workers)(halved, numbers(7)))
    found = {outcome.case: outcome for outcome in outcomes}
    assert len(outcomes) == len(found) == 7
    good = [found[f"case{n}"].value for n in (0, 1, 2, 4, 6)]
    assert [value[0] for value in good] == [0, 0, 1, 2, 3]
    assert found["case3"].error.parts[1] == "3"
    assert isinstance(found["case5"].error, MemoryError)
    elsewhere = {value[1] for value in good} - {os.getpid()}
    assert bool(elsewhere) == (workers > 1)


def test_cases_are_read_as_outcomes_are_taken():
    taken = []

    def cases():
        for case in numbers(1000):
            taken.append(case)
            yield case

    with closing(in_turn(abs, cases())) as outcomes:
        next(outcomes)
    assert len(taken) == 1
    taken.clear()
    with closing(in_processes(2)(abs, cases())) as outcomes:
        next(outcomes)
    assert len(taken) <= 2 * 2 + 2


def test_process_after_process_that_ends_is_no_fault_of_the_cases():
    with pytest.raises(InputError, match="exit code 9") as caught:
        list(in_processes(2)(died, numbers(100)))
    assert "--workers 1" in caught.value.parts[3]


def deadly(folder, number: int) -> int:
    with open(folder / f"tried_{number}", "a") as file:
        file.write("x")
    first = (folder / f"tried_{number}").read_text() == "x"
    if number == 3 or (number == 4 and first):
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


def test_a_case_that_ends_its_process_is_tried_twice_and_the_others_are_done(tmp_path):
    found = {o.case: o for o in in_processes(2)(partial(deadly, tmp_path), numbers(7))}
    assert [found[f"case{n}"].value for n in (0, 1, 2, 4, 5, 6)] == [0, 1, 2, 4, 5, 6]
    assert isinstance(found["case3"].error, WorkerLost)
    assert "crashed (SIGSEGV), 2 times" in str(found["case3"].error)
    tried = {n: len((tmp_path / f"tried_{n}").read_text()) for n in range(7)}
    assert tried == {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 1, 6: 1}


def asleep(number: int) -> None:
    if number:
        time.sleep(120)


def test_whoever_stops_does_not_wait_for_what_is_under_way():
    start = time.monotonic()
    with closing(in_processes(2)(asleep, numbers(4))) as outcomes:
        assert next(outcomes).case == "case0"
    assert time.monotonic() - start < 60
