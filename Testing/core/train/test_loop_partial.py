"""Whole runs on cases that annotate only some of what the network learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flare_core.imaging.files import read_labels, read_volume, write_labels, write_volume
from flare_core.models.stage_card import Normalisation
from flare_core.train.loop import Trainer
from tiny_training import NETWORK, make_cases, tiny_config

Facts = list[dict[str, Any]]


def test_partial_labels_focal_loss_and_batches_train_too(cache: Path, tmp_path: Path) -> None:
    data = make_cases(tmp_path / "cases", {"anna": ("liver",), "bert": ("spleen",)})
    config = tiny_config(data, focal_gamma=2.0, batch_size=2, validate_every=0)
    told: Facts = []
    config = replace(config, phases=(replace(config.phases[0], steps=40),))
    Trainer(config, tmp_path / "run", cache, report=told.append).run()
    assert told[1]["loss"] < told[0]["loss"] and told[1]["skipped"] == 0


def with_lesions(folder: Path) -> Path:
    """Cases of which only the lesions are annotated: one in every liver, 60 HU below it."""
    make_cases(folder, dict.fromkeys(("anna", "bert", "carl"), ("lesion",)))
    for number in range(3):
        name = f"case{number}.nii.gz"
        image, labels = read_volume(folder / "ct" / name), read_labels(folder / "labels" / name)
        lesion = np.zeros(labels.array.shape, np.uint8)
        lesion[7 + number : 11 + number, 12:18, 8:13] = 14
        hu = np.where(lesion > 0, image.array - 80, image.array).astype(np.int16)
        write_volume(folder / "ct" / name, image.with_array(hu))
        write_labels(folder / "labels" / name, labels.with_array(lesion))
    return folder


def test_a_lesion_stage_trains_from_cases_that_annotate_nothing_else(
    cache: Path, tmp_path: Path
) -> None:
    """Organs around them are background to this network; lesions are pasted elsewhere too."""
    config = tiny_config(
        with_lesions(tmp_path / "cases"),
        organs=("lesion",),
        network=replace(NETWORK, output_channels=2),
        normalisation=Normalisation("window", -100, 200, 80.0, 60.0),
        lesion_mix=0.2,
    )
    told: Facts = []
    scores = Trainer(config, tmp_path / "run", cache, report=told.append).run()
    losses = [each["loss"] for each in [each for each in told if each["event"] == "step"]]
    assert losses[-1] < 0.75 * losses[0] and set(scores) == {"lesion"} and scores["lesion"] > 0.2
