"""A few strokes -> a corrected organ in 3D, within a second on the CPU.

A person draws "belongs" and "does not belong" in any plane. Inside a box around the strokes the
organ is solved for anew: a random walker with priors (Grady 2005, "Multilabel random walker image
segmentation using prior models"). Each voxel holds on to what was believed of it (the network's
probability, or the labels as they are) and to its neighbours, least across edges of the image;
strokes are fixed. Near a stroke, counted along paths that cross no edge, belief gives way to the
look of what was marked. Where nothing changes in the solution, no voxel changes.

1. box and coarse grid around the strokes (`_place`);
2. how near each voxel is to a stroke (`_nearness`), what it looks like (`_look`);
3. solve (`_solve`), bring the change back to the scan's grid (`_applied`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.resample import resample_intensity
from flare_core.imaging.volume import Volume

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SOFT_TISSUE_HU = (-150.0, 250.0)
"""Values outside count as its ends: bone and air are as different as fat from muscle."""

LEAST_SAMPLES = 30
"""Marked voxels from which a spread of values can be told."""


@dataclass(frozen=True)
class StrokeSettings:
    """How far strokes reach and what holds them back; chosen by `benchmarks/strokes.py`."""

    reach_mm: float = 60.0
    """Margin around the strokes inside which voxels may change."""
    spacing_mm: float = 2.5
    """Voxels of the solution; coarser than the scan's where those are finer."""
    near_mm: float = 28.0
    """Path length from a stroke at which belief and look weigh alike."""
    edge_hu: float = 25.0
    """Difference between neighbours that counts as an edge."""
    smooth: float = 6.0
    """Weight of neighbours against belief."""
    look: float = 1.5
    """Weight of the look of what was marked, log-odds."""
    pull: float = 1.5
    """Weight of the strokes themselves, log-odds."""
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
        What the network believes of this organ, on any grid with the scan's axes (its own, coarser
        one). Where a person has changed the labels since, the labels count.
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
    free = np.ones_like(mask) if protected is None else ~protected
    outside = outside & free
    belongs = belongs & free & ~outside
    marked = Box.of_mask(belongs | outside)
    if marked is None:
        raise InputError(
            "strokes", "no voxel is marked (or only protected ones)", "at least one marked voxel",
            "Draw over what belongs to the organ, or over what does not.",
        )  # fmt: skip
    box, grid = _place(marked, image.geometry, settings)
    ct = np.clip(image.array[box.slices], *SOFT_TISSUE_HU).astype(np.float32)
    coarse = resample_intensity(Volume(ct, image.geometry.crop(box)), grid).array
    was = _fraction(mask, box, image.geometry, grid)
    inside, away = (_hit(each, box, image.geometry, grid) for each in (belongs, outside))
    scene = _Scene(np.asarray(coarse, np.float32), was, inside & ~away, away, grid)
    belief = was if probability is None else _believed(was, probability, grid)
    new = _applied(_solved(scene, belief, settings) - was, mask, box, image.geometry, grid)
    new[box.slices] &= ~_refused(mask[box.slices], belongs[box.slices], outside[box.slices])
    new[box.slices] |= belongs[box.slices]
    new[box.slices] &= ~outside[box.slices]
    new = np.where(free, new, mask)
    added, removed = (int(np.count_nonzero(each)) for each in (new & ~mask, mask & ~new))
    return StrokeResult(new, box, added, removed)


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


def _fraction(mask: Mask, box: Box, geometry: Geometry, grid: Geometry) -> Float:
    """Share of each coarse voxel that the mask fills."""
    part = Volume(mask[box.slices].astype(np.uint8), geometry.crop(box))
    return np.asarray(resample_intensity(part, grid, clip_hu=(0.0, 1.0)).array, np.float32)


def _hit(marked: Mask, box: Box, geometry: Geometry, grid: Geometry) -> Mask:
    """Coarse voxels in which a marked voxel lies: thin strokes must not be averaged away."""
    hit = np.zeros(grid.shape, bool)
    places = np.argwhere(marked[box.slices])
    if len(places):
        world = geometry.crop(box).voxel_to_lps(places)
        coarse = np.rint(grid.lps_to_voxel(world)).astype(int)
        hit[tuple(np.clip(coarse, 0, np.array(grid.shape) - 1).T)] = True
    return hit


