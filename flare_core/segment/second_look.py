"""Bright lesions of a stage that learned dark ones: a second look, at mirrored HU.

1. What in the organs is bright, compact and by itself (`box_of_blobs`)? Most scans have nothing
   such, and are not looked at again.
2. The stage looks again around that, at HU mirrored about the organs' median: what was brighter is
   darker.
3. A piece of what it finds is a lesion if it is bright and compact, and nothing as bright goes on
   around it (`beyond`): a vessel is long, and goes on. What touches a lesion of the first look is
   left to that.

All of it is found on the stage's grid from smoothed HU (`lesion_edges`). In 29 scans, ten patients
with liver tumours among them, vessels had .68 and more of their volume beyond them, nodules .09 and
less (docs/models.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from flare_core.imaging.geometry import Box
from flare_core.models.stage_card import SecondLook
from flare_core.segment.lesion_edges import OrganHu, look_again, with_edge
from flare_core.segment.lesions import Piece, connected, widened
from flare_core.segment.postprocess import ALL_NEIGHBOURS, Slices
from flare_core.segment.stage import LoadedStage, SeenOrgans

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

RISES_HU = (11.0, 15.0, 20.0, 27.0, 36.0, 48.0, 64.0)
"""Heights above the median at which blobs are looked for."""

LARGEST_ML = 200.0
"""A larger blob is none: noise and vessels hang together at low heights."""

CORE = (1.5, 0.2)
"""Of a blob at a height, at least the second share lies above the first times the height."""

LONGEST = (2.0, 2.5)
"""A blob, and a lesion, is at most this many times as long as it is broad, and as it is thin."""

LEAST_FILLED = 0.7
"""Of the ellipsoid with its axes, at least this share is filled by a blob."""

LEAST_WITHIN = 0.5
"""At least this share of a blob lies in the organs: the rest of what is seen is their rim."""

MOST_TOUCHED = 0.1
"""At most this share of a blob lies at a lesion of the first look."""

AROUND_MM = 45.0
"""How far around what is bright and compact the stage looks again."""

MOST_SHARE = 1 / 3
"""If that is a larger share of what the stage sees, it looks at all of it again: in a part it finds
what it finds in the whole, but for one of fifteen lesions, in half a liver (docs/models.md)."""

REACH_MM = 20.0
"""How far around a piece one looks for what goes on."""

AWAY_MM = 4.0
"""What lies further from a piece than this goes on; nearer it is the piece's own blurred edge."""


def bright_scores(
    stage: LoadedStage,
    organs: OrganHu,
    first: Mask,
    *,
    tile_step: float | None = None,
    notify: Callable[[float], None] | None = None,
) -> Tensor | None:
    """Return the stage's scores in the bright lesions it finds, and minus infinity elsewhere.

    Parameters
    ----------
    stage : LoadedStage
        With a `mask`, `regions` and a `second_look`.
    organs : OrganHu
        What the first look saw.
    first : bool (Z, Y, X)
        Lesions of the first look.
    tile_step : float, optional
        As that of the first look.
    notify : callable, optional
        Told the share done, 0 to 1; may raise to stop.

    Returns
    -------
    float32 (Z, Y, X), or None
        On the stage's grid; None if there is no such lesion.
    """
    card, seen, look = stage.card, organs.seen, stage.card.second_look
    assert look is not None
    spacing_mm = seen.geometry.spacing_mm
    blobs = box_of_blobs(
        organs.rise, organs.inside, first, spacing_mm=spacing_mm, least_ml=card.least_ml
    )
    if blobs is None:
        return None
    box = _around(blobs, spacing_mm, Box.of_shape(seen.mask.shape))
    mirrored = np.float32(2 * organs.median) - seen.hu
    logits = look_again(stage, seen, mirrored, box=box, tile_step=tile_step, notify=notify)
    chance = logits.sigmoid().numpy()
    found = np.zeros_like(seen.mask)
    for piece in connected(chance > card.threshold):
        ml = piece.voxels * seen.geometry.voxel_ml
        if (
            ml >= card.least_ml
            and chance[piece.box][piece.mask].max() >= look.peak
            and not touches(piece, first)
            and is_lesion(piece, organs.rise, seen, look)
        ):
            found[piece.box] |= piece.mask
    if not found.any():
        return None
    return with_edge(logits, found)


def _around(blobs: Box, spacing_mm: Sequence[float], whole: Box) -> Box:
    """Return where to look again, of the whole grid."""
    z, y, x = (math.ceil(AROUND_MM / mm) for mm in spacing_mm)
    box = blobs.grow((z, y, x), whole.shape)
    return box if math.prod(box.shape) <= MOST_SHARE * math.prod(whole.shape) else whole


