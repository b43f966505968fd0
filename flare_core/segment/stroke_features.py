"""What is known of each voxel near the strokes: the columns that `stroke_judge` judges by.

A voxel stands on one side now: organ, or not. The question is whether it changes sides, so that
each number is turned to that question: what was believed of the side that it would come to, how far
the nearest stroke is that speaks for the change and the nearest that speaks against it, whether the
voxel's value is like that of those strokes, like its own side's nearby or the other's. A stroke
also tells how far the border is off: as deep as the stroke lay in the wrong side.

Lengths are counted in voxels of the solution's grid, which are as fine as the organ is small.

1. the nearest strokes of both kinds (`_nearest`), straight and along like values (`_walked`);
2. the same columns for both sides, by what speaks for a change and against it (`features`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Places = tuple[npt.NDArray[np.intp], ...]

REACH = 24
"""Voxels from a stroke within which others may change."""

LEAST_ODDS, MOST_ODDS = 0.2, 4.0
"""Log-odds of a belief: a label that stands is at least so sure, and nothing is surer."""

BLUR_MM = 4.0
"""How fuzzy an organ's border is thought to be where there are no scores."""

NEARBY_MM = 8.0
"""Width of the box in which the sides' mean values are taken."""

STEPS = (-3, -2, -1, 1, 2, 3, 5)
"""Voxels across the border at which the image is read; positive ones lie towards it and beyond."""

SCORE_STEPS = (-3, -1, 1, 3)
"""The same for scores."""

NO_HU = 1000.0
"""Value of strokes that there are none of: like no voxel's."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What there is in the box, on the solution's grid."""

    image: Float
    """HU, clipped to soft tissue."""
    was: Float
    """Share of each voxel that the organ fills as it is."""
    scores: Float | None
    """Log-odds of the organ by the network, 0 where it says nothing; None without scores."""
    others: Float
    """Share of each voxel that other organs fill."""
    belongs: Mask
    """Voxels with a stroke that belongs."""
    outside: Mask
    """Voxels with a stroke that does not."""
    spacing_mm: float
    """Voxel size, about the same on all axes."""
    radius_mm: float
    """Of a ball as large as the organ."""

    @cached_property
    def organ(self) -> Mask:
        """Voxels that are the organ as it is."""
        return np.asarray(self.was > 0.5)

    @cached_property
    def smoothed(self) -> Float:
        """HU with less noise."""
        from scipy.ndimage import gaussian_filter

        return np.asarray(gaussian_filter(self.image, 0.7), np.float32)

    @cached_property
    def depth(self) -> Float:
        """Voxels to the other side, everywhere positive."""
        from scipy.ndimage import distance_transform_edt

        if not self.organ.any() or self.organ.all():
            return np.full(self.was.shape, 20, np.float32)
        inside, without = distance_transform_edt(self.organ), distance_transform_edt(~self.organ)
        return np.where(self.organ, inside, without).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Voxels:
    """The voxels that may change."""

    columns: Float
    """(n, columns)."""
    places: Places
    """Where they are in the box."""
    prior: Float
    """Log-odds (n,) of a change before any stroke; negative."""
    apart: Float
    """Distance (n,) to the nearest stroke, voxels."""


@dataclass(frozen=True, eq=False)
class _Nearest:
    """The nearest stroke of one kind: distance and what is at that stroke; all (Z, Y, X)."""

    apart: Float
    """Voxels in a straight line."""
    walked: Float
    """Length of the shortest path over like values."""
    hu: Float
    """Mean value there."""
    depth: Float
    """Depth there, negative out of the organ."""
    scores: Float
    """The network's log-odds there."""


def odds_of(share: Float) -> Float:
    """Log-odds of a probability, at most `MOST_ODDS`."""
    safe = np.clip(share, 1e-3, 1.0 - 1e-3)
    return np.clip(np.log(safe / (1.0 - safe)), -MOST_ODDS, MOST_ODDS).astype(np.float32)


