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
    """Answers ``correct`` when a test's loop goes on."""

    def __init__(self, loop: PlainLoop) -> None:
        self.on_log = Signal()
        self.requests: list[dict] = []
        self.held: list = []
        self.hold = False
        self.last = LastScores()
        self._loop = loop

    def request(self, fields: dict, on_answer) -> int:
        self.requests.append(fields)
        answer = lambda: on_answer(self._answer(fields))  # noqa: E731
        self.held.append(answer) if self.hold else self._loop.call_later(0, answer)
        return len(self.requests)

    def _answer(self, fields: dict) -> dict:
        asked = {key: value for key, value in fields.items() if key != "command"}
        try:
            told = correct(
                correction_of(asked), Settings(), REAL, self.last, lambda: False, lambda: None
            )
        except FlareError as error:
            return {"event": "error", **failure_of(error).fields()}
        return {"event": "corrected", **told}


def stroke_place(folder: Path) -> SimpleNamespace:
    """A workplace with such a worker."""
    loop = PlainLoop()
    return SimpleNamespace(loop=loop, worker=StrokeWorker(loop), temporary=folder)
