"""A stage that is shown some organs alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION, organ
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import OrganMask, StageCard
from flare_core.segment.cascade import Plan, Stages, lesion_region, run_cascade
from flare_core.segment.stage import cut_patch, run_stage
from stub_models import HU, LIVER, LOCALISER, ORGANS, SPLEEN, loaded, quiet, scene, stage_card

MASK = OrganMask(("liver",), outside_hu=0.0, closing_mm=40.0)
CARD = stage_card(
    "lesions", ("background", "lesion"), spacing_mm=(4.0, 3.0, 3.0), patch=(64, 64, 64), mask=MASK
)
TUMOUR = ((80, 60, 60), (100, 80, 80))


def with_tumours() -> tuple[Volume, Volume]:
    """One tumour in the liver, one in the spleen; the organ stage sees neither."""
    blocks = {
        "liver": LIVER, "spleen": SPLEEN, "lesion": TUMOUR,
        "lesion:spleen": ((85, 95, 165), (105, 120, 185)),
    }  # fmt: skip
    return scene(blocks=blocks, hu={**HU, "lesion:spleen": HU["lesion"]})


def test_only_lesions_of_its_organs_are_found() -> None:
    image, truth = with_tumours()
    stages = Stages(loaded(LOCALISER), loaded(ORGANS), loaded(CARD))
    found = run_cascade(image, stages, Plan((organ("liver"), organ("spleen"), LESION)), quiet)
    assert found.lesions is not None
    both = truth.array == LESION.id
    inside = np.zeros_like(both)
    inside[:, :, : both.shape[2] // 2] = both[:, :, : both.shape[2] // 2]
    assert inside.any() and (both & ~inside).any()
    same = found.lesions.array == inside
    assert same.mean() > 0.999 and not found.lesions.array[both & ~inside].any()


def test_tiles_are_cut_to_what_it_sees_and_nothing_else_is_likely() -> None:
    image, truth = with_tumours()
    organs = truth.with_array(np.where(truth.array == LESION.id, organ("liver").id, truth.array))
    organs.array[:, :, organs.array.shape[2] // 2 :] = 0
    region = lesion_region(organs, CARD, Plan())
    assert region is not None
    scores = run_stage(loaded(CARD), image, region, organs=organs)
    seen = Box.of_mask(organs.array == organ("liver").id)
    assert seen is not None
    assert np.abs(np.subtract(scores.geometry.shape, seen.shape)).max() <= 1
    assert scores.card.patch == cut_patch(CARD, scores.geometry.shape) < CARD.patch
    chance = scores.probabilities()[1]
    assert float(chance.max()) > 0.99


def test_without_its_organ_there_is_no_lesion_and_no_look() -> None:
    image, _ = scene(blocks={"spleen": SPLEEN})
    stages = Stages(None, loaded(ORGANS), loaded(CARD))
    found = run_cascade(image, stages, Plan((organ("spleen"), LESION)), quiet)
    assert found.lesions is not None and not found.lesions.array.any()
    assert found.lesion_probability == ()


def test_who_runs_it_must_say_where_the_organs_are() -> None:
    image, _ = scene()
    with pytest.raises(ValueError, match="where the organs are"):
        run_stage(loaded(CARD), image, Box.of_shape(image.geometry.shape))


@pytest.mark.parametrize(
    ("shape", "expected"), [((30, 9, 100), (32, 16, 64)), ((64, 64, 64), (64, 64, 64))]
)
def test_a_patch_is_cut_to_multiples_that_the_network_takes(
    shape: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    strides = ((1, 1, 1), (4, 8, 8))
    card: StageCard = replace(CARD, network=replace(CARD.network, strides=strides))
    assert cut_patch(card, shape) == expected


def test_the_cut_follows_the_networks_axes() -> None:
    card = replace(CARD, transpose=(2, 0, 1), patch=(8, 16, 32))
    assert cut_patch(card, (3, 5, 7)) == (7, 3, 5)
