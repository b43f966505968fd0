"""``flare rounds``: self-training. A teacher labels, students learn, the better model takes over.

    flare rounds start RUN --settings rounds.json      make a run and run it
    flare rounds resume RUN                            go on after a stop, a crash, a power cut
    flare rounds stop RUN                              ask a run to stop, from anywhere
    flare rounds status RUN [--json]                   where it stands
    flare rounds report RUN -o page.html               decisions, evidence, curves, old and new
    flare rounds next RUN [--count 20] [--json]        which scans a person should look at next
    flare rounds promote RUN [--round N] [--anyway]    put a round's model into use
    flare rounds rollback MODEL                        use what was used before

Several processes share a run: torchrun -m flare_core rounds resume RUN. With --cluster, workers
anywhere label and score the scans; training stays here. Exit codes: 0 all well, 2 the arguments or
the run cannot be used, 130 stopped: by `stop`, Ctrl-C, SIGTERM or SIGHUP, in all of which a
training writes its checkpoint first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.cli.actions import Action, Options, add_actions
from flare_core.cli.train import progress_line
from flare_core.errors import InputError
from flare_core.jobs.cluster import place_of
from flare_core.jobs.ending import end_at_once, on_stop_signal
from flare_core.jobs.on_cluster import CLUSTER, GPU, spread_of, threads_each
from flare_core.jobs.progress import PROGRESS, Reporter, reporting, time_text
from flare_core.spread.cases import Pacer
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.train.rounds.predict import Elsewhere

NAME = "rounds"
HELP = "self-training: predict, select, train, compare, promote"

SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit code."""
    do: Callable[[argparse.Namespace], int] = arguments.do
    return do(arguments)


def begin(arguments: argparse.Namespace) -> int:
    """Make a run and, unless asked to wait, run it."""
    from flare_core.train.rounds.run import start_rounds
    from flare_core.train.rounds.settings import load_round_settings

    start_rounds(arguments.run, load_round_settings(arguments.settings))
    return 0 if arguments.wait else go_on(arguments)


def go_on(arguments: argparse.Namespace) -> int:
    """Run what is left of a run."""
    from flare_core.train.processes import leave
    from flare_core.train.rounds.run import run_rounds
    from flare_core.train.rounds.state import RunFolder

    with reporting(arguments.progress) as reporter:
        told = _with_pace(lambda facts: reporter.log(round_line(facts), facts))
        with (
            _elsewhere(arguments, reporter) as elsewhere,
            on_stop_signal(RunFolder(arguments.run).ask_to_stop),
        ):
            state = run_rounds(arguments.run, report=told, elsewhere=elsewhere)
        done = {"event": "done", "status": state.status, "message": state.message}
        reporter.tell(state.message, done)
    if leave():
        end_at_once()  # see `flare_core.train.processes.leave`
    return 0


@contextmanager
def _elsewhere(arguments: argparse.Namespace, reporter: Reporter) -> Iterator[Elsewhere | None]:
    """Yield who labels scans: workers of a cluster, which the first process asks; or None."""
    from flare_core.spread.here import in_turn
    from flare_core.train.rounds.predict import Elsewhere
    from flare_core.train.rounds.run import meet
    from flare_core.train.rounds.state import RunFolder

    if arguments.cluster is None:
        yield None
        return
    run = RunFolder(arguments.run)
    if not meet(run).first:
        yield Elsewhere(in_turn)  # the first process asks for all
        return
    inputs = [Path(run.settings.store) / "cases", *map(Path, filter(None, [run.state.teacher]))]
    resources = GPU if run.settings.device == "cuda" else {}
    threads = threads_each(place_of(arguments.cluster))
    with spread_of(
        arguments, reporter, results=run.path, inputs=inputs, resources=resources
    ) as spread:
        assert spread is not None
        yield Elsewhere(spread, threads)


