from __future__ import annotations

import math
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from flare_core.errors import InputError
from flare_core.imaging.geometry import Box
from flare_core.models.stage_card import NetworkSpec, NnunetGrids
from flare_core.networks import NETWORKS, build_network
from flare_core.segment import memory
from flare_core.segment.memory import (
    DEVICE_ACTIVATIONS,
    MOST_DEVICE_ACTIVATIONS,
    device_gib,
    needed_gib,
    require_memory,
    sums_fit,
    tile_gib,
    tiles_at_once,
)
from flare_core.segment.runtime import Runtime
from flare_core.segment.stage import run_stage
from stub_models import ORGANS, loaded, scene

LARGE = NetworkSpec(
    "plain_unet", output_channels=25, features_per_stage=(32, 64),
    strides=((1, 1, 1), (2, 2, 2)), kernel_sizes=((3, 3, 3),) * 2,
    convolutions_per_stage_encoder=(2, 2), convolutions_per_stage_decoder=(2,),
)  # fmt: skip
CARD = replace(
    ORGANS, network=LARGE, labels=("background", *(f"other:{i}" for i in range(24))),
    patch=(128, 128, 128), nnunet=NnunetGrids(), interpolation="cubic",
)  # fmt: skip
RUNTIME = Runtime("cpu", "float32", 2)


def test_the_need_grows_with_classes_grid_and_precision() -> None:
    need = needed_gib(CARD, (200, 260, 260), RUNTIME)
    scores = 25 * 200 * 260 * 260 * 2 / 2**30
    activations = 3 * 32 * 128**3 * 4 / 2**30
    assert scores + activations < need < scores + activations + 0.7
    assert needed_gib(CARD, (400, 260, 260), RUNTIME) > need + scores
    assert needed_gib(CARD, (200, 260, 260), Runtime("cpu", "bf16", 2)) < need
    on_gpu = needed_gib(CARD, (200, 260, 260), Runtime("cuda", "fp16", 2))
    assert on_gpu == pytest.approx(need - activations)


def test_too_little_is_said_with_the_number() -> None:
    with pytest.raises(InputError) as error:
        require_memory(CARD, (900, 400, 400), RUNTIME, free_gib=2.0)
    assert error.value.parts[1] == "2.0 GiB free"
    assert f"about {needed_gib(CARD, (900, 400, 400), RUNTIME):.1f} GiB" in error.value.parts[2]
    require_memory(CARD, (900, 400, 400), RUNTIME, free_gib=64.0)


def test_a_stage_does_not_start_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = scene()
    monkeypatch.setattr(memory, "free_memory_gib", lambda: 1e-3)
    told: list[float] = []
    with pytest.raises(InputError, match="GiB free"):
        run_stage(loaded(ORGANS), image, Box.of_shape(image.geometry.shape), notify=told.append)
    assert not told
    monkeypatch.setattr(memory, "free_memory_gib", lambda: None)  # nothing tells: it is tried
    run_stage(loaded(ORGANS), image, Box.of_shape(image.geometry.shape))


def test_the_padding_of_a_turned_network_is_counted_along_its_own_axes() -> None:
    """A flat scan and a tile that stands on its edge: padded, it is larger than either."""
    straight = replace(CARD, patch=(256, 64, 64))
    turned = replace(CARD, patch=(64, 64, 256), transpose=(2, 1, 0))
    shape = (16, 512, 512)  # padded to 256 x 512 x 512
    need = needed_gib(straight, shape, RUNTIME)
    assert need == needed_gib(turned, shape, RUNTIME)
    assert need > 256 * 512 * 512 * (2 * CARD.network.output_channels + 12) / 2**30


def test_tiles_at_once_follow_threads_and_memory() -> None:
    shape = (200, 260, 260)
    need, each = needed_gib(CARD, shape, RUNTIME), tile_gib(CARD, RUNTIME)
    small = replace(CARD, patch=(32, 32, 32))
    for threads in (1, 2, 4, 16):
        assert tiles_at_once(small, shape, Runtime("cpu", "float32", threads)) == threads
    assert tiles_at_once(CARD, shape, RUNTIME, free_gib=need + 0.1) == 1
    plenty = tiles_at_once(CARD, shape, Runtime("cpu", "float32", 16), free_gib=1000.0)
    assert 1 < plenty < 16 and (plenty - 1) * each < memory.BESIDE_GIB
    assert tiles_at_once(CARD, shape, Runtime("cuda", "fp16", 16), free_gib=1000.0) == 1


