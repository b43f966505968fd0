"""Run a self-training run in processes that kill themselves, each at another moment.

    python -m killed_rounds RUN "inside predict" "after train" ...

Prints a JSON line for each: moment, how the process ended, what the run's status says. One process
imports PyTorch and is forked before it computes anything, so ten kills cost one start.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from flare_core.train.rounds import run as rounds
from flare_core.train.rounds import stages
from flare_core.train.rounds.status import run_status


def strike() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_until(run: Path, moment: str) -> None:
    """Run, and die at a moment."""
    when, _, stage = moment.partition(" ")
    action = stages.ACTIONS[stage]

    def struck(work: stages.RoundWork) -> None:
        action(work)
        strike()

    def inside(facts: dict[str, Any]) -> None:
        if when == "inside" and facts.get("event") == stage:
            strike()

    if when == "after":
        stages.ACTIONS[stage] = struck
    rounds.run_rounds(run, report=inside)


def main() -> None:
    """Kill a process at each moment."""
    run = Path(sys.argv[1])
    for moment in sys.argv[2:]:
        child = os.fork()
        if not child:
            run_until(run, moment)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        end = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "ended"
        print(json.dumps([moment, end, run_status(run)["status"]]), flush=True)


if __name__ == "__main__":
    main()
