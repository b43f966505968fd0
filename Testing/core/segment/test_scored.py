"""Labels with their scores: the labels are the pipeline's, folds are apart, nothing is empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.anatomy.organs import organ
from flare_core.errors import InputError, NothingFound
from flare_core.models.package import read_weights, write_package
from flare_core.segment.pipeline import segment_ct
from flare_core.segment.scored import Teacher, load_teacher, segment_scored
from stub_models import (
    HU,
    LESIONS,
    LOCALISER,
    ORGANS,
    RUNTIME,
    level_weights,
    loaded,
    model_card,
    scene,
    settings,
    stub_package,
)


def teacher(**changes: object) -> Teacher:
    return replace(Teacher(loaded(LOCALISER), loaded(ORGANS)), **changes)  # type: ignore[arg-type]


def test_the_labels_are_those_of_the_pipeline(tmp_path):
    package = stub_package(tmp_path / "model")
    image, _ = scene(spacing_mm=(5.0, 2.0, 2.5))
    expected = segment_ct(image, settings(tmp_path / "model")).labels
    found = segment_scored(image, load_teacher(package, RUNTIME))
    assert np.array_equal(found.labels.array, expected.array)
    assert found.labels.geometry == image.geometry


def test_scores_are_probabilities_on_the_stages_own_grid():
    image, _ = scene()
    found = segment_scored(image, teacher())
    p = found.probabilities()
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
    straight = segment_scored(image, teacher()).labels.array
    assert np.array_equal(segment_scored(turned, teacher()).labels.array, straight[:, ::-1])


def test_folds_are_kept_apart_and_averaged(tmp_path):
    two = replace(ORGANS, folds=(replace_file("organs-1.safetensors"),))
    shifted = HU | {"liver": 240.0}
    tensors = {
        "localiser": level_weights([HU[n] for n in LOCALISER.labels]),
        "organs": level_weights([HU[n] for n in ORGANS.labels]),
        "organs-1.safetensors": level_weights([shifted[n] for n in ORGANS.labels]),
    }
    package = write_package(tmp_path / "model", model_card((LOCALISER, two)), tensors)
    found = segment_scored(scene()[0], load_teacher(package, RUNTIME))
    assert len(found.folds) == 2
    one, other = (fold.logits for fold in found.folds)
    assert not np.array_equal(one, other)
    assert found.mean.logits.numpy() == pytest.approx(((one + other) / 2).numpy(), abs=1e-4)
    assert read_weights(package.weights_paths("organs")[1]).keys()


def replace_file(name: str) -> object:
    from flare_core.models.card import WeightsFile

    return WeightsFile(name)


def test_lesions_are_painted_over_organs():
    image, truth = scene(blocks={"liver": ((50, 40, 30), (130, 110, 100)),
                                 "spleen": ((70, 80, 150), (120, 140, 200)),
                                 "lesion": ((80, 60, 50), (110, 90, 80))})  # fmt: skip
    found = segment_scored(image, teacher(lesions=loaded(LESIONS)))
    lesion = organ("lesion").id
    overlap = np.count_nonzero((found.labels.array == lesion) & (truth.array == lesion))
    assert overlap > 0.7 * np.count_nonzero(truth.array == lesion)
    assert organ("lesion") in teacher(lesions=loaded(LESIONS)).known


def test_a_scan_without_organs_gives_empty_labels_and_a_note():
    image = scene()[0]
    image.array[image.array > -50] = 0
    image.array[image.array < -60] = 0
    found = segment_scored(image, teacher())
    assert not found.labels.array.any() and found.folds == ()
    assert "No abdominal organ" in found.notes[0]
    with pytest.raises(NothingFound):
        found.probabilities()


def test_a_model_without_organs_cannot_teach(tmp_path):
    package = stub_package(tmp_path / "model", (LESIONS,))
    with pytest.raises(InputError, match="stage called organs"):
        load_teacher(package, RUNTIME)
