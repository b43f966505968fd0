"""The phantom's soft tissues without a label: muscles, chest, bowel, mesentery.

Coordinates are those of `phantom_body`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.datasets.phantom import courses
from flare_core.datasets.phantom.body import Body, BodyPart
from flare_core.datasets.phantom.shapes import (
    Field,
    Shape,
    along,
    cylinder,
    ellipsoid,
    half_space,
    outside,
    rotation,
    tube,
)

LOOPS = 52
"""Loops of small bowel: about as much as fills the abdomen."""
MESENTERIC_VESSELS = 30
"""Small vessels between the loops."""

Rng = np.random.Generator


@dataclass(frozen=True)
class Filling:
    """What a hollow organ holds."""

    tissue: str
    """Key of the HU table."""
    gas_share: float = 0.0
    """About which share of its depth, from the front, is gas."""
    wall_mm: float = 2.2
    """Thickness of the wall, mm."""


def hollow(shape: Shape, filling: Filling, rng: Rng, label: int = 0) -> Iterator[BodyPart]:
    """Yield gas (which rises to the front of a lying patient), content and wall of an organ."""
    low, high = shape.bounds()
    level = low[1] + (high[1] - low[1]) * filling.gas_share * rng.uniform(0.3, 1.2)
    inner = shape.grown(-filling.wall_mm)
    if filling.gas_share > 0:
        yield BodyPart(inner.clipped(half_space((0, level, 0), (0, 1, 0))), "gas", label)
    yield BodyPart(inner, filling.tissue, label)
    yield BodyPart(shape, "gut wall", label)


def muscles(rng: Rng) -> list[Shape]:
    """Return the muscles beside the spine."""
    size = rng.uniform(0.85, 1.15)
    bellies = (courses.PSOAS, courses.FLANK_MUSCLE, courses.BACK_MUSCLE, courses.DEEP_BACK_MUSCLE)
    return [along(course, size, side=side) for course in bellies for side in (-1.0, 1.0)]


def between_muscles(bellies: Sequence[Shape]) -> Iterator[BodyPart]:
    """Yield the thin fat between the muscles, and the diaphragm's crura."""
    for side in (-1.0, 1.0):
        yield BodyPart(along(courses.CRUS, side=side), "muscle")
    yield from (BodyPart(belly.grown(1.1), "fat") for belly in bellies)


def chest(body: Body) -> Iterator[BodyPart]:
    """Yield heart, airway, lung vessels and the fat of the mediastinum."""
    above = outside(body.below_dome(-2.5))
    yield from _heart(above)
    for airway in (courses.WINDPIPE, courses.LEFT_BRONCHUS, courses.RIGHT_BRONCHUS):
        yield BodyPart(along(airway), "air")
    for side in (-1.0, 1.0):
        yield from (BodyPart(vessel.clipped(above), "blood") for vessel in _lung_vessels(side))
    middle = cylinder((5, -55, 265), (32, 62, 110))
    yield BodyPart(middle.clipped(above, body.cavity(6.0)), "fat")


def _heart(above: Field) -> Iterator[BodyPart]:
    """Yield the left and right chambers, the heart's muscle and the fat around it."""
    turn = rotation(about_y=-20, about_z=25)
    for centre, radii in (((48, -80, 172), (34, 22, 24)), ((-2, -72, 190), (28, 24, 30))):
        yield BodyPart(ellipsoid(centre, radii, turn).clipped(above), "heart blood")
    whole = ellipsoid((28, -72, 178), (66, 44, 46), turn).clipped(above)
    yield BodyPart(whole, "heart muscle")
    yield BodyPart(whole.swollen(5.0), "fat")


def _lung_vessels(side: float) -> Iterator[Shape]:
    """Yield tapering vessels from one hilum into the lung."""
    for x, y, z in courses.LUNG_VESSEL_ENDS:
        bend = (side * 45, -30, 0.5 * (z + 232))
        yield tube([(side * 12, -32, 232), bend, (side * x, y, z)], (8, 4.5, 1.2))


def bowel(body: Body, rng: Rng) -> Iterator[BodyPart]:
    """Yield colon, small bowel, mesenteric vessels, bladder and rectum."""
    inside = body.cavity(3.0)
    stool = Filling("stool", 0.55, 2.0)
    for stretch in _colon(rng):
        yield from hollow(stretch.clipped(inside, body.below_dome(6.0)), stool, rng)
    drank_contrast = rng.random() < 0.35
    for number in range(LOOPS):
        loop = _small_bowel_loop(number, rng).clipped(inside)
        bright = drank_contrast and rng.random() < 0.6
        yield from hollow(loop, Filling("bowel contrast" if bright else "chyme", 0.15), rng)
    for vessel in _mesentery(rng):
        yield BodyPart(vessel.clipped(inside), "portal vein")
    yield from hollow(ellipsoid((0, -42, -235), (41, 33, 31)), Filling("urine", 0.0, 3.0), rng)
    yield from hollow(tube([(0, 18, -225), (0, 28, -290)], 16), Filling("stool", 0.5, 3.0), rng)


def _colon(rng: Rng) -> Iterator[Shape]:
    """Yield the colon in stretches, each as wide as it happens to be."""
    course = np.array(courses.COLON, float)
    course[:, :3] += rng.normal(0, 5, (len(course), 3))
    for first in range(0, len(course) - 1, 2):
        yield along(course[first : first + 3], rng.uniform(0.85, 1.15)).wobbled(3.0, 30.0, rng)


def _small_bowel_loop(number: int, rng: Rng) -> Shape:
    """Return a loop between the colon's limbs; every fourth lies in the left upper abdomen."""
    if number % 4 == 0:
        centre = np.array([rng.uniform(25, 90), rng.uniform(-95, -30), rng.uniform(5, 75)])
    else:
        centre = np.array([rng.uniform(-80, 85), rng.uniform(-108, -52), rng.uniform(-185, -8)])
    turn = rng.normal(size=(2, 3)) * np.array([1.0, 0.6, 0.8])
    turn /= np.linalg.norm(turn, axis=1, keepdims=True)
    angles = np.linspace(0, rng.uniform(3.0, 5.0), 6)[:, None]
    arc = centre + rng.uniform(16, 30) * (np.cos(angles) * turn[0] + np.sin(angles) * turn[1])
    return tube(arc, rng.uniform(8.5, 13.0)).wobbled(1.4, 18.0, rng)


def _mesentery(rng: Rng) -> Iterator[Shape]:
    """Yield thin vessels that fan out from the root of the mesentery."""
    for _ in range(MESENTERIC_VESSELS):
        root = (rng.uniform(-15, 15), -45 + rng.uniform(-8, 8), rng.uniform(-60, 10))
        end = (rng.uniform(-85, 85), rng.uniform(-110, -50), rng.uniform(-170, 10))
        bend = 0.5 * (np.array(root) + end) + rng.normal(0, 10, 3)
        yield tube(np.stack((root, bend, end)), (2.6, 2.0, 1.2))
