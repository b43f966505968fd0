"""What a person types once: their name and the training set's folder, kept in Slicer's settings."""

from __future__ import annotations

from typing import Any

import qt

from flare_core.home import open_home

AUTHOR, FOLDER = "FLARESeg/Author", "FLARESeg/TrainingSet"
"""Keys in the settings."""


class Remembered:
    """Fills the fields when the panel is made; `save` keeps what is in them then."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        settings = qt.QSettings()
        ui.authorEdit.text = str(settings.value(AUTHOR) or "")
        ui.storeEdit.currentPath = str(settings.value(FOLDER) or open_home().cases)

    def save(self) -> None:
        """Keep name and folder for the next time."""
        settings = qt.QSettings()
        settings.setValue(AUTHOR, self._ui.authorEdit.text)
        settings.setValue(FOLDER, self._ui.storeEdit.currentPath)
