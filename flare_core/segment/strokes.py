"""A few strokes -> a corrected organ in 3D, within a second on the CPU.

A person draws "belongs" and "does not belong" in any plane. Inside a box around the strokes the
organ is solved for anew. Each voxel starts with what was believed of it: how the network's score of
this organ stands against the best other class, or without scores how deep in or out of the organ
the voxel lies. A stroke says how wrong that is where it was drawn, and as wrong it is taken to be
for voxels like those of the stroke: near, of alike HU and believed alike (Gaussian process
regression of the error). So a faint belief near a stroke tips, and a firm one far away stays. Then
a random walker with priors (Grady 2005) makes borders follow the edges of the image; strokes are
fixed. Where no stroke is like a voxel, it does not change.

1. box and coarse grid around the strokes (`_place`);
2. what is believed (`_believed`), and how far strokes shift it (`_shifted`);
3. solve (`_solve`), bring the change back to the scan's grid (`_applied`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.resample import covered, resample_intensity
from flare_core.imaging.volume import Volume

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SOFT_TISSUE_HU = (-150.0, 250.0)
"""Values outside count as its ends: bone and air are as different as fat from muscle."""

MOST_MARKED = 200
"""Marked voxels that errors are learned from; of more, so many are drawn."""

FAR = 2.5
"""Lengths from a stroke beyond which nothing is like it."""

LEAST_ODDS, MOST_ODDS = 0.2, 4.0
"""Log-odds of a belief: a label that stands is at least so sure, and nothing is surer."""

LEAST_SPACING = 0.5
"""Of the solution's voxels in a small organ, against those in a large one."""

ROWS = 50_000
"""Voxels compared with strokes at a time; bounds memory."""

FULL_CHANGE = 3.0
"""A voxel takes the whole change if it is more than 1 / this like a stroke, else a part."""


@dataclass(frozen=True)
class StrokeSettings:
    """How far strokes reach and what holds them back; chosen by `benchmarks/strokes.py`."""

    reach_mm: float = 60.0
    """Margin around the strokes inside which voxels may change."""
    spacing_mm: float = 2.5
    """Voxels of the solution; coarser than the scan's where those are finer."""
    length_mm: float = 22.0
    """Distance at which a voxel is 60 % like a stroke's; in a small organ, its radius."""
    least_length_mm: float = 8.0
    """The same in the smallest organ."""
    alike_hu: float = 30.0
    """The same for its value."""
    alike_odds: float = 1.5
    """The same for what the network believes of it, log-odds."""
    alike_depth: float = 3.0
    """The same for what is believed of its depth in the organ, where there are no scores."""
    want: float = 1.5
    """What is to be believed of a stroke's voxels, log-odds."""
    doubt: float = 0.3
    """Variance of what single voxels of strokes say: none is followed to the letter."""
    blur_mm: float = 4.0
    """How fuzzy an organ's border is thought to be where there are no scores."""
    edge_hu: float = 25.0
    """Difference between neighbours that counts as an edge."""
    smooth: float = 2.0
    """Weight of neighbours against belief."""
    most_voxels: int = 1_200_000
    """Of the solution; a larger box gets coarser voxels."""


@dataclass(frozen=True)
class StrokeResult:
    """A corrected organ."""

    mask: Mask
    """The organ (Z, Y, X) on the scan's grid; the caller's array is unchanged."""
    box: Box
    """Outside it nothing changed."""
    added: int
    """Voxels that came to the organ."""
    removed: int
    """Voxels that left it."""


@dataclass(frozen=True, eq=False)
class _Scene:
    """What there is in the box, on the coarse grid."""

    image: Float
    """HU, clipped to soft tissue."""
    was: Float
    """Share of each voxel that the organ fills as it is."""
    inside: Mask
    """Voxels with a stroke that belongs."""
    away: Mask
    """Voxels with a stroke that does not."""
    grid: Geometry
    """Where the voxels are."""


