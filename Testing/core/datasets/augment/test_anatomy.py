"""Rare anatomy is painted where the labels say, and nowhere else."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from core.datasets.augment.unchanged import NO_AUGMENTATION
from flare_core.anatomy.organs import organ
from flare_core.datasets.augment.anatomy import AnatomyPatch, change_anatomy, grown
from flare_core.datasets.augment.settings import Augmentation

SPACING = (3.0, 2.0, 2.0)
SHAPE = (1, 1, 24, 60, 60)
BLOCKS = {
    "stomach": (slice(6, 18), slice(6, 30), slice(34, 54)),
    "left_kidney": (slice(4, 20), slice(36, 54), slice(36, 54)),
    "liver": (slice(2, 22), slice(6, 40), slice(4, 26)),
    "gallbladder": (slice(8, 14), slice(42, 50), slice(10, 20)),
}


def scene() -> AnatomyPatch:
    """Fat with four organs of soft tissue in it; air in front of the first rows."""
    image, labels = torch.full(SHAPE, -100.0), torch.zeros(SHAPE, dtype=torch.uint8)
    image[:, :, :, :2] = -1000.0
    for key, block in BLOCKS.items():
        image[0, 0][block], labels[0, 0][block] = 50.0, organ(key).id
    return AnatomyPatch(image, labels, SPACING)


def changed(seed: int = 0, **shares: float) -> tuple[AnatomyPatch, AnatomyPatch, torch.Tensor]:
    before, after = scene(), scene()
    change_anatomy(after, replace(NO_AUGMENTATION, **shares), np.random.default_rng(seed))
    return before, after, before.labels != after.labels


def test_nothing_is_asked_for_nothing_changes() -> None:
    before, after, moved = changed()
    assert torch.equal(before.image, after.image) and torch.equal(before.labels, after.labels)
    assert not bool(moved.any())


def test_ascites_takes_the_place_of_fat_and_of_nothing_else() -> None:
    before, after, moved = changed(ascites_probability=1.0)
    organs, air = before.labels > 0, before.image < -500
    assert torch.equal(before.image[organs | air], after.image[organs | air])
    fluid = (before.labels == 0) & (after.image > -40)
    assert float(fluid.float().mean()) > 0.2
    assert -5 < float(after.image[fluid].mean()) < 30
    assert not bool(moved.any())


@pytest.mark.parametrize("seed", range(6))
def test_a_stomach_is_filled_behind_and_keeps_its_wall_and_label(seed: int) -> None:
    before, after, moved = changed(seed, filled_probability=1.0)
    differs = before.image != after.image
    assert bool(differs.any()) and not bool(moved.any())
    assert bool((before.labels[differs] == organ("stomach").id).all())
    wall = (0, 0, BLOCKS["stomach"][0], BLOCKS["stomach"][1].start, BLOCKS["stomach"][2])
    assert torch.equal(before.image[wall], after.image[wall])
    gas = (after.image < -500) & differs
    liquid = (after.image > -50) & differs
    if bool(gas.any()) and bool(liquid.any()):  # who lies on the back has gas in front
        assert int(gas.nonzero()[:, 3].max()) <= int(liquid.nonzero()[:, 3].min()) + 1


def test_kidneys_shine_inside_and_stay_kidneys() -> None:
    before, after, moved = changed(excretion_probability=1.0)
    differs = before.image != after.image
    assert bool((before.labels[differs] == organ("left_kidney").id).all())
    assert float(after.image[differs].max()) > 250 and not bool(moved.any())
    rim = BLOCKS["left_kidney"]
    assert torch.equal(before.image[0, 0, rim[0], rim[1].start], after.image[0, 0, rim[0], 36])


def test_a_removed_organ_is_fat_and_has_no_label() -> None:
    found = set()
    for seed in range(30):
        before, after, moved = changed(seed, removed_probability=1.0)
        (gone,) = np.unique(before.labels[moved].numpy()).tolist()
        found.add(gone)
        assert not bool((after.labels == gone).any())
        deep = ~grown(~moved, 4.0, SPACING)
        assert -130 < float(after.image[deep].mean()) < -70
        others = (before.labels > 0) & ~moved
        assert torch.equal(before.labels[others], after.labels[others])
        assert torch.equal(before.image[others], after.image[others])
    assert found == {organ("gallbladder").id, organ("left_kidney").id}


def test_a_removed_organ_takes_its_lesion_along_and_no_other() -> None:
    lesion, taken = organ("lesion").id, set()
    for seed in range(30):
        scenes = scene(), scene()
        for each in scenes:
            for block in ((8, 40, 40), (10, 20, 8)):  # in the left kidney and in the liver
                z, y, x = (slice(start, start + 5) for start in block)
                each.image[0, 0, z, y, x], each.labels[0, 0, z, y, x] = 20.0, lesion
        before, after = scenes
        settings = replace(NO_AUGMENTATION, removed_probability=1.0)
        change_anatomy(after, settings, np.random.default_rng(seed))
        kidney = not bool((after.labels == organ("left_kidney").id).any())
        here = (after.labels == lesion)[0, 0]
        assert bool(here[10:15, 20:25, 8:13].all()), "the liver's stays"
        assert bool(here[8:13, 40:45, 40:45].any()) is not kidney
        if kidney:
            assert float(after.image[0, 0, 9:12, 41:44, 41:44].mean()) < -70
        taken.add(kidney)
    assert taken == {True, False}


def test_a_patch_without_organs_stays_as_it_is() -> None:
    empty = AnatomyPatch(torch.zeros(SHAPE), torch.zeros(SHAPE, dtype=torch.uint8), SPACING)
    shares = {f.name: 1.0 for f in fields(Augmentation) if f.name in ANATOMY}
    change_anatomy(empty, replace(NO_AUGMENTATION, **shares), np.random.default_rng(0))
    assert not bool(empty.image.any()) and not bool(empty.labels.any())


ANATOMY = (
    "ascites_probability",
    "excretion_probability",
    "filled_probability",
    "removed_probability",
)


def test_the_same_seed_paints_the_same() -> None:
    shares = dict.fromkeys(ANATOMY, 1.0)
    one, other = changed(5, **shares)[1], changed(5, **shares)[1]
    assert torch.equal(one.image, other.image) and torch.equal(one.labels, other.labels)
