"""Lung, bone, inner fat and muscle are found in a body, and nothing of them outside it."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core.datasets.lesions.generate import add_lesions
from flare_core.datasets.lesions.kinds import KINDS, TISSUES
from flare_core.datasets.lesions.settings import LesionSettings
from flare_core.datasets.lesions.tissue import below_skin, tissue_mask

SPACING = (4.0, 3.0, 3.0)
SHAPE = (24, 80, 80)


def chest() -> tuple[np.ndarray, np.ndarray]:
    """Return HU and labels: air, a fatty body with a lung, a muscle and a vertebra in it."""
    hu = np.full(SHAPE, -1000.0)
    hu[:, 8:72, 8:72] = -100
    hu[:, 20:50, 18:38] = -840
    hu[:, 20:44, 46:62] = 58
    hu[:, 54:66, 30:50] = 450
    hu[:, 56:64, 32:48] = 170
    hu += np.random.default_rng(0).normal(0, 6, SHAPE)
    return hu.astype(np.int16), np.zeros(SHAPE, np.uint8)


@pytest.mark.parametrize(
    ("key", "inside"),
    [("lung", (12, 34, 28)), ("muscle", (12, 32, 54)), ("bone", (12, 60, 40))],
)
def test_each_tissue_is_where_it_is(key: str, inside: tuple[int, int, int]) -> None:
    hu, labels = chest()
    mask = tissue_mask(key, hu, labels, SPACING)
    assert mask[inside]
    assert not mask[:, :9].any() and not mask[:, :, :9].any()
    labels[:] = 1
    assert not tissue_mask(key, hu, labels, SPACING).any()


def test_nodes_lie_in_inner_fat_only() -> None:
    hu, labels = chest()
    mask = tissue_mask("lymph_node", hu, labels, SPACING)
    assert mask[12, 51, 40] and not mask[:, :16].any() and not mask[:, :, :16].any()


def test_lungs_are_inside_the_body_and_the_room_is_not() -> None:
    hu, _ = chest()
    deep = below_skin(hu, 6.0, SPACING)
    assert deep[12, 34, 28] and not deep[12, 9, 40] and not deep[12, 2, 2]
    # A patch without air is all inside.
    assert below_skin(hu[:, 12:68, 12:68], 20.0, SPACING).all()


@pytest.mark.parametrize("key", TISSUES)
def test_lesions_of_the_whole_body(key: str) -> None:
    hu, labels = chest()
    settings = LesionSettings(
        lesions=(2, 2), sizes=("small",), organs=(key,), decoys=(0, 0), phase="portal"
    )
    done = add_lesions(hu, labels, SPACING, np.random.default_rng(0), settings)
    assert done.records and all(each.organ == key for each in done.records)
    found = done.instances > 0
    assert not done.labels.any()
    for each in done.records:
        assert key in KINDS[each.kind].organs
        assert abs(each.hu - each.organ_hu) > 10
    z, y, x = np.nonzero(found)
    assert y.min() > 9 and x.min() > 9 and y.max() < 71
