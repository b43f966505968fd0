"""The only dialogs of the module; none appears in tests or without a main window."""

from __future__ import annotations

import qt

import slicer
from FLARESegLib.qt.translation import _


def allowed() -> bool:
    """Return whether somebody is there to answer a dialog."""
    return slicer.util.mainWindow() is not None and not slicer.app.testingEnabled()


def confirm(text: str, title: str = "") -> bool:
    """Ask before something is written that a person wanted; where nobody can be asked, go on."""
    if not allowed():
        return True
    return bool(slicer.util.confirmOkCancelDisplay(text, windowTitle=title or _("FLARESeg")))


def agree(text: str) -> bool:
    """Ask before something is installed; where nobody can be asked, nobody agrees."""
    if not allowed():
        return False
    return bool(slicer.util.confirmYesNoDisplay(text, windowTitle=_("FLARESeg")))


def open_file(title: str) -> str:
    """Ask for a model's file; empty if the person changed their mind or nobody is there."""
    if not allowed():
        return ""
    kinds = _("Models (*.zip);;All files (*)")
    return str(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", kinds) or "")


def open_folder(title: str) -> str:
    """Ask for a folder; empty if the person changed their mind or nobody is there."""
    if not allowed():
        return ""
    return str(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title) or "")


def save_path(suggested: str) -> str:
    """Ask where to save a CSV file; empty if the person changed their mind or nobody is there."""
    if not allowed():
        return ""
    path = qt.QFileDialog.getSaveFileName(
        slicer.util.mainWindow(), _("Save statistics"), suggested, _("CSV files (*.csv)")
    )
    return str(path or "")
