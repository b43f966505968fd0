"""Small data sets in the folders of each FLARE edition, with voxels that are known by arithmetic.

A scan is a grid of 6 x 8 x 10 voxels of 5 x 1.5 x 2 mm, tilted and stored towards right and front.
A label map gives values runs of voxels along x, in the order of a dictionary value -> number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from flare_core.datasets.flare.dataset import FlareCase, find_dataset, look_into_labels
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

SHAPE = (6, 8, 10)
VOXELS = 480
SINE, COSINE = np.sin(np.radians(12)), np.cos(np.radians(12))
GEOMETRY = Geometry(
    SHAPE,
    (5.0, 1.5, 2.0),
    (30.0, -80.0, -300.0),
    ((0.0, -SINE, COSINE), (0.0, -COSINE, -SINE), (-1.0, 0.0, 0.0)),
)
VOXEL_ML = 0.015

ALL_13 = {value: 3 + value for value in range(1, 14)}
"""Label value -> voxels of a fully labelled case: 4, 5, ... 16."""


def scan(seed: int) -> Volume:
    """Whole HU between -150 and 150 with some air and bone, other ones for each seed."""
    random = np.random.default_rng(seed)
    hu = random.integers(-150, 151, SHAPE).astype(np.int16)
    hu.flat[:4] = (-1000, -1000, 900, 1200)
    return Volume(hu, GEOMETRY)


def label_map(voxels: Mapping[int, int]) -> Volume:
    """Runs of voxels; organs of two sides lie where they belong (x runs to the patient's right)."""
    flat = np.zeros(VOXELS, np.uint8)
    place = 2  # the first voxels, with air and bone, are partly inside the first label
    for value, count in voxels.items():
        flat[place : place + count] = value
        place += count
    labels = flat.reshape(SHAPE)
    for plane, (right, left) in ((-1, (2, 13)), (-2, (7, 8))):
        if {right, left} <= set(voxels):
            labels[np.isin(labels, (right, left))] = 0
            labels[plane].T.flat[: voxels[left]] = left
            labels[plane].T[::-1].flat[: voxels[right]] = right
    return Volume(labels, GEOMETRY)


class Maker:
    """Writes cases below a folder; every scan differs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seed = 0

    def scan(self, place: str) -> Path:
        """Write one scan."""
        path = self._path(place)
        write_volume(path, scan(self.seed))
        self.seed += 1
        return path

    def labels(self, place: str, voxels: Mapping[int, int]) -> Path:
        """Write one label map."""
        path = self._path(place)
        write_labels(path, label_map(voxels))
        return path

    def _path(self, place: str) -> Path:
        path = self.root / f"{place}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def make_flare21(root: Path) -> None:
    """Two training cases in the nnU-Net form of the archive, one validation scan."""
    maker = Maker(root)
    for name in ("train_000", "train_001"):
        maker.scan(f"TrainingImg/{name}_0000")
        maker.labels(f"TrainingMask/{name}", {1: 20, 2: 9, 3: 5, 4: 3})
    maker.scan("ValidationImg/validation_001_0000")


def make_flare22(root: Path) -> None:
    """Labelled, unlabelled in two folders, tuning, and testing with the tuning set's names."""
    maker = Maker(root)
    for number in (1, 2):
        maker.scan(f"Training/FLARE22_LabeledCase2/images/FLARE22_Tr_000{number}_0000")
        maker.labels(f"Training/FLARE22_LabeledCase2/labels/FLARE22_Tr_000{number}", ALL_13)
    for first in (1, 3):
        for number in (first, first + 1):
            folder = f"Training/FLARE22_UnlabeledCase{first}-{first + 1}"
            maker.scan(f"{folder}/Case_0000{number}_0000")
    maker.scan("Tuning/images/FLARETs_0001_0000")
    maker.labels("Tuning/labels/FLARETs_0001", ALL_13)
    maker.scan("Testing/FLARETs_0001_0000")


FLARE23_KINDS: dict[str, dict[int, int]] = {
    "FLARE23_0001": {14: 7},
    "FLARE23_0002": {1: 20, 2: 6, 13: 6, 3: 5, 4: 3},
    "FLARE23_0003": {1: 20, 2: 6, 13: 6, 4: 3, 14: 2},
    "FLARE23_0004": {value: n for value, n in ALL_13.items() if value != 9},
}
"""Lesions alone; four organs; four organs (no spleen) and lesions; 13 organs, gallbladder gone."""


def make_flare23(root: Path) -> None:
    """Partly labelled cases of four kinds, unlabelled ones, validation labelled in part."""
    maker = Maker(root)
    for name, voxels in FLARE23_KINDS.items():
        maker.scan(f"imagesTr4/{name}_0000")
        maker.labels(f"labelsTr4/{name}", voxels)
    maker.labels("labelsTr4/20230507-fix/FLARE23_0001", {14: 11})
    maker.scan("unlabeledTr1/FLARE23_0005_0000")
    for number in (1, 2):
        maker.scan(f"validation/FLARE23Ts_000{number}_0000")
    maker.labels("val-gt-50cases-for-sanity-check/FLARE23Ts_0001", {**ALL_13, 14: 1})
    maker.labels("aladdin5-pseudo-labels-FLARE23/unlabeledTr1/FLARE23_0005", ALL_13)


def make_flare24_task1(root: Path) -> None:
    """Two collections with labels apart, one without, public validation with healthy scans."""
    maker = Maker(root)
    for place in ("DeepLesion-2/001234_01_01_10-20", "DeepLesion-2/001234_02_01_10-20",
                  "COVID-19-1/covid_1"):  # fmt: skip
        maker.scan(f"Train-Labeled/{place}_0000")
        maker.labels(f"Train-Labeled/labelsTr/{place.split('/')[1]}", {1: 6})
    maker.scan("Train-Unlabeled/AMOS-image-Part1-1/amos_0001_0000")
    maker.scan("Validation-Public/lesion-images/FLARE24_v1_0000")
    maker.labels("Validation-Public/lesion-gts/FLARE24_v1", {1: 2})
    maker.scan("Validation-Public/HealthyImages-noLesion/healthy_1_0000")
    maker.scan("Validation-Hidden/FLARE24Val_0001_0000")


def make_flare24_task2(root: Path) -> None:
    """Labelled, unlabelled with two teams' pseudo labels, public and hidden validation."""
    maker = Maker(root)
    maker.scan("train_gt_label/imagesTr/FLARE22_Tr_0001_0000")
    maker.labels("train_gt_label/labelsTr/FLARE22_Tr_0001", ALL_13)
    maker.scan("train_pseudo_label/imagesTr/Case_00001_0000")
    maker.labels("train_pseudo_label/flare22_aladdin5_pseudo/Case_00001", {1: 9})
    maker.labels("train_pseudo_label/pseudo_label_blackbean_flare22/Case_00001", {3: 9})
    maker.scan("validation/Validation-Public-Images/FLARETs_0001_0000")
    maker.labels("validation/Validation-Public-Labels/FLARETs_0001", ALL_13)
    maker.scan("validation/Validation-Hidden-Images/FLARETs_0002_0000")


MAKERS: dict[str, Callable[[Path], None]] = {
    "flare21": make_flare21,
    "flare22": make_flare22,
    "flare23": make_flare23,
    "flare24-task1": make_flare24_task1,
    "flare24-task2": make_flare24_task2,
}
"""Edition -> what writes a small one of it."""

CONTENT: dict[str, dict[str, tuple[int, int]]] = {
    "flare21": {"training": (2, 2), "validation": (1, 0)},
    "flare22": {"training": (2, 2), "unlabelled": (4, 0), "tuning": (1, 1), "testing": (1, 0)},
    "flare23": {"training": (4, 4), "unlabelled": (1, 0), "validation": (2, 1)},
    "flare24-task1": {
        "training": (3, 3),
        "unlabelled": (1, 0),
        "validation": (1, 1),
        "healthy": (1, 0),
        "hidden": (1, 0),
    },
    "flare24-task2": {
        "training": (1, 1),
        "unlabelled": (1, 0),
        "validation": (1, 1),
        "hidden": (1, 0),
    },
}
"""Edition -> part -> scans, labelled ones among them."""


def cases_of(folder: Path) -> tuple[FlareCase, ...]:
    """Cases of a data set with the organs that their label maps annotate."""
    return look_into_labels(find_dataset(folder)).cases
