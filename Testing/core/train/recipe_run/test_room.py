from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_core.errors import InputError
from flare_core.networks import build_network
from flare_core.train.config import Phase
from flare_core.train.recipe_run import room
from flare_core.train.recipe_run.room import require_room, training_gib
from flare_core.train.recipes import RECIPES
from tiny_training import tiny_config


def saved_gib(config) -> float:
    """What autograd really keeps for the way back, by its own account."""
    network = build_network(config.network).train()
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        network(torch.randn(1, 1, *config.phases[-1].patch))
    return sum(seen.values()) / 2**30


def test_the_number_is_near_what_autograd_keeps() -> None:
    config = tiny_config(Path())
    config = replace(config, phases=(Phase((5.0, 4.0, 4.0), (48, 64, 64), 1),))
    kept, told = saved_gib(config), training_gib(config)
    assert kept < told < 6 * kept


def test_twice_the_patch_takes_twice_the_memory() -> None:
    config = tiny_config(Path())
    one = replace(config, phases=(Phase((5.0, 4.0, 4.0), (48, 64, 64), 1),))
    two = replace(config, phases=(Phase((5.0, 4.0, 4.0), (96, 64, 64), 1),))
    assert training_gib(two) == pytest.approx(2 * training_gib(one), rel=0.05)


def test_a_device_that_is_too_small_is_named_with_the_number(monkeypatch) -> None:
    config = replace(RECIPES["flare22-blackbean"].teacher, device="cpu", precision="float32")
    monkeypatch.setattr(room, "free_memory_gib", lambda: 4.0)
    with pytest.raises(InputError, match=r"4\.0 GiB free[\s\S]*about \d+\.\d GiB to train teacher"):
        require_room(config, "teacher")
    monkeypatch.setattr(room, "free_memory_gib", lambda: None)
    require_room(config, "teacher")
