"""The organs of a result with a tick for "reviewed" and what was changed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import qt

from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.table_style import fit, set_titles
from FLARESegLib.qt.translation import _

if TYPE_CHECKING:
    from flare_core.anatomy.organs import Organ
    from FLARESegLib.correction.corrections import OrganChange

KEY_ROLE = qt.Qt.UserRole


class ReviewTable:
    """Fills a QTableWidget."""

    def __init__(self, table: Any) -> None:
        self.ticked = Signal()
        """Called when a person has ticked or unticked an organ."""
        self.table = table
        self.keys: tuple[str, ...] = ()
        self._filling = False
        table.connect("itemChanged(QTableWidgetItem*)", self._changed)

    def fill(self, organs: Iterable[Organ], reviewed: Iterable[str] = ()) -> None:
        """Show these organs, those of `reviewed` ticked."""
        organs, ticked = tuple(organs), set(reviewed)
        self._filling = True
        self.keys = tuple(target.key for target in organs)
        set_titles(
            self.table,
            (_("Reviewed"), _("Organ"), _("voxels"), _("mL"), _("DSC")),
            (
                _("Tick what you have looked at from end to end."),
                "",
                _("Voxels that differ from the model's output"),
                _("Their volume"),
                _("Overlap with the model's output: 1 is unchanged"),
            ),
        )
        self.table.setRowCount(len(organs))
        for row, target in enumerate(organs):
            self._put_tick(row, target.key, target.key in ticked)
            self.table.setItem(row, 1, qt.QTableWidgetItem(target.name))
        fit(self.table)
        self._filling = False

    def show_changes(self, changes: Sequence[OrganChange] | None, there: Iterable[str]) -> None:
        """Show what was changed; an organ without a voxel says so.

        Parameters
        ----------
        changes : sequence of OrganChange, or None
            Those of the organs that were changed; None where nothing can be compared.
        there : iterable of str
            Keys of the organs that have a voxel now.
        """
        self._filling = True
        by_key = {change.organ: change for change in changes or ()}
        present = set(there)
        for row, key in enumerate(self.keys):
            change = by_key.get(key)
            texts = ("", "", "") if changes is None else change_texts(change, key in present)
            for column, text in enumerate(texts, start=2):
                item = qt.QTableWidgetItem(text)
                item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
                self.table.setItem(row, column, item)
        fit(self.table)
        self._filling = False

    @property
    def reviewed(self) -> tuple[str, ...]:
        """Keys of the ticked organs."""
        return tuple(
            key
            for row, key in enumerate(self.keys)
            if self.table.item(row, 0).checkState() == qt.Qt.Checked
        )

    def tick(self, key: str, *, reviewed: bool = True) -> None:
        """Tick an organ, as a person would."""
        item = self.table.item(self.keys.index(key), 0)
        item.setCheckState(qt.Qt.Checked if reviewed else qt.Qt.Unchecked)

    @property
    def chosen(self) -> str:
        """Key of the organ whose row is selected; empty without a selection."""
        row = self.table.currentRow()
        return self.keys[row] if 0 <= row < len(self.keys) else ""

    def choose(self, key: str) -> None:
        """Select the row of an organ."""
        if key in self.keys:
            self.table.selectRow(self.keys.index(key))

    def _put_tick(self, row: int, key: str, ticked: bool) -> None:
        item = qt.QTableWidgetItem()
        flags = int(qt.Qt.ItemIsUserCheckable) | int(qt.Qt.ItemIsEnabled)
        item.setFlags(flags | int(qt.Qt.ItemIsSelectable))
        item.setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
        item.setData(KEY_ROLE, key)
        self.table.setItem(row, 0, item)

    def _changed(self, item: Any) -> None:
        if not self._filling and item.column() == 0:
            self.ticked.emit()


def change_texts(change: OrganChange | None, there: bool) -> tuple[str, str, str]:
    """Return the cells of an organ: voxels, mL, DSC.

    Examples
    --------
    >>> change_texts(None, True), change_texts(None, False)
    (('0', '0.00', '1.000'), ('', '', 'not there'))
    """
    if change is not None and change.changed_voxels:
        return (str(change.changed_voxels), f"{change.changed_ml:.2f}", f"{change.dsc:.3f}")
    return ("0", "0.00", "1.000") if there else ("", "", _("not there"))
