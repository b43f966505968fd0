"""Smooth solids in millimetres, from which the phantom's anatomy is built.

A `Shape` is a union of `Solid` objects.  A piece is a function of x, y, z (body millimetres: left,
posterior, superior) that is negative inside and grows by about one per millimetre outwards, and a
box outside of which it is not evaluated.  Long tubes are many small pieces, which is why painting
them onto a fine grid is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

Floats = npt.NDArray[np.float32]
Field = Callable[[Floats, Floats, Floats], Floats]
"""Signed distance like function of x, y, z (mm, broadcastable): negative inside."""
Point = tuple[float, float, float]

STEP_MM = 7.0
"""Length of one straight piece of a tube: below what a bend of 20 mm radius shows."""
SWELL_MM = 12.0
"""Most a shape is thickened or thinned to reach its volume, mm."""
GRID_POINTS = 3.0e5
"""Points on which a volume is measured: enough for about 1 % of an organ."""
FAR_MM = 1.0e4
"""Distance written where nothing was evaluated."""


@dataclass(frozen=True)
class Solid:
    """One solid and the box around it."""

    low: Point
    """Lowest x, y, z of the box, mm."""
    high: Point
    """Highest x, y, z of the box, mm."""
    field: Field
    """Signed distance, mm, negative inside."""


@dataclass(frozen=True)
class Shape:
    """A union of pieces, cut by what surrounds it.

    Its field is ``max(min(pieces) - swell_mm, clips...) - offset_mm``.
    """

    pieces: tuple[Solid, ...]
    """The solids; a point is inside when it is inside any of them."""
    clips: tuple[Field, ...] = ()
    """Only what is negative in all of them is inside: neighbours, walls, cuts."""
    swell_mm: float = 0.0
    """How far the pieces are moved outwards before they are clipped, mm."""
    offset_mm: float = 0.0
    """How far the clipped surface is moved outwards, mm."""

    def swollen(self, swell_mm: float) -> Shape:
        """Return the shape with thicker pieces inside the same clips, mm."""
        return replace(self, swell_mm=self.swell_mm + swell_mm)

    def grown(self, offset_mm: float) -> Shape:
        """Return the shape with its whole surface moved outwards (inwards when negative), mm."""
        return replace(self, offset_mm=self.offset_mm + offset_mm)

    def clipped(self, *keep: Field) -> Shape:
        """Return the part of the shape where all of `keep` are negative."""
        return replace(self, clips=self.clips + keep)

    def minus(self, away: Field) -> Shape:
        """Return the shape without the inside of `away`."""
        return self.clipped(outside(away))

    def wobbled(self, amplitude_mm: float, wave_mm: float, rng: np.random.Generator) -> Shape:
        """Return the shape with a bumpy surface: bumps of `amplitude_mm`, `wave_mm` apart."""
        bumps = ripples(amplitude_mm, wave_mm, rng)
        pieces = tuple(replace(p, field=_sum(p.field, bumps)) for p in self.pieces)
        return replace(self, pieces=pieces)

    def joined(self, *others: Shape) -> Shape:
        """Return the union of the pieces with those of `others` (their clips are left)."""
        return replace(self, pieces=self.pieces + tuple(p for o in others for p in o.pieces))

    def bounds(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the lowest and highest x, y, z of all pieces, mm."""
        reach = self.swell_mm + self.offset_mm
        low = np.min([p.low for p in self.pieces], axis=0) - reach
        return low, np.max([p.high for p in self.pieces], axis=0) + reach

    def cut(self, values: Floats, x: Floats, y: Floats, z: Floats) -> Floats:
        """Turn the pieces' field at these points into the shape's."""
        values = values - np.float32(self.swell_mm)
        for clip in self.clips:
            values = np.maximum(values, clip(x, y, z))
        return values - np.float32(self.offset_mm)

    def field(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Evaluate the whole union at once (slow for long tubes)."""
        values = self.pieces[0].field(x, y, z)
        for piece in self.pieces[1:]:
            values = np.minimum(values, piece.field(x, y, z))
        return self.cut(values, x, y, z)


def outside(field: Field) -> Field:
    """Return the complement of a field's inside."""
    return lambda x, y, z: -field(x, y, z)


def _sum(first: Field, second: Field) -> Field:
    return lambda x, y, z: first(x, y, z) + second(x, y, z)


def swept(table: Floats, towards: Point, widened_mm: float = 0.0) -> Field:
    """Return the field of what a tube passes when it is pushed in one direction without end.

    Parameters
    ----------
    table : (N, 4)
        Its course: x, y, z and radius, mm; straight between two rows.
    towards : x, y, z
        The direction.
    widened_mm : float
        How much thicker it is than the table says.

    Examples
    --------
    >>> field = swept(np.array([[0, 0, 0, 2], [10, 0, 0, 2]], np.float32), (0, 0, -1))
    >>> [float(field(*np.float32(p))) for p in ((5, 3, -50), (5, 0, 6), (5, 0, -50))]
    [1.0, 4.0, -2.0]
    """
    along_way = np.array(towards, np.float64) / np.linalg.norm(towards)
    aside = np.linalg.svd(along_way[None])[2][1:]  # two directions across it
    axes = np.array([*aside, along_way], np.float32)
    rows = np.column_stack([np.asarray(table)[:, :3] @ axes.T, np.asarray(table)[:, 3]])
    pairs = list(zip(rows[:-1].astype(np.float32), rows[1:].astype(np.float32), strict=True))

    def field(x: Floats, y: Floats, z: Floats) -> Floats:
        a, b, c = (p * x + q * y + r * z for p, q, r in axes)
        least = _pushed(a, b, c, *pairs[0])
        for ends in pairs[1:]:
            least = np.minimum(least, _pushed(a, b, c, *ends))
        return cast("Floats", least - np.float32(widened_mm))

    return field


def _pushed(a: Floats, b: Floats, c: Floats, first: Floats, last: Floats) -> Floats:
    """Return `swept` for one straight piece: ends and places are across, across, along, radius."""
    step = last - first
    length = max(float(step[0] ** 2 + step[1] ** 2), 1e-6)
    at = np.clip(((a - first[0]) * step[0] + (b - first[1]) * step[1]) / length, 0, 1)
    radius = first[3] + at * step[3]
    beside = np.hypot(a - first[0] - at * step[0], b - first[1] - at * step[1])
    return cast("Floats", np.maximum(beside - radius, first[2] + at * step[2] - radius - c))


def ripples(amplitude_mm: float, wave_mm: float, rng: np.random.Generator) -> Field:
    """Return a smooth random function of space with values of about +-`amplitude_mm`."""
    waves = rng.normal(size=(3, 3))
    waves *= 2 * np.pi / wave_mm / np.linalg.norm(waves, axis=1, keepdims=True)
    phases = rng.uniform(0, 2 * np.pi, 3)

    def field(x: Floats, y: Floats, z: Floats) -> Floats:
        total = cast("Floats", np.float32(0.0))
        for (a, b, c), phase in zip(
            waves.astype(np.float32), phases.astype(np.float32), strict=True
        ):
            total = total + np.sin(a * x + b * y + c * z + phase)
        return total * np.float32(amplitude_mm / 1.5)

    return field


def rotation(about_x: float = 0.0, about_y: float = 0.0, about_z: float = 0.0) -> Floats:
    """Return the 3x3 matrix of turns about the z, then y, then x axis, degrees."""
    angles = np.radians([about_x, about_y, about_z])
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    turn_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (turn_x @ turn_y @ turn_z).astype(np.float32)


def ellipsoid(centre: npt.ArrayLike, radii: npt.ArrayLike, turn: Floats | None = None) -> Shape:
    """Return an ellipsoid; `turn` (3x3) maps its own axes to the body's."""
    matrix = np.eye(3, dtype=np.float32) if turn is None else turn
    centre_32 = np.asarray(centre, np.float32)
    inverse = (matrix.T / np.asarray(radii, np.float32)[:, None]).astype(np.float32)
    smallest = np.float32(np.min(radii))

    def field(x: Floats, y: Floats, z: Floats) -> Floats:
        dx, dy, dz = x - centre_32[0], y - centre_32[1], z - centre_32[2]
        total = cast("Floats", np.float32(0.0))
        for a, b, c in inverse:
            along = a * dx + b * dy + c * dz
            total = total + along * along
        return (np.sqrt(total) - np.float32(1.0)) * smallest

    reach = np.sqrt((matrix**2 * np.asarray(radii, np.float32)[None, :] ** 2).sum(axis=1))
    return Shape((Solid(_point(centre_32 - reach), _point(centre_32 + reach), field),))


def capsule(a: Floats, b: Floats, radius_a: float, radius_b: float) -> Solid:
    """Return a straight tube from `a` to `b` with round ends."""
    along = b - a
    inverse = np.float32(1.0 / max(float(along @ along), 1e-6))
    first, slope = np.float32(radius_a), np.float32(radius_b - radius_a)

    def field(x: Floats, y: Floats, z: Floats) -> Floats:
        dx, dy, dz = x - a[0], y - a[1], z - a[2]
        place = (dx * along[0] + dy * along[1] + dz * along[2]) * inverse
        place = np.clip(place, np.float32(0.0), np.float32(1.0))
        dx, dy, dz = dx - place * along[0], dy - place * along[1], dz - place * along[2]
        return np.sqrt(dx * dx + dy * dy + dz * dz) - (first + place * slope)

    reach = max(radius_a, radius_b)
    return Solid(_point(np.minimum(a, b) - reach), _point(np.maximum(a, b) + reach), field)


def tube(points: npt.ArrayLike, radii: npt.ArrayLike) -> Shape:
    """Return a tube along a smooth curve through `points`, with a radius at each point, mm."""
    knots = np.asarray(points, np.float64)
    sizes = np.broadcast_to(np.asarray(radii, np.float64), len(knots))
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    places = np.linspace(0.0, arc[-1], max(2, int(arc[-1] / STEP_MM) + 1))
    line = PchipInterpolator(arc, knots)(places).astype(np.float32)
    size = PchipInterpolator(arc, sizes)(places)
    pairs = zip(line[:-1], line[1:], size[:-1], size[1:], strict=True)
    return Shape(tuple(capsule(a, b, float(r), float(s)) for a, b, r, s in pairs))


def along(course: npt.ArrayLike, size: float = 1.0, *, side: float = 1.0) -> Shape:
    """Return a tube along a table (N, 4) of x, y, z and radius, mm.

    Parameters
    ----------
    course : array-like (N, 4)
        Points and radii.
    size : float
        Factor of the radii.
    side : float
        -1 mirrors the tube to the right side.
    """
    table = np.asarray(course, np.float64)
    return tube(table[:, :3] * (side, 1.0, 1.0), table[:, 3] * size)


def cylinder(centre: tuple[float, float, float], half: tuple[float, float, float]) -> Shape:
    """Return an upright elliptic cylinder with half width, half depth and half height, mm."""
    cx, cy, cz = (np.float32(v) for v in centre)
    rx, ry, rz = (np.float32(v) for v in half)

    def field(x: Floats, y: Floats, z: Floats) -> Floats:
        dx, dy = (x - cx) / rx, (y - cy) / ry
        return np.maximum(
            (np.sqrt(dx * dx + dy * dy) - 1) * np.minimum(rx, ry), np.abs(z - cz) - rz
        )

    low = (float(cx - rx), float(cy - ry), float(cz - rz))
    return Shape((Solid(low, (float(cx + rx), float(cy + ry), float(cz + rz)), field),))


def half_space(point: Sequence[float], outwards: Sequence[float]) -> Field:
    """Return the field of everything behind a plane through `point` with normal `outwards`."""
    normal = np.asarray(outwards, np.float64) / np.linalg.norm(outwards)
    level = np.float32(normal @ np.asarray(point, np.float64))
    a, b, c = (np.float32(v) for v in normal)
    return lambda x, y, z: a * x + b * y + c * z - level


def swell_for_volume(shape: Shape, target_ml: float, taken: Iterable[Shape]) -> float:
    """Find how much thicker the pieces must be so that what stays free has a given volume.

    Parameters
    ----------
    shape : Shape
        The solid to size.
    target_ml : float
        Volume that must remain after the clips and everything in `taken` are removed, mL.
    taken : iterable of Shape
        Solids that were painted before and keep their place.

    Returns
    -------
    float
        For `Shape.swollen`, mm, within +-12.
    """
    low, high = shape.bounds()
    low, high = low - SWELL_MM, high + SWELL_MM
    step = float(np.clip((np.prod(high - low) / GRID_POINTS) ** (1 / 3), 0.6, 4.0))
    axes = [np.arange(a, b, step, dtype=np.float32) for a, b in zip(low, high, strict=True)]
    values = rasterise(replace(shape, clips=()), axes, margin_mm=SWELL_MM)
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    for clip in shape.clips:
        values[clip(x, y, z) >= 0] = FAR_MM
    for other in taken:
        values[rasterise(other, axes, margin_mm=1.0) < 0] = FAR_MM
    near = np.sort(values[values < SWELL_MM])
    count = round(target_ml * 1000.0 / step**3)
    return float(np.clip(near[min(count, near.size - 1)], -SWELL_MM, SWELL_MM))


def rasterise(shape: Shape, axes: Sequence[Floats], margin_mm: float) -> Floats:
    """Evaluate a shape on a grid along the body axes.

    Parameters
    ----------
    shape : Shape
        What to evaluate.
    axes : sequence of three arrays
        Sorted x, y and z coordinates of the grid, mm.
    margin_mm : float
        How far around each piece's box it is evaluated.

    Returns
    -------
    array (X, Y, Z)
        Signed distance, mm; `FAR_MM` where nothing is near.
    """
    values = np.full([len(a) for a in axes], FAR_MM, np.float32)
    reach = margin_mm + max(shape.swell_mm + shape.offset_mm, 0.0)
    for piece in shape.pieces:
        ends = zip(axes, piece.low, piece.high, strict=True)
        spans = [slice(*np.searchsorted(a, (low - reach, high + reach))) for a, low, high in ends]
        if all(span.stop > span.start for span in spans):
            sub = [axis[span] for axis, span in zip(axes, spans, strict=True)]
            x, y, z = np.meshgrid(*sub, indexing="ij", sparse=True)
            view = values[tuple(spans)]
            np.minimum(view, shape.cut(piece.field(x, y, z), x, y, z), out=view)
    return values


def _point(values: npt.ArrayLike) -> Point:
    x, y, z = (float(v) for v in np.asarray(values))
    return x, y, z
