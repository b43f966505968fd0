"""A synthetic abdominal CT whose labels are known exactly.

Steps (`make_phantom`):

1. draw a person as parts, front to back: outline (`phantom_body`), skeleton (`phantom_bones`), the
   thirteen organs (`phantom_anatomy`), the rest (`phantom_soft`); solids are in `phantom_shapes`;
2. paint tissues and organ ids on the wanted grid, then HU, blur and noise (`phantom_paint`).

Invariant: the person depends on the seed alone; grid, field of view, phase and noise only decide
how the same person is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flare_core.anatomy.organs import ALL_TARGETS, LESION, organ, parse_organs
from flare_core.datasets.phantom_anatomy import organ_parts, organ_shapes
from flare_core.datasets.phantom_body import Body, Part
from flare_core.datasets.phantom_bones import skeleton
from flare_core.datasets.phantom_paint import PHASES, Bend, Canvas, hounsfield
from flare_core.datasets.phantom_shapes import Shape, ellipsoid
from flare_core.datasets.phantom_soft import bowel, chest, muscles
from flare_core.errors import InputError
from flare_core.imaging.geometry import CANONICAL, Geometry, Matrix, Triple
from flare_core.imaging.volume import Volume

FIELDS_MM: dict[str, tuple[float, float]] = {
    "abdomen": (-112.0, 166.0),
    "upper-abdomen": (10.0, 166.0),
    "lower-abdomen": (-150.0, 40.0),
    "abdomen-pelvis": (-310.0, 166.0),
    "chest-abdomen": (-112.0, 330.0),
    "chest-to-pelvis": (-310.0, 330.0),
    "chest-only": (205.0, 345.0),
    "pelvis-only": (-330.0, -125.0),
}
"""Lowest and highest height z of each field of view, mm (0 is L2)."""
ACROSS_MM = (400.0, 410.0)
"""Size of the field of view along y and x, mm."""
MIDDLE_Y_MM = -25.0
"""Body depth y at the middle of the field of view, mm."""


@dataclass(frozen=True)
class PhantomSettings:
    """Who is scanned, and how."""

    seed: int = 0
    """The person: shapes, sizes, volumes."""
    spacing_mm: Triple = (2.5, 0.8, 0.8)
    """Voxel spacing z, y, x, mm."""
    field: str = "abdomen"
    """Which heights are scanned: a key of `FIELDS_MM`."""
    phase: str = "portal"
    """Contrast phase: one of `PHASES`."""
    noise_hu: float = 12.0
    """Standard deviation of the noise, HU."""
    lesions: int = 0
    """How many lesions the liver has (label 14)."""
    absent: tuple[str, ...] = ()
    """Organs that were removed."""
    oblique_degrees: float = 0.0
    """Tilt of the grid against the patient, about an axis between all three, degrees."""
    table: bool = True
    """Whether the patient lies on a table."""
    size_scale: float = 1.0
    """Size of the whole person; volumes grow with its cube."""

    def __post_init__(self) -> None:
        """Refuse settings that no scan has."""
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(self.field in FIELDS_MM, "field", self.field, f"one of {', '.join(FIELDS_MM)}")
        _require(self.phase in PHASES, "phase", self.phase, f"one of {', '.join(PHASES)}")
        fine = len(self.spacing_mm) == 3 and all(0.3 <= s <= 20 for s in self.spacing_mm)
        _require(fine, "spacing", self.spacing_mm, "three values z, y, x of 0.3 to 20 mm")
        _require(0 <= self.noise_hu <= 500, "noise", self.noise_hu, "0 to 500 HU")
        _require(0 <= self.lesions <= 30, "lesions", self.lesions, "0 to 30")
        _require(
            abs(self.oblique_degrees) <= 45, "oblique", self.oblique_degrees, "-45 to 45 degrees"
        )
        _require(0.6 <= self.size_scale <= 1.5, "size scale", self.size_scale, "0.6 to 1.5")
        for name in self.absent:
            organ(name)


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A phantom and its truth."""

    image: Volume
    """CT, int16 HU."""
    labels: Volume
    """Organ ids, uint8, on the image's grid."""
    truth: dict[str, float]
    """Volume of each organ in `labels`, mL; 0 where the organ is outside the field or absent."""


