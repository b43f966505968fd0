"""Scores on the hold-out, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.train.rounds.hold_out import score_labels

GRID = Geometry((10, 20, 20), (5.0, 5.0, 5.0))  # a voxel is 1/8 mL


def volume(*blocks: tuple[int, slice, slice, slice]) -> Volume:
    array = np.zeros(GRID.shape, np.uint8)
    for label, z, y, x in blocks:
        array[z, y, x] = label
    return Volume(array, GRID)


LIVER = (1, slice(2, 6), slice(2, 10), slice(2, 10))
HALF = (1, slice(2, 6), slice(2, 10), slice(2, 6))


def test_the_same_labels_score_one():
    found = score_labels(volume(LIVER), volume(LIVER), ["liver"])
    assert found == {"liver": {"dsc": 1.0, "nsd": 1.0}}


def test_half_an_organ_scores_two_thirds():
    found = score_labels(volume(HALF), volume(LIVER), ["liver"])
    assert found["liver"]["dsc"] == pytest.approx(2 / 3, abs=1e-4)
    assert 0 < found["liver"]["nsd"] < 1


def test_absent_organs_count_as_flare_counts_them():
    found = score_labels(volume(LIVER), volume(), ["liver", "spleen"])
    assert found == {"liver": {"dsc": 0.0, "nsd": 0.0}, "spleen": {"dsc": 1.0, "nsd": 1.0}}


def test_a_remnant_of_an_organ_is_not_scored():
    remnant = (1, slice(0, 1), slice(0, 1), slice(0, 7))  # 7/8 mL
    assert score_labels(volume(), volume(remnant), ["liver"]) == {}


def test_organs_nobody_annotated_are_not_scored():
    assert score_labels(volume(LIVER), volume(LIVER), ["spleen"])["spleen"]["dsc"] == 1.0
    assert set(score_labels(volume(LIVER), volume(LIVER), ["spleen"])) == {"spleen"}
