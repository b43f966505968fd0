from __future__ import annotations

import threading
import time
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from flare_core.errors import InputError
from flare_core.segment.sliding_window import (
    Tiling,
    _run,
    _seen,
    predict_scores,
    tile_starts,
    tile_weights,
)
from flare_core.segment.tile_sums import TileSums
from pretended_gpu import GPU, HALF_GPU, NOWHERE, Full
from stub_models import RUNTIME

PATCH = (8, 10, 12)


class Pointwise(nn.Module):
    """Three classes from each voxel alone, and a count of the tiles seen."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift, self.tiles = shift, []

    def forward(self, x: Tensor) -> Tensor:
        self.tiles.append(tuple(x.shape))
        return torch.cat((x + self.shift, x * x, 0.5 - x), dim=1)


class WhereAmI(nn.Module):
    """The position inside the tile: any seam would show."""

    def forward(self, x: Tensor) -> Tensor:
        z = torch.arange(x.shape[2], dtype=x.dtype).view(1, 1, -1, 1, 1).expand_as(x)
        return torch.cat((z, -z), dim=1)


def image_of(shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("size", "patch", "step"), list(product((7, 8, 9, 31, 100), (8, 64), (0.25, 0.8, 1.0)))
)
def test_tiles_cover_every_voxel_and_stay_inside(size: int, patch: int, step: float) -> None:
    starts = tile_starts(size, patch, step)
    seen = {i for start in starts for i in range(start, start + patch)}
    assert seen.issuperset(range(size)) and starts == sorted(set(starts))
    assert starts[0] == 0 and (len(starts) == 1 or starts[-1] + patch == size)
    assert all(b - a <= patch * step for a, b in zip(starts, starts[1:], strict=False))


def test_no_more_tiles_than_needed() -> None:
    assert len(tile_starts(160, 64, 1.0)) == 3 and len(tile_starts(128, 64, 1.0)) == 2


def test_weights_peak_in_the_middle_and_never_vanish() -> None:
    weights = tile_weights(PATCH)
    assert weights.shape == PATCH and float(weights.min()) >= 1e-3
    assert weights[4, 5, 6] == weights.max() <= 1.0
    assert torch.equal(weights, weights.flip(0, 1, 2))


@pytest.mark.parametrize("shape", [(8, 10, 12), (20, 23, 31), (5, 30, 12), (3, 4, 5)])
@pytest.mark.parametrize("step", [0.5, 1.0])
def test_a_pointwise_network_gives_what_it_gives_on_the_whole_volume(
    shape: tuple[int, int, int], step: float
) -> None:
    image = image_of(shape)
    network = Pointwise()
    scores = predict_scores([network], image, PATCH, step, RUNTIME)
    assert scores.shape == (3, *shape) and scores.dtype == torch.float32
    torch.testing.assert_close(scores, Pointwise()(image[None, None])[0], atol=1e-5, rtol=1e-5)
    assert set(network.tiles) == {(1, 1, *PATCH)}


def test_folds_are_averaged() -> None:
    image = image_of((20, 12, 14))
    scores = predict_scores([Pointwise(0.0), Pointwise(3.0)], image, PATCH, 0.8, RUNTIME)
    torch.testing.assert_close(scores[0], image + 1.5, atol=1e-5, rtol=1e-5)


def test_tiles_are_blended_without_a_seam() -> None:
    """A network that ends at each tile's border still changes only slowly over the volume."""
    scores = predict_scores([WhereAmI()], torch.randn(40, 10, 12), PATCH, 0.5, RUNTIME)
    jumps = scores[0, :, 5, 6].diff().abs()
    assert float(jumps.max()) < PATCH[0] * 0.6  # side by side, it would fall by 7 at once


def test_a_small_volume_is_padded_with_air_and_cut_back() -> None:
    seen = []

    class Keep(Pointwise):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x[0, 0].clone())
            return super().forward(x)

    image = image_of((4, 9, 12))
    predict_scores([Keep()], image, PATCH, 0.8, RUNTIME)
    assert torch.equal(seen[0][2:6, :9], image)
    assert bool((seen[0][:2] == image.min()).all()) and bool((seen[0][:, 9:] == image.min()).all())


