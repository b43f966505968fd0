"""A case store with lesions in it, and a recipe of all its parts that is trained in seconds."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from flare_core.cases.store import open_store
from flare_core.cli import main
from flare_core.imaging.files import write_volume
from flare_core.imaging.volume import Volume
from flare_core.train.recipes import RECIPES
from flare_core.train.recipes.recipe import Departure, Inference, Recipe, SelfTraining
from rounds_world import HELD_OUT, LABELLED, SPACING_MM, UNLABELLED, add_expert, scan
from tiny_training import NETWORK, ORGANS, tiny_config

KEY = "flare99-test"
LESION = 14


def lesion_scan(number: int) -> tuple[Volume, Volume]:
    """The blocks of `rounds_world`, with a dark lesion in the liver."""
    image, labels = scan(number)
    array, marks = np.array(image.array), np.array(labels.array)
    z, y, x = (int(n) for n in np.argwhere(marks == 1).mean(axis=0))
    place = (slice(z - 3, z + 3), slice(y - 4, y + 4), slice(x - 3, x + 3))
    array[place] -= 90
    marks[place] = LESION
    return image.with_array(array), labels.with_array(marks)


def make_store(folder: Path, *, lesions: bool = True, hold_out: bool = True) -> Path:
    """Two labelled patients, two of the hold-out, three without labels."""
    organs = (*ORGANS, "lesion") if lesions else ORGANS
    folder.mkdir(parents=True, exist_ok=True)
    with open_store(folder / "store", create=True) as store:
        for number, patient in enumerate((*LABELLED, *HELD_OUT, *UNLABELLED)):
            image, labels = lesion_scan(number) if lesions else scan(number)
            write_volume(folder / f"{patient}.nii.gz", image)
            store.add_case(folder / f"{patient}.nii.gz", patient=patient)
            if patient not in UNLABELLED:
                add_expert(store, patient, labels, folder, organs)
        if hold_out:
            store.freeze_hold_out(HELD_OUT)
    return folder / "store"


def recipe(steps: int = 40) -> Recipe:
    """Region, two teachers, a round, a student, lesions.

    The region trains longer: a box is not drawn around what its network is unsure of.
    """
    base = tiny_config(Path(), held_out_patients=(), validate_every=0)
    phase = replace(base.phases[0], steps=steps, spacing_mm=SPACING_MM)
    base = replace(base, phases=(phase,), data=())
    lesion = replace(NETWORK, output_channels=2)
    return Recipe(
        KEY,
        "a recipe of all parts",
        team="tests",
        edition="none",
        reference="nothing",
        summary="Learns blocks.",
        region=replace(base, stage="localiser", phases=(replace(phase, steps=5 * steps),)),
        teacher=base,
        student=replace(base, network=replace(NETWORK, features_per_stage=(8, 12))),
        self_training=SelfTraining({"kind": "agreement", "least_mean": 0.1}, folds=2),
        lesions=replace(base, stage="lesions", organs=("lesion",), network=lesion),
        inference={"organs": Inference(tile_step=0.7), "lesions": Inference(threshold=0.4)},
        clean_up="as ever",
        departures=(Departure("a", "b", "c"),),
    )


def organs_alone() -> Recipe:
    """The organ network for a few steps, with batches that two processes can share."""
    one = recipe(steps=4)
    fields = {name: getattr(one, name) for name in one.__dataclass_fields__}
    without = {"region": None, "lesions": None, "student": None, "self_training": None}
    return Recipe(**(fields | without | {"teacher": replace(one.teacher, batch_size=2)}))


if __name__ == "__main__":  # `flare` with this recipe among the others
    RECIPES[KEY] = organs_alone()
    sys.exit(main())
