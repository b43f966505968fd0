from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_core.anatomy.organs import organ
from flare_core.datasets.augment import NO_AUGMENTATION
from flare_core.datasets.cache import Sample, sample_of_arrays
from flare_core.datasets.case import Case
from flare_core.store.models import Normalisation
from flare_core.train.batches import Patch, PatchSource, channels_of
from flare_core.train.config import Phase, TrainConfig
from tiny_training import tiny_config

CPU = torch.device("cpu")
PHASE = Phase((5.0, 4.0, 4.0), (16, 10, 12), steps=1)
MIDDLES = [2, 6, 10, 14]
LIVER, SPLEEN, KIDNEY = (organ(key).id for key in ("liver", "spleen", "left_kidney"))


def sample(annotated: tuple[str, ...] = ("liver", "spleen")) -> Sample:
    """Four slices each of nothing, liver 100 HU, spleen -50 HU, kidney 900 HU; a patch in size."""
    labels = np.zeros(PHASE.patch, np.uint8)
    labels[4:8], labels[8:12], labels[12:] = LIVER, SPLEEN, KIDNEY
    hu = np.zeros(256)
    hu[[LIVER, SPLEEN, KIDNEY]] = 100, -50, 900
    case = Case("one", Path("one.nii.gz"), annotated=annotated)
    return sample_of_arrays(case, hu[labels].astype(np.int16), labels, PHASE.spacing_mm)


def still(**changes: object) -> TrainConfig:
    """Patches as they lie in the scan."""
    window = Normalisation("window", -20, 500, 50.0, 100.0)
    return replace(
        tiny_config(Path()), augmentation=NO_AUGMENTATION, normalisation=window, **changes
    )


def draw(config: TrainConfig, one: Sample, start: tuple[int, int] = (0, 0)) -> list[Patch]:
    return PatchSource(config, PHASE, [one], start, CPU).draw()


def test_channels_follow_the_configuration() -> None:
    assert channels_of(still(organs=("spleen", "liver"))) == {"spleen": 1, "liver": 2}


def test_images_are_normalised_and_labels_are_channels() -> None:
    (patch,) = draw(still(organs=("spleen", "liver")), sample())
    assert patch.image.shape == patch.classes.shape == (1, 1, *PHASE.patch)
    assert patch.image.dtype == torch.float32 and patch.classes.dtype == torch.uint8
    in_the_middle = patch.classes[0, 0, MIDDLES, 5, 5].tolist()
    assert in_the_middle == [0, 2, 1, 0]  # the kidney is none of this network's organs
    expected = [(hu - 50) / 100 for hu in (0, 100, -20, 500)]
    assert patch.image[0, 0, MIDDLES, 5, 5].tolist() == pytest.approx(expected, abs=1e-4)


def test_only_annotated_organs_are_told() -> None:
    """A label value of an organ that the case does not annotate is not believed."""
    (patch,) = draw(still(), sample(annotated=("spleen", "left_kidney")))
    assert patch.annotated == (True, False, True)
    assert patch.classes[0, 0, MIDDLES, 5, 5].tolist() == [0, 0, 2, 0]


def test_a_batch_has_its_size() -> None:
    assert len(draw(still(batch_size=3), sample())) == 3


def big_sample() -> Sample:
    random = np.random.default_rng(1)
    image = random.integers(-100, 200, (30, 40, 40)).astype(np.int16)
    labels = np.zeros(image.shape, np.uint8)
    labels[10:20, 10:30, 10:30] = LIVER
    return sample_of_arrays(Case("big", Path("b.nii.gz")), image, labels, PHASE.spacing_mm)


def images(config: TrainConfig, start: tuple[int, int]) -> torch.Tensor:
    source = PatchSource(config, PHASE, [big_sample()], start, CPU)
    return torch.cat([patch.image for _ in range(3) for patch in source.draw()])


def test_the_same_start_draws_the_same_patches_and_another_draws_others() -> None:
    config = tiny_config(Path())
    first = images(config, (0, 0))
    assert torch.equal(first, images(config, (0, 0)))
    for other in (
        images(config, (0, 40)),
        images(config, (1, 0)),
        images(replace(config, seed=1), (0, 0)),
    ):
        assert not torch.equal(first, other)
