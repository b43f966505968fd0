"""The benchmark's chain from a made cohort to the ranking page, as small as it can be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION
from flare_core.datasets.flare.dataset import find_dataset, look_into_labels
from flare_core.imaging.files import read_geometry, read_labels
from flare_core.models.package import load_package

TEAMS = ("flare22-blackbean", "flare23-citi")
FULL_LESION_ORGANS = {14: "full", 1: "lesions", 13: "organs"}


@pytest.fixture(scope="module")
def box(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("box")
    program = repository / "benchmarks" / "flare_in_a_box" / "box.py"
    done = subprocess.run(
        [sys.executable, str(program), str(folder), "--tiny", "--threads", "1",
         "--bootstraps", "50"],
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "said.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def test_the_cohort_is_flare23s_with_partial_labels(box: Path) -> None:
    dataset = look_into_labels(find_dataset(box / "cohort" / "train"), workers=1)
    assert dataset.edition == "flare23"
    kinds = [FULL_LESION_ORGANS.get(len(c.annotated)) for c in dataset.cases if c.labels]
    assert {"lesions", "organs"} <= set(kinds)
    assert sum(c.labels is None for c in dataset.cases) == 1
    assert not {c.name for c in dataset.cases} & {
        path.name.removesuffix(".nii.gz") for path in (box / "cohort/test/labels").iterdir()
    }


def test_a_labeller_of_organs_draws_them_with_their_tumours(box: Path) -> None:
    dataset = look_into_labels(find_dataset(box / "cohort" / "train"), workers=1)
    (organs,) = [c for c in dataset.cases if c.labels and len(c.annotated) == 13 and "lesion"
                 not in c.annotated and c.subset == "training"][-1:]  # fmt: skip
    assert organs.labels is not None
    assert not np.any(np.asarray(read_labels(organs.labels).array) == LESION.id)


@pytest.mark.parametrize("team", TEAMS)
def test_every_recipe_ends_with_a_model_and_a_label_map_of_each_hidden_scan(
    box: Path, team: str
) -> None:
    card = load_package(box / "runs" / team / "package").card
    assert card.provenance["recipe"] == team and card.provenance["scale"] == "tiny"
    images = sorted((box / "cohort" / "test" / "images").iterdir())
    for image in images:
        name = image.name.replace("_0000.nii.gz", ".nii.gz")
        found = read_labels(box / "results" / team / "predictions" / name)
        assert found.geometry.same_grid(read_geometry(image), tolerance_mm=0.01)
    lines = (box / "results" / team / "efficiency.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + len(images)


def test_the_page_and_the_table_rank_all_of_them(box: Path) -> None:
    ranking = json.loads((box / "ranking" / "ranking.json").read_text("utf-8"))
    page = (box / "ranking" / "ranking.html").read_text("utf-8")
    table = (box / "ranking" / "table.md").read_text("utf-8")
    assert table in (box / "said.txt").read_text("utf-8")
    for team in TEAMS:
        assert team in page and team in json.dumps(ranking) and f"| {team} |" in table
    assert "nan" not in table