def test_tiles_of_air_are_not_run_and_become_background() -> None:
    image = image_of((32, 10, 12)).abs()
    image[8:] = -1.0  # three of four tiles
    network = Pointwise(shift=-5.0)  # class 0 would lose there if it were asked
    scores = predict_scores([network], image, PATCH, 1.0, RUNTIME)
    assert len(network.tiles) == 1
    assert bool((scores[0, 8:] > scores[1:, 8:].amax(dim=0)).all())  # also when interpolated
    torch.testing.assert_close(scores[:, :8], Pointwise(-5.0)(image[None, None, :8])[0])


def test_a_volume_of_air_is_background_whatever_the_network_says_about_air() -> None:
    scores = predict_scores([Pointwise(-5.0)], torch.full((20, 24, 30), -2.0), PATCH, 0.8, RUNTIME)
    assert scores.shape == (3, 20, 24, 30)
    assert bool((scores[0] > scores[1:].amax(dim=0)).all())


def test_progress_rises_to_one() -> None:
    told: list[float] = []
    predict_scores([Pointwise()], image_of((20, 23, 31)), PATCH, 0.8, RUNTIME, notify=told.append)
    assert told == sorted(told) and told[-1] == 1.0 and len(told) == len(set(told)) > 8
    told.clear()
    predict_scores([Pointwise()], image_of(PATCH), PATCH, 0.8, RUNTIME, notify=told.append)
    assert told == [1.0]


def test_notify_can_stop_it_at_the_next_tile() -> None:
    class Stop(Exception):
        pass

    def stop(done: float) -> None:
        if done > 0.2:
            raise Stop

    network = Pointwise()
    with pytest.raises(Stop):
        predict_scores([network], image_of((40, 10, 12)), PATCH, 0.5, RUNTIME, notify=stop)
    assert len(network.tiles) <= 3


def test_no_graph_is_kept() -> None:
    network = nn.Conv3d(1, 2, 1)
    scores = predict_scores([network], image_of((12, 12, 12)), PATCH, 0.8, RUNTIME)
    assert not scores.requires_grad


@pytest.mark.parametrize("lowest", [-1.0, -5.0])
def test_air_is_no_region_of_a_network_of_regions(lowest: float) -> None:
    """Channel 0 of such a network is its first region, not the background."""
    image = image_of((32, 10, 12)).abs()
    image[8:] = lowest  # three of four tiles
    tiling = Tiling(regions=True)
    scores = predict_scores([Pointwise()], image, PATCH, 1.0, RUNTIME, tiling=tiling)
    assert bool((scores[:, 8:] < 0).all()) and bool((scores[:, 8:].sigmoid() < 1e-3).all())
    torch.testing.assert_close(scores[:, :8], Pointwise()(image[None, None, :8])[0])
    nothing = predict_scores(
        [Pointwise(9.0)] * 2, torch.full((20, 24, 30), lowest), PATCH, 0.8, RUNTIME, tiling=tiling
    )
    assert bool((nothing < 0).all())


def test_a_patch_of_a_voxel_is_refused_and_not_waited_for() -> None:
    with pytest.raises(InputError, match=r"64000 tiles.*40, 40, 40"):
        predict_scores([Pointwise()], image_of((40, 40, 40)), (1, 1, 1), 1.0, RUNTIME)


@pytest.mark.parametrize("nnunet", [False, True])
def test_tiles_at_once_give_the_very_same_scores(nnunet: bool) -> None:
    """Sums of floats depend on their order, so it must not depend on which tile is ready first."""
    image = image_of((30, 40, 31))

    class Uneven(Pointwise):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.02 * (len(self.tiles) % 2))
            return super().forward(x)

    networks = [Pointwise(), Uneven(), Uneven()]
    one, two, three = (
        predict_scores(
            [network], image, PATCH, 0.5, RUNTIME, tiling=Tiling(nnunet=nnunet, at_once=n)
        )
        for n, network in enumerate(networks, 1)
    )
    assert len(networks[0].tiles) == len(networks[2].tiles) > 100
    assert torch.equal(one, two) and torch.equal(one, three)


