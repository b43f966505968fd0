"""One stroke over a lesion that was missed -> the lesion in 3D; one over a false one -> it is gone.

A person draws along a lesion's longest diameter. Its values are those under the stroke, its size is
about the stroke's length, and it stays inside the organ that it was drawn in. So a voxel's belief
is the likelihood of its value under the stroke's distribution against the organ's healthy one, and
falls with the distance from the stroke; a random walker finds the edge.

1. one piece of strokes after another (`_drawn`): where to look, on which grid (`_place`);
2. how likely each voxel is (`_believed`), the edge (`random_walk`), the piece of the stroke;
3. pieces of lesions that were marked as none go whole (`without_marked`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import LESION
from flare_core.errors import InputError
from flare_core.imaging.checks import check_finite
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.label_map import absorbed
from flare_core.imaging.resample import filled_share, resample_intensity, voxels_hit
from flare_core.imaging.volume import Volume
from flare_core.segment.random_walk import settled

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]

VALUES_HU = (-200.0, 400.0)
"""Values outside count as its ends."""

LEAST_RADIUS_MM = 3.0
"""Of a lesion, however short its stroke."""

VOXELS_ACROSS = 24
"""Of the solution, over a stroke's length."""

LEAST_SPACING_MM, MOST_SPACING_MM = 1.0, 3.0
"""Of the solution."""

ROUND = 0.8
"""Radius across a stroke, against half its length: up to there a voxel is rather lesion."""

SURE = 3.0
"""Log-odds of a voxel on the stroke, by its place alone."""

MOST_BY_VALUE = 3.0
"""Log-odds that a value can add or take."""

OUT_OF_ORGAN = -6.0
"""Log-odds of a voxel of another organ, or out of the host."""

LEAST_SD_HU = 8.0
"""Of a distribution of smoothed values: no scan has less noise."""

BULGE_MM = 3.0
"""How far a lesion may leave its organ where no other organ begins."""

GRAIN_MM = 0.8
"""Values are smoothed by so much: noise is no edge."""

EDGE_HU, SMOOTH = 20.0, 1.5
"""Of the random walker: a step that is an edge, and the weight of neighbours."""


@dataclass(frozen=True, eq=False)
class _Scene:
    """What there is around one stroke, on the solution's grid."""

    image: Float
    """HU, a little smoothed."""
    stroke: Mask
    """Marked as lesion."""
    away: Mask
    """Marked as no lesion."""
    may: Mask
    """Voxels that the lesion may take."""
    healthy: Mask
    """Voxels of the host."""
    grid: Geometry
    """Where the voxels are."""
    radius_mm: float
    """Half the stroke's length."""


def with_lesions(image: Volume, labels: Labels, belongs: Mask, outside: Mask) -> Labels:
    """Return labels with the lesions that were drawn, without those marked as none.

    Parameters
    ----------
    image : Volume (Z, Y, X), HU
        The scan.
    labels : uint8 (Z, Y, X)
        Organ ids, lesions over them; unchanged.
    belongs, outside : bool (Z, Y, X)
        What the person marked; where both are set, `outside` counts.

    Raises
    ------
    InputError
        If nothing is marked, or voxels around the strokes are NaN or infinite.
    """
    marked = belongs & ~outside
    if not (marked.any() or outside.any()):
        raise InputError(
            "strokes", "no voxel is marked", "at least one marked voxel",
            "Draw over a lesion that was missed, or over what is none.",
        )  # fmt: skip
    before = labels == LESION.id
    hosts = without_lesions(labels)
    new = without_marked(before, marked, outside) | marked
    pieces, count = _pieces(marked)
    for number in range(1, count + 1):
        box, drawn = _drawn(image, hosts, pieces == number, outside)
        new[box.slices] |= drawn
    return np.where(new & ~outside, LESION.id, np.where(before, hosts, labels)).astype(np.uint8)


def _pieces(mask: Mask) -> tuple[npt.NDArray[np.int32], int]:
    from scipy.ndimage import label

    pieces, count = label(mask, np.ones((3, 3, 3)))
    return pieces, int(count)


def without_lesions(labels: Labels) -> Labels:
    """Return the organs with what lies under lesions: each piece's is the one it touches most.

    Parameters
    ----------
    labels : uint8 (Z, Y, X)
        Organ ids, lesions over them; unchanged.
    """
    return absorbed(labels, LESION.id)


def without_marked(lesions: Mask, belongs: Mask, outside: Mask) -> Mask:
    """Return the lesions without the pieces that a stroke says are none; mixed ones stay.

    Parameters
    ----------
    lesions, belongs, outside : bool (Z, Y, X)
    """
    pieces, count = _pieces(lesions)
    goes = np.zeros(count + 1, bool)
    goes[np.unique(pieces[outside])] = True
    goes[np.unique(pieces[belongs])] = False
    goes[0] = False
    return np.asarray(lesions & ~goes[pieces], bool)


