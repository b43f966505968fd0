from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from flare_core.evaluate.ranking.rank import rank
from flare_core.evaluate.ranking.stability import bootstrap, kendall_tau


def test_tau_is_that_of_scipy_ties_included():
    random = np.random.default_rng(0)
    reference = random.integers(0, 6, 12).astype(float)
    others = random.integers(0, 6, (450, 12)).astype(float)  # more than two blocks
    expected = [stats.kendalltau(reference, other).statistic for other in others]
    assert kendall_tau(reference, others) == pytest.approx(np.array(expected), abs=1e-6)


def test_tau_by_hand():
    # four teams; one neighbouring pair changed: 5 concordant, 1 discordant of 6
    assert kendall_tau(np.arange(4.0), np.array([[1.0, 0, 2, 3]])) == pytest.approx([4 / 6])
    assert kendall_tau(np.arange(4.0), np.array([[3.0, 2, 1, 0]])) == pytest.approx([-1])
    # a tie in one: 5 of 6 pairs left, tau-b = 5 / sqrt(6 * 5)
    tied = kendall_tau(np.arange(4.0), np.array([[0.0, 0, 2, 3]]))
    assert tied == pytest.approx([5 / np.sqrt(30)])


def test_tau_is_undefined_where_all_teams_are_equal():
    assert np.isnan(kendall_tau(np.ones(3), np.array([[1.0, 2, 3]]))).all()


def test_a_bootstrap_sample_is_a_ranking_of_drawn_cases():
    """The matrix product gives what ranking the drawn cases one by one would give."""
    random = np.random.default_rng(3)
    scored = random.random((2, 30, 5)) + 0.2 * np.arange(5)
    ranks = rank(scored).each
    found = bootstrap(ranks, samples=20, seed=11)
    counts = np.random.default_rng(11).multinomial(30, np.full(30, 1 / 30), size=20)
    full = rank(scored)
    for sample, count in enumerate(counts):
        again = rank(np.repeat(scored, count, axis=1))  # cases with their multiplicity
        for m in range(2):
            tau = stats.kendalltau(full.by_metric[m], again.by_metric[m]).statistic
            assert found.tau[m, sample] == pytest.approx(tau, abs=1e-6)
        assert found.tau[2, sample] == pytest.approx(
            stats.kendalltau(full.final, again.final).statistic, abs=1e-6
        )
        assert found.places[sample].tolist() == stats.rankdata(np.round(again.final, 9)).tolist()


def test_a_clear_order_is_stable_and_pure_chance_is_not():
    random = np.random.default_rng(8)
    clear = rank(random.random((1, 60, 6)) + 10 * np.arange(6))
    chance = rank(random.random((1, 60, 6)))
    assert bootstrap(clear.each, samples=100, seed=0).tau.min() == 1
    assert bootstrap(chance.each, samples=100, seed=0).tau.mean() < 0.9


def test_intervals_of_places():
    ranks = rank(np.arange(4.0)[None, None] + np.zeros((1, 10, 1))).each
    found = bootstrap(ranks, samples=50, seed=0)
    assert found.intervals().tolist() == [[4, 4], [3, 3], [2, 2], [1, 1]]


def test_no_samples_give_no_tau():
    found = bootstrap(np.ones((2, 3, 4)), samples=0, seed=0)
    assert found.tau.shape == (3, 0) and found.places.shape == (0, 4)
    assert np.isnan(found.intervals()).all()
