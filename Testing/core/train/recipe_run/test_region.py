"""A region network that finds nothing is trained on, and it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flare_core.train.config import TrainConfig
from flare_core.train.recipe_run.options import RecipeOptions
from flare_core.train.recipe_run.region import MORE_GOES, abdomens_found, goes, train_until
from flare_core.train.recipe_run.run import run_recipe
from flare_core.train.recipes import RECIPES
from recipe_world import KEY, make_store, recipe


def region() -> TrainConfig:
    config = recipe(steps=2).region
    assert config is not None
    return config


@pytest.mark.parametrize("needed", [1, 2, 3, 4])
def test_it_is_trained_until_it_finds_half_of_the_cases(needed: int) -> None:
    trained: list[int] = []
    told: list[str] = []
    train_until(
        goes(region()),
        lambda config: trained.append(len(config.phases)),
        lambda: (3, 6) if len(trained) >= needed else (2, 6),
        told.append,
    )
    assert trained == list(range(1, min(needed, MORE_GOES + 1) + 1))
    assert len(told) == min(needed - 1, MORE_GOES + 1)
    assert all("2 of 6" in text for text in told)
    assert [("often find nothing" in text) for text in told].count(True) == (needed > MORE_GOES + 1)


def test_a_run_goes_on_with_the_same_network_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = recipe(steps=2)
    assert one.region is not None
    still = tuple(
        replace(each, learning_rate=1e-12) for each in one.region.phases
    )  # learns nothing
    one = replace(
        one, region=replace(one.region, phases=still), lesions=None, student=None,
        self_training=None,
    )  # fmt: skip
    monkeypatch.setitem(RECIPES, KEY, one)
    store = make_store(tmp_path)
    told: list[Any] = []
    options = RecipeOptions(KEY, store=str(store), device="cpu", precision="float32", threads=1)
    run_recipe(tmp_path / "run", options, report=told.append)
    notes = [facts["text"] for facts in told if facts["event"] == "note"]
    assert sum("0 of 2 of its own cases" in text for text in notes) == MORE_GOES + 1
    steps = [facts for facts in told if facts["event"] == "step" and facts["network"] == "region"]
    assert {facts["phase"] for facts in steps} == set(range(MORE_GOES + 1))
    config = one.region
    assert config is not None
    weights, cases = tmp_path / "run" / "region" / "weights.safetensors", tmp_path / "run" / "cases"
    assert abdomens_found(config, weights, options, cases / "labelled.json") == (0, 2)