def make_phantom(settings: PhantomSettings | None = None) -> PhantomCase:
    """Make a synthetic CT and its labels.

    Parameters
    ----------
    settings : PhantomSettings, optional
        Person, grid, phase, noise.

    Returns
    -------
    PhantomCase
        The same voxels for the same settings and versions of numpy and scipy.
    """
    settings = settings or PhantomSettings()
    body = Body.drawn(np.random.default_rng([settings.seed, 1]))
    canvas = Canvas(phantom_geometry(settings), _bend(body, settings))
    for part in _parts(body, settings):
        canvas.paint(part)
    canvas.fill(body, table=settings.table)
    grid = canvas.geometry
    image = hounsfield(canvas.tissue, grid, settings.phase, settings.noise_hu, settings.seed)
    counts = np.bincount(canvas.labels.ravel(), minlength=LESION.id + 1)
    truth = {target.key: float(counts[target.id] * grid.voxel_ml) for target in ALL_TARGETS}
    return PhantomCase(Volume(image, grid), Volume(canvas.labels, grid), truth)


def phantom_geometry(settings: PhantomSettings) -> Geometry:
    """Return the grid of a phantom: `ACROSS_MM` times the field's height, tilted if asked."""
    low, high = (v * settings.size_scale for v in FIELDS_MM[settings.field])
    extent = (high - low, *(v * settings.size_scale for v in ACROSS_MM))
    z, y, x = (max(2, round(e / s)) for e, s in zip(extent, settings.spacing_mm, strict=True))
    direction = _tilted(settings.oblique_degrees)
    grid = Geometry((z, y, x), settings.spacing_mm, (0.0, 0.0, 0.0), direction)
    middle = grid.voxel_to_lps([(z - 1) / 2, (y - 1) / 2, (x - 1) / 2])
    wanted = (0.0, MIDDLE_Y_MM * settings.size_scale, 0.5 * (low + high))
    ox, oy, oz = (float(a - b) for a, b in zip(wanted, middle, strict=True))
    return Geometry((z, y, x), settings.spacing_mm, (ox, oy, oz), direction)


def _tilted(degrees: float) -> Matrix:
    """Return the canonical directions, turned (Rodrigues' formula) about (1, 1, 1)."""
    angle = math.radians(degrees)
    axis = np.ones(3) / math.sqrt(3.0)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
    z, y, x = ([float(v) for v in turn @ np.array(row)] for row in CANONICAL)
    return (z[0], z[1], z[2]), (y[0], y[1], y[2]), (x[0], x[1], x[2])


def _bend(body: Body, settings: PhantomSettings) -> Bend:
    """Return this person's posture and size."""
    x, y, z = (settings.size_scale * v for v in body.scale)
    return Bend.drawn(np.random.default_rng([settings.seed, 2]), (x, y, z))


def _parts(body: Body, settings: PhantomSettings) -> Iterator[Part]:
    """Yield everything but the outer layers, front to back."""
    seed = settings.seed
    absent = tuple(o.key for o in parse_organs(settings.absent)) if settings.absent else ()
    shapes = organ_shapes(body, seed, absent)
    yield from skeleton(body)
    yield from organ_parts(shapes, seed)
    if "liver" in shapes:
        yield from _lesions(shapes["liver"], settings)
    yield from muscles(np.random.default_rng([seed, 3]))
    yield from chest(body)
    yield from bowel(body, np.random.default_rng([seed, 4]))


def _lesions(liver: Shape, settings: PhantomSettings) -> Iterator[Part]:
    """Yield round lesions inside the liver."""
    rng = np.random.default_rng([settings.seed, 5])
    for _ in range(settings.lesions):
        size = rng.uniform(5.0, 18.0)
        spot = ellipsoid(_inside(liver, 0.6 * size, rng), size * rng.uniform(0.8, 1.2, 3))
        yield Part(spot.wobbled(1.2, 15.0, rng), "lesion", LESION.id, organ("liver").id)


def _inside(shape: Shape, depth_mm: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a random point about `depth_mm` or more below the surface (the deepest of many)."""
    low, high = shape.bounds()
    tries = rng.uniform(low, high, (400, 3)).astype(np.float32)
    depth = -shape.field(tries[:, 0], tries[:, 1], tries[:, 2])
    deep = np.flatnonzero(depth >= depth_mm)
    x, y, z = tries[deep[0] if deep.size else int(np.argmax(depth))]
    return float(x), float(y), float(z)


def _require(fine: bool, argument: str, came: object, legal: str) -> None:
    """Raise a four-part error unless the value is fine."""
    if not fine:
        raise InputError(f"phantom {argument}", str(came), legal, "Give a value that is legal.")
