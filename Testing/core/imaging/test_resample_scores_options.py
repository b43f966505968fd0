"""Other interpolations, independent channels and nnU-Net's rounding: as all classes at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flare_core.imaging.geometry import Geometry
from flare_core.imaging.resample_scores import last_above_zero, streamed_argmax
from flare_core.imaging.resize import resize_weights

SOURCE = Geometry((6, 7, 8), (5.0, 3.0, 2.5), (1.0, -4.0, 20.0))
TARGET = SOURCE.with_shape((14, 5, 19))


def scores_of(seed: int) -> torch.Tensor:
    noise = torch.randn(5, *SOURCE.shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool3d(noise[None], 3, 1, 1)[0] * 8


def weights_of(*orders: int) -> tuple[np.ndarray, ...]:
    return tuple(map(resize_weights, SOURCE.shape, TARGET.shape, orders))


def all_at_once(scores: torch.Tensor, weights: tuple[np.ndarray, ...]) -> torch.Tensor:
    z, y, x = (torch.from_numpy(w).double() for w in weights)
    return torch.einsum("czyx,Zz,Yy,Xx->cZYX", scores.double(), z, y, x)


@pytest.mark.parametrize("orders", [(0, 1, 1), (1, 0, 1), (1, 1, 1), (0, 0, 0)])
def test_any_weights_can_interpolate(orders: tuple[int, int, int]) -> None:
    scores, weights = scores_of(1), weights_of(*orders)
    expected = all_at_once(scores, weights).argmax(dim=0).numpy()
    found = streamed_argmax(scores, SOURCE, TARGET, weights=weights)
    assert np.mean(found == expected) > 0.999 and len(np.unique(found)) == 5


def test_of_independent_channels_the_last_above_zero_counts() -> None:
    scores, weights = scores_of(2), weights_of(0, 1, 1)
    above = (all_at_once(scores, weights) > 0).numpy()
    expected = np.zeros(TARGET.shape, np.uint8)
    for channel in range(5):
        expected[above[channel]] = channel + 1
    found = streamed_argmax(scores, SOURCE, TARGET, weights=weights, regions=True)
    assert np.mean(found == expected) > 0.999 and set(np.unique(found)) == set(range(6))


def test_the_rule_for_independent_channels() -> None:
    scores = torch.tensor([[1.0, 1.0, -1.0, 0.0], [-1.0, 2.0, -1.0, 0.0]])
    assert last_above_zero(scores).tolist() == [1, 2, 0, 0]


def test_scores_rounded_to_float16_tie_and_the_lower_class_wins() -> None:
    scores = torch.zeros(2, *SOURCE.shape)
    scores[0], scores[1] = 10.0, 10.0 + 1e-3
    assert streamed_argmax(scores, SOURCE, TARGET).all()
    assert not streamed_argmax(scores, SOURCE, TARGET, half=True).any()


def test_rounding_is_that_of_all_scores() -> None:
    scores = scores_of(3).half()
    weights = weights_of(1, 1, 1)
    expected = all_at_once(scores, weights).half().float().argmax(dim=0).numpy()
    found = streamed_argmax(scores, SOURCE, TARGET, weights=weights, half=True)
    assert np.mean(found == expected) > 0.999
