"""Scans without contrast are shown to the lesion stage as if they had it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from core.segment.test_second_look import GRID, LIVER_ID, SHAPE, ball, card, stage
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import ContrastStretch, StageCard
from flare_core.segment.cascade import Found, Plan, add_lesions
from flare_core.segment.contrast_stretch import factor_for, median_hu, peak_for, stretched
from flare_core.segment.stage import run_stage

TUMOUR = ball((60.0, 54.0, 54.0), 12.0)
STRETCH = ContrastStretch(median_hu=100.0, most=2.0, peak=0.97)


def scan(liver_hu: float, tumour_hu: float) -> tuple[Volume, Volume]:
    """A liver with a tumour, and the organs' labels."""
    liver = ball((60.0, 54.0, 54.0), 40.0)
    hu = np.full(SHAPE, -100.0, np.float32)
    hu[liver] = liver_hu
    hu[TUMOUR] = tumour_hu
    return Volume(hu, GRID), Volume(np.where(liver, LIVER_ID, 0).astype(np.uint8), GRID)


def lesions(image: Volume, organs: Volume, made: StageCard) -> np.ndarray:
    found = add_lesions(image, Found(organs), stage(made), Plan(), lambda step, share: None)
    assert found.lesions is not None
    return found.lesions.array


def test_a_tumour_without_contrast_is_found() -> None:
    """The network knows livers of 100 HU with tumours below 80 HU."""
    image, organs = scan(50.0, 32.0)
    flat = replace(card(second_look=None), contrast_stretch=None)
    shown = replace(flat, contrast_stretch=STRETCH)
    assert np.count_nonzero(lesions(image, organs, flat)) > 2 * TUMOUR.sum()  # all is dark to it
    found = lesions(image, organs, shown)
    assert np.count_nonzero(found & TUMOUR) > 0.8 * TUMOUR.sum()
    assert np.count_nonzero(found & ~TUMOUR) < 0.2 * TUMOUR.sum()


def test_with_contrast_nothing_changes() -> None:
    image, organs = scan(120.0, 70.0)
    flat = card(second_look=None)
    shown = replace(flat, contrast_stretch=STRETCH)
    np.testing.assert_array_equal(lesions(image, organs, shown), lesions(image, organs, flat))


def test_a_finding_must_reach_what_the_scan_asks_for() -> None:
    """Between the stage's own peak and the stretch's; what was seen stays as it was."""
    image, organs = scan(50.0, 32.0)
    made = card(second_look=None, peak=0.9)
    plain = run_stage(stage(made), image, Box.of_shape(SHAPE), organs=organs)
    made = replace(made, contrast_stretch=STRETCH)
    scores = run_stage(stage(made), image, Box.of_shape(SHAPE), organs=organs)
    assert plain.card.peak == 0.9
    assert scores.card.peak == pytest.approx(0.97)
    assert scores.seen is not None and plain.seen is not None
    np.testing.assert_array_equal(scores.seen.hu, plain.seen.hu)


def test_a_peak_that_is_not_reached_is_no_finding() -> None:
    """At 100 - 2 * 12 HU the network says .98: a lesion for .97, and none for .99."""
    image, organs = scan(50.0, 38.0)
    made = card(second_look=None)
    for peak, some in ((0.97, True), (0.99, False)):
        stretch = replace(STRETCH, peak=peak)
        assert lesions(image, organs, replace(made, contrast_stretch=stretch)).any() == some


def test_differences_grow_as_much_as_the_median_is_low() -> None:
    hu = np.array([[[30.0, 50.0, 60.0]]], np.float32)
    np.testing.assert_allclose(stretched(hu, STRETCH, 50.0), [[[60.0, 100.0, 120.0]]])
    assert stretched(hu, STRETCH, 100.0) is hu
    assert factor_for(STRETCH, 80.0) == pytest.approx(1.25)
    assert factor_for(STRETCH, math.nan) == 1.0
    assert (factor_for(STRETCH, 30.0), factor_for(STRETCH, 29.0)) == (2.0, 1.0)
    assert peak_for(STRETCH, 200 / 3, 0.91) == pytest.approx(0.94)
    assert math.isnan(median_hu(hu, np.zeros(hu.shape, np.bool_)))


@pytest.mark.parametrize(
    ("field", "value"),
    [("median_hu", 0.0), ("least_hu", 0.0), ("least_hu", 110.0), ("most", 1.0), ("most", 11.0),
     ("peak", 1.0)],
)  # fmt: skip
def test_what_a_stretch_may_be(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"contrast_stretch: {field}"):
        ContrastStretch(**{field: value})


def test_only_a_stage_with_a_mask_has_one() -> None:
    with pytest.raises(InputError, match="contrast_stretch"):
        card(second_look=None, mask=None, contrast_stretch=STRETCH)
