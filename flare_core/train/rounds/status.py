"""What the folder of a self-training run says: the one reader, for command line, page and panel.

`RunReader` looks at a run again and again and reads only what is new; `run_status` and
`view_of_run` are one look as plain values, `next_of_run` what a person should look at next. Nothing
here writes, takes the run's lock or loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from flare_core.cases.store import open_store
from flare_core.errors import InputError
from flare_core.train.log import LOG, Facts, LogTail
from flare_core.train.rounds.comparison import Verdict
from flare_core.train.rounds.next_cases import NextCase, rank_cases, seen_cases
from flare_core.train.rounds.state import STAGES, RoundFolder, RunFolder
from flare_core.train.strategies.candidate import CaseEvidence, Decision

WEIGHTS = {stage: 6.0 if stage == "train" else 1.0 for stage in STAGES}
"""How much of a round's work a stage is."""

ACTIVE = ("starting", "running")
"""Statuses in which a process is at work."""

LISTING = ("evidence", "review")
"""Stages after which there is a new list of what to look at next."""

MOST_POINTS = 400
"""Points of a curve at most; a longer one is thinned, its last point stays."""

MOST_PHASES = 100
"""Of a training; a log that speaks of more is spoilt."""

NUMBER = (int, float)

OF_A_STEP: dict[str, tuple[type, ...]] = {
    "step": (int,), "loss": (*NUMBER, type(None)), "phase_fraction": NUMBER,
    "run_seconds_left": (*NUMBER, type(None)),
}  # fmt: skip
OF_A_SCORE: dict[str, tuple[type, ...]] = {"step": (int,), "dsc": (dict,)}
"""What a log's line must hold to be a point of a curve; a spoilt one is left out."""

Point = TypeVar("Point")


@dataclass(frozen=True)
class RunState:
    """How far a run is."""

    name: str
    """Of the model that comes out."""
    status: str
    """``ready``, ``running``, ``stopped``, ``interrupted``, ``failed``, ``done``; ``starting`` is
    for who has started its process and waits for the first sign of life."""
    message: str = ""
    """Why it stopped, failed or ended."""
    round: int = 0
    """Round at work, from 1."""
    rounds: int = 1
    """How many there will be."""
    folds: int = 1
    """Networks of each round."""
    stage: str = ""
    """Stage at work."""
    done: tuple[tuple[int, str], ...] = ()
    """Round and stage of what is done."""
    strategy: str = ""
    """Which one."""
    store: str = ""
    """Folder of the case store."""

    @property
    def active(self) -> bool:
        """Whether a process is at work."""
        return self.status in ACTIVE

    @property
    def listed(self) -> tuple[int, str] | None:
        """Round and stage of the newest list of what to look at next; None before there is one."""
        found = [each for each in self.done if each[1] in LISTING]
        return found[-1] if found else None

    def fraction(self, training: float = 0.0) -> float:
        """Return how much is done, 0 to 1; `training` is the share of the training at work."""
        if self.status == "done":
            return 1.0
        total = sum(WEIGHTS[stage] for _, stage in self.done)
        if self.round and (self.round, "train") not in self.done:
            total += WEIGHTS["train"] * min(1.0, max(0.0, training))
        return min(1.0, total / (self.rounds * sum(WEIGHTS.values())))


