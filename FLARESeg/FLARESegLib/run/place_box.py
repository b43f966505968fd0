"""Where a CT is segmented: on this computer, or on a server; and the one question before it leaves.

Address, token and certificate are kept in Slicer's own settings of this person (the token readable
there), never in the scene: a scene from elsewhere must not send anything anywhere.
"""

from __future__ import annotations

from typing import Any

import qt

from FLARESegLib.qt import dialogs
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import four_parts_text

ELSEWHERE, ADDRESS = "FLARESeg/Elsewhere", "FLARESeg/Server"
TOKEN, CERTIFICATE = "FLARESeg/ServerToken", "FLARESeg/ServerCertificate"
"""Keys in the settings."""

THERE = 1
"""Row of the box for another computer."""


class PlaceBox:
    """Connects the widgets with Slicer's settings.

    Parameters
    ----------
    ui : object
        Widgets of FLARESeg.ui by name.
    """

    def __init__(self, ui: Any) -> None:
        self.changed = Signal()
        """Called when another place is chosen."""
        self._ui = ui
        self._agreed: set[str] = set()
        ui.placeBox.addItems([_("this computer"), _("another computer")])
        self._read()
        ui.placeBox.connect("currentIndexChanged(int)", self._changed)
        ui.addressEdit.connect("textChanged(QString)", self._changed)
        ui.tokenEdit.connect("textChanged(QString)", self._changed)
        ui.certificateEdit.connect("currentPathChanged(QString)", self._changed)
        self._show()

    @property
    def on(self) -> dict[str, Any] | None:
        """What a worker's request says of it (``on``); None: this computer."""
        if self._ui.placeBox.currentIndex != THERE:
            return None
        return {
            "address": self._ui.addressEdit.text.strip(),
            "token": self._ui.tokenEdit.text.strip(),
            "certificate": self._ui.certificateEdit.currentPath or None,
        }

    @property
    def agreed_on(self) -> dict[str, Any] | None:
        """As `on`, if a person has agreed to it already; nobody is asked."""
        on = self.on
        return on if on is not None and on["address"] in self._agreed else None

    @property
    def problem(self) -> str:
        """Why what is chosen cannot be used; empty if it can."""
        from flare_core.errors import InputError
        from flare_core.jobs.remote.access import access_of

        on = self.on
        if on is None:
            return ""
        if not on["address"] or not on["token"]:
            return _("Settings > Run on: fill in address and token, or choose this computer.")
        try:
            access_of(on)
        except InputError as error:
            return four_parts_text(*error.parts)
        return ""

    def agreed(self) -> bool:
        """Whether the CT may leave; a person is asked once for each server while Slicer runs."""
        from flare_core.jobs.remote.access import access_of

        on = self.on
        if on is None:
            return True
        access = access_of(on)
        how = _("encrypted") if access.tls else _("not encrypted")
        text = _(
            "The CT leaves this program: its voxels and their geometry are sent to {address} "
            "({how}). Names, DICOM tags and file names stay here; the server keeps nothing.\n\n"
            "Send it? You are asked once for this server until Slicer ends."
        ).format(address=access.address, how=how)
        if access.address not in self._agreed and dialogs.agree(text):
            self._agreed.add(access.address)
        return access.address in self._agreed

    def _read(self) -> None:
        settings = qt.QSettings()
        self._ui.addressEdit.setText(str(settings.value(ADDRESS) or ""))
        self._ui.tokenEdit.setText(str(settings.value(TOKEN) or ""))
        self._ui.certificateEdit.setCurrentPath(str(settings.value(CERTIFICATE) or ""))
        elsewhere = str(settings.value(ELSEWHERE) or "") == "yes"
        self._ui.placeBox.setCurrentIndex(THERE if elsewhere else 0)

    def _changed(self, value: object = None) -> None:
        """Keep what is chosen, and show it."""
        settings = qt.QSettings()
        there = self._ui.placeBox.currentIndex == THERE
        settings.setValue(ELSEWHERE, "yes" if there else "")
        settings.setValue(ADDRESS, self._ui.addressEdit.text)
        settings.setValue(TOKEN, self._ui.tokenEdit.text)
        settings.setValue(CERTIFICATE, self._ui.certificateEdit.currentPath)
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        there = self._ui.placeBox.currentIndex == THERE
        for name in ("addressEdit", "tokenEdit", "certificateEdit"):
            getattr(self._ui, name).setVisible(there)
            getattr(self._ui, f"{name}Label").setVisible(there)
        self._ui.placeNote.setVisible(there)
