from __future__ import annotations

from math import prod

import pytest

from flare_core.errors import InputError
from flare_core.train.recipe_run.room import training_gib
from flare_core.train.recipe_run.scale import SCALES, find_scale, scaled
from flare_core.train.recipes import RECIPES


@pytest.mark.parametrize("key", RECIPES)
@pytest.mark.parametrize("scale", ["small", "tiny"])
def test_a_smaller_recipe_sees_as_many_millimetres_with_less_of_everything(
    key: str, scale: str
) -> None:
    recipe, factors = RECIPES[key], SCALES[scale]
    small = scaled(recipe, factors)
    assert list(small.trainings) == list(recipe.trainings)
    for name, config in small.trainings.items():
        before = recipe.trainings[name]
        for phase, was in zip(config.phases, before.phases, strict=True):
            seen = [n * mm for n, mm in zip(phase.patch, phase.spacing_mm, strict=True)]
            asked = [n * mm for n, mm in zip(was.patch, was.spacing_mm, strict=True)]
            assert seen == pytest.approx(asked, rel=0.001)
            assert prod(phase.patch) < prod(was.patch)
            assert phase.full_share == was.full_share and phase.centred == was.centred
        steps, were = (sum(p.steps for p in c.phases) for c in (config, before))
        asked = max(factors.least_steps, were / factors.steps)
        if name == "region" and factors.region_steps:
            asked = factors.region_steps
        assert steps == pytest.approx(asked, abs=2)
        assert training_gib(config) < 1.5
        assert config.organs == before.organs and config.strategy == before.strategy


def test_rounds_certainty_and_the_voxels_that_a_middle_tile_must_find_shrink_too() -> None:
    recipe, factors = RECIPES["flare22-blackbean"], SCALES["small"]
    small = scaled(recipe, factors)
    assert recipe.self_training is not None and small.self_training is not None
    assert (recipe.self_training.rounds, small.self_training.rounds) == (3, factors.rounds)
    before, after = recipe.run_of("organs"), small.run_of("organs")
    assert before.skipping is not None and after.skipping is not None
    ratio = before.skipping.least_voxels / after.skipping.least_voxels
    assert ratio == pytest.approx(factors.voxels**3, rel=0.02)
    assert after.tile_step == before.tile_step
    assert small.run_of("localiser").least_certainty == factors.least_certainty < 0.85


def test_the_paper_s_scale_changes_nothing() -> None:
    for recipe in RECIPES.values():
        assert scaled(recipe, find_scale("1")) is recipe


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(InputError, match="--scale"):
        find_scale("huge")
