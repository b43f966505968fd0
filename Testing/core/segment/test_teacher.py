"""A teacher is the same stages with its scores kept: same labels, folds apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.anatomy.organs import ALL_TARGETS, organ
from flare_core.errors import NothingFound
from flare_core.imaging.volume import Volume
from flare_core.models.card import WeightsFile
from flare_core.models.package import read_weights, write_package
from flare_core.segment.cascade import Plan, Stages, load_stages
from flare_core.segment.pipeline import Labelled, label_ct, segment_ct
from stub_models import (
    HU,
    LOCALISER,
    ORGANS,
    RUNTIME,
    level_weights,
    model_card,
    quiet,
    scene,
    settings,
    stages_with,
    stub_package,
)


def taught(image: Volume, stages: Stages) -> Labelled:
    return label_ct(image, stages, Plan(stages.known, keep_scores=True), quiet)


def test_the_labels_are_those_of_the_pipeline(tmp_path):
    package = stub_package(tmp_path / "model")
    image, _ = scene(spacing_mm=(5.0, 2.0, 2.5))
    expected = segment_ct(image, settings(tmp_path / "model")).labels
    found = taught(image, load_stages(package, RUNTIME))
    assert np.array_equal(found.labels.array, expected.array)
    assert found.labels.geometry == image.geometry


def test_scores_are_probabilities_on_the_stages_own_grid():
    image, _ = scene()
    found = taught(image, stages_with())
    p = found.mean.probabilities()
    assert p.shape[1:] == found.mean.geometry.shape
    assert found.mean.geometry.spacing_mm == pytest.approx(ORGANS.spacing_mm, rel=0.1)
    assert p.sum(dim=0).numpy() == pytest.approx(1.0, abs=1e-5)


def test_labels_come_back_on_a_flipped_grid():
    image, truth = scene()
    flipped = [volume.geometry.canonical_map() for volume in (image, truth)]
    assert flipped[0] == flipped[1]
    turned = replace(
        image,
        array=image.array[:, ::-1],
        geometry=replace(
            image.geometry,
            origin_mm=tuple(
                map(float, image.geometry.voxel_to_lps([0, image.array.shape[1] - 1, 0]))
            ),
            direction=(
                image.geometry.direction[0],
                tuple(-v for v in image.geometry.direction[1]),
                image.geometry.direction[2],
            ),
        ),
    )
    straight = taught(image, stages_with()).labels.array
    assert np.array_equal(taught(turned, stages_with()).labels.array, straight[:, ::-1])


def test_folds_are_kept_apart_and_averaged(tmp_path):
    two = replace(ORGANS, folds=(WeightsFile("organs-1.safetensors"),))
    shifted = HU | {"liver": 240.0}
    tensors = {
        "localiser": level_weights([HU[n] for n in LOCALISER.labels]),
        "organs": level_weights([HU[n] for n in ORGANS.labels]),
        "organs-1.safetensors": level_weights([shifted[n] for n in ORGANS.labels]),
    }
    package = write_package(tmp_path / "model", model_card((LOCALISER, two)), tensors)
    found = taught(scene()[0], load_stages(package, RUNTIME))
    assert len(found.folds) == 2
    one, other = (fold.logits for fold in found.folds)
    assert not np.array_equal(one, other)
    assert found.mean.logits.numpy() == pytest.approx(((one + other) / 2).numpy(), abs=1e-4)
    assert read_weights(package.weights_paths("organs")[1]).keys()


def test_lesions_are_painted_over_organs():
    image, truth = scene(blocks={"liver": ((50, 40, 30), (130, 110, 100)),
                                 "spleen": ((70, 80, 150), (120, 140, 200)),
                                 "lesion": ((80, 60, 50), (110, 90, 80))})  # fmt: skip
    found = taught(image, stages_with(lesions=True))
    lesion = organ("lesion").id
    overlap = np.count_nonzero((found.labels.array == lesion) & (truth.array == lesion))
    assert overlap > 0.7 * np.count_nonzero(truth.array == lesion)
    assert organ("lesion") in stages_with(lesions=True).known


def test_without_scores_there_is_no_mean():
    image = scene()[0]
    found = label_ct(image, stages_with(), Plan(ALL_TARGETS), quiet)
    assert found.labels.array.any() and found.folds == ()
    with pytest.raises(NothingFound):
        assert found.mean
