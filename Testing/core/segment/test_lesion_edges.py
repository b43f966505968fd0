"""Lesions grow to where their HU are half way to the organs'."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.anatomy.organs import organ
from flare_core.imaging.geometry import Geometry
from flare_core.models.stage_card import OrganMask, StageCard
from flare_core.segment.lesion_edges import OrganHu, grown_scores, smoothed
from flare_core.segment.stage import SeenOrgans
from stub_models import stage_card

SHAPE, MM = (30, 60, 60), (3.0, 1.5, 1.5)
LIVER_ID = organ("liver").id
LIVER = np.zeros(SHAPE, bool)
LIVER[3:-3, 5:-5, 5:-5] = True
CARD = stage_card(
    "lesions", ("lesion",), regions=True, mask=OrganMask(("liver",), outside_hu=-200.0),
    growth_mm=8.0, least_ml=0.5,
)  # fmt: skip


def ball(radius_mm: float, centre_mm: tuple[float, float, float] = (45, 45, 45)) -> np.ndarray:
    places = zip(np.indices(SHAPE), MM, centre_mm, strict=True)
    return np.asarray(sum((n * mm - c) ** 2 for n, mm, c in places) <= radius_mm**2)


def seen(change_hu: float, tumour: np.ndarray) -> SeenOrgans:
    """A liver of 100 HU with a tumour in it, nothing around."""
    hu = np.where(LIVER, 100.0, -80.0) + np.where(tumour, change_hu, 0.0)
    labels = np.where(LIVER, LIVER_ID, 0).astype(np.uint8)
    return SeenOrgans(hu.astype(np.float32), LIVER, labels, Geometry(SHAPE, MM))


def grown(what: SeenOrgans, found: np.ndarray, card: StageCard = CARD) -> np.ndarray:
    """What is found in the end."""
    scores = grown_scores(OrganHu(what, card), found)
    if scores is None:
        return found
    return found | (scores.sigmoid().numpy() > card.threshold)


def dsc(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("change_hu", [-40.0, 40.0])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_the_middle_of_a_tumour_becomes_all_of_it(change_hu: float, threshold: float) -> None:
    tumour, middle = ball(15.0), ball(9.0)
    found = grown(seen(change_hu, tumour), middle, replace(CARD, threshold=threshold))
    assert dsc(middle, tumour) < 0.4 and dsc(found, tumour) > 0.97


def test_no_further_than_the_card_says() -> None:
    tumour, middle = ball(15.0), ball(6.0)
    sizes = []
    for mm in (0.0, 3.0, 6.0, 9.0):
        found = grown(seen(-40, tumour), middle, replace(CARD, growth_mm=mm))
        assert not (found & ~ball(6.0 + mm + 1e-6)).any()
        sizes.append(int(found.sum()))
    assert sizes == sorted(set(sizes))


def test_it_stays_in_the_organ() -> None:
    """The tumour hangs out of the liver, whose edge is at 7.5 mm along x; more is seen."""
    tumour = ball(15.0, (45, 45, 12))
    what = replace(seen(-40, tumour), mask=np.ones(SHAPE, bool))
    what.hu[tumour] = 60.0
    found = grown(what, ball(6.0, (45, 45, 16)))
    assert found.sum() > 2 * ball(6.0, (45, 45, 16)).sum() and not (found & ~LIVER).any()


def test_through_a_thread_it_does_not_run_out() -> None:
    """A dark fissure, one slice thick, leaves the tumour."""
    tumour = ball(9.0)
    thread = tumour.copy()
    thread[15, 29:32, 36:50] = True
    what = seen(-60, thread)
    found = grown(what, tumour)
    assert (found & ~ball(12.0)).sum() == 0


@pytest.mark.parametrize(
    ("change_hu", "found"),
    [(-8.0, ball(9.0)), (-40.0, ball(3.0)), (-40.0, np.zeros(SHAPE, bool))],
)
def test_what_is_as_bright_as_the_organ_or_too_small_stays(
    change_hu: float, found: np.ndarray
) -> None:
    assert grown_scores(OrganHu(seen(change_hu, ball(15.0)), CARD), found) is None


def test_without_growth_nothing_is_looked_at() -> None:
    organs = OrganHu(seen(-40, ball(15.0)), replace(CARD, growth_mm=0.0))
    assert grown_scores(organs, ball(9.0)) is None and not {"rise", "median"} & set(vars(organs))


def test_beside_what_grew_scores_fall_and_elsewhere_there_are_none() -> None:
    tumour = ball(15.0)
    scores = grown_scores(OrganHu(seen(-40, tumour), CARD), ball(9.0))
    assert scores is not None
    values = scores.numpy()
    assert values[15, 30, 30] == pytest.approx(2.0, abs=0.1)  # the middle: the core's score
    beside = np.isfinite(values) & (values <= 0)
    assert beside.any() and values[beside].max() <= -0.5
    assert not np.isfinite(values[~ball(22.0)]).any()


def test_the_rise_is_from_the_organs_median() -> None:
    organs = OrganHu(seen(-40, ball(9.0)), CARD)
    assert organs.median == 100.0 and np.array_equal(organs.inside, LIVER)
    assert organs.rise[15, 30, 30] == pytest.approx(-40, abs=0.5)
    assert np.isneginf(organs.rise[~LIVER]).all()
    none = OrganHu(replace(seen(0, LIVER), organs=np.zeros(SHAPE, np.uint8)), CARD)
    assert not none.inside.any() and np.isnan(none.median)


def test_smoothing_takes_nothing_from_out_of_sight() -> None:
    flat = smoothed(np.where(LIVER, np.float32(7), np.float32(-900)), LIVER, MM)
    assert flat[LIVER] == pytest.approx(7, abs=1e-3) and np.isneginf(flat[~LIVER]).all()
