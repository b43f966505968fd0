"""Every recipe says where its knobs are from, and can be built, scaled and told."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest
import torch

from flare_core.errors import InputError
from flare_core.networks import build_network
from flare_core.train.config import TrainConfig
from flare_core.train.recipes import RECIPES, find_recipe
from flare_core.train.strategies import build_strategy

KNOBS = {f.name: f for f in fields(TrainConfig) if f.name not in ("name", "stage", "data")}


def turned(config: TrainConfig) -> set[str]:
    """Knobs that are not what this library would do by itself."""
    found = set()
    for name, knob in KNOBS.items():
        default = knob.default_factory() if knob.default_factory is not MISSING else knob.default
        if default is MISSING or getattr(config, name) != default:
            found.add(name)
    return found


def test_there_are_the_ten_that_were_asked_for_under_their_own_names() -> None:
    assert len(RECIPES) >= 10
    assert all(key == recipe.key for key, recipe in RECIPES.items())
    assert len({recipe.title for recipe in RECIPES.values()}) == len(RECIPES)


@pytest.mark.parametrize("key", RECIPES)
def test_every_knob_has_its_source_and_no_source_is_left_over(key: str) -> None:
    recipe = RECIPES[key]
    needed = {f"{name}.{knob}" for name, c in recipe.trainings.items() for knob in turned(c)}
    missing = {
        each for each in needed
        if each not in recipe.sources and f"*.{each.partition('.')[2]}" not in recipe.sources
    }  # fmt: skip
    assert not missing
    if recipe.self_training:
        assert "self_training" in recipe.sources
    assert {f"inference.{stage}" for stage in recipe.inference} <= set(recipe.sources)
    assert recipe.departures and all(d.paper and d.here and d.why for d in recipe.departures)
    known = {*needed, *(f"*.{knob}" for knob in KNOBS), "self_training"}
    known |= {f"inference.{stage}" for stage in recipe.inference}
    assert set(recipe.sources) <= known


@pytest.mark.parametrize("key", RECIPES)
def test_its_networks_can_be_built_and_its_strategies_are_known(key: str) -> None:
    recipe = RECIPES[key]
    for config in recipe.trainings.values():
        with torch.device("meta"):
            build_network(config.network)
        build_strategy(config.strategy)
    if recipe.self_training:
        build_strategy(recipe.self_training.strategy)


def millions(key: str, training: str) -> float:
    with torch.device("meta"):
        network = build_network(RECIPES[key].trainings[training].network)
    return sum(p.numel() for p in network.parameters()) / 1e6


def test_networks_have_the_sizes_that_the_papers_tell() -> None:
    assert millions("flare22-blackbean", "student") == pytest.approx(5.6, abs=0.3)
    assert millions("flare23-blackbean", "student") == pytest.approx(58, rel=0.05)
    assert millions("flare23-blackbean", "teacher") == pytest.approx(440, rel=0.05)


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean flare23-aladdin5"):
        find_recipe("flare23-aladin5")


@pytest.mark.parametrize("key", RECIPES)
def test_a_region_is_found_in_what_it_was_learned_from(key: str) -> None:
    """A network that learned whole scans in one patch is run so, and no other is."""
    recipe = RECIPES[key]
    if recipe.region is not None:
        assert recipe.region.phases[-1].whole == recipe.run_of("localiser").whole
    assert not any(phase.whole for phase in recipe.teacher.phases)
