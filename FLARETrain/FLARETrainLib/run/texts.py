"""What goes on in a run, in words."""

from __future__ import annotations

from collections.abc import Callable

from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import time_left_text

from FLARETrainLib.run.watch import WatchedRun

STAGES: dict[str, Callable[[], str]] = {
    "predict": lambda: _("The teacher labels scans"),
    "evidence": lambda: _("Weighing the labels"),
    "select": lambda: _("Choosing what to learn from"),
    "labels": lambda: _("Storing pseudo labels"),
    "train": lambda: _("Training the student"),
    "package": lambda: _("Packing the new model"),
    "review": lambda: _("The new model labels scans, to see what to look at next"),
    "score": lambda: _("Comparing old and new on the hold-out"),
    "promote": lambda: _("Judging"),
}
"""Stages of a round, translated when they are shown."""

STATUSES: dict[str, Callable[[], str]] = {
    "starting": lambda: _("Starting"),
    "ready": lambda: _("Ready to start"),
    "running": lambda: _("Running"),
    "stopped": lambda: _("Stopped; Resume goes on from there"),
    "interrupted": lambda: _("Its process is gone; Resume goes on from there"),
    "failed": lambda: _("Failed"),
    "done": lambda: _("Done"),
}


def status_line(view: WatchedRun) -> str:
    """Return where a run stands: one line."""
    state = view.state
    status = STATUSES.get(state.status, lambda: state.status)()
    if state.status != "running":  # why it stopped is a word of before, once it starts again
        said = state.message if state.status in ("failed", "done") else ""
        return f"{status}. {said}".strip()
    stage = STAGES.get(state.stage, lambda: state.stage)()
    parts = [
        _("Round {round} of {rounds}").format(round=state.round, rounds=state.rounds),
        f"{stage}{_counted(view)}",
        _time_left(view),
    ]
    return ", ".join(part for part in parts if part)


def numbers_line(view: WatchedRun) -> str:
    """Return the newest loss and DSC of the training; empty before there is one."""
    if not view.curves:
        return ""
    curve = view.curves[-1]
    parts = []
    if curve.finite_loss:
        step, loss = curve.finite_loss[-1]
        parts.append(_("step {step:.0f}: loss {loss:.3f}").format(step=step, loss=loss))
    if curve.dsc and curve.dsc[-1][1]:
        scores = curve.dsc[-1][1]
        mean = sum(scores.values()) / len(scores)
        parts.append(_("mean DSC on held-out scans {mean:.3f}").format(mean=mean))
    return ", ".join(parts)


def _counted(view: WatchedRun) -> str:
    event, _space, numbers = view.counted.partition(" ")
    if event != view.state.stage or not numbers:
        return ""
    done, total = numbers.split()
    return " " + _("({done} of {total})").format(done=done, total=total)


def _time_left(view: WatchedRun) -> str:
    if view.state.stage != "train" or not view.curves:
        return ""
    return time_left_text(view.curves[-1].seconds_left)
