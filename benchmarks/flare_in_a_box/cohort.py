"""A made cohort in FLARE23's own folders: partial labels, bare scans, tuning, a hidden test set.

    train/imagesTr2200/ labelsTr2200/   a few with all labels, some with lesions, some with organs
    train/unlabeledTr1800/              scans without labels
    train/validation/ val-gt-50cases-for-sanity-check/   the tuning set
    test/images/ test/labels/           hidden: no recipe sees it

Every person is scanned once, in one of three contrast phases. Some are healthy and have decoys
(cysts, stones) instead of lesions. A made scan is never made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from flare_core.anatomy.organs import LESION
from flare_core.datasets.phantom.make import PhantomSettings, make_phantom
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.volume import Volume

TRAINING = ("train/imagesTr2200", "train/labelsTr2200")
UNLABELLED = "train/unlabeledTr1800"
TUNING = ("train/validation", "train/val-gt-50cases-for-sanity-check")
TEST = ("test/images", "test/labels")

PHASES = ("arterial", "portal", "late")
HEALTHY = 4
"""One person of so many has no lesion, only what looks like one."""
FIELDS = ("abdomen", "abdomen", "upper-abdomen", "abdomen-pelvis")
HOSTS = ("liver", "pancreas", "right_kidney", "left_kidney")


@dataclass(frozen=True)
class CohortSize:
    """How many scans of each kind, and their voxels."""

    full: int
    """With all 14 labels."""
    lesions: int
    """With lesions alone."""
    organs: int
    """With organs alone."""
    bare: int
    """Without labels."""
    tuning: int
    """Of the tuning set."""
    test: int
    """Of the hidden test set."""
    spacing_mm: tuple[float, float, float]
    """Of every scan, z, y, x."""


SIZES = {
    "small": CohortSize(6, 8, 8, 24, 4, 12, (5.0, 2.5, 2.5)),
    "tiny": CohortSize(2, 1, 1, 1, 1, 2, (8.0, 5.0, 5.0)),
}


SEED = 2023
"""Of the first person; the next ones follow."""


def make_cohort(folder: Path, size: CohortSize) -> None:
    """Write the scans and labels that are not there yet."""
    counts = (size.full, size.lesions, size.organs, size.bare, size.tuning, size.test)
    kinds = ("full", "lesions", "organs", "bare", "tuning", "test")
    number = 1  # a case called FLARE23_0000 would look like the scan of a case FLARE23
    for kind, count in zip(kinds, counts, strict=True):
        for _ in range(count):
            make_case(folder, kind, number, settings_of(kind, number, size))
            number += 1


def settings_of(kind: str, number: int, size: CohortSize) -> PhantomSettings:
    """Return the person and the scan of one case."""
    healthy = number % HEALTHY == 1 and kind not in ("lesions", "organs")
    return PhantomSettings(
        seed=SEED + number,
        spacing_mm=size.spacing_mm,
        field=FIELDS[number % len(FIELDS)],
        phase=PHASES[number % len(PHASES)],
        noise_hu=10.0 + 4 * (number % 4),
        lesions=0 if healthy else 2 + number % 2,
        lesion_organs=HOSTS,
        lesion_sizes=("small", "medium", "large"),
        lesion_push=True,
        decoys=2 if healthy else 1,
    )


def make_case(folder: Path, kind: str, number: int, who: PhantomSettings) -> None:
    """Write one scan and what a labeller of its kind drew, unless it is there."""
    name = f"FLARE23_{number:04d}"
    images, labels = {"bare": (UNLABELLED, ""), "tuning": TUNING, "test": TEST}.get(kind, TRAINING)
    image = folder / images / f"{name}_0000.nii.gz"
    if image.exists():
        return
    made = make_phantom(who)
    if labels:
        path = folder / labels / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_labels(path, _annotated(made.labels, kind))
    image.parent.mkdir(parents=True, exist_ok=True)
    write_volume(image, made.image)  # last: it says that the case is whole


def _annotated(labels: Volume, kind: str) -> Volume:
    """Return what a labeller of this kind drew; one of organs draws them with their tumours."""
    array = np.asarray(labels.array)
    lesion = array == LESION.id
    if kind == "lesions":
        array = np.where(lesion, array, 0)
    if kind == "organs" and lesion.any():
        nearest = ndimage.distance_transform_edt(
            (array == 0) | lesion, return_distances=False, return_indices=True
        )
        array = np.where(lesion, array[tuple(nearest)], array)
    return labels.with_array(array.astype(np.uint8))
