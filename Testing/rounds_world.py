"""A case store with a few small scans, and a student that learns them in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.train.config import TrainConfig
from flare_core.train.rounds.settings import RoundSettings
from tiny_training import ORGANS, SHAPE, tiny_config, write_config

SPACING_MM = (8.0, 6.0, 6.0)
"""Makes the blocks as large as a liver and a spleen."""

LABELLED = ("anna", "bert")
HELD_OUT = ("hans", "hugo")
UNLABELLED = ("una", "uwe", "ulla")


def make_store(folder: Path) -> Path:
    """Fill a store: two patients labelled by an expert, two of the hold-out, three unlabelled."""
    with open_store(folder / "store", create=True) as store:
        for number, patient in enumerate((*LABELLED, *HELD_OUT, *UNLABELLED)):
            image, labels = scan(number)
            path = folder / f"{patient}.nii.gz"
            write_volume(path, image)
            store.add_case(path, patient=patient)
            if patient not in UNLABELLED:
                add_expert(store, patient, labels, folder)
        store.freeze_hold_out(HELD_OUT)
    return folder / "store"


def add_expert(
    store: CaseStore, case: str, labels: Volume, folder: Path, organs: tuple[str, ...] = ORGANS
) -> None:
    """Add an expert's labels."""
    path = folder / f"{case}-labels.nii.gz"
    write_labels(path, labels)
    store.add_labels(case, path, LabelFacts("expert", organs, author="expert"))


def scan(number: int) -> tuple[Volume, Volume]:
    """Liver of 120 HU to the right, spleen of 60 HU to the left, elsewhere in every scan."""
    random = np.random.default_rng(number)
    image = random.normal(0.0, 8.0, SHAPE)
    image[:, :2] = -1000.0
    image[:, 2:6] -= 105.0  # fat: without its peak nobody takes the values for HU
    labels = np.zeros(SHAPE, np.uint8)
    a, b = 2 + number % 5, 12 + number % 7
    labels[a : a + 12, 6:26, 3:18] = 1
    labels[3:15, b : b + 12, 25:37] = 3
    image[labels == 1] += 120.0
    image[labels == 3] += 60.0
    geometry = Geometry(SHAPE, SPACING_MM, (0.0, 0.0, -40.0 * number))
    return Volume(np.rint(image).astype(np.int16), geometry), Volume(labels, geometry)


def student(folder: Path, **changes: object) -> Path:
    """Write the student's configuration."""
    phase = replace(tiny_config(folder).phases[0], steps=40, spacing_mm=SPACING_MM)
    fields: dict[str, object] = {"held_out_patients": (), "phases": (phase,), "validate_every": 20}
    config: TrainConfig = tiny_config(folder, **(fields | changes))
    return write_config(folder / "student.json", config)


def settings(folder: Path, **changes: object) -> RoundSettings:
    """Settings of a run over `make_store`'s cases."""
    fields: dict[str, object] = {
        "rounds": 2,
        "strategy": {"kind": "iterative"},
        "home": str(folder / "home"),
        "device": "cpu",
        "precision": "float32",
        "threads": 1,
    }
    return RoundSettings(
        "tiny",
        str(folder / "store"),
        str(folder / "student.json"),
        **(fields | changes),  # type: ignore[arg-type]
    )
