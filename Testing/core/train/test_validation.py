from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from flare_core.anatomy.organs import organ
from flare_core.datasets.cache import Sample
from flare_core.datasets.case import Case
from flare_core.models.card import Normalisation
from flare_core.train.validation import (
    LEAST_ML,
    channel_table,
    mean_scores,
    score_sample,
    score_samples,
)
from sample_arrays import sample_of_arrays
from stub_models import HU, ORGANS, RUNTIME, loaded

LIVER, SPLEEN = organ("liver").id, organ("spleen").id
CLASSES = {"liver": 1, "spleen": 2}
SPACING_MM = (5.0, 2.0, 2.0)  # 0.02 mL a voxel
WINDOW = Normalisation("window", -300, 500, 0.0, 100.0)


def sample(
    labels: np.ndarray, annotated: Sequence[str] = ("liver", "spleen"), name: str = "a"
) -> Sample:
    hu = np.zeros(256, np.int16)
    hu[LIVER], hu[SPLEEN] = HU["liver"], HU["spleen"]
    case = Case(name, Path(f"{name}.nii.gz"), annotated=tuple(annotated))
    return sample_of_arrays(case, hu[labels], labels, SPACING_MM)


def both(spleen_voxels: int = 600) -> np.ndarray:
    labels = np.zeros((20, 30, 40), np.uint8)
    labels[2:12, 5:15, 3:13] = LIVER
    labels[12:18].reshape(-1)[:spleen_voxels] = SPLEEN
    return labels


def validate(network: nn.Module, samples: Sequence[Sample]) -> dict[str, float]:
    rows = score_samples(network, samples, CLASSES, (16, 16, 16), WINDOW, RUNTIME)
    return mean_scores(rows)


def test_a_perfect_network_scores_one() -> None:
    network = loaded(ORGANS).networks[0]
    samples = [sample(both()), sample(both(), name="b")]
    scores = validate(network, samples)
    assert scores == {"liver": 1.0, "spleen": 1.0}


def test_a_network_that_mixes_organs_up_scores_zero_for_them() -> None:
    swapped = {"background": 0.0, "liver": HU["spleen"], "spleen": HU["liver"]}
    network = loaded(ORGANS, swapped).networks[0]
    scores = validate(network, [sample(both())])
    assert scores == {"liver": 0.0, "spleen": 0.0}


def test_the_scan_is_not_changed() -> None:
    one = sample(both())
    before = one.image.copy()
    validate(loaded(ORGANS).networks[0], [one])
    assert np.array_equal(one.image, before)


def test_organs_that_are_not_annotated_are_not_scored() -> None:
    one = sample(both(), annotated=("spleen", "pancreas"))
    assert score_sample(np.zeros_like(one.labels), one, CLASSES) == {"spleen": 0.0}


def test_a_remnant_under_1_ml_is_left_out() -> None:
    least = int(LEAST_ML / 0.02)
    predicted = np.zeros((20, 30, 40), np.uint8)
    assert set(score_sample(predicted, sample(both(least - 1)), CLASSES)) == {"liver"}
    assert set(score_sample(predicted, sample(both(least)), CLASSES)) == {"liver", "spleen"}


def test_the_mean_is_over_the_scans_that_have_the_organ() -> None:
    network = loaded(ORGANS, {"background": 0.0, "liver": HU["liver"], "spleen": 450.0}).networks[0]
    samples = [sample(both()), sample(both(0), name="b"), sample(both(), ("liver",), name="c")]
    scores = validate(network, samples)
    assert scores == {"liver": 1.0, "spleen": 0.0}
    assert validate(network, []) == {}


def test_ids_become_channels_and_strangers_background() -> None:
    ids = np.array([[[0, LIVER, SPLEEN, organ("aorta").id, 255]]], np.uint8)
    assert channel_table({"spleen": 1, "liver": 5})[ids].tolist() == [[[0, 5, 1, 0, 0]]]


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_partial_overlap_by_hand(share: float) -> None:
    one = sample(both())
    predicted = np.zeros_like(one.labels)
    keep = int(10 * share)
    predicted[2 : 2 + keep, 5:15, 3:13] = 1
    expected = 2 * keep / (10 + keep)
    assert score_sample(predicted, one, CLASSES)["liver"] == pytest.approx(expected)


def test_a_lesion_is_scored_however_small() -> None:
    one = sample(both(), annotated=("liver", "lesion"))
    labels = one.labels.copy()
    labels[2, 5, 3] = organ("lesion").id
    one = sample_of_arrays(one.case, one.image, labels, SPACING_MM)
    scores = score_sample(np.zeros_like(labels), one, {"liver": 1, "lesion": 2})
    assert scores == {"liver": 0.0, "lesion": 0.0}


def test_lesions_count_neither_for_nor_against_a_network_without_them() -> None:
    one = sample(both(), annotated=("liver", "lesion"))
    predicted = (one.labels == LIVER).astype(np.uint8)
    labels = one.labels.copy()
    labels[2:6, 5:15, 3:13] = organ("lesion").id  # in the liver, as the network rightly says
    one = sample_of_arrays(one.case, one.image, labels, SPACING_MM)
    assert score_sample(predicted, one, {"liver": 1}) == {"liver": 1.0}
