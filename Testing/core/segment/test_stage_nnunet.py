"""Stages trained elsewhere: other axes, independent channels, nnU-Net's grids; files of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_core.anatomy.organs import organ
from flare_core.imaging.geometry import Box, Geometry
from flare_core.models.package import write_package
from flare_core.models.stage_card import NnunetGrids
from flare_core.segment.pipeline import segment_ct
from flare_core.segment.stage import LoadedStage, Scores, first_region, run_stage
from stub_models import HU, ORGANS, RUNTIME, Levels, dsc, level_weights, loaded, model_card, scene
from stub_models import settings as stub_settings

COMPATIBLE = replace(ORGANS, interpolation="cubic", nnunet=NnunetGrids(), tile_step=0.5)
LIVER, SPLEEN = organ("liver").id, organ("spleen").id


@pytest.mark.parametrize(
    ("transpose", "orientation", "nnunet"),
    list(product([(0, 1, 2), (1, 0, 2), (2, 0, 1)], ["SPL", "SAR", "RIA"], [True, False])),
)
def test_labels_do_not_depend_on_the_networks_axes(
    transpose: tuple[int, int, int], orientation: str, nnunet: bool
) -> None:
    image, truth = scene((4.0, 3.0, 3.5))
    card = replace(
        COMPATIBLE if nnunet else ORGANS,
        transpose=transpose, orientation=orientation, spacing_mm=(4.0, 4.0, 4.0),
    )  # fmt: skip
    found = run_stage(loaded(card), image, Box.of_shape(image.geometry.shape))
    labels = found.labels_on(image.geometry)
    assert dsc(labels, truth, LIVER) > 0.93 and dsc(labels, truth, SPLEEN) > 0.9


def regions_stage(*, nnunet: bool) -> LoadedStage:
    """Channel 0 is where it is brighter than 100 HU, channel 1 brighter than 350."""
    card = replace(
        ORGANS, regions=True, labels=("liver", "lesion"),
        network=replace(ORGANS.network, output_channels=2),
        nnunet=NnunetGrids() if nnunet else None,
        interpolation="cubic" if nnunet else "linear",
    )  # fmt: skip
    network = Levels(card.network)
    bias = torch.tensor([-1.0, -3.5])
    weights = {"head.weight": torch.ones(2, 1, 1, 1, 1), "head.bias": bias}
    network.load_state_dict(weights)
    return LoadedStage(card, (RUNTIME.place(network),), RUNTIME)


@pytest.mark.parametrize("nnunet", [True, False])
def test_later_regions_are_painted_over_earlier_ones(nnunet: bool) -> None:
    blocks = {
        "liver": ((40, 40, 40), (140, 140, 140)),
        "lesion": ((70, 70, 70), (110, 110, 110)),
    }
    image, truth = scene((4.0, 3.0, 3.0), blocks, hu=HU)
    scores = run_stage(regions_stage(nnunet=nnunet), image, Box.of_shape(image.geometry.shape))
    labels = scores.labels_on(image.geometry)
    for number in (LIVER, organ("lesion").id):
        assert dsc(labels, truth, number) > 0.9
        assert number in scores.labels().array
    assert 0.0 <= float(scores.probabilities().min()) < 0.5 < float(scores.probabilities().max())


def test_probabilities_that_were_averaged_are_not_turned_into_such_again() -> None:
    kept = torch.tensor([0.25, 0.75]).view(2, 1, 1, 1)
    card = replace(COMPATIBLE, nnunet=NnunetGrids(average="probabilities"))
    scores = Scores(kept, Geometry((1, 1, 1), (1.0, 1.0, 1.0)), card)
    assert scores.probabilities().flatten().tolist() == [0.25, 0.75]


def test_nnunet_looks_at_all_of_the_scan() -> None:
    image, _ = scene()
    image.array[:, :, :20] = -1000
    whole = Box.of_shape(image.geometry.shape)
    assert first_region(image, COMPATIBLE) == whole != first_region(image, ORGANS)


def test_the_compatible_mode_pads_with_the_mean_and_crops_zeros() -> None:
    image, _ = scene()
    image.array[:10] = 0
    scores = run_stage(loaded(COMPATIBLE), image, Box.of_shape(image.geometry.shape))
    assert scores.resampling is not None and scores.resampling.box.start[0] == 10
    assert scores.logits.dtype == torch.float16
    labels = scores.labels_on(image.geometry)
    assert not labels.array[:10].any() and labels.array.any()
    part = image.geometry.crop(Box((12, 5, 5), (40, 50, 60)))  # another grid than the scan's
    inside = scores.labels_on(part).array
    assert np.mean(inside == labels.array[12:40, 5:50, 5:60]) > 0.99


def test_a_whole_run_of_an_imported_model(tmp_path: Path) -> None:
    image, truth = scene((4.0, 3.0, 3.0))
    weights = {"organs": level_weights([HU[label] for label in COMPATIBLE.labels])}
    package = write_package(tmp_path / "imported", model_card((COMPATIBLE,)), weights)
    found = segment_ct(image, stub_settings(package.folder))
    assert dsc(found.labels, truth, LIVER) > 0.93
