from __future__ import annotations

from flare_core.train.recipe_run.models import model_name, stage_card
from flare_core.train.recipes import RECIPES
from recipe_world import recipe


def test_a_stage_is_run_as_the_recipe_says() -> None:
    made = recipe()
    assert made.lesions is not None
    card = stage_card(made.lesions, made.run_of("lesions"), 1)
    assert card.threshold == 0.4 and card.labels == ("background", "lesion") and not card.folds


def test_what_a_recipe_says_of_tiles_is_in_the_card() -> None:
    for key, stage in (("flare22-blackbean", "organs"), ("flare23-hmi306", "lesions")):
        each = RECIPES[key]
        run = each.run_of(stage)
        config = {c.stage: c for c in each.trainings.values()}[stage]
        card = stage_card(config, run, 1)
        assert (card.skipping, card.whole) == (run.skipping, run.whole) != (None, False)


def test_further_folds_have_files_of_their_own() -> None:
    made = recipe()
    card = stage_card(made.teacher, made.run_of("organs"), 3)
    assert [each.file for each in card.weights_files] == [
        "organs.safetensors", "organs-1.safetensors", "organs-2.safetensors",
    ]  # fmt: skip


def test_every_recipe_s_stages_make_legal_cards_at_its_own_scale() -> None:
    for key, each in RECIPES.items():
        for config in each.trainings.values():
            stage_card(config, each.run_of(config.stage), 1)
        assert model_name(each, "1") == key
