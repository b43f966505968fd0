"""A cohort of phantoms: many people, phases, noise levels and fields of view, from one seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flare_core.datasets.case import SUFFIX, Case
from flare_core.datasets.phantom.make import PhantomSettings, make_phantom
from flare_core.datasets.phantom.paint import PHASES
from flare_core.imaging.files import write_labels, write_volume

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
