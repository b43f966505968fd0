"""Where a self-training run stands, as plain values: for a panel that polls, or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from flare_core.train.log import LOG, Facts, read_log
from flare_core.train.rounds.comparison import Verdict
from flare_core.train.rounds.state import STEPS, RoundFolder, RunFolder

MOST_POINTS = 400
"""Points of a curve at most; a longer one is thinned, its last point stays."""

NUMBER = (int, float)

OF_A_STEP: dict[str, tuple[type, ...]] = {
    "step": (int,), "loss": (*NUMBER, type(None)), "phase_fraction": NUMBER,
    "run_seconds_left": (*NUMBER, type(None)),
}  # fmt: skip
OF_A_SCORE: dict[str, tuple[type, ...]] = {"step": (int,), "dsc": (dict,)}
"""What a log's line must hold to be a point of a curve; a spoilt one is left out."""


def run_status(path: Path) -> dict[str, Any]:
    """Return the state of a run with its rounds, curves and verdicts.

    Parameters
    ----------
    path : Path
        Folder of the run; it may be running in another process.

    Returns
    -------
    dict
        ``status`` (running, stopped, interrupted, failed, done, ready), ``round``, ``rounds``,
        ``step``, ``steps``, ``message``, ``fraction`` (of the whole run, 0 to 1), ``name``,
        ``strategy``, ``pid``, ``host``, and ``details``, one object for each round begun: ``done``
        (steps), ``predicted``, ``candidates``, ``accepted``, ``curves`` (one for each fold:
        ``loss`` as [step, loss], ``dsc`` as [step, {organ: DSC}]), ``verdict``, ``promotion``.

    Raises
    ------
    InputError
        If there is no run.
    """
    run = RunFolder(path)
    state, settings = run.state, run.settings
    status = state.status
    if status == "running" and not run.is_running():
        status = "interrupted"  # its process is gone without a word
    begun = [run.round(n) for n in range(1, state.round + 1)]
    details = [_round_status(run, each) for each in begun]
    return {
        "name": settings.name,
        "run": state.run,
        "created": state.created,
        "status": status,
        "message": state.message,
        "round": state.round,
        "rounds": settings.rounds,
        "step": state.step,
        "steps": list(STEPS),
        "fraction": round(_fraction(details, settings.rounds, status), 4),
        "strategy": settings.strategy,
        "store": settings.store,
        "pid": state.pid,
        "host": state.host,
        "details": details,
    }


def _round_status(run: RunFolder, folder: RoundFolder) -> dict[str, Any]:
    decisions = folder.read("decisions") or []
    verdict = folder.read("verdict")
    if verdict is not None:
        Verdict.from_json(verdict, str(folder.path / "verdict.json"))
    return {
        "round": folder.number,
        "done": run.state.done.get(str(folder.number), {}),
        "predicted": sum(1 for p in folder.predictions.iterdir() if p.suffix == ".json"),
        "candidates": len(folder.read("candidates") or []),
        "accepted": sum(row.get("accepted") is True for row in decisions),
        "curves": [curves(folder.student(k) / LOG) for k in range(run.settings.folds)],
        "verdict": verdict,
        "promotion": folder.read("promotion"),
    }


def curves(log: Path) -> dict[str, Any]:
    """Return loss and held-out DSC of one training as points; empty before it has begun."""
    facts = read_log(log) if log.is_file() else []
    steps = [row for row in facts if row.get("event") == "step" and _holds(row, OF_A_STEP)]
    scores = [row for row in facts if row.get("event") == "validation" and _holds(row, OF_A_SCORE)]

    return {
        "loss": thinned([[each["step"], each["loss"]] for each in steps]),
        "dsc": thinned([[each["step"], each["dsc"]] for each in scores]),
        "fraction": steps[-1]["phase_fraction"] if steps else 0.0,
        "seconds_left": steps[-1]["run_seconds_left"] if steps else None,
    }


def _holds(row: Facts, wanted: Mapping[str, tuple[type, ...]]) -> bool:
    """Whether a line has these fields, each of one of these types; numbers are finite."""
    given = [(row.get(key, ...), types) for key, types in wanted.items()]
    given += [(each, (*NUMBER, type(None))) for each in _values(row.get("dsc"))]
    return all(type(v) in types and (type(v) is not float or isfinite(v)) for v, types in given)


def _values(table: object) -> list[object]:
    return list(table.values()) if isinstance(table, dict) else []


def thinned(points: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """Return at most `most` of the points, evenly, with the last one.

    Examples
    --------
    >>> thinned(list(range(10)), 4)
    [0, 3, 6, 9]
    """
    step = -(-(len(points) - 1) // (most - 1)) if len(points) > most else 1
    kept = list(points[::step])
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]


def _fraction(details: Sequence[Facts], rounds: int, status: str) -> float:
    """Return how much of the run is done; training counts as six of the other steps."""
    if status == "done":
        return 1.0
    weights = {step: 6.0 if step == "train" else 1.0 for step in STEPS}
    done = 0.0
    for each in details:
        done += sum(weights[step] for step in each["done"])
        if "train" not in each["done"]:
            parts = [curve["fraction"] for curve in each["curves"]]
            done += weights["train"] * min(1.0, sum(parts) / max(1, len(parts)))
    return min(1.0, done / (rounds * sum(weights.values())))
