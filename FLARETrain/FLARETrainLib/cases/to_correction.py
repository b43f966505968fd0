"""From a case in the scene to the corrections of the module FLARESeg, with the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

MODULE = "FLARESeg"


def go_to_correction(volume: Any, segmentation: Any, folder: Path, author: str) -> bool:
    """Show FLARESeg with this segmentation and this training set; return whether it is there."""
    if not hasattr(slicer.modules, MODULE.lower()):
        return False
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule(MODULE)
    widget = slicer.util.getModuleWidget(MODULE)
    if getattr(widget, "panel", None) is None:
        return False
    theirs = widget.ui
    theirs.storeEdit.currentPath = str(folder)
    if author:
        theirs.authorEdit.text = author
    theirs.inputSelector.setCurrentNode(volume)
    theirs.outputSelector.setCurrentNode(segmentation)
    theirs.correctionSection.collapsed = False
    return True
