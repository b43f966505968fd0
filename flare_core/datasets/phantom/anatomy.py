"""The phantom's thirteen organs: course, size and filling of each, drawn from the seed.

Organs come front to back: what is painted first keeps its place, and later parts only fill what is
still free.  So labels never overlap, and a volume can be asked for before anything is painted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import organ
from flare_core.datasets.phantom import courses
from flare_core.datasets.phantom.body import Body, BodyPart
from flare_core.datasets.phantom.shapes import (
    Floats,
    Shape,
    along,
    ellipsoid,
    half_space,
    rotation,
    swell_for_volume,
    swept,
)
from flare_core.datasets.phantom.soft import Filling, hollow

VOLUME_ML: dict[str, tuple[float, float] | None] = {
    "aorta": None,
    "inferior_vena_cava": None,
    "esophagus": None,
    "right_adrenal_gland": (3.2, 6.5),
    "left_adrenal_gland": (3.5, 7.0),
    "right_kidney": (120.0, 200.0),
    "left_kidney": (125.0, 205.0),
    "gallbladder": (12.0, 50.0),
    "duodenum": (45.0, 85.0),
    "pancreas": (60.0, 110.0),
    "spleen": (120.0, 300.0),
    "stomach": (150.0, 420.0),
    "liver": (1150.0, 1950.0),
}
"""Volumes drawn from, mL; None where the scan cuts the organ and its radius alone decides."""
STOMACH_FILLINGS = ("chyme", "chyme", "meal", "bowel contrast")
"""What a stomach may hold besides gas."""
VESSELS: tuple[tuple[courses.Course, str], ...] = (
    (courses.ARCH, "aorta"),
    (courses.MESENTERIC_ARTERY, "aorta"),
    (courses.HEPATIC_ARTERY, "aorta"),
    (courses.PORTAL_VEIN, "portal vein"),
    (courses.SPLENIC_VEIN, "portal vein"),
)
"""Larger vessels that no label covers, and the tissue they look like."""
PAIRED_VESSELS: tuple[tuple[courses.Course, str], ...] = (
    (courses.ILIAC_ARTERY, "aorta"),
    (courses.ILIAC_VEIN, "inferior_vena_cava"),
    (courses.RENAL_ARTERY, "aorta"),
    (courses.RENAL_VEIN, "inferior_vena_cava"),
)
"""The same, on both sides."""

FAT_AROUND_MM = {
    "right_kidney": 3.5,
    "left_kidney": 3.5,
    "right_adrenal_gland": 2.0,
    "left_adrenal_gland": 2.0,
}
"""Thickness of the fat between retroperitoneal organs and their neighbours, mm."""

GUEST_COURSES: dict[str, tuple[courses.Course, float]] = {
    "duodenum": (courses.DUODENUM, 2.0),
    "pancreas": (courses.PANCREAS, 2.5),
}
"""Course of the organs that others give way to, and how far it is moved (SD, mm)."""

Rng = np.random.Generator


def organ_rng(seed: int, key: str) -> Rng:
    """Return an organ's own stream, so that leaving one organ out does not change the others."""
    return np.random.default_rng([seed, 1000 + organ(key).id])


def _moved(course: courses.Course, sd_mm: float, rng: Rng) -> Floats:
    """Return a course (N, 4) shifted as a whole and a little at each point, mm."""
    table = np.array(course, float)
    shift = rng.normal(0, sd_mm, 3)
    table[:, :3] += shift + rng.normal(0, sd_mm / 2, (len(table), 3))
    return table


def _aorta(body: Body, rng: Rng) -> Shape:
    table = np.array(courses.AORTA, float)
    table[:6, 0] += rng.normal(0, 2.5, 6)
    return along(table, rng.uniform(0.95, 1.25))


def _vena_cava(body: Body, rng: Rng) -> Shape:
    return along(_moved(courses.VENA_CAVA, 1.2, rng), rng.uniform(0.75, 1.0))


def _esophagus(body: Body, rng: Rng) -> Shape:
    return along(_moved(courses.ESOPHAGUS, 1.0, rng), rng.uniform(0.85, 1.15))


def _adrenal(side: float, rng: Rng) -> Shape:
    """Thin limbs that open to the back from an apex, like a V turned over."""
    apex = np.array((-31.0, -20.0, 74.0) if side < 0 else (34.0, -20.0, 56.0))
    apex += rng.normal(0, 1.5, 3)
    body = ellipsoid(apex + (0, 4, 2), (3.0, 7, 13))
    limbs = []
    for turn, length in ((-24.0, 15.0), (20.0, 13.0)):
        angle = np.radians(turn)
        middle = apex + length * np.array([-np.sin(angle), np.cos(angle), -0.2])
        limbs.append(ellipsoid(middle, (2.2, length, 15), rotation(about_z=turn, about_x=10)))
    return body.joined(*limbs)


