"""A worker that follows strokes in this process: the real solver behind Slicer's side of files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import scipy.ndimage  # noqa: F401 - a bench forgets modules, and these load once only
import torch  # noqa: F401
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.qt.signals import Signal

import flare_core.segment.stroke_history  # noqa: F401
from flare_core.errors import FlareError
from flare_core.jobs.corrections import LastScores, correct, correction_of
from flare_core.jobs.engine import REAL
from flare_core.jobs.failure import failure_of
from flare_core.segment.settings import Settings


class StrokeWorker:
    """Answers ``correct`` and ``scores`` when a test's loop goes on."""

    ready = True

    def __init__(self, loop: PlainLoop) -> None:
        self.on_log = Signal()
        self.requests: list[dict] = []
        self.held: list = []
        self.hold = False
        self.last = LastScores()
        self.makes: object = None
        """What comes of making scores again; None: they are too large to keep."""
        self.cancelled: list[int] = []
        self.hold_scores = False
        self._loop = loop

    def request(self, fields: dict, on_answer) -> int:
        self.requests.append(fields)
        answer = lambda: on_answer(self._answer(fields))  # noqa: E731
        held = self.hold or (self.hold_scores and fields.get("recompute", False))
        self.held.append(answer) if held else self._loop.call_later(0, answer)
        return len(self.requests)

    def cancel(self, number: int, on_free) -> None:
        self.cancelled.append(number)
        on_free()

    def _answer(self, fields: dict) -> dict:
        if fields["command"] == "scores":
            return self._scores(fields)
        asked = {key: value for key, value in fields.items() if key != "command"}
        try:
            told = correct(
                correction_of(asked), Settings(), REAL, self.last, lambda: False, lambda: None
            )
        except FlareError as error:
            return {"event": "error", **failure_of(error).fields()}
        return {"event": "corrected", **told}

    def _scores(self, fields: dict) -> dict:
        scan = Path(fields["scan"])
        if fields["recompute"]:
            assert scan.is_file()
            self.last.remember(scan, self.makes)
        return {"event": "scores", "there": self.last.of(scan) is not None}


def stroke_place(folder: Path) -> SimpleNamespace:
    """A workplace with such a worker."""
    loop = PlainLoop()
    return SimpleNamespace(loop=loop, worker=StrokeWorker(loop), temporary=folder)