def correct_by_strokes(
    image: Volume,
    mask: Mask,
    belongs: Mask,
    outside: Mask,
    *,
    probability: Volume | None = None,
    protected: Mask | None = None,
    settings: StrokeSettings = StrokeSettings(),
) -> StrokeResult:
    """Correct one organ by strokes.

    Parameters
    ----------
    image : Volume (Z, Y, X), HU
        The scan.
    mask : bool (Z, Y, X)
        The organ as it is.
    belongs, outside : bool (Z, Y, X)
        What the person marked; where both are set, `outside` counts.
    probability : Volume float (z, y, x), 0 to 1, optional
        How the network's score of this organ stands against the best other class
        (`ClassScores.belief`), on any grid with the scan's axes (its own, coarser one). Where a
        person has changed the labels since, the labels count.
    protected : bool (Z, Y, X), optional
        Voxels that must not change, such as organs that were reviewed; strokes on them are ignored.
    settings : StrokeSettings
        Reach and weights.

    Raises
    ------
    InputError
        If shapes differ, or nothing is marked.
    """
    for name, array in (("mask", mask), ("belongs", belongs), ("outside", outside)):
        _check(name, array, image)
    if protected is not None:
        _check("protected", protected, image)
    marked = _marked(belongs | outside, protected)
    settings = _for_size(settings, np.count_nonzero(mask | belongs) * image.geometry.voxel_ml)
    box, grid = _place(marked, image.geometry, settings)
    here, scan = box.slices, image.geometry.crop(box)
    free = np.ones(box.shape, bool) if protected is None else ~protected[here]
    before, no = mask[here], outside[here] & free
    yes = belongs[here] & free & ~no
    ct = np.clip(image.array[here], *SOFT_TISSUE_HU).astype(np.float32)
    coarse = np.asarray(resample_intensity(Volume(ct, scan), grid).array, np.float32)
    was, away = _fraction(before, scan, grid), _hit(no, scan, grid)
    scene = _Scene(coarse, was, _hit(yes, scan, grid) & ~away, away, grid)
    after = _applied(_change(scene, probability, settings), before, scan)
    after = ((after & ~_refused(before, yes, no)) | yes) & ~no
    after = np.where(free, after, before)
    new = mask.copy()
    new[here] = after
    added, removed = (int(np.count_nonzero(m)) for m in (after & ~before, before & ~after))
    return StrokeResult(new, box, added, removed)


def _for_size(settings: StrokeSettings, organ_ml: float) -> StrokeSettings:
    """Return what suits an organ of a size: in a small one strokes reach less far, and finer."""
    radius_mm = 10.0 * (0.75 * organ_ml / np.pi) ** (1 / 3)
    length = float(np.clip(radius_mm, settings.least_length_mm, settings.length_mm))
    share = length / settings.length_mm
    return replace(
        settings,
        length_mm=length,
        reach_mm=share * settings.reach_mm,
        spacing_mm=max(share, LEAST_SPACING) * settings.spacing_mm,
    )


def _marked(strokes: Mask, protected: Mask | None) -> Box:
    """Return the box around the strokes, as far as they are on voxels that may change."""
    box = Box.of_mask(strokes if protected is None else strokes & ~protected)
    if box is None:
        raise InputError(
            "strokes", "no voxel is marked (or only protected ones)", "at least one marked voxel",
            "Draw over what belongs to the organ, or over what does not.",
        )  # fmt: skip
    return box


def _check(name: str, array: npt.NDArray[np.generic], image: Volume) -> None:
    if array.shape != image.geometry.shape or array.dtype != np.bool_:
        raise InputError(
            name, f"{array.dtype} of shape {array.shape}", f"bool of shape {image.geometry.shape}",
            "Pass masks on the scan's own grid.",
        )  # fmt: skip


def _place(marked: Box, geometry: Geometry, settings: StrokeSettings) -> tuple[Box, Geometry]:
    """Return the box on the scan's grid, and the grid of the solution over it."""
    margin = tuple(int(np.ceil(settings.reach_mm / s)) for s in geometry.spacing_mm)
    box = marked.grow((margin[0], margin[1], margin[2]), geometry.shape)
    part = geometry.crop(box)
    spacing = settings.spacing_mm
    while True:
        coarse = tuple(max(s, spacing) for s in part.spacing_mm)
        grid = part.with_spacing((coarse[0], coarse[1], coarse[2]))
        if np.prod(grid.shape) <= settings.most_voxels:
            return box, grid
        spacing *= 1.2


