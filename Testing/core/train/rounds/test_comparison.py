"""The rule of promotion on scores made up so that the answer is plain."""

from __future__ import annotations

import pytest

from flare_core.errors import InputError
from flare_core.train.rounds.comparison import CaseScores, Rule, Verdict, first_of_its_name, judge


def scored(**organs: list[float]) -> list[CaseScores]:
    """Cases c0, c1, ... of a patient each, with DSC as given and NSD the same."""
    count = len(next(iter(organs.values())))
    return [
        CaseScores(f"c{i}", f"p{i}", {key: {"dsc": v[i], "nsd": v[i]} for key, v in organs.items()})
        for i in range(count)
    ]


def test_a_better_model_is_promoted():
    verdict = judge(scored(liver=[0.8, 0.9, 0.8]), scored(liver=[0.9, 0.9, 0.9]), Rule())
    assert verdict.promote
    assert verdict.old["dsc"] == pytest.approx(2.5 / 3) and verdict.new["dsc"] == pytest.approx(0.9)
    assert "3 hold-out cases of 3 patients" in verdict.reason


def test_nothing_to_score_by_is_no_reason_to_promote():
    """Every organ of the hold-out may be a remnant at the edges of its scans."""
    nothing = [CaseScores("c0", "p0", {})]
    verdict = judge(nothing, nothing, Rule())
    assert not verdict.promote and "nothing in them to score" in verdict.reason


def test_the_same_model_is_not_worse():
    same = scored(liver=[0.8, 0.9], spleen=[0.7, 0.6])
    assert judge(same, same, Rule()).promote


def test_a_fall_of_the_mean_is_refused():
    verdict = judge(scored(liver=[0.9, 0.9]), scored(liver=[0.9, 0.895]), Rule())
    assert not verdict.promote
    assert "mean DSC over organs fell from 0.900 to 0.897" in verdict.reason


def test_a_gain_elsewhere_does_not_pay_for_an_organ_that_surely_fell():
    old = scored(liver=[0.5] * 6, spleen=[0.90, 0.91, 0.92, 0.90, 0.91, 0.92])
    new = scored(liver=[0.9] * 6, spleen=[0.88, 0.89, 0.90, 0.88, 0.89, 0.90])
    verdict = judge(old, new, Rule())
    assert not verdict.promote and "spleen (DSC) surely fell, by 0.020" in verdict.reason


def test_an_uncertain_fall_within_the_limit_is_forgiven():
    old = scored(liver=[0.5] * 4, spleen=[0.9, 0.9, 0.9, 0.9])
    new = scored(liver=[0.9] * 4, spleen=[0.98, 0.82, 0.97, 0.81])  # -.02, but who knows
    assert judge(old, new, Rule()).promote


def test_a_large_fall_is_never_forgiven():
    old = scored(liver=[0.5] * 4, spleen=[0.9, 0.9, 0.9, 0.9])
    new = scored(liver=[0.9] * 4, spleen=[1.0, 0.6, 1.0, 0.6])
    assert "spleen (DSC) fell by 0.100" in judge(old, new, Rule()).reason


def test_patients_are_resampled_not_scans():
    """Ten scans of one patient prove nothing that one scan would not."""

    def of(values: list[float], patients: list[str]) -> list[CaseScores]:
        return [
            CaseScores(f"c{i}", p, {"liver": {"dsc": v, "nsd": v}})
            for i, (v, p) in enumerate(zip(values, patients, strict=True))
        ]

    one = ["anna"] * 9 + ["bert"]
    old = of([0.9] * 10, one)
    new = of([0.86] * 9 + [0.96], one)
    (change, _) = judge(old, new, Rule()).changes
    assert change.high > 0  # anna or bert alone may be drawn
    many = [f"p{i}" for i in range(10)]
    (apart, _) = judge(of([0.9] * 10, many), of([0.86] * 9 + [0.96], many), Rule()).changes
    assert apart.high < 0


def test_an_organ_the_new_model_does_not_know_counts_as_nothing():
    verdict = judge(scored(liver=[0.8], spleen=[0.8]), scored(liver=[1.0]), Rule())
    assert not verdict.promote and "spleen (DSC) fell by 0.800" in verdict.reason


def test_other_cases_are_refused():
    with pytest.raises(InputError, match="the same cases"):
        judge(scored(liver=[0.8]), scored(liver=[0.8, 0.8]), Rule())


def test_the_first_model_is_promoted_and_the_verdict_survives_json():
    verdict = first_of_its_name(scored(liver=[0.4, 0.6]))
    assert verdict.promote and verdict.new == {"dsc": 0.5, "nsd": 0.5} and verdict.old is None
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_contradicting_limits_are_refused():
    with pytest.raises(InputError, match="tolerance <= most"):
        Rule(tolerance=0.2, most=0.1)


def test_two_models_that_find_nothing_are_no_progress():
    nothing = scored(liver=[0.0, 0.0], gallbladder=[0.0, 1.0])  # 1: the patient has none
    verdict = judge(nothing, nothing, Rule())
    assert not verdict.promote and verdict.finds_nothing
    assert "finds no organ" in verdict.reason and "Not worse" not in verdict.reason
    assert Verdict.from_json(verdict.to_json()).finds_nothing


def test_a_first_model_that_finds_nothing_is_not_promoted():
    verdict = first_of_its_name(scored(liver=[0.0, 0.0]))
    assert not verdict.promote and verdict.finds_nothing
    assert first_of_its_name(scored(liver=[0.0, 0.3])).promote


def test_a_model_that_finds_something_is_judged_as_ever():
    verdict = judge(scored(liver=[0.0, 0.0]), scored(liver=[0.4, 0.0]), Rule())
    assert verdict.promote and not verdict.finds_nothing
    assert not judge(scored(liver=[1.0]), scored(liver=[1.0]), Rule()).finds_nothing