def features(scene: Scene) -> Voxels:
    """Return the columns of all voxels within `REACH` of a stroke.

    Parameters
    ----------
    scene : Scene
        At least one voxel is marked.
    """
    scores = np.zeros_like(scene.was) if scene.scores is None else scene.scores
    signed = np.where(scene.organ, scene.depth, -scene.depth)
    kinds = [_nearest(scene, marks, signed, scores) for marks in (scene.belongs, scene.outside)]
    apart = np.minimum(*(REACH * 4.0 + 0 * scene.was if k is None else k.apart for k in kinds))
    at = tuple(np.nonzero(apart < REACH))
    inside = scene.organ[at]
    side = np.where(inside, 1.0, -1.0).astype(np.float32)
    belief, deep = _believed(scene)
    columns = [
        *_belief_columns(scene, scores, deep, side, at),
        *_stroke_columns(scene, kinds, inside, at),
        *_place_columns(scene, side, at),
        *_profile(scene, scores, side, at),
    ]
    table = np.stack(columns, axis=1).astype(np.float32)
    return Voxels(table, at, (-side * belief[at]).astype(np.float32), apart[at].astype(np.float32))


def _believed(scene: Scene) -> tuple[Float, Float]:
    """Log-odds of the organ, on the labels' side; and those of its depth alone.

    The network's count where they agree with the labels; else a person has changed these since.
    """
    from scipy.ndimage import gaussian_filter

    depth = odds_of(gaussian_filter(scene.was, BLUR_MM / scene.spacing_mm))
    sides = np.maximum(depth, LEAST_ODDS), np.minimum(depth, -LEAST_ODDS)
    depth = np.where(scene.organ, *sides).astype(np.float32)
    if scene.scores is None:
        return depth, depth
    agree = (scene.scores != 0) & ((scene.scores > 0) == scene.organ)
    return np.where(agree, scene.scores, depth).astype(np.float32), depth


def _nearest(scene: Scene, marks: Mask, signed: Float, scores: Float) -> _Nearest | None:
    """Return the nearest stroke of one kind for each voxel; None if there are none."""
    from scipy.ndimage import distance_transform_edt

    if not marks.any():
        return None
    apart, where = distance_transform_edt(~marks, return_indices=True)
    near, apart = tuple(where), apart.astype(np.float32)
    weight = marks.astype(np.float32)
    share = np.maximum(_mean(weight, 5), 1e-4)
    hu, depth, score = (
        (_mean(values * weight, 5) / share)[near] for values in (scene.smoothed, signed, scores)
    )
    return _Nearest(apart, _walked(scene.smoothed, marks, hu, apart), hu, depth, score)


def _walked(image: Float, marks: Mask, hu: Float, apart: Float) -> Float:
    """Length of the shortest path to a stroke; steps over other values are up to 7 times longer."""
    from skimage.graph import MCP_Geometric

    cost = 1.0 + 3.0 * np.minimum(np.abs(image - hu) / 40.0, 2.0)
    paths = MCP_Geometric(np.where(apart > REACH, -1.0, cost))
    length, _ = paths.find_costs(np.argwhere(marks))
    return np.minimum(length, 2.0 * REACH).astype(np.float32)


def _mean(values: Float, width: int) -> Float:
    """Mean over a box, twice: nearly a Gaussian, and quick."""
    from scipy.ndimage import uniform_filter

    once = uniform_filter(values, width, mode="nearest")
    return np.asarray(uniform_filter(once, width, mode="nearest"), np.float32)


def _hu(difference: Float) -> Float:
    return np.clip(difference / 50.0, -3.0, 3.0)


def _belief_columns(
    scene: Scene, scores: Float, deep: Float, side: Float, at: Places
) -> list[Float]:
    """What was believed of the other side, here and around."""
    depth = scene.depth[at]
    shares = [-side * (2.0 * _mean(scene.was, width)[at] - 1.0) for width in (3, 7)]
    around = [-side * _mean(scores, width)[at] / 4.0 for width in (3, 7)]
    return [
        -side * scores[at] / 4.0, np.full_like(side, scene.scores is not None),
        np.minimum(depth, 12.0) / 6.0, 1.0 / depth, *shares, *around, -side * deep[at] / 4.0,
    ]  # fmt: skip


