"""The phantom's skeleton: spine, ribs, breastbone, pelvis.

Coordinates are those of `phantom_body`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flare_core.datasets.phantom import courses
from flare_core.datasets.phantom.body import RIB_FALL_MM, Body, BodyPart
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

LOWEST_VERTEBRA_MM = -118.0
"""Height z of the centre of L5, mm."""
FIRST_CHEST_VERTEBRA_MM = 40.0
"""Height z above which vertebrae are thoracic, mm."""


def skeleton(body: Body) -> Iterator[BodyPart]:
    """Yield vertebrae, ribs, breastbone and pelvis."""
    yield from _spine()
    yield from _ribs(body)
    yield from _breastbone(body)
    yield from _bone(along(courses.SACRUM))
    for side in (-1.0, 1.0):
        yield from _hip(side)


def _bone(shape: Shape, cortex_mm: float = 2.0) -> Iterator[BodyPart]:
    """Yield the marrow and the cortex of one bone."""
    yield BodyPart(shape.grown(-cortex_mm), "marrow")
    yield BodyPart(shape, "cortex")


def _spine() -> Iterator[BodyPart]:
    """Yield spinal canal, vertebrae and discs from L5 to the upper chest."""
    yield BodyPart(tube([(0, 27, -130), (0, 27, 360)], 8.5), "cord")
    height = LOWEST_VERTEBRA_MM
    while height < 350.0:
        lumbar = height < FIRST_CHEST_VERTEBRA_MM
        size, wide = (34.0, 23.0) if lumbar else (26.0, 18.0)
        yield from _bone(cylinder((0, 0, height), (wide, wide * 0.78, size / 2 - 4)), 1.8)
        yield BodyPart(cylinder((0, 0, height + size / 2), (wide - 1, wide * 0.74, 4.5)), "disc")
        yield from _bone(_arch(height, size))
        height += size


def _arch(height: float, size: float) -> Shape:
    """Return a vertebra's arch with its processes."""
    ring = cylinder((0, 26, height - 4), (16, 15, size / 2 - 6))
    spine = ellipsoid((0, 48, height - 10), (4, 15, 10))
    return ring.joined(spine, tube([(-36, 24, height), (36, 24, height)], 4.5))


def _ribs(body: Body) -> Iterator[BodyPart]:
    """Yield the twelve ribs of each side, and the cartilages of all but the lowest three."""
    for number in range(12):
        height = 58.0 + 25.0 * number
        last = (60, 85, 112)[number] if number < 3 else 140.0
        for side in (-1.0, 1.0):
            points = [body.rib_point(side, a, height) for a in np.linspace(14, last, 16)]
            yield from _bone(tube(points, 5.0), 1.8)
            if number >= 3:
                front = [body.rib_point(side, a, height) for a in (140.0, 155.0, 170.0)]
                rise = np.array([[0, 0, 0], [0, 0, 24], [0, 0, 62]])
                yield BodyPart(tube(np.array(front) + rise, 5.0), "cartilage")


def _breastbone(body: Body) -> Iterator[BodyPart]:
    """Yield the breastbone, in the front of the chest wall."""
    heights = (160.0, 200.0, 250.0, 300.0)
    line = [body.rib_point(0.0, 180.0, z + 2 * RIB_FALL_MM) for z in heights]
    yield from _bone(tube(line, (4, 6, 6.5, 7)))


def _hip(side: float) -> Iterator[BodyPart]:
    """Yield one side of the pelvis and the upper thigh bone."""
    yield from _bone(_iliac_wing(side))
    head = (side * 90, -12, -262)
    yield from _bone(ellipsoid(head, (24, 24, 24)))
    yield from _bone(along(courses.FEMUR_NECK, side=side))
    yield from _bone(along(courses.FEMUR, side=side), 5.0)
    socket = ellipsoid((side * 84, -10, -250), (31, 31, 32))
    yield from _bone(socket.minus(ellipsoid(head, (27, 27, 27)).field))
    for course in (courses.PUBIS, courses.PUBIS_LOW, courses.ISCHIUM):
        yield from _bone(along(course, side=side))


def _iliac_wing(side: float) -> Shape:
    """Return the side and bottom of a bowl, cut above, at the midline and in front."""
    bowl = ellipsoid((side * 38, -22, -118), (92, 78, 118), rotation(about_z=side * 20))
    cuts = (
        half_space((0, 0, -92), (0, 0.25, 1)),
        half_space((side * 40, 0, 0), (-side, 0, 0)),
        half_space((0, -62, 0), (0, -1, 0)),
    )
    return bowl.clipped(_shell(bowl, 9.0), *cuts)


def _shell(shape: Shape, thickness_mm: float) -> Field:
    """Return the outside of `shape` and its outermost `thickness_mm`."""
    return outside(shape.grown(-thickness_mm).field)
