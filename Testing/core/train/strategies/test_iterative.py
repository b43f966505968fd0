from __future__ import annotations

from collections.abc import Callable

import pytest

from flare_core.train.strategies.candidate import Candidate
from flare_core.train.strategies.iterative import Iterative


def kept(strategy: Iterative, cases: list[Candidate]) -> list[str]:
    return [each.case for each in strategy.select(cases) if each.accepted]


def test_the_cases_that_changed_least_are_kept(candidate: Callable[..., Candidate]) -> None:
    values = {"a": 0.4, "b": 0.1, "c": 0.3, "d": 0.2}
    cases = [candidate(name, u, liver={}) for name, u in values.items()]
    assert kept(Iterative(keep=0.5), cases) == ["b", "d"]
    assert kept(Iterative(keep=0.75), cases) == ["b", "c", "d"]
    assert kept(Iterative(keep=0.0), cases) == []
    assert kept(Iterative(keep=1.0, most=0.25), cases) == ["b", "d"]
    reasons = {each.case: each.reason for each in Iterative(keep=0.5).select(cases)}
    assert reasons["a"] == "u 0.400 is above 0.200, the last one kept"


def test_blackbean_kept_1924_of_2000(candidate: Callable[..., Candidate]) -> None:
    cases = [candidate(str(n), n / 2000, liver={}) for n in range(2000)]
    assert len(kept(Iterative(), cases)) == 1924


def test_the_first_round_has_nothing_to_compare_with(candidate: Callable[..., Candidate]) -> None:
    cases = [candidate(name, None, liver={"disagreement": None}) for name in "ab"]
    assert kept(Iterative(keep=0.5), cases) == ["a", "b"]


@pytest.mark.parametrize(("changed", "organs"), [(0.3, ("liver", "spleen")), (1.2, ("liver",))])
def test_an_organ_that_keeps_changing_is_left_out(
    changed: float, organs: tuple, candidate: Callable[..., Candidate]
) -> None:
    case = candidate("a", 0.1, liver={}, spleen={"disagreement": changed})
    assert Iterative().select([case])[0].organs == organs