@dataclass  # mutable: grows while the training goes on
class Curve:
    """One network's training, grown line by line of its log."""

    round: int
    """From 1."""
    fold: int
    """From 0."""
    loss: list[tuple[float, float | None]] = field(default_factory=list)
    """Step and loss; None where it was not finite."""
    dsc: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    """Step and organ -> DSC on held-out scans."""
    fraction: float = 0.0
    """How much of it is done."""
    seconds_left: float | None = None
    """As the training itself says."""
    phases: list[float] = field(default_factory=list)
    """Steps of the phases that are over, so that steps count on."""

    @property
    def finite_loss(self) -> list[tuple[float, float]]:
        """The points of the loss that are numbers."""
        return [(step, loss) for step, loss in self.loss if loss is not None]

    def add(self, facts: Facts) -> None:
        """Put a line of the training's log into the curve; a spoilt one is left out.

        Examples
        --------
        >>> curve = Curve(1, 0)
        >>> step = {"event": "step", "step": 20, "phase_fraction": 0.1, "run_seconds_left": 9.0}
        >>> curve.add({**step, "phase": 0, "loss": 0.5})
        >>> curve.add({**step, "phase": 1, "loss": 0.4})
        >>> curve.loss
        [(20, 0.5), (40, 0.4)]
        """
        if facts.get("event") == "step" and _holds(facts, OF_A_STEP):
            self._add_step(facts)
        elif facts.get("event") == "validation" and _holds(facts, OF_A_SCORE):
            scores = {key: value for key, value in facts["dsc"].items() if value is not None}
            self.dsc.append((facts["step"], scores))
        elif facts.get("event") == "resume" and type(facts.get("total_steps")) in NUMBER:
            # what came after the checkpoint that a stopped training goes on from is done again
            self.loss[:] = [point for point in self.loss if point[0] <= facts["total_steps"]]
            self.dsc[:] = [point for point in self.dsc if point[0] <= facts["total_steps"]]

    def _add_step(self, facts: Facts) -> None:
        phase = facts.get("phase", 0)
        if type(phase) is not int or not 0 <= phase < MOST_PHASES:
            return
        last = self.loss[-1][0] if self.loss else 0
        self.phases += [last] * (phase - len(self.phases))
        before = self.phases[phase - 1] if phase else 0
        self.loss.append((facts["step"] + before, facts["loss"]))
        part = facts["phase_fraction"]  # all that earlier versions told
        whole = facts.get("run_fraction")
        if isinstance(whole, (int, float)) and isfinite(whole):
            part = whole
        self.fraction = min(1.0, max(0.0, part))
        self.seconds_left = facts["run_seconds_left"]

    def points(self) -> dict[str, Any]:
        """Return the curve as plain values: lists of [step, loss] and of [step, {organ: DSC}]."""
        return {
            "loss": [list(point) for point in thinned(self.loss)],
            "dsc": [list(point) for point in thinned(self.dsc)],
            "fraction": self.fraction,
            "seconds_left": self.seconds_left,
        }


@dataclass(frozen=True)
class RunView:
    """What a run's folder says at one moment."""

    folder: Path
    """Of the run."""
    state: RunState
    """How far it is."""
    curves: tuple[Curve, ...] = ()
    """Of every network so far, the oldest round first."""
    verdicts: tuple[tuple[int, dict[str, Any]], ...] = ()
    """Round and what the comparison of old and new said."""
    promotions: tuple[tuple[int, dict[str, Any]], ...] = ()
    """Round and which model was put into use."""
    damage: InputError | None = None
    """What the first file that cannot be read makes impossible; what it held is left out."""

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0 to 1."""
        mine = [curve.fraction for curve in self.curves if curve.round == self.state.round]
        return self.state.fraction(sum(mine) / self.state.folds)


class RunReader:
    """Reads a run's folder; each look reads only what is new. For one thread at a time.

    Parameters
    ----------
    folder : Path
        Of the run; it may be running in another process.
    most_bytes : int
        Of each log in one look; below 0 all there is.
    """

    def __init__(self, folder: Path, most_bytes: int = -1) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._logs: dict[tuple[int, int], tuple[LogTail, Curve]] = {}

    def look(self) -> RunView:
        """Return what the folder says now.

        Raises
        ------
        InputError
            If there is no run, or nobody can tell how far it is.
        """
        run = RunFolder(self.folder)
        state = state_of(run)
        rounds = [run.seen_round(number) for number in range(1, state.round + 1)]
        for each in rounds:
            for fold in range(state.folds):
                self._follow(each, fold)
        verdicts, damage = _read_each(rounds, "verdict")
        promotions, more = _read_each(rounds, "promotion")
        curves = tuple(curve for _, (_, curve) in sorted(self._logs.items()))
        return RunView(self.folder, state, curves, verdicts, promotions, damage or more)

    def _follow(self, each: RoundFolder, fold: int) -> None:
        key = each.number, fold
        if key not in self._logs:
            path = each.student(fold) / LOG
            if not path.is_file():
                return
            self._logs[key] = (LogTail(path), Curve(*key))
        tail, curve = self._logs[key]
        for facts in tail.read(self._most_bytes):
            curve.add(facts)


def state_of(run: RunFolder) -> RunState:
    """Return how far a run is.

    Raises
    ------
    InputError
        If its state cannot be read.
    """
    state, settings = run.state, run.settings
    gone = state.status == "running" and not run.is_running()  # without a word
    return RunState(
        name=settings.name,
        status="interrupted" if gone else state.status,
        message=state.message,
        round=state.round,
        rounds=settings.rounds,
        folds=settings.folds,
        stage=state.stage,
        done=tuple((int(n), stage) for n, stages in state.done.items() for stage in stages),
        strategy=str(settings.strategy.get("kind", "")),
        store=settings.store,
    )


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
        ``stage``, ``stages``, ``message``, ``fraction`` (of the whole run, 0 to 1), ``name``,
        ``strategy``, ``pid``, ``host``, and ``details``, one object for each round begun: ``done``
        (stages), ``predicted``, ``candidates``, ``accepted``, ``curves`` (one for each fold:
        ``loss`` as [step, loss], ``dsc`` as [step, {organ: DSC}]), ``verdict``, ``promotion``.

    Raises
    ------
    InputError
        If there is no run, or a file of it is damaged.
    """
    view = RunReader(path).look()
    if view.damage is not None:
        raise view.damage
    run, state = RunFolder(path), view.state
    stored = run.state
    return {
        "name": state.name,
        "run": stored.run,
        "created": stored.created,
        "status": state.status,
        "message": state.message,
        "round": state.round,
        "rounds": state.rounds,
        "stage": state.stage,
        "stages": list(STAGES),
        "fraction": round(view.fraction, 4),
        "strategy": run.settings.strategy,
        "store": state.store,
        "pid": stored.pid,
        "host": stored.host,
        "details": [_round_status(run, view, n) for n in range(1, state.round + 1)],
    }


