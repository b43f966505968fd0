"""The list of lesions a clinician wants: where each is, how long, how dense, in which organ.

>>> from flare_core.imaging.files import read_labels, read_volume             # doctest: +SKIP
>>> from flare_core.segment.lesion_list import list_lesions, table_text       # doctest: +SKIP
>>> print(table_text(list_lesions(read_volume(ct), read_labels(labels))))     # doctest: +SKIP

Diameters are RECIST 1.1's: the longest in any axial slice, and the widest at right angles to it in
the same slice. Both are measured between the outer edges of voxels. Numbers run from head to foot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from flare_core.anatomy.organs import LESION, organ
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.lesions import Piece, connected, head_to_foot, hosted
from flare_core.segment.postprocess import ALL_NEIGHBOURS
from flare_core.segment.statistics import HU, NO_UNIT, StatisticsRow, require_image_grid

Floats = npt.NDArray[np.float64]

TARGET_MM = 10.0
"""Longest diameter from which on RECIST 1.1 measures a lesion (CT, slices of at most 5 mm)."""

FEW_POINTS = 12
"""Fewer outer points than this are compared without a hull."""


@dataclass(frozen=True)
class Lesion:
    """One lesion."""

    number: int
    """From head to foot, beginning with 1."""
    organ: str
    """Key of the organ it lies in or touches; empty where no organ is known."""
    within: bool
    """Whether it is part of the organ (which then contains it), or only touches it."""
    volume_ml: float
    """Volume, mL."""
    long_axis_mm: float
    """Longest diameter in an axial slice, mm."""
    short_axis_mm: float
    """Widest extent at right angles to it in that slice, mm."""
    slice_index: int
    """That slice: voxel along the scan's own axis nearest to the body's, from 0."""
    centre_lps_mm: tuple[float, float, float]
    """Middle of the longest diameter, LPS mm: where to look."""
    hu_mean: float
    """Mean HU of the lesion."""
    organ_hu: float
    """Mean HU of its organ without lesions; NaN where there is none."""
    certainty: float
    """Mean probability the model gives its voxels, 0 to 1; NaN if not known."""

    @property
    def measurable(self) -> bool:
        """Whether RECIST 1.1 would take it as a target by its size."""
        return self.long_axis_mm >= TARGET_MM

    @property
    def place(self) -> str:
        """Return the organ in words.

        Examples
        --------
        >>> EXAMPLE.place
        'Liver'
        """
        if not self.organ:
            return "Body"
        name = organ(self.organ).name
        return name if self.within else f"At the {name[0].lower()}{name[1:]}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, rounded for reading; what is not known is None."""
        digits = {"volume_ml": 3, "certainty": 3}
        row: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float):
                value = round(value, digits.get(field.name, 1)) if math.isfinite(value) else None
            row[field.name] = value
        return {**row, "centre_lps_mm": [round(mm, 1) for mm in self.centre_lps_mm]}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Lesion:
        """Return the lesion that `to_dict` wrote."""
        values = {f.name: math.nan if row[f.name] is None else row[f.name] for f in fields(cls)}
        x, y, z = (float(mm) for mm in row["centre_lps_mm"])
        made: Any = {**values, "centre_lps_mm": (x, y, z)}
        return cls(**made)


EXAMPLE = Lesion(1, "liver", True, 4.2, 21.0, 17.5, 63, (-60.0, 12.0, -110.0), 62.0, 108.0, 0.93)
"""What one looks like, for doctests."""


