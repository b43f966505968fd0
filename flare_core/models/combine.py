"""One model out of several packages: the localiser of one family with the organs of another.

A stage keeps its card whole, so each runs as it did in its own package.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flare_core.atomic import write_text
from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models.card import CARD_FILE, ModelCard, StageCard
from flare_core.models.package import Package, new_folder, sweep_models, verify

ORDER = ("localiser", "organs", "lesions")
"""How the cascade runs; ``organs_2`` and on come behind ``organs``."""


@dataclass(frozen=True)
class Facts:
    """What a person should know of the whole, where its parts do not say it."""

    description: str
    """One or two sentences."""
    licence: str = ""
    """Licence of the weights; empty: that of the parts, all of them."""
    intended_use: str = "Research."
    """What it is made for."""
    limitations: str = "Not a medical device. Not validated by FLARESeg."
    """Where it fails."""


@dataclass(frozen=True)
class Chosen:
    """A stage of a package."""

    package: Package
    """Where it comes from."""
    stage: str
    """Which of its stages."""
    becomes: str = ""
    """Name in the new model; empty: the same."""


def combine(
    chosen: Sequence[Chosen], *, home: Home, name: str, version: str, facts: Facts
) -> Package:
    """Write and install a model whose stages come from several packages.

    Raises
    ------
    InputError
        If a package has no such stage, two stages would have one name, or that name and version
        is installed already. Nothing is left behind then.
    """
    stages = [_renamed(each, number) for number, each in enumerate(chosen)]
    ordered = sorted(stages, key=lambda stage: _place(stage.name))
    licences = dict.fromkeys(each.package.card.licence for each in chosen)
    card = ModelCard(
        name,
        version,
        facts.description,
        stages=tuple(ordered),
        licence=facts.licence or " AND ".join(licences),
        intended_use=facts.intended_use,
        limitations=facts.limitations,
        training_data=tuple(
            dict.fromkeys(source for x in chosen for source in x.package.card.training_data)
        ),
        provenance={"combined_from": [_origin(each) for each in chosen]},
    )
    target = home.model(name, version)
    sweep_models(home.models)
    with new_folder(target) as part:
        for each, stage in zip(chosen, stages, strict=True):
            _copy(each, stage, part)
        write_text(part / CARD_FILE, card.to_json())
    return Package(card, target)


def _renamed(chosen: Chosen, number: int) -> StageCard:
    """Return the stage under its new name, its files under names of their own."""
    stage = chosen.package.card.stage(chosen.stage)
    if stage is None:
        chosen.package.weights_paths(chosen.stage)  # raises, naming the stages there are
        raise InputError("stage", chosen.stage, "a stage of the package", "Choose another.")
    name = chosen.becomes or stage.name
    return replace(
        stage,
        name=name,
        weights=f"{name}-{number}.safetensors",
        folds=tuple(
            replace(fold, file=f"{name}-{number}-{i}.safetensors")
            for i, fold in enumerate(stage.folds, start=1)
        ),
    )


def _copy(chosen: Chosen, stage: StageCard, folder: Path) -> None:
    """Copy a stage's weights under their new names, and check that they arrived as they were."""
    sources = chosen.package.weights_paths(chosen.stage)
    for source, weights in zip(sources, stage.weights_files, strict=True):
        shutil.copyfile(source, folder / weights.file)
        verify(folder / weights.file, weights)


def _place(stage: str) -> tuple[int, str]:
    kind = stage.partition("_")[0]
    return (ORDER.index(kind) if kind in ORDER else len(ORDER), stage)


def _origin(chosen: Chosen) -> dict[str, object]:
    card = chosen.package.card
    return {
        "stage": chosen.becomes or chosen.stage,
        "model": f"{card.name}@{card.version}",
        "sha256_of_card": chosen.package.fingerprint,
        "licence": card.licence,
        "provenance": card.provenance,
    }
