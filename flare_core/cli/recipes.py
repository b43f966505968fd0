"""``flare recipes``: the winners' systems, trained on your cases.

    flare recipes list [--json]                    what there is
    flare recipes show NAME [--json]               every knob, its source, departures
    flare recipes run NAME --store STORE -o RUN    train it on a case store's cases
    flare recipes run NAME --data FOLDER -o RUN    or on a folder in one of FLARE's layouts

`run` does every stage in order and ends with RUN/package, a model for ``flare segment --model``.
Start the same command again after a stop, a crash or a power cut: it goes on from there.
--scale small shrinks widths, patches and steps by the factors that `show` tells, for a CPU.
Exit codes: 0 all well, 2 the recipe cannot be run on these cases or this machine, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.cli.actions import Action, Options, add_actions
from flare_core.cli.rounds import round_line
from flare_core.jobs.ending import end_at_once, on_stop_signal
from flare_core.jobs.progress import PROGRESS, Reporter, reporting
from flare_core.segment.settings import DEVICES, PRECISIONS

if TYPE_CHECKING:
    from flare_core.train.recipes.recipe import Recipe

NAME = "recipes"
HELP = "the winners' systems: list, show, train"

SCALES = ("1", "small", "tiny")
"""As in `train.recipe_run.scale`, which is not imported for every `flare --help`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit code."""
    code: int = arguments.do(arguments)
    return code


def list_recipes(arguments: argparse.Namespace) -> int:
    """Say which recipes there are."""
    from flare_core.train.recipes import RECIPES

    if arguments.json:
        rows = [{"key": r.key, "title": r.title, "edition": r.edition} for r in RECIPES.values()]
        print(json.dumps(rows))
        return 0
    for recipe in RECIPES.values():
        print(f"{recipe.key:20s} {recipe.edition:22s} {recipe.summary}")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Say all about one recipe."""
    from flare_core.json_fields import encode
    from flare_core.train.recipe_run.scale import find_scale, scaled
    from flare_core.train.recipes import find_recipe

    recipe = scaled(find_recipe(arguments.name), find_scale(arguments.scale))
    if arguments.json:
        print(json.dumps(encode(recipe)))
    else:
        print("\n".join(recipe_lines(recipe, arguments.scale)))
    return 0


def recipe_lines(recipe: Recipe, scale: str) -> list[str]:
    """Return a recipe for people: stages, knobs with their sources, departures."""
    from flare_core.train.recipe_run.scale import find_scale

    lines = [f"{recipe.key}: {recipe.title}", f"{recipe.edition}; {recipe.reference}"]
    lines += [recipe.summary, "", f"scale {scale}: {find_scale(scale)}"]
    for name, config in recipe.trainings.items():
        network = config.network
        lines += ["", f"{name}: {network.kind}, widths {network.features_per_stage}"]
        lines += [
            f"  {p.steps} steps on {p.patch} voxels of {p.spacing_mm} mm, rate {p.learning_rate:g}"
            + (f", {p.full_share:g} of the patches from full labels" if p.full_share else "")
            for p in config.phases
        ]
        lines += [f"  {config.optimiser}, batch {config.batch_size}, strategy {config.strategy}"]
    lines += ["", f"self-training: {recipe.self_training or 'none before training'}"]
    lines += [f"{stage}: {each}" for stage, each in recipe.inference.items()]
    lines += [f"clean-up: {recipe.clean_up}", "", "sources:"]
    lines += [f"  {knob}: {source}" for knob, source in recipe.sources.items()]
    lines += ["", "not as in the paper:"]
    lines += [f"  {d.paper}; here {d.here}: {d.why}" for d in recipe.departures]
    return lines


def train(arguments: argparse.Namespace) -> int:
    """Run a recipe, or go on with it."""
    from flare_core.train.processes import leave
    from flare_core.train.recipe_run.options import RecipeOptions
    from flare_core.train.recipe_run.run import run_recipe

    options = RecipeOptions(
        arguments.name,
        store=_absolute(arguments.store),
        data=_absolute(arguments.data),
        scale=arguments.scale,
        device=arguments.device,
        precision=arguments.precision,
        threads=arguments.threads,
        seed=arguments.seed,
    )
    stop = threading.Event()
    with reporting(arguments.progress) as reporter, on_stop_signal(stop.set):
        run_recipe(
            arguments.output,
            options,
            report=lambda facts: say(reporter, facts),
            asked=stop.is_set,
        )
    if leave():
        end_at_once()  # see `flare_core.train.processes.leave`
    return 0


def say(reporter: Reporter, facts: dict[str, Any]) -> None:
    """Tell what happened; the model at the end is the result, the rest is progress."""
    (reporter.tell if facts["event"] == "done" else reporter.log)(line_of(facts), facts)


def line_of(facts: dict[str, Any]) -> str:
    """Return what happened in one line for people.

    Examples
    --------
    >>> line_of({"event": "recipe", "stage": "region", "number": 2, "of": 5})
    'stage 2 of 5: region'
    """
    if facts["event"] == "recipe":
        return f"stage {facts['number']} of {facts['of']}: {facts['stage']}"
    if facts["event"] == "done":
        return f"model: {facts['model']}"
    network = f"{facts['network']}  " if "network" in facts else ""
    return network + round_line(facts)


def _absolute(path: Path | None) -> str:
    return str(path.resolve()) if path else ""


NAMED: Options = (("name", {"metavar": "NAME", "help": "of the recipe"}),)
SCALED: Options = (
    ("--scale", {"choices": SCALES, "default": "1",
                 "help": "1 as in the paper, small for a CPU, tiny for a look at the chain"}),
)  # fmt: skip
JSON: Options = (("--json", {"action": "store_true", "help": "JSON for programs"}),)
RUNNING: Options = (
    ("--store", {"type": Path, "metavar": "STORE", "help": "case store to learn from"}),
    ("--data", {"type": Path, "metavar": "FOLDER", "help": "or one of FLARE's folders"}),
    ("-o,--output", {"type": Path, "metavar": "RUN", "required": True, "help": "the run's folder"}),
    ("--device", {"choices": DEVICES, "default": "auto", "help": "where to compute"}),
    ("--precision", {"choices": PRECISIONS, "default": "auto", "help": "number format"}),
    ("--threads", {"type": int, "default": 0, "metavar": "N", "help": "0: all"}),
    ("--seed", {"type": int, "default": 0, "metavar": "N", "help": "of every draw (default: 0)"}),
    ("--progress", {"choices": PROGRESS, "default": "bar", "help": "for people, programs, nobody"}),
)  # fmt: skip
ACTIONS: tuple[Action, ...] = (
    ("list", list_recipes, "say which recipes there are", JSON),
    ("show", show, "say all about one", (*NAMED, *SCALED, *JSON)),
    ("run", train, "train one, or go on with it", (*NAMED, *SCALED, *RUNNING)),
)
