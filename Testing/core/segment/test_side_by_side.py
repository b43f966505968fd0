from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from flare_core.segment.side_by_side import in_order, shares

TURNS = 0.02
"""Seconds by which items take longer or shorter than their neighbours."""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_whatever_takes_longest() -> None:
    def slow_first(item: int) -> int:
        time.sleep(TURNS * (item % 3 == 0))
        return item * item

    assert list(in_order(slow_first, range(10), threads=3, at_once=3)) == [i * i for i in range(10)]


def test_items_are_worked_on_side_by_side() -> None:
    met = threading.Barrier(2, timeout=10)  # breaks where one waits for the other alone
    assert (
        list(in_order(lambda item: met.wait() >= 0, range(4), threads=2, at_once=2)) == [True] * 4
    )


def test_no_more_than_allowed_are_begun_before_one_is_taken() -> None:
    begun: list[int] = []
    results = in_order(lambda item: begun.append(item) or item, range(9), threads=2, at_once=2)
    for taken in range(1, 4):
        next(results)
        time.sleep(TURNS)
        assert len(begun) <= taken + 2
    results.close()
    assert len(begun) <= 5


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize(("threads", "at_once"), [(4, 2), (2, 2), (7, 3), (1, 1)])
def test_every_item_is_told_its_threads(count: int, threads: int, at_once: int) -> None:
    given = shares(count, threads, at_once)
    assert len(given) == count and min(given) >= 1
    rounds = [given[i : i + at_once] for i in range(0, count, at_once)]
    assert all(sum(each) <= threads for each in rounds)
    if count > 1 and at_once > 1:
        seen = list(in_order(lambda _: torch.get_num_threads(), [0] * count,
                             threads=threads, at_once=at_once))  # fmt: skip
        assert seen == given


def test_the_callers_threads_come_back() -> None:
    results = in_order(lambda item: item, range(5), threads=2, at_once=2)
    assert next(results) == 0 and torch.get_num_threads() == 1
    results.close()
    assert torch.get_num_threads() == 2
    born: list[int] = []
    thread = threading.Thread(target=lambda: born.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert born == [2]


def test_an_error_ends_it_and_is_raised() -> None:
    def third_fails(item: int) -> int:
        if item == 2:
            raise ValueError("the third")
        return item

    before = threading.active_count()
    results = in_order(third_fails, range(50), threads=2, at_once=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)
    assert threading.active_count() == before and torch.get_num_threads() == 2


def test_one_at_a_time_needs_no_threads() -> None:
    before = threading.active_count()
    counts = [threading.active_count() for _ in in_order(abs, range(3), threads=2, at_once=1)]
    assert counts == [before] * 3