def view_of_run(path: Path) -> dict[str, Any]:
    """Return `run_status` with the decisions and the evidence of every round added.

    Raises
    ------
    InputError
        If there is no run, or a file of it is damaged.
    """
    run = RunFolder(path)
    view = run_status(path)
    for each in view["details"]:
        folder = run.seen_round(each["round"])
        # Read as what they are: a page of thousands must not stop at a spoilt one's field
        decisions = [Decision.from_json(row) for row in folder.read("decisions") or []]
        evidence = [CaseEvidence.from_json(row) for row in folder.read("candidates") or []]
        each["decisions"] = [asdict(row) for row in decisions]
        each["evidence"] = [asdict(row) for row in evidence]
    return view


def next_of_run(path: Path) -> tuple[NextCase, ...]:
    """Return the cases of a run in the order in which a person should look at them.

    Raises
    ------
    InputError
        If there is no run, or none of its rounds has gathered evidence yet.
    """
    found = ranked_cases(path)
    if not found:
        raise InputError(
            "folder of the run",
            f"{path}: no round has labelled scans yet",
            "a run in which a teacher, or else the first student, has predicted",
            "Wait for the first round's evidence, or go on with flare rounds resume. (Without a "
            "teacher's labels the student predicts once it is trained.)",
        )
    return found


def ranked_cases(path: Path) -> tuple[NextCase, ...]:
    """Return what `next_of_run` does; nothing where there is no evidence yet."""
    run = RunFolder(path)
    for number in range(run.state.round, 0, -1):
        rows = run.seen_round(number).read("candidates")
        if rows:
            with open_store(run.settings.store) as store:
                seen = seen_cases(store)
            return rank_cases([CaseEvidence.from_json(row) for row in rows], seen)
    return ()


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most `most` of the points, evenly, with the last one.

    Examples
    --------
    >>> thinned(list(range(10)), 4)
    [0, 3, 6, 9]
    """
    step = -(-(len(points) - 1) // (most - 1)) if len(points) > most else 1
    kept = list(points[::step])
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]


def _round_status(run: RunFolder, view: RunView, number: int) -> dict[str, Any]:
    folder = run.seen_round(number)
    decisions = folder.read("decisions") or []
    verdict = dict(view.verdicts).get(number)
    if verdict is not None:
        verdict = asdict(Verdict.from_json(verdict, str(folder.path / "verdict.json")))
    drawn = {curve.fold: curve for curve in view.curves if curve.round == number}
    seen = folder.predictions.iterdir() if folder.predictions.is_dir() else ()
    return {
        "round": number,
        "done": run.state.done.get(str(number), {}),
        "predicted": sum(1 for path in seen if path.suffix == ".json"),
        "candidates": len(folder.read("candidates") or []),
        "accepted": sum(row.get("accepted") is True for row in decisions),
        "curves": [drawn.get(k, Curve(number, k)).points() for k in range(view.state.folds)],
        "verdict": verdict,
        "promotion": dict(view.promotions).get(number),
    }


def _read_each(
    rounds: Sequence[RoundFolder], name: str
) -> tuple[tuple[tuple[int, dict[str, Any]], ...], InputError | None]:
    """Return a file of every round that has it, and what is wrong with the first damaged one."""
    found, damage = [], None
    for each in rounds:
        try:
            value = each.read(name)
        except InputError as error:
            damage = damage or error
            continue
        if value is not None:
            found.append((each.number, value))
    return tuple(found), damage


def _holds(row: Facts, wanted: Mapping[str, tuple[type, ...]]) -> bool:
    """Whether a line has these fields, each of one of these types; numbers are finite."""
    given = [(row.get(key, ...), types) for key, types in wanted.items()]
    given += [(each, (*NUMBER, type(None))) for each in _values(row.get("dsc"))]
    return all(type(v) in types and (type(v) is not float or isfinite(v)) for v, types in given)


def _values(table: object) -> list[object]:
    return list(table.values()) if isinstance(table, dict) else []
