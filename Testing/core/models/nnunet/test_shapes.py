from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from core.networks.small_specs import ISOTROPIC, SPECS
from flare_core.models.nnunet import shapes as nnunet_shapes
from flare_core.models.nnunet.shapes import first_misfit, shapes_of
from flare_core.networks import build_network

ALL = {
    **SPECS,
    "other decoder kernels": replace(ISOTROPIC, decoder_kernel_sizes=((3, 3, 3), (1, 3, 3))),
    "stunet": replace(ISOTROPIC, kind="stunet"),
}


@pytest.mark.parametrize("what", ALL)
def test_they_are_the_networks(what: str) -> None:
    spec = ALL[what]
    state = build_network(spec).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == shapes_of(spec)


def test_the_first_difference_is_named() -> None:
    spec = ISOTROPIC
    weights = dict(build_network(spec).state_dict())
    assert first_misfit(spec, weights) is None
    name = list(weights)[5]
    for change, came in (
        (torch.zeros(2, 3), f"tensor {name} of shape (2, 3)"),
        (torch.full_like(weights[name], torch.nan), f"tensor {name} with NaN"),
        (None, f"no tensor {name}"),
    ):
        changed = {**weights, name: change} if change is not None else dict(weights)
        if change is None:
            del changed[name]
        wrong = first_misfit(spec, changed)
        assert wrong is not None and wrong[0].startswith(came)
    wrong = first_misfit(spec, {**weights, "left.over": torch.zeros(1)})
    assert wrong is not None and "left.over too many" in wrong[0]


def test_a_network_of_millions_of_tensors_is_not_listed_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def endless(_: object) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "a", (2,)
        raise AssertionError("went on behind the first that differs")

    monkeypatch.setattr(nnunet_shapes, "_named", endless)
    assert first_misfit(ISOTROPIC, {}) == ("no tensor a", "tensor a of shape (2,)")
