"""Large lesions of scans without contrast, found by a stage that learned scans with it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.segment.test_second_look import GRID, LIVER_ID, ball, card, overlap
from flare_core.anatomy.organs import LESION
from flare_core.errors import Cancelled, InputError
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import ContrastLook, SecondLook, StageCard
from flare_core.segment.cascade import Found, Plan, add_lesions
from flare_core.segment.contrast_look import factor_for
from flare_core.segment.lesion_edges import median_hu, with_edge
from flare_core.segment.lesion_scores import moved_card
from flare_core.segment.stage import LoadedStage
from stub_models import RUNTIME

MIDDLE = (60.0, 54.0, 54.0)
LIVER, TUMOUR = ball(MIDDLE, 40.0), ball(MIDDLE, 14.0)
LOOK = ContrastLook(least_ml=5.0)
Mask = np.ndarray


class Band(nn.Module):
    """A network that knows tumours of livers with contrast: 60 to 80 HU, the surest at 70."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, Z, Y, X), HU / 100, to (B, 1, Z, Y, X)."""
        return torch.where(x < -1, -50.0, 20 - 200 * (x - 0.7).abs())


def looking(**changes: float) -> StageCard:
    """A lesion stage that looks again where contrast is missing."""
    return card(second_look=None, contrast_look=replace(LOOK, **changes))


def scan(liver_hu: float, tumour_hu: float, tumour: Mask = TUMOUR) -> tuple[Volume, Volume]:
    """A liver with a tumour, and the organs' labels."""
    hu = np.where(LIVER, liver_hu, -100.0)
    hu[tumour] = tumour_hu
    labels = np.where(LIVER, LIVER_ID, 0).astype(np.uint8)
    return Volume(hu.astype(np.int16), GRID), Volume(labels, GRID)


def lesions(
    scanned: tuple[Volume, Volume], made: StageCard, sensitivity: float | None = None
) -> Mask:
    """Where the stage finds lesions."""
    image, organs = scanned
    network = LoadedStage(made, (RUNTIME.place(Band()),), RUNTIME)
    plan = Plan((LESION,), lesion_sensitivity=sensitivity)
    found = add_lesions(image, Found(organs), network, plan, lambda step, share: None)
    assert found.lesions is not None
    return np.asarray(found.lesions.array)


def test_a_tumour_without_contrast_is_found_as_it_is() -> None:
    """At 50 and 32 HU the network sees nothing; spread twice they are at 110 and 74."""
    native = scan(50, 32)
    assert not lesions(native, card(second_look=None)).any()
    found = lesions(native, looking())
    assert overlap(found, TUMOUR) > 0.95


def test_with_contrast_nobody_looks_again() -> None:
    """Nor in fat; at 94 HU, spread 1.17 times, a tumour 45 HU darker comes to 57 and is not seen;
    40 HU darker it comes to 63.
    """
    for liver_hu, tumour_hu, some in ((96, 60, False), (94, 54, True), (28, 10, False)):
        there = lesions(scan(liver_hu, tumour_hu), looking()).any()
        assert there == some, (liver_hu, tumour_hu)


def test_what_the_first_look_found_stays() -> None:
    """A part at 70 HU in a liver of 90 HU: spread, it is at 86 and no lesion any more."""
    made = looking()
    with_contrast = scan(90, 70)
    first = lesions(with_contrast, card(second_look=None))
    assert overlap(first, TUMOUR) > 0.95
    np.testing.assert_array_equal(lesions(with_contrast, made), first)


def test_small_ones_and_unsure_ones_are_noise() -> None:
    small = ball(MIDDLE, 9.0)  # 3 mL
    assert not lesions(scan(50, 32, small), looking()).any()
    assert lesions(scan(50, 32, small), looking(least_ml=2.0)).any()
    unsure = scan(50, 28)  # 66 HU: 20 - 2 * 4 = a logit of 12; at 27 HU 10, at 26 HU 8
    assert lesions(unsure, looking()).any()
    faint = scan(50, 25.5)  # stored as 25 HU: shown at 60, a logit of 0
    assert not lesions(faint, looking()).any()


def test_a_finding_grows_before_it_is_called_small() -> None:
    """A tumour whose rim is nearer to it than to the liver is larger than what is seen of it."""
    image, organs = scan(50, 32, ball(MIDDLE, 9.0))
    rim = ball(MIDDLE, 12.0) & ~ball(MIDDLE, 9.0)
    image.array[rim] = 38  # shown at 86 HU, which the network does not know
    grows = replace(looking(), growth_mm=6.0)
    assert not lesions((image, organs), looking()).any()
    found = lesions((image, organs), grows)
    assert overlap(found, ball(MIDDLE, 12.0)) > 0.85


def test_who_is_in_a_hurry_has_one_look() -> None:
    image, organs = scan(50, 32)
    network = LoadedStage(looking(), (RUNTIME.place(Band()),), RUNTIME)
    for again in (True, False):
        plan = Plan((LESION,), looks_again=again)
        found = add_lesions(image, Found(organs), network, plan, lambda step, share: None)
        assert found.lesions is not None
        assert found.lesions.array.any() == again


def test_a_persons_sensitivity_moves_its_peak() -> None:
    moved = moved_card(looking(), 0.8)
    assert moved.contrast_look is not None
    assert moved.contrast_look.peak < LOOK.peak
    assert moved_card(card(second_look=None), 0.2).contrast_look is None


def test_progress_never_falls_over_three_looks_and_a_stop_comes_through() -> None:
    image, organs = scan(50, 32)
    made = replace(looking(), second_look=SecondLook(peak=0.5))
    image.array[ball((60.0, 54.0, 80.0), 8.0)] = 80  # bright: looked at as well
    network = LoadedStage(made, (RUNTIME.place(Band()),), RUNTIME)
    told: list[float] = []
    plan = Plan((LESION,))
    add_lesions(image, Found(organs), network, plan, lambda step, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert {round(share, 2) for share in told} >= {0.33, 1.0}

    def stop(step: str, share: float) -> None:
        if share > 0.7:
            raise Cancelled

    with pytest.raises(Cancelled):
        add_lesions(image, Found(organs), network, plan, stop)


def test_differences_grow_as_much_as_the_median_is_low() -> None:
    factors = [factor_for(LOOK, hu) for hu in (29.9, 30.0, 55.0, 88.0, 94.9, 95.0, math.nan)]
    assert factors == pytest.approx([1, 2, 2, 1.25, 110 / 94.9, 1, 1])
    assert math.isnan(median_hu(np.zeros((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.bool_)))


def test_an_edge_lies_one_voxel_further() -> None:
    found = np.zeros((1, 1, 5), np.bool_)
    found[..., 1] = True
    edged = with_edge(torch.arange(5.0).view(1, 1, 5), found)
    assert edged.flatten().tolist() == [0, 1, 2, -math.inf, -math.inf]


@pytest.mark.parametrize(
    "changes",
    [{"least_hu": 0.0}, {"below_hu": 30.0}, {"median_hu": 94.0}, {"most": 1.0}, {"most": 11.0},
     {"peak": 1.0}, {"least_ml": -1.0}],
)  # fmt: skip
def test_what_a_look_may_be(changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"contrast_look: .*{next(iter(changes))}"):
        replace(LOOK, **changes)
