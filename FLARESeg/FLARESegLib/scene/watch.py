"""Notices that the scene is closed, or a node removed, that a run needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SceneWatch:
    """Observes a scene between `start` and `stop`.

    Parameters
    ----------
    on_loss : callable
        Called with ``scene_closed`` or ``node_removed``, before it happens.
    """

    def __init__(self, on_loss: Callable[[str], None]) -> None:
        self._on_loss = on_loss
        self._scene: Any = None
        self._tags: list[int] = []

    def start(self, *nodes: Any) -> None:
        """Watch these nodes (None is ignored) and the scene of the first."""
        import vtk

        scene = self._scene = nodes[0].GetScene() if nodes[0] is not None else None
        if scene is None:
            return

        def removed(caller: Any, event: str, node: Any) -> None:
            if any(node is each for each in nodes):
                self._on_loss("node_removed")

        removed.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
        self._tags = [
            scene.AddObserver(scene.StartCloseEvent, lambda *_: self._on_loss("scene_closed")),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed),
        ]

    def stop(self) -> None:
        """Take the observers off; once is enough."""
        tags, self._tags = self._tags, []
        for tag in tags:
            self._scene.RemoveObserver(tag)
        self._scene = None
