"""What the network believed of a result: in the worker's memory, or made again when it is gone.

A worker keeps the scores of its last run. After a restart, a reload of the scene or a run of
another CT they are gone, and strokes are followed without them, less far. So they are made again:
the CT is copied out of the scene in short steps, written in a thread, and run again in the
background, which strokes do not wait for and which gives way to a run. A result of no model has
none to make.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from flare_core.errors import FlareError
from flare_core.imaging.volume import Volume
from FLARESegLib.qt.background import hand_on, in_background
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.stepwise import walk
from FLARESegLib.run import temporary_folder
from FLARESegLib.run.exchange import write_raw
from FLARESegLib.run.facts import SCAN
from FLARESegLib.run.failures import error_of
from FLARESegLib.run.workplace import Workplace
from FLARESegLib.scene.results import FACT, result_facts
from FLARESegLib.scene.volumes import copy_steps

INPUT_FILE = "volume.nrrd"

COMPUTED_ON = "computed_on"
"""Fact of a result: the server that computed it; not there if this computer did."""


class KeptScores:
    """Sees to the scores of one result; `close` ends what it began.

    Parameters
    ----------
    place : Workplace
        Its worker keeps them.
    segmentation, volume : MRML nodes
        The result, and its CT.
    on : callable
        Returns the server that the CT may go to, as the worker's request says it, or None. Only
        one that has seen this CT before gets it again.
    """

    def __init__(
        self,
        place: Workplace,
        segmentation: Any,
        volume: Any,
        on: Callable[[], dict[str, Any] | None],
    ) -> None:
        self.changed = Signal()
        """Called when `fraction` or `problem` is another one."""
        self.made = Signal()
        """Called when they are there again."""
        self.fraction: float | None = None
        """How far they are made, 0 to 1; None: they are not being made."""
        self.problem: FlareError | None = None
        """Why they cannot be made."""
        self._place, self._segmentation, self._volume, self._on = place, segmentation, volume, on
        self._scan: str | None = None  # for which the rest is true
        self._asked = False
        self._too_large = False
        self._request: int | None = None
        self._folder: Path | None = None
        self._stop = threading.Event()

    def ensure(self) -> None:
        """Have them made again, if a model made this result and they are gone."""
        facts = result_facts(self._segmentation)
        if facts.get(SCAN) != self._scan:  # another run was here
            self._scan, self.problem, self._too_large = facts.get(SCAN), None, False
        begun = self._asked or self.fraction is not None
        if begun or self.problem or self._too_large or not facts.get("model"):
            return
        if not self._place.worker.ready:  # a worker that is not there has none
            self._make()
            return
        self._asked = True
        request = {"command": "scores", "scan": facts.get(SCAN) or "none", "recompute": False}
        self._place.worker.request(request, self._known)

    def close(self) -> None:
        """Stop making them; remove the files."""
        self._stop.set()
        request, self._request = self._request, None
        if request is not None:
            self._place.worker.cancel(request, self._clean_up)
        else:
            self._clean_up()

    def _known(self, answer: dict[str, Any]) -> None:
        self._asked = False
        if not answer.get("there") and self._alive():
            self._make()

    def _make(self) -> None:
        """Copy the CT out of the scene."""
        self._tell(0.0)
        walk(self._place.loop, copy_steps(self._volume), self._write, self._alive)

    def _write(self, copying: Future[Volume]) -> None:
        """Write it for the worker."""
        try:
            volume = copying.result()
            self._folder = temporary_folder.make_folder(self._place.temporary)
        except (FlareError, OSError) as error:
            self._fail(error)
            return
        path = self._folder / INPUT_FILE
        in_background(
            self._place.loop,
            lambda: write_raw(path, volume.array, volume.geometry, self._stop),
            lambda writing: self._written(path, writing),
        )

    def _written(self, path: Path, writing: Future[None]) -> None:
        if self._alive():
            hand_on(writing, lambda _: self._ask(path), self._fail)
        else:
            self._clean_up()

    def _ask(self, path: Path) -> None:
        facts, on = result_facts(self._segmentation), self._on()
        there = on is not None and facts.get(COMPUTED_ON) == on["address"]
        request = {
            **({"on": on} if there else {}),
            "command": "scores",
            "scan": str(path),
            "recompute": True,
            "settings": dict(facts.get("settings") or {}),
        }
        self._request = self._place.worker.request(request, lambda told: self._hear(path, told))

    def _hear(self, path: Path, answer: dict[str, Any]) -> None:
        """Take an answer of the worker."""
        if self._stop.is_set():
            return
        if answer["event"] == "progress":
            self._tell(float(answer["fraction"]))
            return
        self._request = None
        self._clean_up()
        if answer["event"] == "scores" and answer["there"]:
            if self._alive():
                self._scan = str(path)
                self._segmentation.SetAttribute(FACT + SCAN, json.dumps(self._scan))
            self._tell(None)
            self.made.emit()
        elif answer["event"] == "error":
            self._fail(error_of(answer))
        else:  # too large to keep; or it gave way to a run, and can be asked for again
            self._too_large = answer["event"] == "scores"
            self._tell(None)

    def _fail(self, error: Exception) -> None:
        self._clean_up()
        self.problem = error if isinstance(error, FlareError) else FlareError(str(error))
        self._tell(None)

    def _tell(self, fraction: float | None) -> None:
        self.fraction = fraction
        self.changed.emit()

    def _clean_up(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            temporary_folder.remove_folder(folder, self._place.loop)

    def _alive(self) -> bool:
        nodes = (self._segmentation, self._volume)
        return not self._stop.is_set() and all(node.GetScene() is not None for node in nodes)
