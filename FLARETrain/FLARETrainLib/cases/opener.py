"""Opens cases: files in a thread, nodes in short steps, then the views; Slicer stays free."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.stepwise import walk
from FLARESegLib.qt.translation import _
from FLARESegLib.scene import results

import slicer
from flare_core.errors import FlareError
from FLARETrainLib.cases.changes import mark_seen
from FLARETrainLib.cases.opening import Nodes, ReadCase, read_case, show_steps
from FLARETrainLib.run.error_words import error_words


class CaseOpener:
    """Opens one case at a time.

    Parameters
    ----------
    loop : EventLoop
        Calls later.
    say : callable
        Shows a message.
    on_busy : callable
        Told whether a case is being opened.
    """

    def __init__(
        self, loop: Any, say: Callable[[str], None], on_busy: Callable[[bool], None]
    ) -> None:
        self._loop, self._say, self._on_busy = loop, say, on_busy
        self._number = 0

    def open(self, folder: Path, name: str, then: Callable[[Any, Any], None]) -> None:
        """Open a case; `then` gets its volume and segmentation nodes, shown in the views."""
        self._number += 1
        number = self._number
        self._on_busy(True)
        self._say(_("Opening {name}...").format(name=name))

        def work() -> ReadCase:
            case = read_case(folder, name)
            mark_seen(folder, name)
            return case

        in_background(self._loop, work, lambda future: self._show(number, future, then))

    def forget(self) -> None:
        """Open nothing any more: the scene or the panel goes away."""
        self._number += 1
        self._on_busy(False)

    def _show(
        self, number: int, reading: Future[ReadCase], then: Callable[[Any, Any], None]
    ) -> None:
        if number != self._number:
            return
        try:
            case = reading.result()
        except (FlareError, OSError) as error:
            self._end(error_words(error))
            return
        steps = show_steps(slicer.mrmlScene, case)
        walk(
            self._loop,
            steps,
            lambda future: self._shown(case, future, then),
            lambda: number == self._number,
        )

    def _shown(
        self, case: ReadCase, showing: Future[Nodes], then: Callable[[Any, Any], None]
    ) -> None:
        try:
            volume, segmentation = showing.result()
        except FlareError as error:
            self._end(error_words(error))
            return
        show_alone(volume, segmentation)
        text = _("{name} is in the scene.") if case.labels else _("{name} has no labels yet.")
        self._end(text.format(name=case.record.name))
        then(volume, segmentation)

    def _end(self, text: str) -> None:
        self._on_busy(False)
        self._say(text)


def show_alone(volume: Any, segmentation: Any) -> None:
    """Show a case in the slice views; other results are hidden, not removed."""
    results.show_alone(slicer.mrmlScene, segmentation)
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
