"""``flare train``: train one network from a configuration file, resumable at any moment.

Start the same command again after a stop, a crash or a power cut: it goes on from the checkpoint in
OUT. Ctrl-C, SIGTERM or a closed terminal (SIGHUP) lets it finish its step and write the checkpoint.
Progress lines go to standard error, or as JSON lines to standard output.

On several GPUs or machines: ``torchrun --nproc-per-node 2 -m flare_core train CONFIG -o OUT``, with
OUT and the cache in folders that all of them see; batch_size is dealt out among the processes.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path
from typing import Any

from flare_core.jobs.ending import end_at_once, on_stop_signal
from flare_core.jobs.outputs import plain
from flare_core.jobs.progress import PROGRESS, reporting
from flare_core.wording import many

NAME = "train"
HELP = "train a network from a configuration file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="JSON file with the fields of TrainConfig")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--cache", type=Path, help="folder of resampled scans (default: OUT/cache)")
    parser.add_argument(
        "--progress",
        choices=PROGRESS,
        default="bar",
        help="a line for people every 20 steps, JSON lines for programs, or nothing",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on where the run in OUT was stopped."""
    from flare_core.train.checkpoint import WEIGHTS
    from flare_core.train.config_file import load_config
    from flare_core.train.loop import Trainer
    from flare_core.train.processes import leave

    stop = threading.Event()
    with reporting(arguments.progress) as reporter:
        trainer = Trainer(
            load_config(arguments.config),
            arguments.output,
            arguments.cache or arguments.output / "cache",
            report=lambda facts: reporter.log(progress_line(facts), facts),
            asked=stop.is_set,
        )
        with on_stop_signal(stop.set):
            scores = trainer.run()
        shared = leave()
        weights = str(arguments.output / WEIGHTS)
        if trainer.processes.first:
            done = {"event": "done", "weights": weights, "dsc": plain(scores)}
            reporter.tell(f"weights: {weights}", done)
    if shared:
        end_at_once()  # see `flare_core.train.processes.leave`
    return 0


def progress_line(facts: dict[str, Any]) -> str:
    """Return what happened in one line for people.

    Examples
    --------
    >>> progress_line({"event": "validation", "step": 600, "dsc": {"liver": 0.912, "spleen": 0.8}})
    'held-out DSC after 600 steps: mean 0.86  liver 0.91  spleen 0.80'
    """
    if facts["event"] == "note":
        return str(facts["text"])
    if facts["event"] == "resume":
        return f"going on with phase {facts['phase'] + 1} after {facts['step']} of its steps"
    if facts["event"] == "step":
        return _step_line(facts)
    scores = facts["dsc"]
    mean = f"mean {sum(scores.values()) / len(scores):.2f}  " if scores else "nothing to score"
    return f"held-out DSC after {many(facts['step'], 'step')}: {mean}" + "  ".join(
        f"{key} {value:.2f}" for key, value in scores.items()
    )


def _step_line(facts: dict[str, Any]) -> str:
    loss = "not finite" if facts["loss"] is None else f"{facts['loss']:.3f}"
    skipped = f"  {facts['skipped']} skipped" if facts["skipped"] else ""
    return (
        f"phase {facts['phase'] + 1}  step {facts['step']}  loss {loss}  "
        f"{facts['seconds_per_step']:.2f} s/step (data {facts['data_seconds']:.2f}){skipped}  "
        f"{100 * facts['phase_fraction']:.0f} %  {_time_left(facts)}"
    )


def _time_left(facts: dict[str, Any]) -> str:
    """Return the time left for the whole run where it is known, else for the phase."""
    whole = facts["run_seconds_left"]
    seconds, what = (facts["seconds_left"], " in phase") if whole is None else (whole, "")
    return f"{seconds / 60:.0f} min left{what}"