def _drawn(image: Volume, labels: Labels, stroke: Mask, outside: Mask) -> tuple[Box, Mask]:
    """Return a box, and the lesion of one stroke in it."""
    scene, box = _place(image, labels, stroke, outside)
    odds = _believed(scene)
    target = (1.0 / (1.0 + np.exp(-odds))).astype(np.float32)
    target[scene.stroke], target[scene.away] = 1.0, 0.0
    pinned = scene.stroke | scene.away | ~scene.may
    spacing = scene.grid.spacing_mm
    solved = settled(scene.image, target, pinned, spacing, edge_hu=EDGE_HU, smooth=SMOOTH)
    part = image.geometry.crop(box)
    fine = resample_intensity(Volume(solved, scene.grid), part, clip_hu=(0.0, 1.0)).array
    pieces, _ = _pieces((np.asarray(fine) > 0.5) | stroke[box.slices])
    mine = np.unique(pieces[stroke[box.slices]])
    return box, np.isin(pieces, mine[mine > 0])


def _place(image: Volume, labels: Labels, stroke: Mask, outside: Mask) -> tuple[_Scene, Box]:
    from scipy.ndimage import binary_dilation, gaussian_filter

    marked = Box.of_mask(stroke)
    assert marked is not None
    spacing = np.array(image.geometry.spacing_mm)
    places = np.argwhere(stroke) * spacing
    radius = max(LEAST_RADIUS_MM, 0.5 * float(np.linalg.norm(np.ptp(places, axis=0))))
    margin = [int(n) for n in np.ceil((1.6 * radius + 6.0) / spacing)]
    box = marked.grow((margin[0], margin[1], margin[2]), stroke.shape)
    part, here = image.geometry.crop(box), box.slices
    check_finite("image", image.array[here])
    wanted = float(np.clip(2 * radius / VOXELS_ACROSS, LEAST_SPACING_MM, MOST_SPACING_MM))
    grid = part.with_spacing((wanted, wanted, wanted))
    hosts = labels[stroke]
    host = int(np.bincount(hosts).argmax())
    inside = labels[here] == host
    free = labels[here] == 0
    may = free
    if host:
        reach = [int(np.ceil(BULGE_MM / mm)) for mm in part.spacing_mm]
        window = np.ones([2 * n + 1 for n in reach], bool)
        may = inside | (free & binary_dilation(inside, window))
    values = np.clip(image.array[here], *VALUES_HU).astype(np.float32)
    hu = np.asarray(resample_intensity(Volume(values, part), grid).array, np.float32)
    hu = gaussian_filter(hu, [GRAIN_MM / mm for mm in grid.spacing_mm])
    scene = _Scene(
        hu, voxels_hit(stroke[here], part, grid), voxels_hit(outside[here], part, grid),
        filled_share(may, part, grid) > 0.5, filled_share(inside, part, grid) > 0.9, grid, radius,
    )  # fmt: skip
    return scene, box


def _believed(scene: _Scene) -> Float:
    """Log-odds of the lesion: by value, and by distance from the stroke."""
    from scipy.ndimage import distance_transform_edt

    apart = distance_transform_edt(~scene.stroke, scene.grid.spacing_mm).astype(np.float32)
    healthy = scene.healthy & (apart > 1.2 * scene.radius_mm)
    lesion = _distribution(scene.image[scene.stroke])
    beside = (apart / (ROUND * scene.radius_mm)) ** 2
    odds = SURE * (1.0 - np.maximum(beside, _from_middle(scene)))
    if np.count_nonzero(healthy) > 20:
        tissue = _distribution(scene.image[healthy])
        by_value = _log_likelihood(scene.image, *lesion) - _log_likelihood(scene.image, *tissue)
        odds = odds + np.clip(by_value, -MOST_BY_VALUE, MOST_BY_VALUE)
    return np.where(scene.may, np.maximum(odds, OUT_OF_ORGAN), OUT_OF_ORGAN).astype(np.float32)


def _from_middle(scene: _Scene) -> Float:
    """How far each voxel is from the stroke's middle, squared: 1 on the ellipsoid around it.

    Its long axis is the stroke's, and ends where that ends.
    """
    spacing = np.asarray(scene.grid.spacing_mm)
    places = np.argwhere(scene.stroke) * spacing
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    spread = (places - middle).T @ (places - middle) / len(places) + np.diag(spacing**2) / 12
    _, axes = np.linalg.eigh(spread)
    away = (np.moveaxis(np.indices(scene.stroke.shape), 0, -1) * spacing - middle) @ axes
    reach = np.abs((places - middle) @ axes).max(axis=0) + spacing.max() / 2  # voxels end there
    half = reach + np.array([ROUND, ROUND, 0.0]) * scene.radius_mm  # the long axis comes last
    return np.asarray(((away / half) ** 2).sum(axis=-1), np.float32)


def _distribution(values: Float) -> tuple[float, float]:
    """Median and robust standard deviation of values, HU."""
    middle = float(np.median(values))
    return middle, max(LEAST_SD_HU, 1.4826 * float(np.median(np.abs(values - middle))))


def _log_likelihood(values: Float, middle: float, sd: float) -> Float:
    return np.asarray(-0.5 * ((values - middle) / sd) ** 2 - np.log(sd), np.float32)
