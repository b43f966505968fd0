from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from flare_core.evaluate.evaluate import CaseResult, Evaluation
from flare_core.evaluate.protocols import Mode, edition
from flare_core.evaluate.scoring import ScoringRules, TargetScores
from flare_core.evaluate.summary import (
    Statistic,
    bootstrap_interval,
    case_means,
    headlines,
    scores_of,
    statistics,
)

Cases = Mapping[str, Mapping[str, Mapping[str, float]]]

LESION_COUNTS = ("true_lesions", "predicted_lesions", "found_lesions")


def evaluation(
    cases: Cases, mode: Mode = "fixed", metrics: tuple[str, ...] = ("dsc",)
) -> Evaluation:
    """Case -> structure -> metric -> value."""
    results = tuple(
        CaseResult(
            name,
            "scored",
            scores=tuple(TargetScores(key, values, 0.0, 0.0) for key, values in row.items()),
        )
        for name, row in cases.items()
    )
    return Evaluation(ScoringRules(edition("flare23"), mode, metrics), results)


def dsc(*rows: Mapping[str, float], mode: Mode = "fixed") -> Evaluation:
    cases = {
        f"case{k}": {key: {"dsc": value} for key, value in row.items()}
        for k, row in enumerate(rows)
    }
    return evaluation(cases, mode)


def row(found: Evaluation, organ: str, metric: str = "dsc") -> Statistic:
    return next(s for s in statistics(found) if (s.organ, s.metric) == (organ, metric))


def headline(found: Evaluation) -> dict[str, float]:
    return {one.key: one.value for one in headlines(found)}


def test_numbers_by_hand() -> None:
    found = row(dsc({"liver": 0.9}, {"liver": 0.6}, {"liver": 0.6}, {"liver": 0.9}), "liver")
    assert (found.n, found.undefined, found.infinite) == (4, 0, 0)
    assert found.mean == pytest.approx(0.75) and found.median == pytest.approx(0.75)
    assert found.sd == pytest.approx(math.sqrt(4 * 0.15**2 / 3))
    assert (found.q1, found.q3) == pytest.approx((0.6, 0.9))
    assert 0.6 <= found.ci_low < 0.75 < found.ci_high <= 0.9


def test_organ_score_is_the_mean_of_the_organs_means() -> None:
    """The liver is annotated twice, the spleen once: (0.8 + 0.4) / 2, not the mean of three."""
    found = dsc({"liver": 0.9, "spleen": 0.4, "lesion": 0.1}, {"liver": 0.7})
    assert headline(found) == {
        "organ_dsc": pytest.approx(0.6),
        "lesion_dsc": pytest.approx(0.1),
    }


def test_official_rounds_as_the_scripts_do() -> None:
    """Organ means 0.33335 -> 0.3334 (even) and 0.5: their mean 0.4167."""
    rows = ({"liver": 0.3333, "spleen": 0.5}, {"liver": 0.3335, "spleen": 0.5})
    organs = np.round([np.mean([0.3333, 0.3335]), 0.5], 4)
    assert headline(dsc(*rows, mode="official"))["organ_dsc"] == np.round(organs.mean(), 4)
    assert headline(dsc(*rows))["organ_dsc"] == pytest.approx(0.4167)
    assert row(dsc(*rows, mode="official"), "liver").mean == organs[0]


def test_an_undefined_score_spreads_in_official_mode_only() -> None:
    rows = ({"liver": 0.8, "aorta": math.nan}, {"liver": 0.6, "aorta": 0.9})
    official, fixed = dsc(*rows, mode="official"), dsc(*rows)
    assert math.isnan(headline(official)["organ_dsc"]) and math.isnan(row(official, "aorta").mean)
    assert headline(fixed)["organ_dsc"] == pytest.approx(0.8)
    assert row(fixed, "aorta").mean == pytest.approx(0.9) and row(fixed, "aorta").undefined == 1
    targets = edition("flare23").organ_targets
    assert np.isnan(case_means(official, targets, "dsc")[0])
    assert case_means(fixed, targets, "dsc").tolist() == pytest.approx([0.8, 0.75])