@pytest.mark.parametrize("free", [0.5, 1.0, 2.0, 8.0])
def test_what_runs_at_once_fits(free: float) -> None:
    shape = (200, 260, 260)
    free += needed_gib(CARD, shape, RUNTIME)
    runtime = Runtime("cpu", "bf16", 8)
    at_once = tiles_at_once(CARD, shape, runtime, free_gib=free)
    assert 8 % at_once == 0  # no thread is left over
    assert needed_gib(CARD, shape, runtime, at_once=at_once) <= free


GPU_RUNTIME = Runtime("cuda", "fp16", 2)
SHAPE = (200, 260, 260)


def test_a_device_needs_room_for_a_tile_and_would_like_it_for_the_sums() -> None:
    tile = device_gib(CARD, SHAPE, GPU_RUNTIME, with_sums=False)
    both = device_gib(CARD, SHAPE, GPU_RUNTIME, with_sums=True)
    voxels = 200 * 260 * 260
    assert both - tile == pytest.approx(voxels * (2 * 26 + 1) / 2**30)  # float16, as nnU-Net's
    activations = 5 * 32 * 128**3 * 2 / 2**30
    assert activations < tile < activations + 1.0
    assert device_gib(CARD, SHAPE, Runtime("cuda", "float32", 2), with_sums=False) > tile
    own = replace(CARD, nnunet=None, interpolation="linear")
    more = device_gib(own, SHAPE, GPU_RUNTIME, with_sums=True)
    assert more > both  # float32
    assert sums_fit(CARD, SHAPE, GPU_RUNTIME, free_gib=both + 0.01)
    assert not sums_fit(CARD, SHAPE, GPU_RUNTIME, free_gib=both - 0.01)
    assert not sums_fit(CARD, SHAPE, RUNTIME, free_gib=1000.0)
    assert not sums_fit(CARD, SHAPE, Runtime("mps", "float32", 2), free_gib=1000.0)


def test_a_full_card_is_said_before_anything_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    tile = device_gib(CARD, SHAPE, GPU_RUNTIME, with_sums=False)
    monkeypatch.setattr(memory, "free_device_gib", lambda _: tile - 0.1)
    with pytest.raises(InputError) as error:
        require_memory(CARD, SHAPE, GPU_RUNTIME, free_gib=64.0)
    argument, came, legal, action = error.value.parts
    assert argument == "memory of the graphics card" and came == f"{tile - 0.1:.1f} GiB free"
    assert f"about {tile:.1f} GiB" in legal and "128 x 128 x 128" in legal and "cpu" in action
    monkeypatch.setattr(memory, "free_device_gib", lambda _: tile + 0.1)
    require_memory(CARD, SHAPE, GPU_RUNTIME, free_gib=64.0)
    monkeypatch.setattr(memory, "free_device_gib", lambda _: None)  # nothing tells: it is tried
    require_memory(CARD, SHAPE, GPU_RUNTIME, free_gib=64.0)


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are there at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for each in tree_iter(found):
            if isinstance(each, torch.Tensor):
                self._count(each.untyped_storage())
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_a_network_takes_on_a_device_is_counted(kind: str) -> None:
    """On tensors with shapes alone; what a card's libraries take beside is not seen here."""
    spec = NetworkSpec(
        kind, output_channels=14, features_per_stage=(32, 64, 128, 256),
        strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)), kernel_sizes=((3, 3, 3),) * 4,
        convolutions_per_stage_encoder=(2,) * 4, convolutions_per_stage_decoder=(2,) * 3,
    )  # fmt: skip
    patch = (64, 96, 96)
    with torch.device("meta"):
        network = build_network(spec).to(torch.float16).eval()
        tile = torch.empty(1, 1, *patch, dtype=torch.float16)
    with torch.inference_mode(), Peak() as counted:
        network(tile)
    finest = 32 * math.prod(patch) * 2
    held = DEVICE_ACTIVATIONS.get(kind, MOST_DEVICE_ACTIVATIONS)
    assert counted.most <= held * finest + 14 * math.prod(patch) * 2
    assert kind not in DEVICE_ACTIVATIONS or counted.most > 0.6 * held * finest
