"""The button Show 3D: surfaces are made in another thread, so the window stays alive meanwhile.

Slicer's own button of this kind makes all surfaces at once, which takes many seconds for 13 organs.
Surfaces are dropped when the button is released: as long as they exist, each edit makes them again.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.translation import _
from FLARESegLib.scene import views
from FLARESegLib.scene.result_segments import SURFACE
from FLARESegLib.scene.surfaces import is_shown_3d, reveal_steps, show_3d, surface_steps

TICK_S = 0.01
"""How often the work in the other thread is looked after."""


class Show3DButton:
    """A checkable button for one segmentation at a time.

    Parameters
    ----------
    button : QPushButton
        Checkable.
    loop : EventLoop
        Calls later.
    """

    def __init__(self, button: Any, loop: EventLoop) -> None:
        self._button = button
        self._loop = loop
        self._segmentation: Any = None
        self._steps: Any = None
        button.connect("toggled(bool)", self._toggled)

    @property
    def busy(self) -> bool:
        """Whether surfaces are being made."""
        return self._steps is not None

    def set_segmentation(self, segmentation: Any) -> None:
        """Work on this segmentation from now on; None: on none."""
        self._stop()
        self._segmentation = segmentation
        blocked = self._button.blockSignals(True)
        self._button.setChecked(segmentation is not None and is_shown_3d(segmentation))
        self._button.blockSignals(blocked)
        self._button.setEnabled(segmentation is not None)

    def _toggled(self, checked: bool) -> None:
        node = self._segmentation
        if node is None or node.GetScene() is None:
            return
        self._stop()
        self._steps = _all_steps(node) if checked else _drop_steps(node)
        if checked:
            self._button.setText(_("Making surfaces..."))
        self._tick(self._steps)

    def _tick(self, steps: Any) -> None:
        """Take the next step, unless the work was stopped or the segmentation is gone."""
        if steps is not self._steps:
            return
        if self._segmentation.GetScene() is None:
            self._stop()
        elif next(steps, None) is not None:
            self._loop.call_later(TICK_S, lambda: self._tick(steps))
        else:
            self._stop()

    def _stop(self) -> None:
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()
        self._button.setText(_("Show 3D"))


def _all_steps(segmentation: Any) -> Generator[float, None, None]:
    """Make the surfaces, bring a 3D view to the screen, show them in it one after the other."""
    yield from surface_steps(segmentation)
    views.show_3d_view()
    yield 1.0
    yield from reveal_steps(segmentation)
    views.reset_3d()
    yield 1.0


def _drop_steps(segmentation: Any) -> Generator[float, None, None]:
    """Hide the surfaces; drop them once the views have drawn that."""
    show_3d(segmentation, False)
    yield 0.5
    segmentation.GetSegmentation().RemoveRepresentation(SURFACE)
    yield 1.0
