"""A small training set for the tests of FLARETrain; numpy and flare_core only, so Slicer has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flare_core.cases.store import LabelFacts, open_store
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

SHAPE = (12, 20, 24)
SPACING_MM = (5.0, 4.0, 3.0)
ORGANS = ("liver", "spleen")
STRAIGHT = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
OBLIQUE = ((-0.6, 0.0, 0.8), (0.0, 1.0, 0.0), (0.8, 0.0, 0.6))


def scan(number: int, direction: tuple = STRAIGHT) -> tuple[Volume, Volume]:
    """A CT of two blocks in tissue, elsewhere in every scan, and its labels."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:8, 4:14, 3 : 10 + number] = 1
    labels[3:7, 6:10, 17:22] = 3
    array = np.full(SHAPE, -1000, np.int16)
    array[1:11, 2:18, 2:23] = 20 + number
    array[labels > 0] = 100
    grid = Geometry(
        SHAPE, SPACING_MM, (10.0, -20.0, 5.0 * number), *((direction,) * bool(direction))
    )
    return Volume(array, grid), Volume(labels, grid)


def make_store(folder: Path) -> Path:
    """Anna has an expert's labels, paul a model's, una none; hans is labelled and held out."""
    store_folder = folder / "training set"
    with open_store(store_folder, create=True) as store:
        for number, name in enumerate(("anna", "hans", "paul", "una")):
            image, labels = scan(number, OBLIQUE if name == "paul" else STRAIGHT)
            path = folder / f"{name}.nii.gz"
            write_volume(path, image)
            store.add_case(path, patient=f"patient-{name}", source="made up")
            if name == "una":
                continue
            write_labels(path.with_name(f"{name}-labels.nii.gz"), labels)
            kind = "pseudo" if name == "paul" else "expert"
            facts = LabelFacts(kind, ORGANS, author="expert", model="tiny-1.0.0" * (name == "paul"))
            store.add_labels(name, path.with_name(f"{name}-labels.nii.gz"), facts)
        store.set_scores("paul", {"confidence": 0.8, "doubt": 0.3})
        store.freeze_hold_out(("patient-hans",))
    return store_folder
