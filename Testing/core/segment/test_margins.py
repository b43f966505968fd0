from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.imaging.geometry import Box, Geometry
from flare_core.segment.margins import (
    LEAST_MARGIN,
    LEAST_MARGIN_FAST,
    of_few_tiles,
    with_margin,
)
from flare_core.segment.sliding_window import tile_starts
from stub_models import stage_card

CARD = stage_card(
    "organs", ("background", "liver"), patch=(96, 160, 160), spacing_mm=(1.9736, 1.538, 1.538),
    margin_mm=((25.0, 25.0), (20.0, 20.0), (20.0, 20.0)), tile_step=0.5,
)  # fmt: skip
SCAN = Geometry((300, 400, 400), (2.5, 1.5, 1.5))


def tiles(box: Box, card=CARD, geometry: Geometry = SCAN) -> list[int]:
    """Return how many tiles a box takes along each axis."""
    grid = geometry.crop(box).with_spacing(card.spacing_mm).shape
    return [len(tile_starts(n, p, card.tile_step)) for n, p in zip(grid, card.patch, strict=True)]


def box(*lengths: int) -> Box:
    return Box((100, 100, 100), (100 + lengths[0], 100 + lengths[1], 100 + lengths[2]))


def test_a_voxel_of_rounding_costs_no_row_of_tiles() -> None:
    """160 voxels of 1.538 mm are 164.05 of 1.5 mm: 165 of them were a tile and one voxel."""
    for length in range(20, 138):
        assert tiles(with_margin(box(20, length, 20), SCAN, CARD)) == [1, 1, 1]


@pytest.mark.parametrize("spacing", np.random.default_rng(0).uniform(0.6, 3.0, 40))
def test_a_small_box_is_filled_to_one_tile_at_any_spacing(spacing: float) -> None:
    geometry = Geometry((400, 700, 700), (spacing, spacing, spacing))
    found = with_margin(Box((200, 300, 300), (201, 301, 301)), geometry, CARD)
    assert tiles(found, geometry=geometry) == [1, 1, 1]
    grid = geometry.crop(found).with_spacing(CARD.spacing_mm).shape
    lost = [p - n for p, n in zip(CARD.patch, grid, strict=True)]
    assert max(lost) <= 1 + max(spacing / mm for mm in CARD.spacing_mm)


def test_the_margin_is_whole_where_it_costs_nothing() -> None:
    found = with_margin(box(130, 60, 190), SCAN, CARD)
    assert found.start[0] == 90 and found.stop[0] == 240  # 25 mm are ten slices
    assert found.start[2] == 86 and found.stop[2] == 304  # 20 mm are fourteen columns


@pytest.mark.parametrize(
    ("step", "share"), [(None, LEAST_MARGIN), (0.7, LEAST_MARGIN), (1.0, LEAST_MARGIN_FAST)]
)
def test_what_is_found_always_keeps_its_least_margin(step: float | None, share: float) -> None:
    low = [share * mm[0] for mm in CARD.margin_mm]
    for length in range(1, 180, 3):
        inner = box(length, length, length)
        found = with_margin(inner, SCAN, CARD, step)
        for a in range(3):
            assert (inner.start[a] - found.start[a]) * SCAN.spacing_mm[a] >= low[a]
            assert (found.stop[a] - inner.stop[a]) * SCAN.spacing_mm[a] >= low[a]


def test_where_speed_counts_more_margin_goes_for_a_row_of_tiles() -> None:
    inner = box(20, 145, 20)  # 217 mm of the 246 that a tile covers; with margins 257
    assert tiles(with_margin(inner, SCAN, CARD)) == [1, 2, 1]
    assert tiles(with_margin(inner, SCAN, CARD, 1.0)) == [1, 1, 1]


def test_a_box_grows_to_the_scans_edges_and_no_further() -> None:
    whole = Box.of_shape((30, 40, 50))
    small = Geometry((30, 40, 50), (2.0, 1.5, 1.5))
    assert with_margin(Box((3, 4, 5), (9, 9, 9)), small, CARD) == whole
    edge = with_margin(Box((290, 390, 390), (300, 400, 400)), SCAN, CARD)
    assert edge.stop == (300, 400, 400) and tiles(edge) == [1, 1, 1]


def test_a_turned_networks_patch_is_laid_along_its_own_axes() -> None:
    turned = replace(
        CARD, patch=(160, 160, 96), spacing_mm=(1.538, 1.538, 1.9736), transpose=(2, 1, 0)
    )
    assert with_margin(box(20, 20, 20), SCAN, turned) == with_margin(box(20, 20, 20), SCAN, CARD)


@pytest.mark.parametrize(
    ("wanted", "needed", "expected"),
    [
        ((10, 31), (12, 29), (10, 30)),  # as much as a tile covers, about its middle
        ((10, 31), (14, 31), (11, 31)),
        ((10, 34), (12, 33), (10, 34)),  # two tiles either way
        ((0, 100), (5, 95), (0, 100)),  # longer than any number of tiles asked about
    ],
)
def test_spans(wanted: tuple[int, int], needed: tuple[int, int], expected: tuple[int, int]) -> None:
    assert of_few_tiles(wanted, needed, [20, 30]) == expected
