from __future__ import annotations

import pytest
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.qt.stepwise import walk

from flare_core.errors import FlareError, InputError


def steps(count, fail=False):
    for number in range(count):
        yield number / count
    if fail:
        raise InputError("a", "b", "c", "d")
    return count


def test_the_value_comes_at_the_end():
    loop, ends = PlainLoop(), []
    walk(loop, steps(1000), ends.append)
    loop.pump(0.2)
    assert [future.result() for future in ends] == [1000]


def test_an_error_comes_at_the_end_too():
    loop, ends = PlainLoop(), []
    walk(loop, steps(3, fail=True), ends.append)
    loop.pump(0.05)
    with pytest.raises(InputError):
        ends[0].result()


def test_a_mistake_is_told_and_its_traceback_is_not_lost():
    """The panel that waits for the end stayed busy."""

    def mistaken():
        yield 0.1
        raise ZeroDivisionError("of ours")

    loop, ends = PlainLoop(), []
    with pytest.raises(ZeroDivisionError, match="of ours"):
        walk(loop, mistaken(), ends.append)
    (end,) = ends
    with pytest.raises(FlareError, match="Something failed: ZeroDivisionError: of ours"):
        end.result()


def test_work_that_nobody_wants_any_more_is_closed_without_a_word():
    loop, ends, closed = PlainLoop(), [], []

    def endless():
        try:
            while True:
                yield 0.5
        finally:
            closed.append(True)

    wanted = [True]
    walk(loop, endless(), ends.append, lambda: wanted[0])
    wanted[0] = False
    loop.pump(0.1)
    assert closed == [True] and ends == []