def _stroke_columns(
    scene: Scene, kinds: list[_Nearest | None], inside: Mask, at: Places
) -> list[Float]:
    """How near strokes are that speak for a change or against it, and what was at them."""
    belongs, outside = kinds

    def of(nearest: _Nearest | None, name: str, default: float) -> Float:
        if nearest is None:
            return np.full(len(inside), default, np.float32)
        return np.asarray(getattr(nearest, name)[at])

    def both(name: str, default: float) -> tuple[Float, Float]:
        yes, no = of(belongs, name, default), of(outside, name, default)
        return np.where(inside, no, yes), np.where(inside, yes, no)

    near, walked = both("apart", 4.0 * REACH), both("walked", 2.0 * REACH)
    like = [_hu(scene.smoothed[at] - hu) for hu in both("hu", NO_HU)]
    sign = np.where(inside, 1.0, -1.0)
    wrong, firm = sign * both("depth", 0.0)[0], -sign * both("depth", 0.0)[1]
    columns = []
    for apart, path in zip(near, walked, strict=True):
        columns += [np.minimum(apart, REACH) / REACH, np.exp(-apart / 3), np.exp(-apart / 10)]
        columns += [path / (2.0 * REACH), np.exp(-path / 5), np.exp(-path / 15)]
    return [
        *columns, like[0], np.abs(like[0]), np.abs(like[1]),
        np.clip((near[0] - near[1]) / 12.0, -1, 1), np.clip((walked[0] - walked[1]) / 24.0, -1, 1),
        np.clip(wrong, -10, 10) / 5.0, np.clip(firm, -10, 10) / 5.0,
        sign * both("scores", 0.0)[0] / 4.0, np.clip(scene.depth[at] - wrong, -10, 10) / 5.0,
    ]  # fmt: skip


def _place_columns(scene: Scene, side: Float, at: Places) -> list[Float]:
    """Whether the value is its own side's or the other's, and where the voxel is."""
    from scipy.ndimage import gaussian_gradient_magnitude

    organ = scene.organ.astype(np.float32)
    image, inside = scene.smoothed, side > 0
    width = max(3, round(NEARBY_MM / scene.spacing_mm) | 1)
    share = _mean(organ, width)
    in_mean = _mean(image * organ, width) / np.maximum(share, 1e-3)
    out_mean = _mean(image * (1 - organ), width) / np.maximum(1 - share, 1e-3)
    core = scene.organ & (scene.depth > 2)
    core = core if core.any() else scene.organ
    middle = float(np.median(image[core])) if core.any() else 0.0
    there = np.where(share > 0.02, in_mean, middle)[at], np.where(share < 0.98, out_mean, -100)[at]
    own, other = np.where(inside, in_mean[at], out_mean[at]), np.where(inside, *there[::-1])
    here = image[at]
    one = np.ones_like(side)
    return [
        np.abs(_hu(here - own)), np.abs(_hu(here - other)),
        _hu(here - own) * np.sign(other - own), np.abs(_hu(here - middle)),
        _hu(scene.image[at] - here),
        np.minimum(gaussian_gradient_magnitude(scene.image, 1.0)[at], 100.0) / 50.0,
        scene.others[at], _mean(scene.others, 3)[at], side,
        one * (np.log(scene.radius_mm / scene.spacing_mm) - 2.0), (here - 50.0) / 100.0,
        one * (scene.spacing_mm - 1.5),
    ]  # fmt: skip


def _profile(scene: Scene, scores: Float, side: Float, at: Places) -> list[Float]:
    """The image and the scores along the line across the border."""
    from scipy.ndimage import gaussian_filter

    signed = np.where(scene.organ, scene.depth, 1 - scene.depth)
    smooth = np.asarray(gaussian_filter(signed, 1.5, truncate=2), np.float32)
    across = np.stack([np.asarray(np.gradient(smooth, axis=axis))[at] for axis in range(3)])
    length = np.asarray(np.linalg.norm(across, axis=0), np.float32)
    across *= -side / np.maximum(length, 1e-3)
    place = np.stack(at).astype(np.float32)
    end = np.array(scene.was.shape)[:, None] - 1
    here, columns = scene.smoothed[at], []
    for step in STEPS:
        there = tuple(np.clip(np.rint(place + step * across), 0, end).astype(np.intp))
        columns.append(_hu(scene.image[there] - here))
        if step in SCORE_STEPS:
            columns.append(-side * scores[there] / 4.0)
    return columns