def test_what_is_not_annotated_is_neither_zero_nor_undefined() -> None:
    found = dsc({"liver": 0.8}, {"spleen": 0.6}, mode="official")
    assert row(found, "liver").n == 1 and row(found, "liver").undefined == 0
    assert headline(found)["organ_dsc"] == pytest.approx(0.7)
    assert case_means(found, edition("flare23").organ_targets, "dsc").tolist() == [0.8, 0.6]
    assert row(found, "pancreas").n == 0 and math.isnan(row(found, "pancreas").mean)


def test_infinite_distances_count_in_the_median() -> None:
    cases = {f"c{k}": {"liver": {"hd95": v}} for k, v in enumerate((1.0, 3.0, math.inf, math.inf))}
    cases["none"] = {"liver": {"hd95": math.nan}}
    found = row(evaluation(cases, metrics=("hd95",)), "liver", "hd95")
    assert (found.n, found.undefined, found.infinite) == (4, 1, 2)
    assert found.mean == 2.0 and found.median == math.inf and found.q1 == pytest.approx(2.5)


def test_lesion_rates_are_pooled_over_all_lesions() -> None:
    """A scan with ten lesions weighs ten times one with one."""
    numbers = ((10.0, 5.0, 4.0), (1.0, 1.0, 1.0), (0.0, 2.0, 0.0))
    cases = {
        f"c{k}": {"lesion": dict(zip(LESION_COUNTS, row, strict=True))}
        for k, row in enumerate(numbers)
    }
    found = headline(evaluation(cases, metrics=LESION_COUNTS))
    assert found["all_lesions_sensitivity"] == pytest.approx(5 / 11)
    assert found["all_lesions_precision"] == pytest.approx(5 / 8)
    assert found["all_lesions_f1"] == pytest.approx(10 / 19)


def test_bootstrap_of_known_spread() -> None:
    """The interval of a mean of 400 numbers of SD 1 is about +- 1.96 / 20."""
    values = np.random.default_rng(1).normal(5.0, 1.0, 400)
    low, high = bootstrap_interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert low < values.mean() < high
    assert bootstrap_interval(values) == (low, high) != bootstrap_interval(values, seed=1)


def test_bootstrap_leaves_out_what_a_sample_lacks() -> None:
    """By hand: each sample's mean over the structures that one of its cases has."""
    table = np.array([[0.1, np.nan, np.nan], [0.4, 0.9, np.nan], [0.3, np.nan, np.nan]])
    draws = np.random.default_rng(7).multinomial(3, [1 / 3] * 3, size=50)
    centres = []
    for a, b, c in draws:
        means = [(0.1 * a + 0.4 * b + 0.3 * c) / 3] + ([0.9] if b else [])
        centres.append(sum(means) / len(means))
    expected = tuple(np.percentile(centres, (2.5, 97.5)))
    assert bootstrap_interval(table, 50, 7) == pytest.approx(expected, rel=1e-12)


def test_bootstrap_keeps_a_case_together() -> None:
    """Two organs that fail in the same cases: the mean spreads as one of them does."""
    column = np.repeat([0.0, 1.0], 50)
    together = np.stack([column, column], axis=1)
    apart = np.stack([column, column[::-1]], axis=1)
    low, high = bootstrap_interval(together)
    assert high - low == pytest.approx(np.subtract(*bootstrap_interval(column)[::-1]))
    assert bootstrap_interval(apart) == pytest.approx((0.5, 0.5))


def test_one_case_has_no_interval() -> None:
    found = row(dsc({"liver": 0.9}), "liver")
    assert math.isnan(found.ci_low) and math.isnan(found.sd) and found.mean == 0.9


def test_scores_of_one_structure() -> None:
    found = dsc({"liver": 0.9}, {"spleen": 0.1}, {"liver": 0.5})
    liver = edition("flare23").targets[0]
    assert scores_of(found, liver, "dsc").tolist() == [0.9, 0.5]
