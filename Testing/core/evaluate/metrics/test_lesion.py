"""Lesion-wise metrics: the matching, and every rate computed from it."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from core.evaluate.metrics import hand_pairs as hand
from flare_core.evaluate.metrics import METRICS, lesion
from flare_core.evaluate.metrics.lesion import LesionMatch, match_lesions
from flare_core.evaluate.metrics.pair import OrganPair


def row(text: str) -> np.ndarray:
    """A line of voxels: ``#`` is in the mask."""
    return np.array([[[letter == "#" for letter in text]]])


def rates(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    pair = OrganPair(prediction=prediction, reference=reference, spacing_mm=(1.0, 1.0, 1.0))
    return {key: m.function(pair) for key, m in METRICS.items() if m.lesion_only}


# Three true lesions; the first found well (IoU 3/4), the second too small (IoU 1/3), the third
# missed; two predicted ones besides.
TRUE = row("####...###..##.......")
FOUND = row("###....#..........#.#")


def test_matching_by_hand() -> None:
    assert match_lesions(FOUND, TRUE) == LesionMatch(true=3, predicted=4, ious=(0.75,))
    assert match_lesions(FOUND, TRUE, least_iou=0.3).ious == (0.75, pytest.approx(1 / 3))


def test_rates_by_hand() -> None:
    found = rates(FOUND, TRUE)
    assert found["lesion_sensitivity"] == pytest.approx(1 / 3)
    assert found["lesion_precision"] == pytest.approx(1 / 4)
    assert found["lesion_specificity"] == found["lesion_precision"]
    assert found["lesion_f1"] == pytest.approx(2 / 7)
    assert found["panoptic_quality"] == pytest.approx(2 * 0.75 / 7)
    counts = ("true_lesions", "predicted_lesions", "found_lesions")
    assert [found[key] for key in counts] == [3, 4, 1]


def test_an_iou_of_exactly_the_threshold_is_not_enough() -> None:
    assert match_lesions(row("#."), row("##"), least_iou=0.5).found == 0
    assert match_lesions(row("#."), row("##"), least_iou=0.49).found == 1


def test_one_prediction_across_two_lesions_finds_one_at_most() -> None:
    """IoU 4/9 and 4/9: with a low threshold one of them, with 0.5 none."""
    assert match_lesions(row("#########"), row("####.####"), least_iou=0.3).found == 1
    assert match_lesions(row("#########"), row("####.####")).found == 0


def test_as_many_pairs_as_possible_before_as_good_as_possible() -> None:
    """A fits 1 best, but then B is left alone: A with 2 and B with 1 makes two pairs."""
    ious = match_lesions(row("##.###"), row(".####."), least_iou=0.1)
    assert ious.found == 1  # two predictions, one lesion
    both = match_lesions(row("#####.#"), row("####.##"), least_iou=0.1)
    assert both.found == 2


def test_corners_connect() -> None:
    diagonal = hand.voxels((0, 0, 0), (1, 1, 1), (2, 2, 2))
    assert match_lesions(diagonal, diagonal) == LesionMatch(1, 1, (1.0,))


def test_empty_policies() -> None:
    none, some = row("....."), row("##...")
    both_empty = rates(none, none)
    assert math.isnan(both_empty["lesion_sensitivity"])
    assert math.isnan(both_empty["lesion_precision"])
    assert both_empty["lesion_f1"] == both_empty["panoptic_quality"] == 1.0
    missed = rates(none, some)
    assert missed["lesion_sensitivity"] == missed["lesion_f1"] == missed["panoptic_quality"] == 0.0
    assert math.isnan(missed["lesion_precision"])
    invented = rates(some, none)
    assert math.isnan(invented["lesion_sensitivity"])
    assert invented["lesion_precision"] == invented["lesion_f1"] == 0.0
    assert invented["panoptic_quality"] == 0.0


def test_many_specks_are_no_trouble() -> None:
    """A noisy prediction has thousands of components; only those that overlap are compared."""
    noisy = np.zeros((20, 60, 60), bool)
    noisy[::2, ::2, ::2] = True
    reference = np.zeros_like(noisy)
    reference[0, 0, 0] = reference[4, 4, 4:7] = True
    assert match_lesions(noisy, reference) == LesionMatch(2, 9000, (1.0,))


@pytest.mark.parametrize("most", [2**22, 0])
def test_shared_voxels_are_counted_quickly_and_as_before(monkeypatch, most: int) -> None:
    """Two large lesions that share 1.2 million voxels; sorting columns took seconds for it."""
    monkeypatch.setattr(lesion, "MOST_COUNTED", most)
    prediction = np.zeros((60, 200, 220), bool)
    reference = np.zeros_like(prediction)
    prediction[:, :, :100] = prediction[:, :, 110:] = True
    reference[:30, :, :100] = reference[:, :100, 110:] = True
    began = time.process_time()
    found = match_lesions(prediction, reference, least_iou=0.3)
    assert time.process_time() - began < 1.0
    assert found == LesionMatch(2, 2, (0.5, 0.5))
