"""``flare train``: train one network from a configuration file, resumable at any moment."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

NAME = "train"
HELP = "train a network from a configuration file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="JSON file with the fields of TrainConfig")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--cache", type=Path, help="folder of resampled scans (default: OUT/cache)")
    parser.add_argument("--progress", choices=("bar", "json"), default="bar")


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on where the run in OUT was stopped."""
    from flare_core.train.config import load_config
    from flare_core.train.loop import Trainer

    report = _print_json if arguments.progress == "json" else _print_line
    trainer = Trainer(
        load_config(arguments.config),
        arguments.out,
        arguments.cache or arguments.out / "cache",
        report=report,
    )
    trainer.run()
    print(f"weights: {arguments.out / 'weights.safetensors'}")
    return 0


def _print_json(facts: dict[str, Any]) -> None:
    import json

    print(json.dumps(facts), flush=True)


def _print_line(facts: dict[str, Any]) -> None:
    """Print one line for people."""
    if facts["event"] == "step":
        left = facts["seconds_left"] / 60
        text = (
            f"phase {facts['phase'] + 1}  step {facts['step']}  loss {facts['loss']:.3f}  "
            f"{facts['seconds_per_step']:.2f} s/step (data {facts['data_seconds']:.2f})  "
            f"{100 * facts['phase_fraction']:.0f} %  {left:.0f} min left in phase"
        )
    else:
        scores = "  ".join(f"{key} {value:.2f}" for key, value in facts["dsc"].items())
        text = f"held-out DSC after {facts['step']} steps: {scores}"
    print(text, file=sys.stderr, flush=True)
