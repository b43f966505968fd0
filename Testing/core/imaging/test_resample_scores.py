"""The best class of each voxel, bit for bit as if all classes were interpolated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from core.imaging.oblique_grids import oblique, turned
from core.imaging.upsampled_scores import upsampled_slabs
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box, Geometry, Index
from flare_core.imaging.resample import resample_intensity
from flare_core.imaging.resample_scores import (
    ON_CPU,
    ON_DEVICE,
    UNSURE,
    Chunking,
    _ScoreGrid,
    streamed_argmax,
)
from flare_core.imaging.volume import Volume

SOURCE = oblique((9, 14, 12))
TARGETS = {
    "finer": SOURCE.with_shape((13, 40, 31)),
    "finer by whole numbers": SOURCE.with_shape((18, 28, 36)),
    "part": SOURCE.with_shape((20, 40, 31)).crop(Box((3, 5, 2), (17, 33, 30))),
    "thicker slices": SOURCE.with_shape((5, 40, 31)),
    "coarser": SOURCE.with_shape((4, 6, 5)),
    "the same": SOURCE,
    "reaching out": SOURCE.pad((2, 1, 0), (1, 3, 2)).with_spacing((2.0, 0.5, 0.5)),
    "one voxel": SOURCE.with_shape((1, 1, 1)),
}


def smooth(classes: int = 6, shape: Index = SOURCE.shape) -> torch.Tensor:
    """Blobs with clear insides, as a trained network gives them."""
    places = torch.stack(torch.meshgrid(*[torch.arange(n) for n in shape], indexing="ij")).float()
    random = torch.Generator().manual_seed(1)
    centres = torch.rand(classes, 3, 1, 1, 1, generator=random) * torch.tensor(shape).view(
        3, 1, 1, 1
    )
    return 12 - 1.5 * (places - centres).norm(dim=1)


def close_race() -> torch.Tensor:
    """Class 0 and 1 differ by one unit in the last place: sums in float32 can make them equal."""
    base = torch.randn(SOURCE.shape, generator=torch.Generator().manual_seed(2))
    above = torch.nextafter(base, torch.full_like(base, torch.inf))
    return torch.stack([base, above, base - 3, above])


SCORES = {
    "smooth": smooth(),
    "noise": torch.randn(14, *SOURCE.shape, generator=torch.Generator().manual_seed(0)),
    "probabilities": (smooth() * 3).softmax(dim=0),
    "one-hot": torch.nn.functional.one_hot(smooth().argmax(0), 6).permute(3, 0, 1, 2).float(),
    "large": smooth() * 1e4 + 1e6,
    "close race": close_race(),
    "all equal": torch.ones(3, *SOURCE.shape),
    "one class": torch.ones(1, *SOURCE.shape),
    "two slices": smooth(4)[:, 3:5],
    "one slice": smooth(4)[:, 3:4],
}


def of(scores: torch.Tensor) -> Geometry:
    """The grid of some scores."""
    return SOURCE.crop(Box((0, 0, 0), tuple(scores.shape[1:])))  # type: ignore[arg-type]


def everything(scores: torch.Tensor, target: Geometry, slab: int = 4) -> torch.Tensor:
    """All scores on the target grid (C, Z, Y, X)."""
    result = torch.full((scores.shape[0], *target.shape), torch.nan)
    for rows, part in upsampled_slabs(scores, of(scores), target, slab=slab):
        result[:, rows] = part
    return result


def first_maximum(scores: torch.Tensor) -> np.ndarray:
    return scores.numpy().argmax(axis=0)


@pytest.mark.parametrize("what", SCORES)
@pytest.mark.parametrize("where", TARGETS)
def test_bit_identical_to_resampling_all_and_taking_the_maximum(what: str, where: str) -> None:
    scores, target = SCORES[what], TARGETS[where]
    found = streamed_argmax(scores, of(scores), target)
    assert found.dtype == np.uint8 and found.shape == target.shape
    assert np.array_equal(found, first_maximum(everything(scores, target)))


@pytest.mark.parametrize("slab", [1, 3, 7, 1000])
def test_slabs_change_no_bit(slab: int) -> None:
    target = TARGETS["part"]
    for what in ("smooth", "noise", "close race"):
        scores = SCORES[what]
        expected = everything(scores, target)
        assert torch.equal(everything(scores, target, slab), expected)
        found = streamed_argmax(scores, SOURCE, target, pace=replace(ON_CPU, slab=slab))
        assert np.array_equal(found, first_maximum(expected))


@pytest.mark.parametrize("pace", [ON_DEVICE, Chunking(3, 2, 7), Chunking(1000, 1000, 1)])
@pytest.mark.parametrize("options", [{}, {"half": True}, {"regions": True}])
def test_how_much_is_done_at_a_time_changes_no_bit(
    pace: Chunking, options: dict[str, bool]
) -> None:
    """On some thousand voxels: one at a time takes its time."""
    few = Box((2, 8, 8), (11, 20, 18))
    for what in ("smooth", "close race"):
        for target in (TARGETS["part"].crop(few), TARGETS["finer"].crop(few)):
            expected = streamed_argmax(SCORES[what], SOURCE, target, **options)
            found = streamed_argmax(SCORES[what], SOURCE, target, pace=pace, **options)
            assert np.array_equal(found, expected)


def test_the_close_race_is_close() -> None:
    """Rounding does make the two classes equal somewhere, else the cases above prove little."""
    both = everything(SCORES["close race"], TARGETS["finer"])
    tied = (both[0] == both[1]).float().mean()
    assert 0.01 < tied < 0.99
    found = streamed_argmax(SCORES["close race"], SOURCE, TARGETS["finer"])
    assert set(np.unique(found)) == {0, 1}


@pytest.mark.parametrize("shape", [(13, 40, 31), (18, 28, 36), (9, 14, 12), (10, 15, 13)])
def test_scores_are_those_of_torch(shape: Index) -> None:
    scores = SCORES["noise"]
    expected = torch.nn.functional.interpolate(
        scores[None], shape, mode="trilinear", align_corners=False
    )[0]
    found = everything(scores, SOURCE.with_shape(shape))
    assert (found - expected).abs().max() < 1e-4
    labels = streamed_argmax(scores, SOURCE, SOURCE.with_shape(shape))
    assert np.mean(labels == expected.argmax(dim=0).numpy()) > 0.9999


@pytest.mark.parametrize("where", ["thicker slices", "coarser", "reaching out", "one voxel"])
def test_scores_are_resampled_as_images_are(where: str) -> None:
    scores = SCORES["noise"]
    found = everything(scores, TARGETS[where])
    for one, mine in zip(scores[:3], found[:3], strict=True):
        image = resample_intensity(Volume(one.numpy(), SOURCE), TARGETS[where])
        assert mine.numpy() == pytest.approx(image.array, abs=1e-5)


def test_most_voxels_of_a_sure_network_are_not_interpolated() -> None:
    source = oblique((30, 60, 60))
    scores = smooth(6, source.shape)
    grid = _ScoreGrid(scores, source, source.with_shape((35, 130, 140)))
    sure = grid.sure_classes(slices=4)
    assert (sure == UNSURE).float().mean() < 0.25
    assert (sure[sure != UNSURE].unique()).tolist() == [0, 1, 2, 3, 4, 5]


def test_memory_order_and_type_do_not_matter() -> None:
    scores, target = SCORES["smooth"], TARGETS["finer"]
    expected = streamed_argmax(scores, SOURCE, target)
    last = scores[None].contiguous(memory_format=torch.channels_last_3d)[0]
    assert not last.is_contiguous()
    assert np.array_equal(streamed_argmax(last, SOURCE, target), expected)
    half = scores.half()
    assert np.array_equal(
        streamed_argmax(half, SOURCE, target), streamed_argmax(half.float(), SOURCE, target)
    )
    before = scores.clone()
    streamed_argmax(scores.requires_grad_(), SOURCE, target)
    assert torch.equal(scores.detach(), before)


def test_scores_of_inference_mode_are_welcome() -> None:
    with torch.inference_mode():
        scores = smooth()
    expected = streamed_argmax(smooth(), SOURCE, TARGETS["finer"])
    assert np.array_equal(streamed_argmax(scores, SOURCE, TARGETS["finer"]), expected)


@pytest.mark.parametrize("options", [{}, {"half": True}, {"regions": True}])
def test_everything_is_done_where_the_scores_are(options: dict[str, bool]) -> None:
    """torch refuses to mix two devices, also where tensors have shapes and no numbers."""
    target = TARGETS["finer"]
    with FakeTensorMode(allow_non_fake_inputs=True):
        scores = torch.empty(4, *SOURCE.shape, device="meta")
        grid = _ScoreGrid(scores, SOURCE, target, **options)
        voxels = torch.zeros(5, dtype=torch.int64, device="meta")
        mixes = scores[:, :2].flatten(1).T.contiguous()
        best = grid.classes(grid.scores_at(mixes, voxels, voxels))
        sure = grid.sure_classes(ON_DEVICE.slices)
    assert best.device.type == sure.device.type == "meta"
    assert best.dtype == sure.dtype == torch.uint8 and best.shape == (5,)
    assert sure.shape == (target.shape[0], target.shape[1] * target.shape[2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_labels() -> None:
    scores = SCORES["smooth"]
    for target in TARGETS.values():
        expected = streamed_argmax(scores, SOURCE, target)
        found = streamed_argmax(scores.cuda(), SOURCE, target, pace=ON_DEVICE)
        assert np.mean(found == expected) > 0.9999


def test_turned_grids_are_refused() -> None:
    other = Geometry(SOURCE.shape, SOURCE.spacing_mm, SOURCE.origin_mm, turned((0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="axes"):
        streamed_argmax(SCORES["smooth"], SOURCE, other)
