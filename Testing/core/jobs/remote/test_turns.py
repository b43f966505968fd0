from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from flare_core.jobs.remote.turns import Turns

PATIENCE_S = 30


@pytest.fixture
def turns():
    one = Turns()
    yield one
    assert one.close(PATIENCE_S)


def nobody(position, of):
    """Listen to nothing."""


def until_stopped(cancelled):
    """Work until it is stopped."""
    while not cancelled():
        threading.Event().wait(0.01)
    return "stopped"


def begun(turn):
    """Wait until a job runs."""
    while not turn.done.running():
        threading.Event().wait(0.01)
    return turn


def test_one_at_a_time_in_their_order(turns):
    order, busy = [], []

    def work(number, cancelled):
        busy.append(number)
        assert busy == [number]
        threading.Event().wait(0.01)
        order.append(busy.pop())
        return number

    taken = [turns.take(lambda stop, n=n: work(n, stop), nobody) for n in range(8)]
    assert [turn.done.result(PATIENCE_S) for turn in taken] == order == list(range(8))


def test_places_are_told_whenever_they_change(turns):
    running, places = begun(turns.take(until_stopped, nobody)), [[], [], []]
    waiting = [turns.take(until_stopped, lambda *at, n=n: places[n].append(at)) for n in range(3)]
    assert places == [[(1, 1), (1, 2), (1, 3)], [(2, 2), (2, 3)], [(3, 3)]]
    turns.leave(waiting[1])
    assert (places[0][-1], places[1][-1], places[2][-1]) == ((1, 2), (2, 3), (2, 2))
    turns.leave(running)
    assert running.done.result(PATIENCE_S) == "stopped"
    while places[2][-1] != (1, 1):
        threading.Event().wait(0.01)


def test_who_leaves_before_the_turn_is_never_done(turns):
    running = begun(turns.take(until_stopped, nobody))
    ran = []
    waiting = turns.take(ran.append, nobody)
    turns.leave(waiting)
    turns.leave(waiting)
    turns.leave(running)
    assert running.done.result(PATIENCE_S) == "stopped"
    with pytest.raises(CancelledError):
        waiting.done.result(PATIENCE_S)
    assert turns.take(lambda stop: 3, nobody).done.result(PATIENCE_S) == 3
    assert ran == []


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_what_fails_is_handed_out_and_the_next_is_done(turns, error):
    def fail(cancelled):
        raise error

    failing = turns.take(fail, nobody)
    assert isinstance(failing.done.exception(PATIENCE_S), (ValueError, RuntimeError))
    assert turns.take(lambda stop: 3, nobody).done.result(PATIENCE_S) == 3


def test_closing_stops_all_and_takes_nothing_more():
    turns = Turns()
    taken = [turns.take(until_stopped, nobody) for _ in range(3)]
    assert turns.close(PATIENCE_S)
    assert [turn.done.cancelled() or turn.done.result(0) for turn in taken][1:] == [True, True]
    assert turns.take(until_stopped, nobody).done.cancelled()


def test_a_job_that_hears_nothing_keeps_it_from_closing_in_time():
    turns, go = Turns(), threading.Event()
    begun(turns.take(lambda cancelled: go.wait(PATIENCE_S), nobody))
    assert not turns.close(0.05)
    go.set()
    assert turns.close(PATIENCE_S)
