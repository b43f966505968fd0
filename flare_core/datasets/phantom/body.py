"""The outline of the phantom's body: cavity, muscles, skin, diaphragm; and what a part of it is.

Body coordinates are millimetres: x to the left, y to the back, z up; x = 0 is the midline, y = 0
the centre of the vertebral bodies, z = 0 the level of L2 (about the kidneys' hila).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flare_core.datasets.phantom.shapes import Field, Floats, Point, Shape

LEVELS_MM = np.array(
    [-420.0, -300.0, -230.0, -170.0, -110.0, 0.0, 100.0, 160.0, 250.0, 320.0, 360.0]
)
"""Heights z at which the tables below hold, mm."""
CAVITY_MM = np.array(
    [
        (3, 3, 10), (48, 42, 0), (68, 58, -22), (100, 72, -38), (121, 78, -44), (126, 82, -44),
        (131, 92, -44), (130, 93, -44), (117, 84, -42), (80, 58, -25), (42, 38, -10),
    ],
    float,
)  # fmt: skip
"""Half width, half depth and centre y of the inside of the body wall, mm, per level."""
WALL_MM = np.array(
    [
        (168, 86, -6), (168, 88, -14), (160, 92, -22), (150, 94, -30), (143, 97, -37),
        (142, 99, -38), (147, 104, -39), (147, 105, -39), (150, 103, -36), (150, 88, -14),
        (120, 66, 0),
    ],
    float,
)  # fmt: skip
"""Half width, half depth and centre y of the outside of the muscles, mm, per level."""

RIB_FALL_MM = 60.0
"""How far a rib falls from its head to the side of the chest, mm."""


@dataclass(frozen=True)
class BodyPart:
    """One thing to paint."""

    shape: Shape
    """Where."""
    tissue: str
    """Key of the HU table."""
    label: int = 0
    """Organ id, 0 for none."""
    within: int = 0
    """If not 0, only voxels that already carry this organ id are painted, whatever they hold."""


@dataclass(frozen=True)
class Body:
    """Size and outline of one person."""

    scale: Point
    """Factors of width, depth and height."""
    fat_mm: float
    """Thickness of the fat under the skin, mm."""
    right_dome_mm: float
    """Height z of the right diaphragm, mm."""
    left_dome_mm: float
    """Height z of the left diaphragm, mm."""

    @staticmethod
    def drawn(rng: np.random.Generator) -> Body:
        """Draw a person."""
        scale = (rng.uniform(0.95, 1.1), rng.uniform(0.93, 1.08), rng.uniform(0.95, 1.05))
        dome = 150.0 + rng.uniform(-8, 8)
        return Body(
            scale,
            float(rng.choice((7.0, 14.0, 24.0))) + rng.uniform(-3, 6),
            dome,
            dome - rng.uniform(6, 18),
        )

    def cavity(self, inset_mm: float = 0.0) -> Field:
        """Return the inside of ribs and muscles, `inset_mm` away from them."""
        return _ellipse(CAVITY_MM, -inset_mm)

    def wall(self) -> Field:
        """Return everything within the muscles' outer surface."""
        return _ellipse(WALL_MM, 0.0)

    def skin(self) -> Field:
        """Return the whole body."""
        return _ellipse(WALL_MM, self.fat_mm)

    def below_dome(self, gap_mm: float = 0.0) -> Field:
        """Return everything at least `gap_mm` below the diaphragm's upper surface."""
        right, left = np.float32(self.right_dome_mm), np.float32(self.left_dome_mm)

        def fall(y: Floats, outer: Floats, inner: Floats) -> Floats:
            dy = y + np.float32(45.0)
            back, front = np.maximum(dy, 0), np.maximum(-dy, 0)
            # Flat on top and steep at the wall: a square and a fourth power of the distance.
            away = outer * outer + np.float32(0.45) * back * back
            drop = away * (np.float32(0.008) + np.float32(2.3e-6) * away)
            return drop + np.float32(0.004) * inner * inner + np.float32(0.006) * front * front

        def field(x: Floats, y: Floats, z: Floats) -> Floats:
            from_right, from_left = x + np.float32(65.0), x - np.float32(65.0)
            high = right - fall(y, np.maximum(-from_right, 0), np.maximum(from_right, 0))
            other = left - fall(y, np.maximum(from_left, 0), np.maximum(-from_left, 0))
            return (z - np.maximum(high, other)) * np.float32(0.7) + np.float32(gap_mm)

        return field

    def rib_point(self, side: float, angle: float, height: float) -> tuple[float, float, float]:
        """Return a point of the chest wall: `angle` in degrees from back (0) to front (180)."""
        turn = np.radians(angle)
        z = height - RIB_FALL_MM * (1.0 - np.cos(turn))
        half_x, half_y, centre = (np.interp(z, LEVELS_MM, column) for column in CAVITY_MM.T)
        x = side * (half_x + 6.0) * np.sin(turn)
        return float(x), float(centre + (half_y + 6.0) * np.cos(turn)), float(z)


def _ellipse(table: Floats, extra_mm: float) -> Field:
    """Return the inside of an outline that changes with height, made `extra_mm` larger."""
    half_width, half_depth, middle = table.T
    width, depth, centre = _fine(half_width + extra_mm), _fine(half_depth + extra_mm), _fine(middle)

    def field(x: Floats, y: Floats, z: Floats) -> Floats:
        place = np.clip(z - np.float32(LEVELS_MM[0]), 0, np.float32(width.size - 1)).astype(
            np.int16
        )
        half_y = np.take(depth, place)
        dx, dy = x / np.take(width, place), (y - np.take(centre, place)) / half_y
        dx, dy = dx * dx, dy * dy
        # The product term squares the ellipse off a little, as trunks are.
        return (
            np.sqrt(np.maximum(dx + dy - np.float32(0.22) * dx * dy, 0)) - np.float32(1)
        ) * half_y

    return field


def _fine(values: Floats) -> Floats:
    """Interpolate a table over `LEVELS_MM` to one entry per millimetre."""
    heights = np.arange(LEVELS_MM[0], LEVELS_MM[-1] + 1.0)
    return np.interp(heights, LEVELS_MM, values).astype(np.float32)