def _kidney_frame(side: float, rng: Rng) -> tuple[npt.NDArray[np.float64], Floats]:
    """Return a kidney's centre and the turn of its axes; the left one is higher."""
    centre = np.array((-71.0, 3.0, -4.0) if side < 0 else (72.0, 3.0, 10.0))
    lean = rng.normal(0, 4, 3)
    turn = rotation(about_y=side * 14 + lean[1], about_x=-9 + lean[0], about_z=side * 28 + lean[2])
    return centre + rng.normal(0, (2.5, 2.0, 6.0)), turn


def _sinus(side: float, centre: npt.NDArray[np.float64], turn: Floats) -> Shape:
    """The fat at a kidney's inner side, which its label leaves out."""
    opening = centre + turn @ np.array((-side * 20.0, -6.0, 0.0))
    return ellipsoid(opening, (19, 10, 19), turn)


def _kidney(side: float, rng: Rng) -> Shape:
    centre, turn = _kidney_frame(side, rng)
    whole = ellipsoid(centre, (26, 29, 55), turn).wobbled(1.2, 40.0, rng)
    return whole.minus(_sinus(side, centre, turn).field)


def _gallbladder(body: Body, rng: Rng) -> Shape:
    return along(_moved(courses.GALLBLADDER, 3.0, rng))


def _duodenum(body: Body, rng: Rng) -> Shape:
    return along(_moved(*GUEST_COURSES["duodenum"], rng)).wobbled(1.5, 14.0, rng)


def _pancreas(body: Body, rng: Rng) -> Shape:
    return along(_moved(*GUEST_COURSES["pancreas"], rng)).wobbled(1.3, 12.0, rng)


def _stomach(body: Body, rng: Rng) -> Shape:
    shape = along(_moved(courses.STOMACH, 3.0, rng)).wobbled(2.5, 35.0, rng)
    return shape.clipped(body.cavity(2.0), body.below_dome(4.0))


def _spleen(body: Body, rng: Rng) -> Shape:
    centre = np.array((86.0, 20.0, 92.0)) + rng.normal(0, 3, 3)
    shape = ellipsoid(centre, (38, 55, 58), rotation(about_x=25, about_z=25))
    inner_side = ellipsoid(centre + (-44, -32, 0), (32, 38, 58))
    shape = shape.wobbled(2.0, 50.0, rng).minus(inner_side.field)
    return shape.clipped(body.cavity(2.0), body.below_dome(3.5))


def _liver(body: Body, rng: Rng) -> Shape:
    size = np.array((86, 96, 92)) * rng.uniform(0.92, 1.08, 3)
    right = ellipsoid((-72, -36, 78), size, rotation(about_y=6))
    size = np.array((76, 46, 36)) * rng.uniform(0.8, 1.15, 3)
    left = ellipsoid((8 + rng.normal(0, 8), -80, 104), size, rotation(about_y=-10))
    caudate = ellipsoid((-10, -50, 104), (24, 17, 28))
    shape = right.joined(left, caudate).wobbled(2.0, 60.0, rng)
    visceral = ellipsoid((32, 2, 4), (86, 82, 84))
    lower_edge = half_space((-90, 0, 4 + rng.normal(0, 7)), (0.6, 0.1, -1))
    behind = ellipsoid((-38, 40, 20), (38, 42, 60))
    shape = shape.minus(visceral.field).minus(behind.field).minus(_fissure().field)
    return shape.clipped(lower_edge, body.cavity(1.5), body.below_dome(2.5))


def _fissure() -> Shape:
    """The fat between the liver's lobes, around the falciform ligament."""
    return ellipsoid((-6, -112, 66), (2.2, 26, 28), rotation(about_z=8))


MAKERS: dict[str, Callable[[Body, Rng], Shape]] = {
    "aorta": _aorta,
    "inferior_vena_cava": _vena_cava,
    "esophagus": _esophagus,
    "right_adrenal_gland": lambda body, rng: _adrenal(-1.0, rng),
    "left_adrenal_gland": lambda body, rng: _adrenal(1.0, rng),
    "right_kidney": lambda body, rng: _kidney(-1.0, rng),
    "left_kidney": lambda body, rng: _kidney(1.0, rng),
    "gallbladder": _gallbladder,
    "duodenum": _duodenum,
    "pancreas": _pancreas,
    "spleen": _spleen,
    "stomach": _stomach,
    "liver": _liver,
}
"""How each organ is made, in painting order (front to back)."""


@dataclass(frozen=True)
class Impression:
    """Where an organ that is drawn later lies around an earlier one, and is open to one side."""

    guest: str
    """The earlier one."""
    rows: slice
    """Which part of its course."""
    towards: tuple[float, float, float]
    """Side that is open (x, y, z: left, back, up)."""