def _with_pace(tell: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Return what tells the same facts, those about scans with how fast it goes."""
    pacer, last = Pacer(), 0

    def told(facts: dict[str, Any]) -> None:
        nonlocal pacer, last
        done = facts.get("done", 0)
        if facts["event"] in ("predict", "review", "score") and done > last:
            pace = pacer(done, facts["total"])
            left_s = round(pace.seconds_left or 0.0, 1)
            facts = {**facts, "per_minute": round(pace.per_minute, 2), "seconds_left": left_s}
        else:  # others begin
            pacer = Pacer(done)
        last = done
        tell(facts)

    return told


def stop(arguments: argparse.Namespace) -> int:
    """Ask a run to stop."""
    from flare_core.train.rounds.state import RunFolder

    folder = RunFolder(arguments.run)
    if not folder.is_running():
        print("No process runs it; nothing to stop.")
        return 0
    folder.ask_to_stop()
    print("Asked to stop; flare rounds resume goes on from there.")
    return 0


def tell_status(arguments: argparse.Namespace) -> int:
    """Say where a run stands."""
    from flare_core.train.rounds.status import run_status

    status = run_status(arguments.run)
    print(json.dumps(status) if arguments.json else status_text(status))
    return 0


def status_text(status: dict[str, Any]) -> str:
    """Return a run's status for people."""
    lines = [
        f"{status['name']}: {status['status']}, round {status['round']} of {status['rounds']}"
        f"{', ' + status['stage'] if status['status'] != 'done' else ''}, "
        f"{100 * status['fraction']:.0f} %"
    ]
    lines += [status["message"]] if status["message"] else []
    for each in status["details"]:
        text = f"round {each['round']}: {each['predicted']} predicted, {each['accepted']} accepted"
        lines.append(text)
        if each["verdict"]:
            lines.append(f"  {each['verdict']['reason']}")
        if each["promotion"]:
            lines.append(f"  in use: {each['promotion']['model']}")
    return "\n".join(lines)


def tell_next(arguments: argparse.Namespace) -> int:
    """Say which scans a person should look at next, and why."""
    from flare_core.train.rounds.status import next_of_run

    rows = next_of_run(arguments.run)
    rows = rows[: arguments.count] if arguments.count > 0 else rows
    if arguments.json:
        print(json.dumps([vars(each) for each in rows]))
        return 0
    for place, each in enumerate(rows, 1):
        print(f"{place:4d}  {each.case:24s} {each.score:.2f}  {each.reason}")
    return 0


def write_report(arguments: argparse.Namespace) -> int:
    """Write the page of a run."""
    from flare_core import atomic
    from flare_core.report.rounds import rounds_page
    from flare_core.train.rounds.status import ranked_cases, view_of_run

    path = arguments.output or arguments.run / "report.html"
    rows = [vars(each) for each in ranked_cases(arguments.run)[:SHOWN]]
    atomic.write_text(path, rounds_page(view_of_run(arguments.run), rows))
    print(path)
    return 0


def promote_round(arguments: argparse.Namespace) -> int:
    """Put a round's model into use.

    Raises
    ------
    InputError
        If it was judged worse and `--anyway` is not given, or there is none.
    """
    from flare_core.train.rounds.promote import incumbent_of, put_round_in_use, round_to_promote
    from flare_core.train.rounds.state import RunFolder

    folder = RunFolder(arguments.run)
    chosen = round_to_promote(folder, arguments.round)
    verdict = chosen.read("verdict")
    if not verdict["promote"] and not arguments.anyway:
        raise InputError(
            f"round {chosen.number}", verdict["reason"], "a model that is not worse",
            "Look at flare rounds report, or give --anyway.",
        )  # fmt: skip
    before = incumbent_of(folder, chosen.number)
    model = put_round_in_use(folder, chosen, before=before, reason="promoted by a person")
    print(f"in use: {model}")
    return 0


def go_back(arguments: argparse.Namespace) -> int:
    """Use the model that was used before."""
    from flare_core.home import open_home
    from flare_core.models.in_use import roll_back

    print(f"in use: {roll_back(open_home(arguments.home), arguments.model)}")
    return 0


def round_line(facts: dict[str, Any]) -> str:
    """Return what happened in one line for people.

    Examples
    --------
    >>> round_line({"event": "begin", "round": 1, "of": 3, "stage": "predict"})
    'round 1 of 3: predict'
    >>> round_line({"event": "predict", "done": 7, "total": 20})
    '7 of 20 scans labelled'
    """
    if facts["event"] == "begin":
        return f"round {facts['round']} of {facts['of']}: {facts['stage']}"
    if facts["event"] in ("predict", "review"):
        return f"{facts['done']} of {many(facts['total'], 'scan')} labelled{_pace_text(facts)}"
    if facts["event"] == "score":
        return f"{facts['done']} of {facts['total']} hold-out scans scored{_pace_text(facts)}"
    return progress_line(facts)


def _pace_text(facts: dict[str, Any]) -> str:
    if "per_minute" not in facts:
        return ""
    return f", {facts['per_minute']:.1f} a minute, {time_text(facts['seconds_left'])} left"


RUN: Options = (("run", {"type": Path, "help": "folder of the run"}),)

RUNNING: Options = (
    (
        "--progress",
        {
            "choices": PROGRESS,
            "default": "bar",
            "help": "lines for people, JSON lines for programs, or nothing",
        },
    ),
    CLUSTER,
)

JSON: Options = (("--json", {"action": "store_true", "help": "JSON for programs"}),)

ACTIONS: tuple[Action, ...] = (
    (
        "start", begin, "make a run and run it",
        (
            *RUN,
            ("--settings", {"type": Path, "required": True,
                            "help": "JSON file, see RoundSettings"}),
            ("--wait", {"action": "store_true", "help": "only make it; resume runs it later"}),
            *RUNNING,
        ),
    ),
    ("resume", go_on, "go on with a run", (*RUN, *RUNNING)),
    ("stop", stop, "ask a run to stop", RUN),
    ("status", tell_status, "say where a run stands", (*RUN, *JSON)),
    (
        "next", tell_next, "say which scans to look at next",
        (*RUN, ("--count", {"type": int, "default": SHOWN, "help": "how many; 0 is all"}), *JSON),
    ),
    (
        "report", write_report, "write a page with plots",
        (*RUN, ("-o,--output", {"type": Path, "help": "HTML file (default: RUN/report.html)"})),
    ),
    (
        "promote", promote_round, "put a round's model into use",
        (
            *RUN,
            ("--round", {"type": int, "help": "which; the last finished one if left out"}),
            ("--anyway", {"action": "store_true", "help": "even if it was judged worse"}),
        ),
    ),
    (
        "rollback", go_back, "use the model that was used before",
        (
            ("model", {"help": "model"}),
            ("--home", {"help": "folder of installed models (default: ~/.flareseg)"}),
        ),
    ),
)  # fmt: skip
