from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from flare_core.evaluate.ranking.rank import (
    Stability,
    bootstrap,
    count_beaten,
    kendall_tau,
    rank,
    rank_teams,
    without_gaps,
)
from flare_core.evaluate.ranking.schemes import MetricRule, Scheme
from flare_core.evaluate.ranking.table import ResultTable, make_table

NAN = float("nan")

DSC = MetricRule("dsc", "DSC", True, ("dsc",))
RUNTIME = MetricRule("runtime", "Run time", False, ("runtime_s",), tolerance=15.0)
AUC = MetricRule(
    "auc", "AUC GPU", False, ("auc_gpu",), tolerance=4096.0, tolerance_column="gpu_max"
)
SCHEME = Scheme("hand", "by hand", (DSC, RUNTIME, AUC))

# Two cases, four teams. In brackets the rank: 1 is best, equal values share the mean rank.
#
#   case 1   DSC          run time, s              AUC GPU (peak, MiB)
#   ann      0.90 (1.5)    8    up to 15: (2)      30000 (3500: within 4096) (1.5)
#   bob      0.90 (1.5)   14.99 up to 15: (2)      50000 (9000) (4)
#   cem      0.70 (3)     15    exactly:  (2)      20000 (4096: within)      (1.5)
#   dia      0.60 (4)     15.01           (4)      40000 (4097)              (3)
#
#   case 2
#   ann      0.50 (3)     20 (1.5)                 10000 (5000) (1)
#   bob      0.80 (1)     20 (1.5)                 90000 (5000) (2)
#   cem      missing (4)  30 (3)                   missing      (3.5)
#   dia      0.55 (2)     missing (4)              missing      (3.5)
#
# Sum of the six ranks: ann 1.5 + 2 + 1.5 + 3 + 1.5 + 1   = 10.5, mean 1.75, place 1
#                       bob 1.5 + 2 + 4   + 1 + 1.5 + 2   = 12.0, mean 2.00, place 2
#                       cem 3   + 2 + 1.5 + 4 + 3   + 3.5 = 17.0, mean 2.83, place 3
#                       dia 4   + 4 + 3   + 2 + 4   + 3.5 = 20.5, mean 3.42, place 4
CELLS = {
    "ann": {
        "c1": {"dsc": 0.9, "runtime_s": 8.0, "auc_gpu": 30000.0, "gpu_max": 3500.0},
        "c2": {"dsc": 0.5, "runtime_s": 20.0, "auc_gpu": 10000.0, "gpu_max": 5000.0},
    },
    "bob": {
        "c1": {"dsc": 0.9, "runtime_s": 14.99, "auc_gpu": 50000.0, "gpu_max": 9000.0},
        "c2": {"dsc": 0.8, "runtime_s": 20.0, "auc_gpu": 90000.0, "gpu_max": 5000.0},
    },
    "cem": {
        "c1": {"dsc": 0.7, "runtime_s": 15.0, "auc_gpu": 20000.0, "gpu_max": 4096.0},
        "c2": {"dsc": NAN, "runtime_s": 30.0},
    },
    "dia": {
        "c1": {"dsc": 0.6, "runtime_s": 15.01, "auc_gpu": 40000.0, "gpu_max": 4097.0},
        "c2": {"dsc": 0.55},
    },
}


@pytest.fixture(scope="module")
def table() -> ResultTable:
    return make_table(CELLS, SCHEME)


def test_ranks_worked_by_hand(table):
    ranks = rank(table.scored)
    assert ranks.each.tolist() == [
        [[1.5, 1.5, 3, 4], [3, 1, 4, 2]],
        [[2, 2, 2, 4], [1.5, 1.5, 3, 4]],
        [[1.5, 4, 1.5, 3], [1, 2, 3.5, 3.5]],
    ]
    assert ranks.by_metric.tolist() == [
        [2.25, 1.25, 3.5, 3.0],
        [1.75, 1.75, 2.5, 4.0],
        [1.25, 3.0, 2.5, 3.25],
    ]
    assert ranks.final == pytest.approx([10.5 / 6, 12.0 / 6, 17.0 / 6, 20.5 / 6])
    assert ranks.places.tolist() == [1, 2, 3, 4]


def test_teams_beaten_worked_by_hand(table):
    ranking = rank_teams(table, bootstraps=50)
    # In words, best first. DSC: bob 1.25, ann 2.25, dia 3, cem 3.5. Run time: ann and bob, cem,
    # dia. AUC: ann, cem, bob, dia. Final: ann, bob, cem, dia.
    assert ranking.beaten.tolist() == [[2, 3, 0, 1], [2, 2, 1, 0], [3, 1, 2, 0], [3, 2, 1, 0]]


