from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from flare_core.evaluate.ranking.significance import compare_pairs, exact_p, holm, signed_rank


def test_exact_p_is_the_share_of_sign_patterns_counted_one_by_one():
    random = np.random.default_rng(2)
    for _ in range(20):
        sizes = random.integers(1, 5, 8).astype(float)  # with equal sizes
        ranks = stats.rankdata(sizes)
        surplus = float((ranks * random.choice([-1, 1], 8)).sum())
        patterns = np.array(list(itertools.product((-1, 1), repeat=8)))
        far = np.abs(patterns @ ranks) >= abs(surplus) - 1e-9
        assert exact_p(ranks, surplus) == pytest.approx(far.mean())


def test_small_samples_are_those_of_scipy_exact():
    differences = np.random.default_rng(1).normal(0.3, 1, (20, 12))
    p, _ = signed_rank(differences)
    expected = [stats.wilcoxon(d, method="exact").pvalue for d in differences]
    assert p == pytest.approx(np.array(expected))


def test_large_samples_are_those_of_scipy_normal_with_ties_and_zeros():
    random = np.random.default_rng(6)
    differences = np.round(random.normal(0.1, 1, (30, 200)), 1)
    assert (differences == 0).any()
    p, surplus = signed_rank(differences)
    for row, value, sign in zip(differences, p, surplus, strict=True):
        known = stats.wilcoxon(row, zero_method="wilcox", correction=False, method="approx")
        assert value == pytest.approx(known.pvalue, rel=1e-9)
        ranks = stats.rankdata(np.abs(row[row != 0]))
        assert sign == pytest.approx((ranks * np.sign(row[row != 0])).sum())


@pytest.mark.parametrize("cases", [20, 60])
def test_differences_that_are_equal_but_for_the_computers_rounding_share_their_rank(cases):
    """Values have few decimals; 0.7 - 0.6 and 0.6 - 0.5 were two sizes, and each had its rank."""
    random = np.random.default_rng(4)
    hundredths = random.integers(60, 95, (cases, 2))
    hundredths[:, 1] += random.integers(-3, 4, cases)
    tests = compare_pairs("dsc", hundredths / 100)
    exact = np.diff(hundredths, axis=1).T.astype(float)
    assert tests.p[0, 1] == pytest.approx(signed_rank(exact)[0][0], rel=1e-9)


def test_exact_and_normal_meet_at_the_border():
    differences = np.random.default_rng(9).normal(0.2, 1, (40, 25))
    exact, _ = signed_rank(differences)
    normal = [stats.wilcoxon(d, method="approx").pvalue for d in differences]
    assert exact == pytest.approx(np.array(normal), abs=0.02)


def test_equal_teams_have_p_one():
    p, surplus = signed_rank(np.zeros((2, 50)))
    assert p.tolist() == [1, 1] and surplus.tolist() == [0, 0]


def test_holm_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 x 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04 -> 0.06 (never falls)
    assert holm(np.array([0.04, 0.005, 0.03, 0.01])).tolist() == pytest.approx(
        [0.06, 0.02, 0.06, 0.03]
    )
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]
    assert holm(np.empty(0)).size == 0


def test_the_better_team_is_found_and_the_matrix_is_consistent():
    random = np.random.default_rng(7)
    base = random.random((80, 1))
    values = base + np.array([0.0, 0.05, 0.05, 0.4]) + random.normal(0, 0.05, (80, 4))
    tests = compare_pairs("dsc", values)
    better = tests.better()
    assert better[3].tolist() == [True, True, True, False]
    assert better[1, 0] and better[2, 0] and not better[0].any()
    assert not (better & better.T).any() and not better.diagonal().any()
    assert np.array_equal(tests.p, tests.p.T) and (tests.p.diagonal() == 1).all()
    assert np.array_equal(tests.direction, -tests.direction.T)
    assert (tests.p_holm >= tests.p).all()


def test_equal_teams_are_found_different_in_one_of_twenty_pairs_but_not_after_holm():
    random = np.random.default_rng(10)
    tests = compare_pairs("dsc", random.random((60, 30)))  # 435 pairs of equal teams
    pairs = np.triu_indices(30, k=1)
    assert 0.02 < (tests.p[pairs] < 0.05).mean() < 0.1
    assert (tests.p_holm[pairs] < 0.05).sum() <= 1
    assert tests.better(corrected=False).sum() > tests.better().sum()
