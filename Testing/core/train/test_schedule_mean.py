from __future__ import annotations

import pytest
import torch
from torch import nn

from flare_core.networks import build_network
from flare_core.segment.runtime import Runtime
from flare_core.train.schedule import RunningMean
from tiny_training import NETWORK

RUNTIME = Runtime("cpu", "bf16", 1)


def filled(value: float) -> nn.Module:
    network = build_network(NETWORK)
    for parameter in network.parameters():
        nn.init.constant_(parameter, value)
    return network


def mean_of(value: float, decay: float = 0.9) -> RunningMean:
    mean = RunningMean(NETWORK, decay, RUNTIME)
    mean.network.load_state_dict(filled(value).state_dict())
    return mean


def values(mean: RunningMean) -> set[float]:
    return {round(v.item(), 5) for p in mean.network.parameters() for v in p.unique()}


def test_it_moves_by_the_decay_once_the_run_is_old() -> None:
    mean = mean_of(1.0)
    mean.update(filled(2.0), 10_000)
    assert values(mean) == {1.1}
    mean.update(filled(2.0), 10_001)
    assert values(mean) == {1.19}


@pytest.mark.parametrize(("steps", "share"), [(0, 0.1), (8, 0.5)])
def test_it_moves_faster_in_the_first_steps(steps: int, share: float) -> None:
    mean = mean_of(0.0)
    mean.update(filled(1.0), steps)
    assert values(mean) == {round(1 - share, 5)}


def test_what_it_follows_is_not_changed_and_needs_no_graph() -> None:
    mean, network = mean_of(0.0), filled(1.0)
    mean.update(network, 5)
    assert {v.item() for p in network.parameters() for v in p.unique()} == {1.0}
    assert all(p.grad_fn is None for p in mean.network.parameters())


def test_the_copy_that_predicts_is_its_own() -> None:
    mean = mean_of(0.5)
    copy = mean.ready()
    assert not copy.training and next(copy.parameters()).dtype == torch.bfloat16
    mean.update(filled(9.0), 0)
    assert {v.item() for p in copy.parameters() for v in p.unique()} == {0.5}
    assert next(mean.network.parameters()).dtype == torch.float32


def test_what_is_exported_has_the_networks_names_in_half_the_size() -> None:
    exported = mean_of(0.25).for_export()
    assert list(exported) == list(build_network(NETWORK).state_dict())
    assert {t.dtype for t in exported.values()} == {torch.float16}
    assert all(t.is_contiguous() for t in exported.values())
