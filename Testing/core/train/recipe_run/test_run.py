"""A whole recipe on small scans: every step, what survives a stop, what comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flare_core.cli import main
from flare_core.errors import Cancelled, InputError
from flare_core.imaging.files import read_labels
from flare_core.models.package import load_package
from flare_core.train.recipe_run.options import RecipeOptions, read_options
from flare_core.train.recipe_run.run import STAGES, run_recipe
from flare_core.train.recipes import RECIPES
from flare_core.train.rounds.state import RunFolder
from recipe_world import KEY, make_store, recipe
from rounds_world import UNLABELLED
from two_ranks import LAUNCH

TESTING = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped while the second teacher trained, and went on."""
    folder = tmp_path_factory.mktemp("recipes")
    make_store(folder)
    RECIPES[KEY] = recipe()
    try:
        _stopped_and_continued(folder)
    finally:
        del RECIPES[KEY]
    return folder


def options(folder: Path, **changes: Any) -> RecipeOptions:
    fields = {"store": str(folder / "store"), "device": "cpu", "precision": "float32", "threads": 1}
    return RecipeOptions(KEY, **(fields | changes))


def _stopped_and_continued(folder: Path) -> None:
    told: list[dict[str, Any]] = []
    with pytest.raises(Cancelled):
        run_recipe(
            folder / "run", options(folder), report=told.append,
            asked=lambda: any(facts.get("network") == "teacher-1" for facts in told),
        )  # fmt: skip
    first = (folder / "run" / "region" / "weights.safetensors").stat().st_mtime_ns
    assert not (folder / "run" / "done" / "teacher.json").exists()
    run_recipe(folder / "run", options(folder), report=told.append)
    assert (folder / "run" / "region" / "weights.safetensors").stat().st_mtime_ns == first
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


def test_every_step_is_done_once_and_in_order(world: Path) -> None:
    told = json.loads((world / "told.json").read_text("utf-8"))
    begun = [facts["stage"] for facts in told if facts["event"] == "recipe"]
    assert begun == ["cases", "region", "teacher", "teacher", *list(STAGES)[3:]]
    assert list(STAGES)[:3] == ["cases", "region", "teacher"]
    assert {p.stem for p in (world / "run" / "done").iterdir()} == set(STAGES)


def test_the_model_has_all_stages_and_names_its_recipe(world: Path) -> None:
    card = load_package(world / "run" / "package").card
    assert [stage.name for stage in card.stages] == ["localiser", "organs", "lesions"]
    assert card.name == KEY and card.provenance["recipe"] == KEY
    assert card.provenance["departures"][0]["why"] == "c"
    organs, lesions = card.stage("organs"), card.stage("lesions")
    assert organs is not None and organs.tile_step == 0.7
    assert organs.network.features_per_stage == (8, 12)  # the student's
    assert lesions is not None and lesions.threshold == 0.4


def test_teachers_leave_patients_out_and_label_every_bare_scan(world: Path) -> None:
    cases = world / "run" / "cases"
    patients = [
        {row["patient"] for row in json.loads((cases / f"teacher-{i}.json").read_text("utf-8"))}
        for i in range(2)
    ]
    assert patients[0].isdisjoint(patients[1]) and all(patients)
    assert len(load_package(world / "run" / "teachers").card.stages[1].weights_files) == 2
    candidates = RunFolder(world / "run" / "rounds").round(1).read("candidates")
    assert {row["case"] for row in candidates} == set(UNLABELLED)
    assert any(row["organs"]["liver"]["fold_agreement"] for row in candidates)


def test_flare_segment_runs_the_model(world: Path, tmp_path: Path) -> None:
    words = ["segment", str(world / "hans.nii.gz"), "-o", str(tmp_path / "out")]
    code = main([*words, "--model", str(world / "run" / "package"), "--device", "cpu"])
    assert code == 0
    (path,) = [p for p in (tmp_path / "out").rglob("*.nii.gz") if "labels" in p.name] or [
        next((tmp_path / "out").rglob("*.nii.gz"))
    ]
    found, truth = read_labels(path).array, read_labels(world / "hans-labels.nii.gz").array
    both = np.count_nonzero((found == 1) & np.isin(truth, (1, 14)))
    assert both > 0.5 * np.count_nonzero(np.isin(truth, (1, 14)))


def test_a_run_that_is_done_stays_done(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, KEY, recipe())
    told: list[dict[str, Any]] = []
    again = run_recipe(world / "run", options(world), report=told.append)
    assert [facts["event"] for facts in told] == ["done"]
    assert again.folder == (world / "run" / "package").resolve()


def test_cases_that_cannot_be_used_leave_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, KEY, recipe())
    make_store(tmp_path, lesions=False)
    for one in (options(tmp_path), options(tmp_path, store="", data=str(tmp_path / "nothing"))):
        with pytest.raises(InputError):
            run_recipe(tmp_path / "run", one)
        assert not (tmp_path / "run").exists()


def test_two_processes_share_a_run(tmp_path: Path) -> None:
    """Under torchrun both train, one does the rest, and there is one model."""
    make_store(tmp_path)
    words = [
        *LAUNCH, "recipe_world",
        "recipes", "run", KEY, "--store", str(tmp_path / "store"), "-o", str(tmp_path / "run"),
        "--device", "cpu", "--threads", "1", "--progress", "json",
    ]  # fmt: skip
    paths = os.pathsep.join((str(TESTING), str(TESTING.parent)))
    done = subprocess.run(
        [sys.executable, *words], env=os.environ | {"PYTHONPATH": paths},
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"event": "done"') == 1
    assert load_package(tmp_path / "run" / "package").card.provenance["recipe"] == KEY


def test_another_recipe_or_scale_in_the_same_folder_is_refused(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, KEY, recipe())
    assert read_options(world / "run") == options(world)
    with pytest.raises(InputError, match="scale"):
        run_recipe(world / "run", options(world, scale="tiny"))
