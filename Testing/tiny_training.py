"""Three small cases on disk and a network that learns them in seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flare_core.datasets.augment.patch import Augmentation
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.models.card import NetworkSpec, Normalisation
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.config_file import config_text

ORGANS = ("liver", "spleen")
SHAPE = (20, 36, 40)
SPACING_MM = (5.0, 4.0, 4.0)
PATIENTS = ("anna", "bert", "carl")

NETWORK = NetworkSpec(
    "plain_unet",
    output_channels=3,
    features_per_stage=(8, 16),
    strides=((1, 1, 1), (2, 2, 2)),
    kernel_sizes=((3, 3, 3), (3, 3, 3)),
    convolutions_per_stage_encoder=(1, 1),
    convolutions_per_stage_decoder=(1,),
    deep_supervision=True,
)
MILD = Augmentation(rotation_degrees=(4.0, 2.0, 2.0), zoom=0.05, bend_probability=0.0)


def make_cases(folder: Path, annotated: Mapping[str, tuple[str, ...]] | None = None) -> Path:
    """Write a folder of three labelled scans, one a patient: liver 120 HU, spleen 60 HU."""
    random = np.random.default_rng(5)
    for part in ("ct", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    table = {}
    for number, patient in enumerate(PATIENTS):
        image, labels = _scan(random, number)
        write_volume(folder / "ct" / f"case{number}.nii.gz", image)
        write_labels(folder / "labels" / f"case{number}.nii.gz", labels)
        keys = (annotated or {}).get(patient, ORGANS)
        table[f"case{number}"] = {"patient": patient, "annotated": list(keys)}
    (folder / "cases.json").write_text(json.dumps(table), encoding="utf-8")
    return folder


def _scan(random: np.random.Generator, number: int) -> tuple[Volume, Volume]:
    geometry = Geometry(SHAPE, SPACING_MM, (0.0, 0.0, -50.0 * number))
    image = random.normal(-100.0, 8.0, SHAPE)  # fat
    labels = np.zeros(SHAPE, np.uint8)
    image[:, :2] = -1000.0
    a, b = 4 + number, 14 + number
    labels[a : a + 10, 8:24, 4:18] = 1  # the liver lies to the right: low x
    labels[4:14, b : b + 10, 26:36] = 3
    image[labels == 1] += 220.0
    image[labels == 3] += 160.0
    return Volume(np.rint(image).astype(np.int16), geometry), Volume(labels, geometry)


def tiny_config(data: Path, **changes: object) -> TrainConfig:
    """A run of one short phase that needs no resampling to speak of."""
    phase = Phase(SPACING_MM, (12, 24, 24), steps=60, learning_rate=1e-2)
    fields: dict[str, object] = {
        "data": (str(data),),
        "network": NETWORK,
        "normalisation": Normalisation("window", -100, 200, 40.0, 60.0),
        "phases": (phase,),
        "organs": ORGANS,
        "held_out_patients": ("carl",),
        "warm_up_steps": 5,
        "ema_decay": 0.9,
        "augmentation": MILD,
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
        "validate_every": 30,
    }
    return TrainConfig("tiny", "organs", **(fields | changes))  # type: ignore[arg-type]


def write_config(path: Path, config: TrainConfig) -> Path:
    """Write a configuration file."""
    path.write_text(config_text(config), encoding="utf-8")
    return path