def list_lesions(
    image: Volume,
    labels: Volume,
    pieces: Sequence[Piece] | None = None,
    probability: Sequence[Volume] = (),
) -> tuple[Lesion, ...]:
    """Return every lesion of a label map, from head to foot.

    Parameters
    ----------
    image : Volume (Z, Y, X), HU
        Any axis order.
    labels : Volume
        Organ ids on the same grid, lesions (14) on top.
    pieces : sequence of Piece, optional
        The lesions in the canonical axes of `labels`, with their organs; found from the labels if
        left out.
    probability : sequence of Volume, optional
        How likely a lesion is, on any grids that cover the lesions together.

    Raises
    ------
    InputError
        If image and labels are not on the same grid.
    """
    require_image_grid(labels, image)
    marks, axis_map = labels.canonical()
    if pieces is None:
        found = [hosted(piece, marks) for piece in connected(marks.array == LESION.id)]
        pieces = head_to_foot(found)
    if not pieces:
        return ()
    scan, _ = image.canonical()
    healthy = {piece.organ.key: math.nan for piece in pieces if piece.organ is not None}
    for key in healthy:
        voxels = scan.array[marks.array == organ(key).id]
        healthy[key] = float(voxels.mean(dtype=np.float64)) if voxels.size else math.nan
    own_axis = axis_map.permutation[0]
    last = labels.geometry.shape[own_axis] - 1 if axis_map.flips[0] else None
    return tuple(
        _measured(number, piece, scan, healthy, probability, last)
        for number, piece in enumerate(pieces, 1)
    )


def _measured(
    number: int,
    piece: Piece,
    scan: Volume,
    healthy: Mapping[str, float],
    probability: Sequence[Volume],
    last: int | None,
) -> Lesion:
    """Return one lesion's row; `last` is the scan's last slice if its own slices run downwards."""
    axial = longest_diameter(piece, scan.geometry)
    key = "" if piece.organ is None else piece.organ.key
    z, y, x = axial.middle
    lps = scan.geometry.voxel_to_lps([z, y, x])
    return Lesion(
        number,
        key,
        piece.within,
        piece.voxels * scan.geometry.voxel_ml,
        axial.long_mm,
        axial.short_mm,
        int(z) if last is None else last - int(z),
        (float(lps[0]), float(lps[1]), float(lps[2])),
        float(scan.array[piece.box][piece.mask].mean(dtype=np.float64)),
        healthy.get(key, math.nan),
        _certainty(piece, scan.geometry, probability),
    )


@dataclass(frozen=True)
class Diameters:
    """A lesion's size in the axial slice in which it is longest."""

    long_mm: float
    """Longest diameter."""
    short_mm: float
    """Widest extent at right angles to it."""
    middle: tuple[float, float, float]
    """Middle of the longest diameter, voxels z, y, x."""


def longest_diameter(piece: Piece, geometry: Geometry) -> Diameters:
    """Return the longest axial diameter of a lesion and its perpendicular.

    Pieces that hang together only through other slices are measured each for itself.

    Parameters
    ----------
    geometry : Geometry
        Canonical: slices are axial.
    """
    best = Diameters(0.0, 0.0, (0.0, 0.0, 0.0))
    _, dy, dx = geometry.spacing_mm
    z0, y0, x0 = (side.start for side in piece.box)
    for z, plane in enumerate(piece.mask):
        parts, count = ndimage.label(plane, ALL_NEIGHBOURS[0])
        for part in range(1, count + 1):
            long_mm, short_mm, (y, x) = in_plane(parts == part, (dy, dx))
            if long_mm > best.long_mm:
                best = Diameters(long_mm, short_mm, (float(z0 + z), y0 + y, x0 + x))
    return best


