from __future__ import annotations

import numpy as np
from safetensors.numpy import save_file

from flare_core.segment.stroke_features import Scene, Voxels, features
from flare_core.segment.stroke_judge import default_judge, read_judge


def voxels(columns: np.ndarray, prior: np.ndarray) -> Voxels:
    return Voxels(columns.astype(np.float32), (), prior.astype(np.float32), prior)


def test_a_judgement_is_the_perceptrons_by_hand(tmp_path) -> None:
    weights = {
        "mean": [1.0, 0.0], "scale": [2.0, 1.0],
        "weight0": [[1.0, 0.0], [0.0, -1.0]], "bias0": [0.0, 0.0],
        "weight1": [[1.0, 10.0]], "bias1": [0.5],
    }  # fmt: skip
    path = tmp_path / "judge.safetensors"
    save_file({name: np.array(values, np.float32) for name, values in weights.items()}, path)
    odds = read_judge(path).odds(
        voxels(np.array([[3.0, 2.0], [99.0, -1.0]]), np.array([-1.0, -3.0]))
    )
    # (1, -2) -> (1, -.2) -> 1 - 2 + .5; (5, 1) -> 5 + 10 + .5; half of the prior on top
    np.testing.assert_allclose(odds, [-0.5 - 0.5, 15.5 - 1.5], atol=1e-5)


def test_the_products_own_takes_the_columns_that_there_are() -> None:
    was, belongs = np.zeros((6, 8, 9), np.float32), np.zeros((6, 8, 9), bool)
    was[2:4, 2:5, 2:5] = 1
    belongs[3, 3, 6] = True
    scene = Scene(was * 60, was, None, 0 * was, belongs, ~belongs & False, 2.0, 5.0)
    found = features(scene)
    odds = default_judge().odds(found)
    assert odds.shape == found.prior.shape and np.isfinite(odds).all()
