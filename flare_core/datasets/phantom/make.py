"""A synthetic abdominal CT whose labels are known exactly.

Steps (`make_phantom`):

1. draw a person as parts, front to back: outline (`phantom_body`), skeleton (`phantom_bones`), the
   thirteen organs (`phantom_anatomy`), the rest (`phantom_soft`); solids are in `phantom_shapes`;
2. paint tissues and organ ids on the wanted grid, then HU, blur and noise (`phantom_paint`);
3. paint lesions and decoys into the scan, if some are wanted (`phantom_lesions`).

Invariant: the person depends on the seed alone; grid, field of view, phase and noise only decide
how the same person is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import ALL_TARGETS, LESION, parse_organs
from flare_core.datasets.lesions.records import DecoyRecord, LesionRecord, LesionScan
from flare_core.datasets.phantom.anatomy import organ_parts, organ_shapes
from flare_core.datasets.phantom.body import Body, Part
from flare_core.datasets.phantom.bones import skeleton
from flare_core.datasets.phantom.lesions import phantom_lesions
from flare_core.datasets.phantom.paint import Bend, Canvas, hounsfield
from flare_core.datasets.phantom.settings import FIELDS_MM, PhantomSettings
from flare_core.datasets.phantom.shapes import Shape
from flare_core.datasets.phantom.soft import between_muscles, bowel, chest, muscles
from flare_core.imaging.geometry import CANONICAL, Geometry, Matrix
from flare_core.imaging.volume import Volume

ACROSS_MM = (400.0, 410.0)
"""Size of the field of view along y and x, mm."""
MIDDLE_Y_MM = -25.0
"""Body depth y at the middle of the field of view, mm."""


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A phantom and its truth."""

    image: Volume
    """CT, int16 HU."""
    labels: Volume
    """Organ ids, uint8, on the image's grid."""
    truth: dict[str, float]
    """Volume of each organ in `labels`, mL, without its lesions; 0 where it is not in view."""
    lesions: tuple[LesionRecord, ...] = ()
    """Each lesion of `labels`."""
    decoys: tuple[DecoyRecord, ...] = ()
    """What only looks like one."""


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
    body = person(settings.seed)[0]
    canvas = Canvas(phantom_geometry(settings), _bend(body, settings))
    for part in _parts(body, settings):
        canvas.paint(part)
    canvas.fill(body, table=settings.table)
    grid = canvas.geometry
    image = hounsfield(canvas.tissue, grid, settings.phase, settings.noise_hu, settings.seed)
    if settings.lesions or settings.decoys:
        return _case(grid, phantom_lesions(image, canvas.labels, settings))
    return PhantomCase(
        Volume(image, grid), Volume(canvas.labels, grid), _volumes_ml(canvas.labels, grid)
    )


def _case(grid: Geometry, made: LesionScan) -> PhantomCase:
    """Return a phantom with lesions."""
    labels = made.with_lesion_label()
    truth = _volumes_ml(labels, grid)
    return PhantomCase(
        Volume(made.image, grid), Volume(labels, grid), truth, made.records, made.decoys
    )


def _volumes_ml(labels: npt.NDArray[np.uint8], grid: Geometry) -> dict[str, float]:
    """Return the volume of each organ and of the lesions, mL."""
    counts = np.bincount(labels.ravel(), minlength=LESION.id + 1)
    return {target.key: float(counts[target.id] * grid.voxel_ml) for target in ALL_TARGETS}


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


@lru_cache(maxsize=4)
def person(seed: int) -> tuple[Body, tuple[Shape, ...], dict[str, Shape]]:
    """Draw a person: outline, muscles, organs (which take a second, so the last few are kept)."""
    body = Body.drawn(np.random.default_rng([seed, 1]))
    bellies = tuple(muscles(np.random.default_rng([seed, 3])))
    return body, bellies, organ_shapes(body, seed, bellies)


def _parts(body: Body, settings: PhantomSettings) -> Iterator[Part]:
    """Yield everything but the outer layers, front to back."""
    seed = settings.seed
    _, bellies, shapes = person(seed)
    # Absent organs are drawn as well, so that the others stay as they are.
    gone = [target.key for target in parse_organs(settings.absent)] if settings.absent else []
    shapes = {key: shape for key, shape in shapes.items() if key not in gone}
    yield from skeleton(body)
    yield from (Part(belly, "muscle") for belly in bellies)
    yield from organ_parts(shapes, seed)
    yield from between_muscles(bellies)
    yield from chest(body)
    yield from bowel(body, np.random.default_rng([seed, 4]))