def _fraction(mask: Mask, scan: Geometry, grid: Geometry) -> Float:
    """Share of each coarse voxel that the mask fills."""
    part = Volume(mask.astype(np.uint8), scan)
    return np.asarray(resample_intensity(part, grid, clip_hu=(0.0, 1.0)).array, np.float32)


def _hit(marked: Mask, scan: Geometry, grid: Geometry) -> Mask:
    """Coarse voxels in which a marked voxel lies: thin strokes must not be averaged away."""
    hit = np.zeros(grid.shape, bool)
    places = np.argwhere(marked)
    if len(places):
        coarse = np.rint(grid.lps_to_voxel(scan.voxel_to_lps(places))).astype(int)
        hit[tuple(np.clip(coarse, 0, np.array(grid.shape) - 1).T)] = True
    return hit


def _change(scene: _Scene, probability: Volume | None, settings: StrokeSettings) -> Volume:
    """Return by how much the organ's share of each coarse voxel changes, -1 to 1."""
    odds = _believed(scene, probability, settings)
    scale = settings.alike_depth if probability is None else settings.alike_odds
    shift, like = _shifted(scene, odds, scale, settings)
    target = 1.0 / (1.0 + np.exp(-(odds + shift)))
    solved = _solve(scene, target.astype(np.float32), settings)
    change = np.minimum(1.0, FULL_CHANGE * like) * (solved - scene.was)
    return Volume(change.astype(np.float32), scene.grid)


def _believed(scene: _Scene, probability: Volume | None, settings: StrokeSettings) -> Float:
    """Log-odds of the organ, on the labels' side: the network's where it agrees with them.

    Where there are no scores, or a person has changed the labels since, depth in the organ counts.
    """
    from scipy.ndimage import gaussian_filter

    organ = scene.was > 0.5
    sigma = [settings.blur_mm / s for s in scene.grid.spacing_mm]
    depth = _odds(gaussian_filter(scene.was, sigma))
    sides = np.maximum(depth, LEAST_ODDS), np.minimum(depth, -LEAST_ODDS)
    depth = np.where(organ, *sides).astype(np.float32)
    if probability is None:
        return depth
    known = covered(probability.geometry, scene.grid)
    if known.empty:
        return depth
    scores = np.zeros_like(depth)
    inside = scene.grid.crop(known)
    resampled = resample_intensity(probability, inside, clip_hu=(0.0, 1.0)).array
    scores[known.slices] = _odds(np.asarray(resampled, np.float32))
    agree = (scores != 0) & ((scores > 0) == organ)
    return np.where(agree, scores, depth).astype(np.float32)


def _odds(share: Float) -> Float:
    """Log-odds of a probability, at most `MOST_ODDS`."""
    safe = np.clip(share, 1e-3, 1.0 - 1e-3)
    return np.clip(np.log(safe / (1.0 - safe)), -MOST_ODDS, MOST_ODDS).astype(np.float32)


