"""HU window and normalisation, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flare_core.imaging.hounsfield import normalise, normalised


def test_clips_subtracts_and_divides() -> None:
    hu = np.array([[-3024.0, -160.0, 0.0], [40.0, 240.0, 3071.0]], np.float32)
    by_hand = np.array([[-4.0, -4.0, -0.8], [0.0, 4.0, 4.0]])
    assert normalise(hu, (-160.0, 240.0), 40.0, 50.0) == pytest.approx(by_hand)


def test_works_in_place_and_keeps_the_type() -> None:
    hu = np.array([100.0, 200.0], np.float32)
    result = normalise(hu, (-1000.0, 1000.0), 100.0, 10.0)
    assert result is hu and result.dtype == np.float32
    assert hu.tolist() == [0.0, 10.0]


def test_agrees_with_float64() -> None:
    hu = np.random.default_rng(0).uniform(-1200, 3000, 1000).astype(np.float32)
    exact = (np.clip(hu.astype(float), -963.8, 1053.7) - 99.4) / 141.7
    assert np.abs(normalise(hu.copy(), (-963.8, 1053.7), 99.4, 141.7) - exact).max() < 1e-5


def test_a_tensor_gets_the_very_same_numbers() -> None:
    hu = np.random.default_rng(2).normal(0, 400, 10_000).astype(np.float32)
    for window, mean, sd in (((-160.3, 240.1), 41.7, 97.3), ((-975.0, 1361.0), 0.1, 3.0)):
        image = torch.from_numpy(hu.copy())
        found = normalised(image, window, mean, sd)
        assert found is image  # in place
        assert np.array_equal(found.numpy(), normalise(hu.copy(), window, mean, sd))