def in_plane(
    mask: npt.NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> tuple[float, float, tuple[float, float]]:
    """Return longest diameter and perpendicular (mm) of a flat mask, and the middle in pixels.

    Examples
    --------
    >>> in_plane(np.ones((1, 4), bool), (2.0, 1.0))
    (4.0, 2.0, (0.0, 1.5))
    """
    size = np.array(spacing_mm)
    points = _outline(mask) * size  # (N, 2) mm
    far = squareform(pdist(points))
    one, other = np.unravel_index(int(far.argmax()), far.shape)
    across = points[other] - points[one]
    long_mm = float(np.hypot(*across))
    normal = np.array((-across[1], across[0])) / long_mm
    widths = points @ normal
    y, x = (points[one] + points[other]) / 2 / size
    return long_mm, float(widths.max() - widths.min()), (float(y), float(x))


def _outline(mask: npt.NDArray[np.bool_]) -> Floats:
    """Return the outermost points (N, 2) of a flat mask, in pixels: middles of pixels' sides."""
    rows, columns = np.nonzero(mask)
    ends = [  # of each row and of each column only the outermost pixels count
        (r, c)
        for r in np.unique(rows)
        for c in (columns[rows == r].min(), columns[rows == r].max())
    ]
    middles = np.array(ends, float)
    sides = np.array(((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)))
    points = np.unique((middles[:, None] + sides).reshape(-1, 2), axis=0)
    if len(points) <= FEW_POINTS:
        return points
    try:
        return np.asarray(points[ConvexHull(points).vertices], np.float64)
    except QhullError:  # all on one line, which sides of pixels never are; rather slow than wrong
        return points


def _certainty(piece: Piece, geometry: Geometry, probability: Sequence[Volume]) -> float:
    """Return the mean probability of a lesion's voxels, each looked up in the nearest voxel."""
    if not probability:
        return math.nan
    voxels = np.argwhere(piece.mask) + [side.start for side in piece.box]
    points = geometry.voxel_to_lps(voxels[:: max(1, len(voxels) // 20000)])
    values = np.full(len(points), np.nan)
    for part in probability:
        places = np.rint(part.geometry.lps_to_voxel(points)).astype(np.int64)
        inside = np.all((places >= 0) & (places < part.geometry.shape), axis=1) & np.isnan(values)
        z, y, x = places[inside].T
        values[inside] = part.array[z, y, x]
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def lesions_to_json(lesions: Iterable[Lesion] | None) -> list[dict[str, Any]] | None:
    """Return lesions as plain values; None, that nobody looked for any, stays None."""
    return None if lesions is None else [lesion.to_dict() for lesion in lesions]


UNITS = {
    "volume_ml": "mL", "long_axis_mm": "mm", "short_axis_mm": "mm", "slice_index": NO_UNIT,
    "hu_mean": HU, "organ_hu": HU, "certainty": NO_UNIT,
}  # fmt: skip
"""What a lesion has of numbers, and their UCUM units."""


def lesion_rows(lesions: Iterable[Lesion]) -> tuple[StatisticsRow, ...]:
    """Return lesions as rows of statistics for a table: ``lesion_1`` and on, the organ as a note.

    Examples
    --------
    >>> row = lesion_rows([EXAMPLE])[1]
    >>> row.organ, row.measure, row.value, row.unit, row.note
    ('lesion_1', 'long_axis', 21.0, 'mm', 'Liver')
    """
    return tuple(
        StatisticsRow(
            f"lesion_{each.number}",
            name.removesuffix("_ml").removesuffix("_mm"),
            float(getattr(each, name)),
            unit,
            None,
            each.place,
        )
        for each in lesions
        for name, unit in UNITS.items()
    )


HEADING = "Lesion  Organ                 Volume mL  Long mm  Short mm  Slice     HU  Organ HU"


def table_text(lesions: Sequence[Lesion]) -> str:
    """Return a table for the terminal.

    Examples
    --------
    >>> print(table_text([EXAMPLE]))
    Lesion  Organ                 Volume mL  Long mm  Short mm  Slice     HU  Organ HU
         1  Liver                       4.2     21.0      17.5     63   62.0     108.0
    >>> table_text([])
    'No lesion was found.'
    """
    if not lesions:
        return "No lesion was found."
    lines = [
        f"{each.number:>6}  {each.place:<20} {each.volume_ml:>10.1f} {each.long_axis_mm:>8.1f} "
        f"{each.short_axis_mm:>9.1f} {each.slice_index:>6} {each.hu_mean:>6.1f} "
        f"{_or_dash(each.organ_hu):>9}"
        for each in lesions
    ]
    return "\n".join([HEADING, *lines])


def _or_dash(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"
