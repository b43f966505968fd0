from __future__ import annotations

import numpy as np
import pytest

from flare_core.segment.stroke_features import MOST_ODDS, REACH, Scene, features, odds_of

SHAPE = (20, 30, 40)


def scene(**changes: object) -> Scene:
    was = np.zeros(SHAPE, np.float32)
    was[5:15, 8:22, 8:20] = 1
    belongs = np.zeros(SHAPE, bool)
    belongs[10, 15, 24:28] = True
    image = np.random.default_rng(0).normal(50, 10, SHAPE).astype(np.float32)
    given = {
        "image": image, "was": was, "scores": None, "others": np.zeros(SHAPE, np.float32),
        "belongs": belongs, "outside": np.zeros(SHAPE, bool), "spacing_mm": 2.0, "radius_mm": 20.0,
    }  # fmt: skip
    return Scene(**(given | changes))


def test_every_voxel_near_a_stroke_is_described_and_no_other() -> None:
    far = np.zeros(SHAPE, bool)
    far[0, 0, 0] = True
    voxels = features(scene(belongs=far))
    apart = np.sqrt(sum(np.arange(n).reshape([-1 if a == k else 1 for a in range(3)]) ** 2
                        for k, n in enumerate(SHAPE)))  # fmt: skip
    described = np.zeros(SHAPE, bool)
    described[voxels.places] = True
    assert (described == (apart < REACH)).all()
    assert np.isfinite(voxels.columns).all()
    np.testing.assert_allclose(voxels.apart, apart[voxels.places], rtol=1e-6)


def test_a_label_that_stands_is_believed_before_any_stroke() -> None:
    against = np.full(SHAPE, 3.0, np.float32)  # the network says organ everywhere
    for scores in (None, against):
        assert (features(scene(scores=scores)).prior < 0).all()


def test_both_sides_have_the_same_columns() -> None:
    """What is missing with a stroke that belongs is what is too much with one that does not."""
    here = scene()
    turned = scene(was=1 - here.was, belongs=here.outside, outside=here.belongs)
    a, b = features(here), features(turned)
    side = np.flatnonzero(
        (a.columns == -b.columns).all(axis=0) & (np.abs(a.columns) == 1).all(axis=0)
    )
    strokes = slice(9, 21)
    np.testing.assert_allclose(a.columns[:, strokes], b.columns[:, strokes], atol=1e-5)
    assert len(side) == 1, "one column says which side a voxel is on"


def test_values_unlike_the_strokes_are_farther_to_walk() -> None:
    image = np.full(SHAPE, 50, np.float32)
    image[:, :, 30:32] = -100  # a wall of fat
    voxels = features(scene(image=image))
    at = {tuple(place): n for n, place in enumerate(np.stack(voxels.places, axis=1))}
    walked = voxels.columns[:, 12]
    assert walked[at[10, 15, 33]] > 1.5 * walked[at[10, 21, 27]]


def test_an_organ_that_is_not_there_yet_is_described() -> None:
    assert np.isfinite(features(scene(was=np.zeros(SHAPE, np.float32))).columns).all()


@pytest.mark.parametrize(("share", "odds"), [(0.5, 0.0), (0.0, -MOST_ODDS), (1.0, MOST_ODDS)])
def test_odds(share: float, odds: float) -> None:
    assert odds_of(np.array([share], np.float32))[0] == pytest.approx(odds)
