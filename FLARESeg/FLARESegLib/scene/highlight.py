"""One organ of a segmentation stands out: the others fade, and come back as they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FADED = 0.15
"""What is left of the opacity of the others."""

Opacities = tuple[float, float, float]
"""3D, 2D fill, 2D outline."""


class Highlight:
    """Remembers the opacities of one segmentation node's segments while one stands out."""

    def __init__(self) -> None:
        self._display: Any = None
        self._before: dict[str, Opacities] = {}

    @property
    def active(self) -> bool:
        """Whether an organ stands out."""
        return self._display is not None

    def show(self, segmentation_node: Any, segment_id: str) -> None:
        """Let one segment stand out; what was faded for another one comes back first."""
        self.restore()
        display = segmentation_node.GetDisplayNode()
        ids = tuple(segmentation_node.GetSegmentation().GetSegmentIDs())
        if display is None or segment_id not in ids:
            return
        self._display = display
        self._before = {each: _opacities(display, each) for each in ids}
        faded = {
            each: tuple(value * FADED for value in before)
            for each, before in self._before.items()
            if each != segment_id
        }
        _set_all(display, faded)

    def restore(self) -> None:
        """Give every segment that is still there the opacity it had."""
        display, self._display = self._display, None
        before, self._before = self._before, {}
        node = display.GetDisplayableNode() if display is not None else None
        if node is None:  # the segmentation was removed meanwhile
            return
        there = set(node.GetSegmentation().GetSegmentIDs())
        _set_all(display, {each: values for each, values in before.items() if each in there})


def _opacities(display: Any, segment_id: str) -> Opacities:
    return (
        display.GetSegmentOpacity3D(segment_id),
        display.GetSegmentOpacity2DFill(segment_id),
        display.GetSegmentOpacity2DOutline(segment_id),
    )


def _set_all(display: Any, opacities: Mapping[str, tuple[float, ...]]) -> None:
    """Set opacities of segments; views hear of it once, not of each: they would draw each time."""
    was_modifying = display.StartModify()
    for segment_id, (in_3d, fill, outline) in opacities.items():
        display.SetSegmentOpacity3D(segment_id, in_3d)
        display.SetSegmentOpacity2DFill(segment_id, fill)
        display.SetSegmentOpacity2DOutline(segment_id, outline)
    display.EndModify(was_modifying)