def box_of_blobs(
    rise: Floats, inside: Mask, first: Mask, *, spacing_mm: Sequence[float], least_ml: float
) -> Box | None:
    """Return the box of all parts of the organs that are bright, compact and by themselves.

    Parameters
    ----------
    rise : float32 (Z, Y, X)
        Smoothed HU above the organs' median.
    inside : bool (Z, Y, X)
        The organs.
    first : bool (Z, Y, X)
        Lesions of the first look.
    spacing_mm : (float, float, float)
        z, y, x.
    least_ml : float
        Smaller ones do not count.

    Returns
    -------
    Box or None
        None if nothing is such at any height.
    """
    voxel_ml = math.prod(spacing_mm) / 1000
    least, most = max(1.0, least_ml / voxel_ml), LARGEST_ML / voxel_ml
    boxes = [
        Box.of_slices(place)
        for height in RISES_HU
        for number, place, part in _parts(rise, height, least, most)
        if _is_blob(part == number, place, inside, first, spacing_mm)
    ]
    return reduce(Box.union, boxes) if boxes else None


def _parts(
    rise: Floats, height: float, least: float, most: float
) -> list[tuple[int, Slices, npt.NDArray[np.int32]]]:
    """Return number, box and numbers in that box of the parts above a height that have a core."""
    numbers, count = ndimage.label(rise > height)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    cores = np.bincount(numbers[rise > CORE[0] * height], minlength=count + 1)
    fit = (sizes >= least) & (sizes <= most) & (cores >= CORE[1] * sizes)
    fit[0] = False
    boxes = ndimage.find_objects(numbers) if fit.any() else []
    return [(n, boxes[n - 1], numbers[boxes[n - 1]]) for n in np.flatnonzero(fit).tolist()]


def _is_blob(
    part: Mask, place: Slices, inside: Mask, first: Mask, spacing_mm: Sequence[float]
) -> bool:
    """Return whether a part is compact, in the organs, and no lesion already."""
    if inside[place][part].mean() < LEAST_WITHIN:
        return False
    ellipsoid = math.pi / 6 * math.prod(axes_mm(part, spacing_mm))
    filled = np.count_nonzero(part) * math.prod(spacing_mm) / ellipsoid
    if filled < LEAST_FILLED or not is_compact(part, spacing_mm):
        return False
    wide, inner = widened(place, (1, 1, 1), first.shape)
    at = ndimage.binary_dilation(first[wide], ALL_NEIGHBOURS)[inner]
    return bool(at[part].mean() < MOST_TOUCHED)


def axes_mm(mask: Mask, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Return the axes of a mask (Z, Y, X), mm, the longest first: four SDs of where its voxels are.

    An ellipsoid's are nine tenths of its own.

    Examples
    --------
    >>> [round(mm, 1) for mm in axes_mm(np.ones((1, 1, 10), bool), (1.0, 1.0, 1.0))]
    [12.2, 1.2, 1.2]
    """
    size = np.asarray(spacing_mm)
    away = (np.argwhere(mask) - np.argwhere(mask).mean(axis=0)) * size
    spread = away.T @ away / max(1, len(away) - 1) + np.diag(size**2 / 12)
    thin, broad, long = 4 * np.sqrt(np.linalg.eigvalsh(spread))
    return float(long), float(broad), float(thin)


def is_compact(mask: Mask, spacing_mm: Sequence[float]) -> bool:
    """Return whether a mask (Z, Y, X) is no longer than a lesion (`LONGEST`)."""
    long, broad, thin = axes_mm(mask, spacing_mm)
    return long <= LONGEST[0] * broad and long <= LONGEST[1] * thin


def touches(piece: Piece, others: Mask) -> bool:
    """Return whether a piece lies in or at (faces, edges, corners) other findings (Z, Y, X)."""
    wide, inner = widened(piece.box, (1, 1, 1), others.shape)
    near = ndimage.binary_dilation(others[wide], ALL_NEIGHBOURS)
    return bool(near[inner][piece.mask].any())


def is_lesion(piece: Piece, rise: Floats, seen: SeenOrgans, look: SecondLook) -> bool:
    """Return whether a piece is bright and compact, and little as bright goes on around it.

    Parameters
    ----------
    rise : float32 (Z, Y, X)
        Smoothed HU above the organs' median.
    """
    spacing_mm = seen.geometry.spacing_mm
    return (
        bool(rise[piece.box][piece.mask].mean() >= look.least_rise_hu)
        and is_compact(piece.mask, spacing_mm)
        and beyond(piece, rise, spacing_mm) <= look.most_beyond
    )


def beyond(piece: Piece, rise: Floats, spacing_mm: Sequence[float]) -> float:
    """Return how much goes on of what hangs together with a piece, as a share of its volume.

    That is what rises above half of the height that a quarter of the piece reaches, through faces
    and within `REACH_MM`, but lies more than `AWAY_MM` from the piece.
    """
    reach = [int(REACH_MM / mm) + 1 for mm in spacing_mm]
    wide, inner = widened(piece.box, reach, rise.shape)
    around = rise[wide]
    own = np.zeros(around.shape, np.bool_)
    own[inner] = piece.mask
    half = float(np.percentile(around[own], 75)) / 2
    numbers, count = ndimage.label((around > half) | own)
    joined = np.zeros(count + 1, np.bool_)
    joined[numbers[own]] = True
    away = ndimage.distance_transform_edt(~own, sampling=spacing_mm) > AWAY_MM
    return float(np.count_nonzero(joined[numbers] & away) / piece.voxels)
