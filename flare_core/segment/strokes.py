"""A few strokes -> a corrected organ in 3D, within a second on the CPU.

A person draws "belongs" and "does not belong" in any plane. Inside a box around the strokes each
voxel is asked whether it changes sides: what the network's scores, the image and the labels say
about it, how it compares with the nearest strokes and how deep these lie in the wrong side
(`stroke_features`). A small perceptron that has seen many strokes over real networks' errors
answers (`stroke_judge`); a random walker moves borders to the image's edges (`random_walk`).
Strokes are obeyed to the voxel, and far from them nothing changes.

1. box and grid around the strokes, as fine as the organ is small (`_place`);
2. each voxel's new share of the organ (`_change`);
3. the change brought back to the scan's grid (`_applied`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.checks import check_finite
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.resample import covered, filled_share, resample_intensity, voxels_hit
from flare_core.imaging.volume import Volume
from flare_core.segment.random_walk import settled
from flare_core.segment.stroke_features import REACH, Float, Mask, Scene, features, odds_of
from flare_core.segment.stroke_judge import default_judge

SOFT_TISSUE_HU = (-150.0, 250.0)
"""Values outside count as its ends: bone and air are as different as fat from muscle."""

FADE = 6
"""Voxels over which changes fade out, at the end of `REACH`."""

FULL = 3.0
"""A share that changes by more than 1 / this is taken as it is."""

MARGIN = 4
"""Voxels around what may change, for what is seen there."""

EDGE_HU, SMOOTH = 25.0, 1.0
"""A step between neighbours that is an edge, and their weight against each voxel's own odds."""


@dataclass(frozen=True)
class StrokeSettings:
    """How fine the solution is."""

    finest_mm: float = 1.25
    """Voxels of the solution in a small organ."""
    coarsest_mm: float = 2.5
    """The same in a large one; the reach of strokes is `REACH` of them."""
    across_radius: float = 12.0
    """Voxels that an organ's radius has, between the two."""
    most_voxels: int = 400_000
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


def correct_by_strokes(
    image: Volume,
    mask: Mask,
    belongs: Mask,
    outside: Mask,
    *,
    probability: Volume | None = None,
    others: Mask | None = None,
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
    others : bool (Z, Y, X), optional
        Voxels of other organs; they may come to this one, if less readily than what is none.
    protected : bool (Z, Y, X), optional
        Voxels that must not change, such as organs that were reviewed; strokes on them are ignored.
    settings : StrokeSettings
        How fine the solution is.

    Raises
    ------
    InputError
        If shapes differ, nothing is marked, or voxels around the strokes are NaN or infinite.
    """
    given = {"mask": mask, "belongs": belongs, "outside": outside}
    given |= {"others": others} if others is not None else {}
    given |= {"protected": protected} if protected is not None else {}
    for name, array in given.items():
        _check(name, array, image)
    marked = _marked(belongs | outside, protected)
    coming = belongs & ~outside if protected is None else belongs & ~outside & ~protected
    organ_ml = np.count_nonzero(mask | coming) * image.geometry.voxel_ml
    box, grid = _place(marked, image.geometry, organ_ml, settings)
    here, scan = box.slices, image.geometry.crop(box)
    free = np.ones(box.shape, bool) if protected is None else ~protected[here]
    check_finite("image", image.array[here])
    before, no = mask[here], outside[here] & free
    yes = belongs[here] & free & ~no
    ct = np.clip(image.array[here], *SOFT_TISSUE_HU).astype(np.float32)
    away = voxels_hit(no, scan, grid)
    scene = Scene(
        np.asarray(resample_intensity(Volume(ct, scan), grid).array, np.float32),
        filled_share(before, scan, grid),
        odds_on(probability, grid),
        filled_share(
            np.zeros_like(before) if others is None else others[here] & ~before, scan, grid
        ),
        voxels_hit(yes, scan, grid) & ~away,
        away,
        float(np.mean(grid.spacing_mm)),
        radius_mm(organ_ml),
    )
    after = _applied(Volume(_change(scene, grid), grid), scene.was, before, scan)
    after = ((after & ~_refused(before, yes, no)) | yes) & ~no
    after = np.where(free, after, before)
    new = mask.copy()
    new[here] = after
    added, removed = (int(np.count_nonzero(m)) for m in (after & ~before, before & ~after))
    return StrokeResult(new, box, added, removed)


def radius_mm(organ_ml: float) -> float:
    """Radius of a ball as large as an organ.

    Examples
    --------
    >>> round(radius_mm(4.18879), 3)
    10.0
    """
    return float(10.0 * (0.75 * max(organ_ml, 1e-3) / np.pi) ** (1 / 3))


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


def _place(
    marked: Box, geometry: Geometry, organ_ml: float, settings: StrokeSettings
) -> tuple[Box, Geometry]:
    """Return the box on the scan's grid, and the grid of the solution over it."""
    wanted = radius_mm(organ_ml) / settings.across_radius
    spacing = float(np.clip(wanted, settings.finest_mm, settings.coarsest_mm))
    margin = [int(np.ceil((REACH + MARGIN) * spacing / mm)) for mm in geometry.spacing_mm]
    box = marked.grow((margin[0], margin[1], margin[2]), geometry.shape)
    part = geometry.crop(box)
    while True:
        grid = part.with_spacing((spacing, spacing, spacing))
        if np.prod(grid.shape) <= settings.most_voxels:
            return box, grid
        spacing *= 1.1


def odds_on(probability: Volume | None, grid: Geometry) -> Float | None:
    """Return the log-odds of an organ by the network on a grid, 0 where it did not look."""
    if probability is None:
        return None
    scores = np.zeros(grid.shape, np.float32)
    known = covered(probability.geometry, grid)
    if not known.empty:
        resampled = resample_intensity(probability, grid.crop(known), clip_hu=(0.0, 1.0)).array
        scores[known.slices] = odds_of(np.asarray(resampled, np.float32))
    return scores


def _change(scene: Scene, grid: Geometry) -> Float:
    """Return by how much the organ's share of each voxel changes, -1 to 1."""
    marked = scene.belongs | scene.outside
    change = np.zeros_like(scene.was)
    if marked.any():
        voxels = features(scene)
        goes = 1.0 / (1.0 + np.exp(-default_judge().odds(voxels)))
        target = scene.organ.astype(np.float32)
        target[voxels.places] = np.where(scene.organ[voxels.places], 1.0 - goes, goes)
        target[scene.belongs], target[scene.outside] = 1.0, 0.0
        solved = settled(
            scene.image, target, marked, grid.spacing_mm, edge_hu=EDGE_HU, smooth=SMOOTH
        )
        fade = np.clip((REACH - voxels.apart) / FADE, 0.0, 1.0)
        change[voxels.places] = fade * (solved - scene.was)[voxels.places]
    return change


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


def _applied(change: Volume, was: Float, mask: Mask, scan: Geometry) -> Mask:
    """Return the mask with the new shares: its own detail counts where they are as they were."""

    def fine(values: Float) -> Float:
        volume = change.with_array(values)
        return np.asarray(resample_intensity(volume, scan, clip_hu=(-1.0, 1.0)).array)

    by = fine(np.asarray(change.array, np.float32))
    kept = 1.0 - np.minimum(1.0, FULL * np.abs(by))
    shared = fine(was)
    return np.asarray(shared + by + kept * (mask - shared) > 0.5)
