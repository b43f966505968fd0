from __future__ import annotations

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.evaluate.metrics import METRICS
from flare_core.evaluate.metrics.dsc import dice
from flare_core.evaluate.metrics.pair import OrganPair


def maps() -> tuple[np.ndarray, np.ndarray]:
    """Label 1: 4 against 6 voxels, 3 of them shared. Label 2: disjoint."""
    prediction, reference = np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8)
    prediction[0, 0, :4] = 1
    reference[0, 0, :3] = reference[1, 1, :3] = 1
    prediction[1, 2, 0], reference[1, 2, 3] = 2, 2
    return prediction, reference


def test_counted_by_hand() -> None:
    assert dice(*maps(), [1, 2]) == {1: pytest.approx(2 * 3 / (4 + 6)), 2: 0.0}


def test_one_organ_taken_for_another_counts_for_neither() -> None:
    low, high = np.full((1, 2, 3), 1, np.uint8), np.full((1, 2, 3), 2, np.uint8)
    assert dice(low, high, [1, 2]) == dice(high, low, [1, 2]) == {1: 0.0, 2: 0.0}


def test_it_is_symmetric_and_one_for_equal_maps() -> None:
    prediction, reference = maps()
    assert dice(prediction, reference, [1]) == dice(reference, prediction, [1])
    assert dice(reference, reference, [1, 2]) == {1: 1.0, 2: 1.0}


def test_empty_labels() -> None:
    """FLARE's policy: nothing there and nothing found is right; one without the other is wrong."""
    prediction, reference = maps()
    prediction[0, 2, 0] = 5
    reference[0, 2, 1] = 7
    assert dice(prediction, reference, [5, 6, 7]) == {5: 0.0, 6: 1.0, 7: 0.0}


def test_only_the_labels_asked_for_come_back() -> None:
    assert list(dice(*maps(), [2])) == [2] and dice(*maps(), []) == {}


def test_labels_up_to_255_and_views() -> None:
    labels = np.full((3, 4, 5), 255, np.uint8)
    assert dice(labels.transpose(2, 0, 1), labels.transpose(2, 0, 1), [255]) == {255: 1.0}


def test_maps_of_different_shapes_are_refused() -> None:
    prediction, reference = maps()
    with pytest.raises(InputError, match="shape"):
        dice(prediction, reference[:, :2], [1])


def test_the_registered_metric_gives_the_same() -> None:
    prediction, reference = maps()
    prediction[0, 2, 0] = 5
    values = dice(prediction, reference, [1, 2, 5, 6])
    for number, value in values.items():
        pair = OrganPair(
            prediction=prediction == number, reference=reference == number, spacing_mm=(5, 1, 2)
        )
        assert METRICS["dsc"].function(pair) == pytest.approx(value)
