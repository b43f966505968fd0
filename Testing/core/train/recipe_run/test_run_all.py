"""Every recipe comes from cases to a model, in a few steps of a very small network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flare_core.cases.store import open_store
from flare_core.models.package import load_package
from flare_core.train.recipe_run.options import RecipeOptions
from flare_core.train.recipe_run.run import run_recipe
from flare_core.train.recipe_run.scale import SCALES, Scale
from flare_core.train.recipes import RECIPES
from flare_core.train.rounds.state import RunFolder
from recipe_world import make_store
from rounds_world import UNLABELLED

ATOM = Scale(
    widths=64, voxels=8.0, region_voxels=8.0, steps=10**6, least_steps=3, least_width=4,
    blocks=1, batch=1, folds=2, rate=1e-2,
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("key", RECIPES)
def test_a_recipe_ends_with_all_its_stages(
    key: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCALES, "atom", ATOM)
    options = RecipeOptions(
        key, store=str(store), scale="atom", device="cpu", precision="float32", threads=1
    )
    run_recipe(tmp_path / "run", options)
    card = load_package(tmp_path / "run" / "package").card
    recipe = options.scaled
    assert {stage.name for stage in card.stages} == {c.stage for c in recipe.trainings.values()}
    organs = card.stage("organs")
    assert organs is not None
    assert organs.network == (recipe.student or recipe.teacher).network
    assert organs.tile_step == recipe.run_of("organs").tile_step
    if recipe.self_training:
        folder = RunFolder(tmp_path / "run" / "rounds")
        rows = folder.round(recipe.self_training.rounds).read("candidates")
        assert set(UNLABELLED) <= {row["case"] for row in rows}
        assert json.loads((folder.path / "settings.json").read_text("utf-8"))["strategy"] == (
            recipe.self_training.strategy
        )
    with open_store(store) as opened:  # what one recipe's rounds added is not the next one's
        versions = [opened.versions(case) for case in UNLABELLED]
    assert all(v.facts.kind in ("pseudo", "soft") for each in versions for v in each)
