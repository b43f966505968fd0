"""From trained weights to model packages whose cards name the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.datasets.case import load_cases
from flare_core.models.card import ModelCard, TrainingSource
from flare_core.models.package import Package, load_package, read_weights, write_package
from flare_core.models.stage_card import BACKGROUND, StageCard, WeightsFile
from flare_core.train.config import TrainConfig
from flare_core.train.recipe_run.options import RecipeOptions
from flare_core.train.recipe_run.scale import find_scale
from flare_core.train.recipes.recipe import Inference, Recipe
from flare_core.wording import many

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "1.0.0"

INTENDED = "For research use; not a medical device. Made by a recipe on its owner's own cases."
LIMITS = "Fit for scans like those it learned from; nobody has tested it on others."

Trained = tuple[TrainConfig, tuple[Path, ...]]
"""A stage's configuration and the weights of its folds."""


def stage_card(config: TrainConfig, run: Inference, folds: int) -> StageCard:
    """Return the card of a trained stage."""
    phase, name = config.phases[-1], config.stage
    return StageCard(
        name,
        network=config.network,
        weights=f"{name}.safetensors",
        folds=tuple(WeightsFile(f"{name}-{fold}.safetensors") for fold in range(1, folds)),
        spacing_mm=phase.spacing_mm,
        patch=phase.patch,
        normalisation=config.normalisation,
        labels=(BACKGROUND, *config.organs),
        **_how(run),
        threshold=run.threshold,
        least_ml=run.least_ml,
    )


def _how(run: Inference) -> dict[str, Any]:
    """Return the fields of a stage card that say how it is run."""
    return {
        "tile_step": run.tile_step,
        "margin_mm": run.margin_mm,
        "least_certainty": run.least_certainty,
        "skipping": run.skipping,
        "whole": run.whole,
    }


def package_of(
    folder: Path, options: RecipeOptions, trained: Sequence[Trained], cases: Path
) -> Package:
    """Write trained stages as one model, or return the one that is there.

    Parameters
    ----------
    trained : sequence of (TrainConfig, paths)
        The stages in the card's order.
    cases : Path
        List of what people labelled.
    """
    if (folder / "card.json").is_file():
        return load_package(folder)
    recipe = options.scaled
    stages: list[StageCard] = []
    tensors: dict[str, Mapping[str, Tensor]] = {}
    for config, files in trained:
        stage = stage_card(config, recipe.run_of(config.stage), len(files))
        names = [stage.name, *(fold.file for fold in stage.folds)]
        tensors |= _tensors(names, files)
        stages.append(stage)
    return write_package(folder, model_card(options, tuple(stages), cases), tensors)


def _tensors(names: Sequence[str], files: Sequence[Path]) -> Mapping[str, Mapping[str, Tensor]]:
    return {name: read_weights(file) for name, file in zip(names, files, strict=True)}


def model_card(options: RecipeOptions, stages: tuple[StageCard, ...], cases: Path) -> ModelCard:
    """Return the card of a recipe's model."""
    recipe = options.scaled
    labelled = load_cases(cases)
    return ModelCard(
        model_name(recipe, options.scale),
        VERSION,
        f"{recipe.title} ({recipe.edition}); recipe {recipe.key} at scale {options.scale}.",
        stages=stages,
        licence="as the cases' owner decides",
        intended_use=INTENDED,
        limitations=f"{LIMITS} {recipe.summary}",
        training_data=(
            TrainingSource(
                "cases of the run", len(labelled), "as their owner decides", "the owner's own",
                note=f"{many(len(labelled), 'case')} with labels by people; see the run's folder.",
            ),
        ),
        provenance={
            "recipe": recipe.key,
            "team": recipe.team,
            "reference": recipe.reference,
            "scale": options.scale,
            "factors": asdict(find_scale(options.scale)),
            "departures": [asdict(each) for each in recipe.departures],
            "clean_up": recipe.clean_up,
        },
    )  # fmt: skip


def model_name(recipe: Recipe, scale: str) -> str:
    """Return the name of a recipe's model.

    Examples
    --------
    >>> from flare_core.train.recipes import RECIPES
    >>> model_name(RECIPES["flare23-citi"], "small")
    'flare23-citi-small'
    """
    return recipe.key if scale == "1" else f"{recipe.key}-{scale}"


def finished(folder: Path, last: Package, recipe: Recipe, more: Sequence[Trained]) -> Package:
    """Write the model of the last round with what the recipe adds: inference, lesions, its card.

    Parameters
    ----------
    last : Package
        Of the last round, or the teachers'.
    more : sequence of (TrainConfig, paths)
        Stages that it does not have yet.
    """
    if (folder / "card.json").is_file():
        return load_package(folder)
    tensors: dict[str, Mapping[str, Tensor]] = {}
    stages = []
    for stage in last.card.stages:
        stages.append(replace(stage, **_how(recipe.run_of(stage.name))))
        names = [stage.name, *(fold.file for fold in stage.folds)]
        tensors |= _tensors(names, last.weights_paths(stage.name))
    for config, files in more:
        stages.append(stage_card(config, recipe.run_of(config.stage), len(files)))
        tensors |= _tensors([config.stage], files)
    return write_package(folder, replace(last.card, stages=tuple(stages)), tensors)