def _shifted(
    scene: _Scene, odds: Float, scale: float, settings: StrokeSettings
) -> tuple[Float, Float]:
    """How wrong the belief is by what strokes say, log-odds; and how like a stroke each voxel is.

    Only strokes that say something new count as such: one over what was known holds others back.
    """
    from scipy.ndimage import distance_transform_edt

    marked = np.argwhere(scene.inside | scene.away)
    if len(marked) > MOST_MARKED:
        marked = np.random.default_rng(0).permutation(marked)[:MOST_MARKED]
    place = tuple(marked.T)
    sign = np.where(scene.inside[place], 1.0, -1.0)
    wrong = np.where(sign * odds[place] >= settings.want, 0, sign * settings.want - odds[place])
    strokes = _features(marked, scene, odds / scale, settings)
    own = _alike(strokes, strokes).astype(float)
    weights = np.linalg.solve(own + settings.doubt * np.eye(len(own)), wrong).astype(np.float32)
    new = wrong != 0 if wrong.any() else np.ones(len(wrong), bool)
    blank = np.ones(odds.shape, bool)
    blank[place] = False
    spacing = scene.grid.spacing_mm
    near = distance_transform_edt(blank, spacing) < FAR * settings.length_mm
    shift, like = np.zeros_like(odds), np.zeros_like(odds)
    for few in np.array_split(np.argwhere(near), 1 + np.count_nonzero(near) // ROWS):
        there = tuple(few.T)
        alike = _alike(_features(few, scene, odds / scale, settings), strokes)
        shift[there], like[there] = alike @ weights, alike[:, new].max(axis=1)
    return shift, like


def _features(
    places: npt.NDArray[np.int64], scene: _Scene, belief: Float, settings: StrokeSettings
) -> Float:
    """What voxels (n, 3) are compared by, in units of the lengths at which they are alike."""
    mm = places * np.array(scene.grid.spacing_mm) / settings.length_mm
    at = tuple(places.T)
    value = scene.image[at] / settings.alike_hu
    return np.column_stack([mm, value, belief[at]]).astype(np.float32)


def _alike(a: Float, b: Float) -> Float:
    """How alike voxels are, 0 to 1: (n, m) for features (n, d) and (m, d)."""
    middle = b.mean(axis=0)  # float32 squares of what is far from 0 would be coarse
    a, b = a - middle, b - middle
    apart = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.exp(-0.5 * np.maximum(apart, 0)).astype(np.float32)


def _solve(scene: _Scene, target: Float, settings: StrokeSettings) -> Float:
    """Minimise sum w (x - x')^2 + sum (x - target)^2, strokes fixed, by conjugate gradients.

    Neighbours' weights w fall with the difference of their values, and with their distance.
    """
    weights = [_ties(scene, axis, settings) for axis in range(3)]
    start = np.where(scene.inside, 1.0, np.where(scene.away, 0.0, target)).astype(np.float32)
    diagonal = np.ones_like(target)
    for axis, tie in enumerate(weights):
        low, high = _neighbours(axis)
        diagonal[low] += tie
        diagonal[high] += tie
    free = ~(scene.inside | scene.away)

    def times(x: Float) -> Float:
        result = diagonal * x
        for axis, tie in enumerate(weights):
            low, high = _neighbours(axis)
            result[low] -= tie * x[high]
            result[high] -= tie * x[low]
        return result

    return start + _conjugate_gradients(times, (target - times(start)) * free, free, diagonal)


def _ties(scene: _Scene, axis: int, settings: StrokeSettings) -> Float:
    step = np.diff(scene.image, axis=axis) / settings.edge_hu
    apart = (settings.spacing_mm / scene.grid.spacing_mm[axis]) ** 2
    return (settings.smooth * apart * (np.exp(-(step**2)) + 0.02)).astype(np.float32)


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low, high = [slice(None)] * 3, [slice(None)] * 3
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return tuple(low), tuple(high)


def _conjugate_gradients(
    times: Callable[[Float], Float], right: Float, free: Mask, diagonal: Float
) -> Float:
    """Solve for the change of the free voxels, preconditioned by the diagonal."""
    x = np.zeros_like(right)
    residual = right.copy()
    scaled = residual / diagonal
    direction = scaled.copy()
    fit = float(np.vdot(residual, scaled))
    for _ in range(80):
        if fit < 1e-7 * right.size:
            break
        moved = times(direction) * free
        step = fit / max(float(np.vdot(direction, moved)), 1e-20)
        x += step * direction
        residual -= step * moved
        scaled = residual / diagonal
        better = float(np.vdot(residual, scaled))
        direction = scaled + (better / fit) * direction
        fit = better
    return x


def _refused(mask: Mask, belongs: Mask, outside: Mask) -> Mask:
    """Pieces apart from the largest one that were marked as not belonging: they go whole."""
    from scipy.ndimage import label

    pieces, count = label(mask)
    if count < 2:
        return np.zeros_like(mask)
    sizes = np.bincount(pieces.ravel())
    goes = np.zeros(count + 1, bool)
    goes[np.unique(pieces[outside])] = True
    goes[np.unique(pieces[belongs])] = False
    goes[[0, int(sizes[1:].argmax()) + 1]] = False
    return np.asarray(goes[pieces])


def _applied(change: Volume, mask: Mask, scan: Geometry) -> Mask:
    """Add the change of share, interpolated, to the mask as it is."""
    fine = resample_intensity(change, scan, clip_hu=(-1.0, 1.0)).array
    return np.asarray(mask + np.asarray(fine) > 0.5)
