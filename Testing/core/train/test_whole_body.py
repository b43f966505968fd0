"""FLARE24 task 1 end to end, small: phantoms from chest to pelvis with lesions in lung, bone, lymph
nodes and muscle, one of them labelled only in part; a network that learns lesions; its package.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from flare_core.anatomy.organs import LESION
from flare_core.datasets.case import Case, load_cases, save_cases
from flare_core.datasets.lesions.kinds import TISSUES
from flare_core.datasets.phantom.make import PhantomCase, make_phantom
from flare_core.datasets.phantom.settings import PhantomSettings
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.volume import Volume
from flare_core.models.card import ModelCard, Normalisation, StageCard
from flare_core.models.package import write_package
from flare_core.segment.lesions import connected
from flare_core.segment.pipeline import Segmentation, segment_ct
from flare_core.segment.settings import Settings
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.config_file import load_config
from flare_core.train.log import LogTail
from flare_core.train.loop import LOG, WEIGHTS, Trainer
from tiny_training import MILD, NETWORK, tiny_config

SPACING_MM = (8.0, 5.0, 5.0)
STEPS = 160
RECIPE = Path(__file__).resolve().parents[3] / "benchmarks" / "lesions" / "whole_body.json"


def phantom(seed: int) -> PhantomCase:
    """A body from chest to pelvis with a dozen lesions outside the organs of the table."""
    return make_phantom(
        PhantomSettings(
            seed=seed,
            spacing_mm=SPACING_MM,
            field="chest-to-pelvis",
            lesions=12,
            lesion_organs=TISSUES,
            lesion_sizes=("medium", "large"),
            lesion_push=True,
            noise_hu=6.0,
        )
    )


def only_the_main_lesion(labels: Volume) -> Volume:
    """The labels as FLARE24 has them: one lesion of many."""
    pieces = sorted(connected(labels.array == LESION.id), key=lambda each: each.voxels)
    array = np.zeros_like(labels.array)
    array[pieces[-1].box][pieces[-1].mask] = LESION.id
    return labels.with_array(array)


@pytest.fixture(scope="module")
def bodies() -> list[PhantomCase]:
    return [phantom(3), phantom(4)]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory, bodies: list[PhantomCase]) -> Path:
    """A list of two cases, the first labelled only in part."""
    folder = tmp_path_factory.mktemp("bodies")
    rows = []
    for number, body in enumerate(bodies):
        labels = only_the_main_lesion(body.labels) if number == 0 else body.labels
        image = folder / f"{number}.nii.gz"
        write_volume(image, body.image)
        write_labels(folder / f"{number}_labels.nii.gz", labels)
        rows.append(
            Case(
                str(number),
                image,
                folder / f"{number}_labels.nii.gz",
                ("lesion",),
                partly=("lesion",) if number == 0 else (),
            )
        )
    save_cases(folder / "cases.json", rows)
    return folder / "cases.json"


def config(cases: Path) -> TrainConfig:
    base = tiny_config(cases)
    phase = Phase(SPACING_MM, (12, 24, 24), steps=STEPS, learning_rate=1e-2)
    return replace(
        base,
        stage="lesions",
        organs=("lesion",),
        network=replace(NETWORK, output_channels=2, features_per_stage=(12, 24)),
        normalisation=Normalisation("window", -1000, 600, 0.0, 250.0),
        phases=(phase,),
        held_out_patients=(),
        validate_every=0,
        augmentation=MILD,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, cases: Path) -> Path:
    """A model whose only stage looks for lesions in the whole body."""
    chosen = config(cases)
    run = tmp_path_factory.mktemp("run")
    Trainer(chosen, run / "run", run / "cache").run()
    told = LogTail(run / "run" / LOG).read()
    losses = [each["loss"] for each in told if each["event"] == "step"]
    assert losses[-1] < 0.8 * losses[0]
    stage = StageCard(
        "lesions",
        network=chosen.network,
        weights="lesions.safetensors",
        spacing_mm=SPACING_MM,
        patch=chosen.phases[0].patch,
        normalisation=chosen.normalisation,
        labels=("background", "lesion"),
        tile_step=0.5,
        least_ml=0.5,
    )
    card = ModelCard(
        "whole-body",
        "0.0.1",
        "Test.",
        stages=(stage,),
        licence="Apache-2.0",
        intended_use="Tests.",
        limitations="All.",
        training_data=(),
    )
    weights = load_file(run / "run" / WEIGHTS)
    return write_package(run / "package", card, {"lesions": weights}).folder


@pytest.fixture(scope="module")
def found(package: Path, bodies: list[PhantomCase]) -> Segmentation:
    chosen = Settings(model=str(package), device="cpu", threads=1, precision="float32")
    return segment_ct(bodies[0].image, chosen)


def test_the_recipe_for_flare24_looks_everywhere_and_punishes_nothing_unlabelled() -> None:
    recipe = load_config(RECIPE)
    assert (recipe.stage, recipe.organs) == ("lesions", ("lesion",))
    assert set(TISSUES) < set(recipe.synthetic.organs) and recipe.partial_reach_mm > 0


def test_which_case_is_labelled_in_part_survives_its_list(cases: Path) -> None:
    first, second = load_cases(cases)
    assert (first.partly, second.partly) == (("lesion",), ())


def test_the_phantom_has_lesions_in_every_tissue_and_at_every_height(
    bodies: list[PhantomCase],
) -> None:
    hosts = {record.organ for body in bodies for record in body.lesions}
    assert hosts == set(TISSUES)
    heights = [record.centre[0] * SPACING_MM[0] for body in bodies for record in body.lesions]
    assert max(heights) - min(heights) > 300


def test_lesions_are_found_in_the_whole_body(
    found: Segmentation, bodies: list[PhantomCase]
) -> None:
    """Of those, too, that the file did not label: nobody punished them."""
    truth, seen = bodies[0].labels.array == LESION.id, found.labels.array == LESION.id
    assert set(np.unique(found.labels.array)) <= {0, LESION.id}
    unlabelled = truth & (only_the_main_lesion(bodies[0].labels).array == 0)
    share = np.count_nonzero(seen & unlabelled) / np.count_nonzero(unlabelled)
    body = bodies[0].image.array > -500
    false = np.count_nonzero(seen & ~truth) / np.count_nonzero(body & ~truth)
    assert share > 0.25 and share > 4 * false  # after seconds of training


def test_the_list_names_no_organ_and_goes_from_head_to_foot(found: Segmentation) -> None:
    assert found.lesions
    assert {each.organ for each in found.lesions} == {""}
    assert all(math.isnan(each.organ_hu) for each in found.lesions)
    heights = [each.centre_lps_mm[2] for each in found.lesions]
    assert heights[0] > heights[-1] and {row.organ for row in found.rows} == {"lesion"}
    assert all(each.volume_ml >= 0.5 for each in found.lesions)
