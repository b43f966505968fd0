"""Stages on a device whose scores stay there: the same labels, also where memory ends.

There is no graphics card here (`pretended_gpu`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from flare_core.anatomy.organs import LESION, ORGANS
from flare_core.imaging import resample
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import NnunetGrids, OrganMask, StageCard
from flare_core.segment import stage as stages
from flare_core.segment.belief import kept_scores
from flare_core.segment.cascade import Plan, Stages, run_cascade
from flare_core.segment.confidence import evidence_of
from flare_core.segment.stage import LoadedStage, Scores, run_stage
from pretended_gpu import GPU, HALF_GPU, NOWHERE, Full, no_memory
from stub_models import LIVER, LOCALISER, SPLEEN, loaded, quiet, scene, stage_card
from stub_models import ORGANS as CARD

MASK = OrganMask(("liver",), outside_hu=0.0, closing_mm=40.0)
LESIONS = stage_card(
    "lesions", ("background", "lesion"), spacing_mm=(4.0, 3.0, 3.0), patch=(64, 64, 64), mask=MASK
)
NNUNET = replace(CARD, nnunet=NnunetGrids(), interpolation="cubic")


def image() -> Volume:
    blocks = {"liver": LIVER, "spleen": SPLEEN, "lesion": ((80, 60, 60), (100, 80, 80))}
    return scene((2.0, 1.5, 1.5), blocks=blocks)[0]


def on(runtime: Any, card: StageCard, failing: tuple[int, ...] = ()) -> LoadedStage:
    """The stage on a device, some of whose tiles find no memory."""
    here = loaded(card)
    network = runtime.place(here.networks[0])
    return replace(here, networks=(Full(network, failing),), runtime=runtime)


def whole(volume: Volume) -> Box:
    return Box.of_shape(volume.geometry.shape)


@pytest.mark.parametrize("card", [CARD, NNUNET, replace(CARD, patch=(64, 80, 96))])
@pytest.mark.parametrize("failing", [(), (0,), (5,)])
def test_labels_are_those_of_the_processor(card: StageCard, failing: tuple[int, ...]) -> None:
    volume = image()
    expected = run_stage(loaded(card), volume, whole(volume))
    found = run_stage(on(GPU, card, failing), volume, whole(volume))
    assert torch.equal(found.logits, expected.logits)
    assert np.array_equal(found.labels().array, expected.labels().array)
    both = found.labels_on(volume.geometry), expected.labels_on(volume.geometry)
    assert np.array_equal(both[0].array, both[1].array) and len(np.unique(both[0].array)) == 3
    assert evidence_of(found) == evidence_of(expected)
    kept = kept_scores(found), kept_scores(expected)
    assert kept[0] is not None and kept[1] is not None
    assert np.array_equal(kept[0].probabilities, kept[1].probabilities)


def test_a_cascade_with_lesions_in_half_precision_finds_the_same() -> None:
    """Half precision moves a voxel at an organ's edge, but nothing else."""
    volume, plan = image(), Plan((*ORGANS, LESION), keep_mean=True)

    def found(load: Callable[[StageCard], LoadedStage]) -> Any:
        return run_cascade(volume, Stages(load(LOCALISER), load(CARD), load(LESIONS)), plan, quiet)

    expected, half = found(loaded), found(lambda card: on(HALF_GPU, card))
    assert half.lesions.array.any()
    assert np.mean(half.organs.array == expected.organs.array) > 0.9995
    assert np.mean(half.lesions.array == expected.lesions.array) > 0.9995
    assert half.folds[0].logits.device.type == "cpu"
    exact = found(lambda card: on(GPU, card))
    assert np.array_equal(exact.organs.array, expected.organs.array)
    assert np.array_equal(exact.lesions.array, expected.lesions.array)
    assert np.array_equal(exact.lesion_probability[0].array, expected.lesion_probability[0].array)


def test_a_scan_is_brought_onto_a_grid_in_half_precision_to_half_a_unit() -> None:
    random = np.random.default_rng(3)
    volume = image()
    noisy = volume.with_array(
        (volume.array + random.normal(0, 60, volume.array.shape)).astype("i2")
    )
    target = volume.geometry.with_spacing((3.0, 2.2, 1.1))
    exact = resample.resampled(noisy, target)
    half = resample.resampled(
        noisy, target, resample.ComputeDevice(torch.device("cpu"), torch.float16)
    )
    assert half.dtype == torch.float16
    soft = exact.abs() < 400
    assert float((half.float() - exact)[soft].abs().max()) < 0.5
    assert float((half.float() - exact).abs().max()) < 2.0


@pytest.mark.parametrize("step", ["argmax", "streamed_argmax"])
def test_labels_are_made_beside_the_processor_where_a_card_is_full(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = image()
    scores = run_stage(on(GPU, CARD), volume, whole(volume))
    expected = scores.labels().array, scores.labels_on(volume.geometry).array
    name = "_best_class" if step == "argmax" else step
    real, calls = getattr(stages, name), []

    def full_once(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise no_memory()
        return real(*arguments, **named)

    monkeypatch.setattr(stages, name, full_once)
    moved: list[Scores] = []
    monkeypatch.setattr(Scores, "in_own_memory", lambda self: moved.append(self) or self)
    for _ in range(2):
        assert np.array_equal(scores.labels().array, expected[0])
    assert np.array_equal(scores.labels_on(volume.geometry).array, expected[1])
    assert len(calls) > 2 and len(moved) == (step == "streamed_argmax")


@pytest.mark.parametrize("card", [CARD, NNUNET])
def test_what_a_stage_sees_is_made_on_the_device(card: StageCard) -> None:
    volume, stage = image(), replace(loaded(card), runtime=NOWHERE)
    with FakeTensorMode(allow_non_fake_inputs=True):
        pixels, geometry, _ = stages._input_of(volume, whole(volume), stage)
    assert pixels.device.type == "meta" and tuple(pixels.shape) == geometry.shape
    assert pixels.dtype == (torch.float16 if card is CARD else torch.float32)


def test_hidden_places_are_hidden_where_the_scores_are() -> None:
    logits, places = torch.ones(3, 2, 2, 2), np.zeros((2, 2, 2), bool)
    places[0, 1] = True
    stages.hide(logits, places, regions=False)
    assert logits[0].eq(1).all() and logits[1:, 0, 1].eq(1 - stages.UNSEEN).all()
    assert int((logits != 1).sum()) == 4