def _believed(was: Float, probability: Volume, grid: Geometry) -> Float:
    """The network's probability, but the labels where somebody changed them since."""
    resampled = resample_intensity(probability, grid, clip_hu=(0.0, 1.0)).array
    believed = np.asarray(resampled, np.float32)
    return np.where((believed > 0.5) == (was > 0.5), believed, was).astype(np.float32)


def _solved(scene: _Scene, belief: Float, settings: StrokeSettings) -> Float:
    """The organ's probability on the coarse grid; as it was where no stroke is near."""
    was = scene.was
    yes = _nearness(scene, scene.inside, scene.inside & (was < 0.5), settings)
    no = _nearness(scene, scene.away, scene.away & (was >= 0.5), settings)
    near = np.maximum(yes, no)
    clipped = np.clip(belief, 0.02, 0.98)
    odds = np.log(clipped / (1.0 - clipped))
    said = settings.look * _look(scene) + settings.pull * (yes - no)
    target = 1.0 / (1.0 + np.exp(-((1.0 - near) * odds + near * said)))
    solved = _solve(
        scene, target.astype(np.float32), np.float32(1) - np.float32(0.9) * near, settings
    )
    return was + np.minimum(1.0, 3.0 * near) * (solved - was)


def _nearness(scene: _Scene, strokes: Mask, news: Mask, settings: StrokeSettings) -> Float:
    """1 on the strokes, .5 at `near_mm` along paths; edges make paths longer.

    Where some strokes say something new, those that say what was known reach nowhere.
    """
    from skimage.graph import MCP_Geometric

    image = scene.image
    start = np.argwhere(news if news.any() else strokes)
    if not len(start):
        return np.zeros(image.shape, np.float32)
    edges = np.zeros(image.shape)
    for axis in range(3):
        if image.shape[axis] > 1:
            edges += np.abs(np.gradient(image, axis=axis))
    paths = MCP_Geometric(1.0 + edges / settings.edge_hu * 2.0, sampling=scene.grid.spacing_mm)
    distance, _ = paths.find_costs(start)
    return np.exp2(-((distance / settings.near_mm) ** 2)).astype(np.float32)


def _look(scene: _Scene) -> Float:
    """Log-odds of each voxel by its value: like what was marked, or like what was marked away.

    Where one side has few marks, the organ (or what is around it) as it was stands in.
    """
    image, inside, away = scene.image, scene.inside, scene.away
    organ = (scene.was > 0.5) & ~away
    other = (scene.was < 0.5) & ~inside
    ours = image[inside] if inside.sum() >= LEAST_SAMPLES else image[inside | organ]
    theirs = image[away] if away.sum() >= LEAST_SAMPLES else image[away | other]
    if not len(ours) or not len(theirs):
        return np.zeros_like(image)
    edges = np.linspace(*SOFT_TISSUE_HU, 41)
    shares = [_smooth_shares(values, edges) for values in (ours, theirs)]
    bins = np.clip(np.digitize(image, edges) - 1, 0, 39)
    return np.clip(np.log(shares[0] / shares[1]), -2.0, 2.0)[bins].astype(np.float32)


def _smooth_shares(values: Float, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter1d

    counts = np.histogram(values, edges)[0].astype(float)
    smooth = gaussian_filter1d(counts, 2.0, mode="nearest") + 0.01 * len(values) / len(counts)
    return np.asarray(smooth / smooth.sum())


def _solve(scene: _Scene, target: Float, hold: Float, settings: StrokeSettings) -> Float:
    """Minimise sum w (x - x')^2 + sum hold (x - target)^2, strokes fixed, by conjugate gradients.

    Neighbours' weights w fall with the difference of their values, and with their distance.
    """
    weights = [_ties(scene, axis, settings) for axis in range(3)]
    start = np.where(scene.inside, 1.0, np.where(scene.away, 0.0, target)).astype(np.float32)
    diagonal = hold.astype(np.float32).copy()
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

    return start + _conjugate_gradients(
        times, (hold * target - times(start)) * free, free, diagonal
    )


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


def _applied(change: Float, mask: Mask, box: Box, geometry: Geometry, grid: Geometry) -> Mask:
    """Add the change of probability, interpolated, to the mask as it is."""
    fine = resample_intensity(Volume(change, grid), geometry.crop(box), clip_hu=(-1.0, 1.0)).array
    new = mask.copy()
    new[box.slices] = mask[box.slices] + np.asarray(fine) > 0.5
    return new