def test_every_rank_sum_is_that_of_one_to_n():
    random = np.random.default_rng(4)
    scored = random.integers(0, 4, (3, 50, 7)).astype(float)  # many equal values
    scored[random.random(scored.shape) < 0.1] = NAN
    each = rank(scored).each
    assert np.allclose(each.sum(axis=2), 7 * 8 / 2)
    for m, c in np.ndindex(3, 50):
        for t in range(7):
            here = np.nan_to_num(scored[m, c], nan=-1.0)
            above, equal = (here > here[t]).sum(), (here == here[t]).sum()
            assert each[m, c, t] == above + (equal + 1) / 2


def test_missing_is_last_even_behind_zero_and_infinite_counts_as_missing():
    assert rank(np.array([[[0.0, NAN, 0.5]]])).final.tolist() == [2, 3, 1]
    assert rank(np.array([[[0.0, -np.inf, NAN]]])).final.tolist() == [1, 2.5, 2.5]


def test_rounding_noise_makes_no_difference():
    assert rank(np.array([[[0.1 + 0.2, 0.3]]])).final.tolist() == [1.5, 1.5]


def test_equal_teams_share_a_place_and_the_next_is_skipped():
    scored = np.array([[[0.9, 0.5, 0.5, 0.1]]])
    assert rank(scored).places.tolist() == [1, 2, 2, 4]


def test_the_ranking_does_not_depend_on_the_order_of_teams():
    scored = np.random.default_rng(5).random((3, 40, 6))
    turned = rank(scored[:, :, ::-1])
    assert np.allclose(turned.final[::-1], rank(scored).final)


def test_order_is_by_place_then_by_name():
    cells = {name: {"c": {"dsc": value}} for name, value in (("a", 0.1), ("b", 0.9), ("c", 0.9))}
    ranking = rank_teams(make_table(cells, Scheme("s", "s", (DSC,))), bootstraps=3)
    assert [ranking.table.teams[t] for t in ranking.order] == ["b", "c", "a"]


def test_same_seed_same_result_and_another_seed_another(table):
    taus = [rank_teams(table, bootstraps=200, seed=seed).stability.tau for seed in (1, 1, 2)]
    assert np.array_equal(taus[0], taus[1], equal_nan=True)
    assert not np.array_equal(taus[0], taus[2], equal_nan=True)


def test_tests_are_made_for_each_metric_and_for_all_together(table):
    ranking = rank_teams(table, bootstraps=0)
    assert [tests.key for tests in ranking.tests] == ["dsc", "runtime", "auc", "final"]
    # all together, by the mean rank of each case: ann (5/3, 5.5/3) is before bob (7.5/3, 4.5/3)
    # in case 1 by 2.5/3, behind in case 2 by 1/3: ranks 2 - 1 = 1 > 0
    final = ranking.tests[-1]
    assert final.direction[0, 1] == 1 and final.direction[1, 0] == -1
    assert final.differing[0, 1] == 2


def test_a_tolerance_makes_teams_equal_in_the_tests_too(table):
    runtime = rank_teams(table, bootstraps=0).tests[1]
    assert runtime.differing[0, 1] == 0 and runtime.p[0, 1] == 1  # 8 s and 14.99 s; 20 s and 20 s


def test_counting_the_beaten_ignores_noise():
    assert count_beaten(np.array([[2.0, 2.0 + 1e-12, 3.0]])).tolist() == [[1, 1, 0]]


def test_gaps_become_the_worst_value():
    assert without_gaps(np.array([[NAN, NAN]])).tolist() == [[0, 0]]
    assert without_gaps(np.array([[NAN, -20.0], [-15.0, -90.0]]))[0, 0] == -90


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


def test_an_interval_ends_at_places_that_were_reached():
    places = np.array([[1.0, 2.0]] * 974 + [[2.5, 1.0]] * 25)  # 2.5 % lies between two of them
    found = Stability(np.zeros((1, 1)), places, 999, 0)
    assert found.intervals().tolist() == [[1.0, 2.5], [1.0, 2.0]]


def test_intervals_of_places():
    ranks = rank(np.arange(4.0)[None, None] + np.zeros((1, 10, 1))).each
    found = bootstrap(ranks, samples=50, seed=0)
    assert found.intervals().tolist() == [[4, 4], [3, 3], [2, 2], [1, 1]]


def test_no_samples_give_no_tau():
    found = bootstrap(np.ones((2, 3, 4)), samples=0, seed=0)
    assert found.tau.shape == (3, 0) and found.places.shape == (0, 4)
    assert np.isnan(found.intervals()).all()
