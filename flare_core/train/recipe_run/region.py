"""The region network is trained until it finds the abdomen in the cases that it learned from.

A cascade whose first network finds nothing gives empty labels, however good the others are, and a
round of pseudo labels would teach nothing. How many steps a network needs for that depends on its
kind and on how much of a scan it sees at once; so it is asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from flare_core.datasets.case import Case, load_cases
from flare_core.errors import NothingFound
from flare_core.imaging.files import read_volume
from flare_core.segment.cascade import Plan, locate
from flare_core.segment.runtime import choose_runtime
from flare_core.segment.stage import load_stage
from flare_core.train.config import TrainConfig
from flare_core.train.recipe_run.models import package_of, stage_card
from flare_core.train.recipe_run.options import RecipeOptions

MORE_GOES = 2
"""How often a network that does not find its cases is trained once more, as long as at first."""

LOOKED_AT = 6
"""Cases that are looked at, spread over all."""


def goes(config: TrainConfig) -> list[TrainConfig]:
    """Return the training, and the same with its phases twice, three times.

    A checkpoint of each is one of the next: what was trained is gone on with.
    """
    return [replace(config, phases=config.phases * n) for n in range(1, MORE_GOES + 2)]


def train_until(
    configs: Sequence[TrainConfig],
    train: Callable[[TrainConfig], None],
    found: Callable[[], tuple[int, int]],
    tell: Callable[[str], None],
) -> None:
    """Train on until at least half of the cases are found, or there is no further go.

    Parameters
    ----------
    configs : sequence of TrainConfig
        From `goes`.
    train : callable
        Trains with one of them, from where the last one ended.
    found : callable
        Returns in how many cases the abdomen is found, and of how many.
    tell : callable
        Told what was found, if it is too little.
    """
    for number, config in enumerate(configs, 1):
        train(config)
        there, of = found()
        if 2 * there >= of:
            return
        on = "it is trained on" if number < len(configs) else "the model will often find nothing"
        tell(f"the region network finds the abdomen in {there} of {of} of its own cases: {on}")


def abdomens_found(
    region: TrainConfig, weights: Path, options: RecipeOptions, cases: Path
) -> tuple[int, int]:
    """Return in how many labelled cases a region network finds the abdomen, and of how many.

    Parameters
    ----------
    weights : Path
        The network's, safetensors.
    cases : Path
        List of cases, of which `LOOKED_AT` are read.
    """
    recipe = options.scaled
    listed = load_cases(cases)
    chosen = listed[:: max(1, len(listed) // LOOKED_AT)][:LOOKED_AT]
    with tempfile.TemporaryDirectory() as folder:
        package = package_of(Path(folder) / "region", options, [(region, (weights,))], cases)
        runtime = choose_runtime(options.device, options.precision, options.threads)
        stage = load_stage(package, region.stage, runtime)
    assert stage is not None
    card = stage_card(recipe.teacher, recipe.run_of(recipe.teacher.stage), 1)

    def found(case: Case) -> bool:
        try:
            locate(read_volume(case.image), stage, card, Plan(), lambda *_: None)
        except NothingFound:
            return False
        return True

    return sum(found(case) for case in chosen), len(chosen)
