"""A synthetic abdominal CT whose labels are known exactly.

Steps (`make_phantom`):

1. draw a person as parts, front to back: outline (`body`), skeleton (`bones`), the thirteen
   organs (`anatomy`), the rest (`soft`); solids are in `shapes`;
2. paint tissues and organ ids on the wanted grid, then HU, blur and noise (`paint`);
3. paint lesions and decoys into the scan, if some are wanted (`phantom_lesions`).

`make_cohort` makes many people, phases, noise levels and fields of view, from one seed.

Invariant: the person depends on the seed alone; grid, field of view, phase and noise only decide
how the same person is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import ALL_TARGETS, LESION, parse_organs
from flare_core.datasets.case import SUFFIX, Case
from flare_core.datasets.lesions.generate import DecoyRecord, LesionRecord, LesionScan, add_lesions
from flare_core.datasets.lesions.kinds import LESION_KINDS
from flare_core.datasets.lesions.settings import LesionSettings
from flare_core.datasets.phantom.anatomy import organ_parts, organ_shapes
from flare_core.datasets.phantom.body import Body, BodyPart
from flare_core.datasets.phantom.bones import skeleton
from flare_core.datasets.phantom.paint import PHASES, Bend, Canvas, hounsfield
from flare_core.datasets.phantom.settings import FIELDS_MM, PhantomSettings
from flare_core.datasets.phantom.shapes import Shape
from flare_core.datasets.phantom.soft import between_muscles, bowel, chest, muscles
from flare_core.imaging.files import write_labels, write_volume
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
    for part in _parts(settings.seed, tuple(settings.absent)):
        canvas.paint(part)
    canvas.fill(body, table=settings.table)
    grid = canvas.geometry
    image = hounsfield(canvas.tissue, grid, settings.phase, settings.noise_hu, settings.seed)
    if settings.lesions or settings.decoys:
        return _with_lesions(grid, phantom_lesions(image, canvas.labels, settings))
    return PhantomCase(
        Volume(image, grid), Volume(canvas.labels, grid), _volumes_ml(canvas.labels, grid)
    )


def _with_lesions(grid: Geometry, made: LesionScan) -> PhantomCase:
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


@lru_cache(maxsize=4)
def _parts(seed: int, absent: tuple[str, ...]) -> tuple[BodyPart, ...]:
    """Return everything but the outer layers, front to back (half a second: the last are kept)."""
    return tuple(_drawn_parts(seed, absent))


def _drawn_parts(seed: int, absent: tuple[str, ...]) -> Iterator[BodyPart]:
    body, bellies, shapes = person(seed)
    # Absent organs are drawn as well, so that the others stay as they are.
    gone = [target.key for target in parse_organs(absent)] if absent else []
    shapes = {key: shape for key, shape in shapes.items() if key not in gone}
    yield from skeleton(body)
    yield from (BodyPart(belly, "muscle") for belly in bellies)
    yield from organ_parts(shapes, seed)
    yield from between_muscles(bellies)
    yield from chest(body)
    yield from bowel(body, np.random.default_rng([seed, 4]))


KINDS = tuple(kind for kind in LESION_KINDS if kind != "treated")
"""A phantom has had no treatment."""


def phantom_lesions(
    image: npt.NDArray[Any], labels: npt.NDArray[np.uint8], settings: PhantomSettings
) -> LesionScan:
    """Paint lesions and decoys into a phantom's HU (Z, Y, X) and organ ids (Z, Y, X)."""
    wanted = LesionSettings(
        lesions=(settings.lesions, settings.lesions),
        sizes=settings.lesion_sizes,
        organs=settings.lesion_organs,
        kinds=KINDS,
        decoys=(settings.decoys, settings.decoys),
        phase=settings.phase,
        pushing=0.6 if settings.lesion_push else 0.0,
        growing_out=settings.lesion_push,
    )
    random = np.random.default_rng([settings.seed, 5])
    return add_lesions(image, labels, settings.spacing_mm, random, wanted)


FIELDS = (
    ("abdomen", 0.40),
    ("upper-abdomen", 0.12),
    ("abdomen-pelvis", 0.12),
    ("chest-abdomen", 0.10),
    ("chest-to-pelvis", 0.10),
    ("chest-only", 0.08),
    ("pelvis-only", 0.08),
)
"""Field of view and its share; the last two teach where there is no organ."""

OFTEN_ABSENT = ("gallbladder", "spleen", "left_kidney", "right_kidney")
"""Organs that surgeons remove."""


def make_cohort(folder: Path, count: int, *, seed: int = 0) -> list[Case]:
    """Return `count` phantoms as cases, making the files that are not in `folder` yet.

    Parameters
    ----------
    folder : Path
        Gets ``images/`` and ``labels/``.
    count : int
        How many; the first ones stay the same when more are asked for.
    seed : int
        Another seed is another cohort.
    """
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return [_case(folder, random_settings(seed, number)) for number in range(count)]


def random_settings(seed: int, number: int) -> PhantomSettings:
    """Return the settings of phantom `number` of cohort `seed`."""
    random = np.random.default_rng((seed, number))
    names, shares = zip(*FIELDS, strict=True)
    absent = tuple(key for key in OFTEN_ABSENT if random.random() < 0.06)
    return PhantomSettings(
        seed=int(random.integers(2**31)),
        spacing_mm=(float(random.choice([2.0, 2.5, 3.0, 5.0])), 1.6, 1.6),
        field=str(random.choice(names, p=shares)),
        phase=str(random.choice(sorted(PHASES))),
        noise_hu=float(random.uniform(5, 30)),
        absent=absent,
        oblique_degrees=float(random.uniform(0, 8)),
        table=bool(random.random() < 0.7),
        size_scale=float(random.uniform(0.9, 1.1)),
    )


def _case(folder: Path, settings: PhantomSettings) -> Case:
    """Return one phantom as a case; its name holds its seed, so changed settings are new files."""
    name = f"phantom-{settings.seed:010d}"
    image = folder / "images" / f"{name}{SUFFIX}"
    labels = folder / "labels" / f"{name}{SUFFIX}"
    if not (image.exists() and labels.exists()):
        made = make_phantom(settings)
        write_labels(labels, made.labels)
        write_volume(image, made.image)
    return Case(name, image, labels, source="phantom")
