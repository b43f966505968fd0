"""The organs of a result: ticks for "reviewed" and "absent", and what was changed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import qt

from flare_core.wording import by_count
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.table_style import fit, set_titles
from FLARESegLib.qt.translation import _

if TYPE_CHECKING:
    from flare_core.anatomy.organs import Organ
    from FLARESegLib.correction.corrections import OrganChange

KEY_ROLE = qt.Qt.UserRole
REVIEWED, ABSENT, ORGAN, CHANGED = range(4)
"""Columns of the table."""


class ReviewTable:
    """Fills a QTableWidget."""

    def __init__(self, table: Any) -> None:
        self.ticked = Signal()
        """Called when a person has ticked or unticked anything."""
        self.table = table
        self.keys: tuple[str, ...] = ()
        self._filling = False
        table.connect("itemChanged(QTableWidgetItem*)", self._changed)

    def fill(
        self, organs: Iterable[Organ], reviewed: Iterable[str] = (), absent: Iterable[str] = ()
    ) -> None:
        """Show these organs, those of `reviewed` and of `absent` ticked."""
        organs, gone = tuple(organs), set(absent)
        ticked = {*reviewed, *gone}
        self._filling = True
        self.keys = tuple(target.key for target in organs)
        set_titles(
            self.table,
            (_("Reviewed"), _("Absent"), _("Organ"), _("Changed by hand")),
            (
                _("Tick what you have looked at from end to end."),
                _(
                    "Tick what this patient does not have (removed, or never there). Deleting a "
                    "segment does not say so."
                ),
                "",
                _("Against the model's own output"),
            ),
        )
        self.table.setRowCount(len(organs))
        for row, target in enumerate(organs):
            self._put_tick(row, REVIEWED, target.key, target.key in ticked)
            self._put_tick(row, ABSENT, target.key, target.key in gone)
            self.table.setItem(row, ORGAN, qt.QTableWidgetItem(target.name))
        fit(self.table, stretch=CHANGED)
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
            text = "" if changes is None and key in present else _("no voxel")
            if changes is not None:
                text = change_text(by_key.get(key), key in present)
            item = qt.QTableWidgetItem(text)
            item.setToolTip(change_tip(by_key.get(key)))
            self.table.setItem(row, CHANGED, item)
        fit(self.table, stretch=CHANGED)
        self._filling = False

    @property
    def reviewed(self) -> tuple[str, ...]:
        """Keys of the organs that are ticked as reviewed, those that are absent among them."""
        return self._ticked(REVIEWED)

    @property
    def absent(self) -> tuple[str, ...]:
        """Keys of the organs of which a person says that the patient does not have them."""
        return self._ticked(ABSENT)

    def tick(self, key: str, *, reviewed: bool = True) -> None:
        """Tick an organ as reviewed, as a person would."""
        self._set(self.keys.index(key), REVIEWED, reviewed)

    def say_absent(self, key: str, *, absent: bool = True) -> None:
        """Tick an organ as absent, as a person would."""
        self._set(self.keys.index(key), ABSENT, absent)

    @property
    def chosen(self) -> str:
        """Key of the organ whose row is selected; empty without a selection."""
        row = self.table.currentRow()
        return self.keys[row] if 0 <= row < len(self.keys) else ""

    def choose(self, key: str) -> None:
        """Select the row of an organ."""
        if key in self.keys:
            self.table.selectRow(self.keys.index(key))

    def _ticked(self, column: int) -> tuple[str, ...]:
        return tuple(
            key
            for row, key in enumerate(self.keys)
            if self.table.item(row, column).checkState() == qt.Qt.Checked
        )

    def _set(self, row: int, column: int, on: bool) -> None:
        state = qt.Qt.Checked if on else qt.Qt.Unchecked
        self.table.item(row, column).setCheckState(state)

    def _put_tick(self, row: int, column: int, key: str, ticked: bool) -> None:
        item = qt.QTableWidgetItem()
        flags = int(qt.Qt.ItemIsUserCheckable) | int(qt.Qt.ItemIsEnabled)
        item.setFlags(flags | int(qt.Qt.ItemIsSelectable))
        item.setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
        item.setData(KEY_ROLE, key)
        item.setBackground(self.table.palette.window())  # on a dark table's own, boxes vanish
        self.table.setItem(row, column, item)

    def _changed(self, item: Any) -> None:
        """Keep the two ticks of a row together: who says "absent" has looked."""
        if self._filling or item.column() not in (REVIEWED, ABSENT):
            return
        row, on = item.row(), item.checkState() == qt.Qt.Checked
        self._filling = True
        if item.column() == ABSENT and on:
            self._set(row, REVIEWED, on=True)
        elif item.column() == REVIEWED and not on:
            self._set(row, ABSENT, on=False)
        self._filling = False
        self.ticked.emit()


def change_text(change: OrganChange | None, there: bool) -> str:
    """Return what the table says of an organ: how much was changed, and whether it is there.

    Examples
    --------
    >>> change_text(None, True), change_text(None, False)
    ('no', 'no voxel')
    """
    if change is not None and change.changed_voxels:
        ml = f"{change.changed_ml:.{1 if change.changed_ml >= 10 else 2}f}"  # a dock is narrow
        changed = _("{ml} mL, DSC {dsc:.2f}").format(ml=ml, dsc=change.dsc)
        return changed if there else _("erased ({ml} mL)").format(ml=ml)
    return _("no") if there else _("no voxel")


def change_tip(change: OrganChange | None) -> str:
    """Return the change of an organ in full; empty if there is none."""
    if change is None or not change.changed_voxels:
        return ""
    differ = by_count(
        change.changed_voxels,
        _("1 voxel differs from the model's output"),
        _("{count} voxels differ from the model's output"),
    )
    return _("{differ}, {ml:.2f} mL; the overlap is DSC {dsc:.3f} (1 is unchanged)").format(
        differ=differ, ml=change.changed_ml, dsc=change.dsc
    )