def test_a_stop_between_tiles_leaves_no_thread_behind() -> None:
    def stop(done: float) -> None:
        if done > 0.2:
            raise InterruptedError

    before, network = threading.active_count(), Pointwise()
    with pytest.raises(InterruptedError):
        predict_scores(
            [network], image_of((30, 40, 31)), PATCH, 0.5, RUNTIME,
            tiling=Tiling(at_once=2), notify=stop,
        )  # fmt: skip
    assert threading.active_count() == before
    assert len(network.tiles) < 60


TILINGS = [Tiling(), Tiling(nnunet=True), Tiling(regions=True), Tiling(edges=True)]
SHAPES = [(30, 23, 31), (5, 30, 12), PATCH]


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_that_stay_on_a_device_are_the_same(
    tiling: Tiling, shape: tuple[int, int, int]
) -> None:
    image = image_of(shape)
    expected = predict_scores([Pointwise()], image, PATCH, 0.5, RUNTIME, tiling=tiling)
    found = predict_scores([Pointwise()], image, PATCH, 0.5, GPU, tiling=tiling)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("at", [0, 3])
def test_a_device_that_is_full_in_the_middle_gives_the_same_scores(
    tiling: Tiling, shape: tuple[int, int, int], at: int
) -> None:
    image = image_of(shape)
    expected = predict_scores([Pointwise()], image, PATCH, 0.5, RUNTIME, tiling=tiling)
    network, told = Full(Pointwise(), [at]), []
    found = predict_scores([network], image, PATCH, 0.5, GPU, tiling=tiling, notify=told.append)
    assert torch.equal(found, expected) and told[-1] == 1.0 and told == sorted(set(told))
    count = len(told)
    assert network.calls == count + (at < count)


def test_a_tile_that_does_not_fit_at_all_is_said() -> None:
    for shape in ((30, 23, 31), PATCH):
        with pytest.raises(InputError, match="memory of the graphics card"):
            predict_scores([Full(Pointwise(), range(99))], image_of(shape), PATCH, 0.5, GPU)


def test_folds_of_which_one_did_not_fit_are_averaged() -> None:
    image = image_of((30, 23, 31))
    tiling = Tiling(nnunet=True)
    networks = [Pointwise(), Full(Pointwise(1.0), [2]), Pointwise(3.0)]
    expected = predict_scores(
        [Pointwise(), Pointwise(1.0), Pointwise(3.0)], image, PATCH, 0.5, RUNTIME, tiling=tiling
    )
    found = predict_scores(networks, image, PATCH, 0.5, GPU, tiling=tiling)
    assert torch.equal(found, expected)


def test_numbers_that_half_precision_cannot_hold_are_no_labels() -> None:
    """A sum of infinities is NaN, and the best class of NaN is background, said by nobody."""
    image = image_of((30, 23, 31)) * 300  # squared: above 65504
    for patch in (PATCH, (32, 24, 32)):
        with pytest.raises(InputError, match="--precision") as error:
            predict_scores([Pointwise()], image, patch, 0.5, HALF_GPU)
        assert "bf16" in error.value.parts[3]
    predict_scores([Pointwise()], image / 300, PATCH, 0.5, HALF_GPU)


@pytest.mark.parametrize("tiling", TILINGS)
def test_no_tensor_is_left_beside_the_processor(tiling: Tiling) -> None:
    """torch refuses what mixes two devices, also where tensors have shapes alone."""
    shape, weights = [n + 5 for n in PATCH], tiling.weights(PATCH)
    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(*shape, device="meta", dtype=torch.float16)
        sums = TileSums(shape, weights, tiling, image.device)
        for start in ((0, 0, 0), (5, 5, 5)):
            place = tuple(slice(a, a + n) for a, n in zip(start, PATCH, strict=True))
            scores = _run([Pointwise()], image[place], NOWHERE, tiling)
            assert scores.device.type == "meta"
            sums.add(scores, start)
            assert _seen(scores, tiling).device.type == "meta"
        assert sums.mean(regions=tiling.regions).device.type == "meta"