IMPRESSIONS = {
    "liver": Impression("duodenum", slice(0, 6), (0.75, 0.2, -0.6)),
    "spleen": Impression("pancreas", slice(4, None), (-0.9, -0.4, 0.0)),
}
"""Neighbours that would close around the other: below the liver, at the spleen's hilum."""

IMPRESSION_MM = 2.5
"""How much wider the impression is than its guest."""


def _impressed(key: str, shape: Shape, made: dict[str, Shape], seed: int) -> Shape:
    """Return a shape with the impression of its guest."""
    found = IMPRESSIONS.get(key)
    if found is None:
        return shape
    course = _moved(*GUEST_COURSES[found.guest], organ_rng(seed, found.guest))
    wider = made[found.guest].swell_mm + IMPRESSION_MM
    return shape.minus(swept(course[found.rows], found.towards, wider))


def organ_shapes(body: Body, seed: int, taken: Sequence[Shape] = ()) -> dict[str, Shape]:
    """Draw every organ and size it to its volume.

    Parameters
    ----------
    body : Body
        The person's outline.
    seed : int
        The person.
    taken : sequence of Shape
        What is painted before the organs.

    Returns
    -------
    dict of str to Shape
        In painting order.
    """
    made: dict[str, Shape] = {}
    for key, maker in MAKERS.items():
        rng = organ_rng(seed, key)
        shape, limits = _impressed(key, maker(body, rng), made, seed), VOLUME_ML[key]
        if limits is not None:
            wanted_ml = rng.uniform(*limits) / float(np.prod(body.scale))
            fat = (around for other in made.items() for around in _own_fat(*other))
            swell_mm = swell_for_volume(shape, wanted_ml, (*taken, *made.values(), *fat))
            shape = shape.swollen(swell_mm)
        made[key] = shape
    return made


def _own_fat(key: str, shape: Shape) -> list[Shape]:
    """Return the fat around (and in the sinus of) an organ, which neighbours do not enter."""
    thickness_mm = FAT_AROUND_MM.get(key)
    return [] if thickness_mm is None else [replace(shape, clips=()).grown(thickness_mm)]


def organ_parts(shapes: dict[str, Shape], seed: int) -> Iterator[BodyPart]:
    """Yield what to paint for each organ, and the unlabelled vessels around them."""
    rng = np.random.default_rng([seed, 77])
    for course, tissue in VESSELS:
        yield BodyPart(along(course), tissue)
    for side in (-1.0, 1.0):
        for course, tissue in PAIRED_VESSELS:
            yield BodyPart(along(course, side=side), tissue)
    fillings = _fillings(rng)
    for key, shape in shapes.items():
        number = organ(key).id
        if key in fillings:
            yield from hollow(shape, fillings[key], rng, number)
        else:
            yield BodyPart(shape, key, number)
        yield from (BodyPart(fat, "fat") for fat in _own_fat(key, shape))
    yield from _inside_organs(shapes, seed)


def _fillings(rng: Rng) -> dict[str, Filling]:
    """Return what the hollow organs hold."""
    return {
        "stomach": Filling(str(rng.choice(STOMACH_FILLINGS)), 0.4, 3.5),
        "duodenum": Filling("chyme", 0.12, 2.5),
        "esophagus": Filling("gas" if rng.random() < 0.6 else "gut wall", 0.0, 5.5),
    }


def _inside_organs(shapes: dict[str, Shape], seed: int) -> Iterator[BodyPart]:
    """Yield the kidneys' medulla, vessels and fissure of the liver, plaques."""
    rng = np.random.default_rng([seed, 78])
    if "aorta" in shapes:
        yield from _plaques(shapes["aorta"], rng)
    for key in ("right_kidney", "left_kidney"):
        if key in shapes:
            number = organ(key).id
            medulla = shapes[key].grown(-6.0).wobbled(4.0, 22.0, rng)
            yield BodyPart(medulla, "medulla", number, number)
    if "liver" in shapes:
        number = organ("liver").id
        for course in courses.LIVER_VEINS:
            yield BodyPart(along(course), "liver vessel", number, number)
        yield BodyPart(_fissure(), "fat")


def _plaques(aorta: Shape, rng: Rng) -> Iterator[BodyPart]:
    """Yield calcified plaques in the aorta's wall, in every second person."""
    number = organ("aorta").id
    count = int(rng.integers(3, 12)) if rng.random() < 0.5 else 0
    for _ in range(count):
        piece = aorta.pieces[int(rng.integers(len(aorta.pieces)))]
        low, high = np.array(piece.low), np.array(piece.high)
        angle, radius = rng.uniform(0, 2 * np.pi), 0.5 * float(min(high - low))
        wall = 0.5 * (low + high) + radius * np.array([np.cos(angle), np.sin(angle), 0.0])
        yield BodyPart(ellipsoid(wall, (2.2, 2.2, 4.0)), "calcification", number, number)
