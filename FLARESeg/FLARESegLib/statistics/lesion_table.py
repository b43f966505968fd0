"""The list of lesions in a QTableWidget: from head to foot; a click goes to the longest slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import qt

from FLARESegLib.qt.table_style import fit, set_titles
from FLARESegLib.qt.translation import _

if TYPE_CHECKING:  # it loads scipy; a panel opens without it
    from flare_core.segment.lesion_list import Lesion

NUMBER_ROLE = qt.Qt.UserRole
"""Where the first cell of a row keeps the lesion's number; rows move when the table is sorted."""

ORGAN = 1
"""Column that takes what the others leave of the dock's width."""


def column_titles() -> tuple[str, ...]:
    """Return the titles of the columns, with units."""
    return (
        _("No."), _("Organ"), _("mL"), _("long mm"), _("short mm"), _("slice"), _("HU"),
        _("organ HU"),
    )  # fmt: skip


def column_tips() -> tuple[str, ...]:
    """Return what the titles mean."""
    return (
        _("Numbered from head to foot"), _("The organ it is part of, or touches"), _("Volume, mL"),
        _("Longest diameter in an axial slice, mm (RECIST 1.1)"),
        _("Widest extent at right angles to it, mm"), _("Slice in which it is longest, from 0"),
        _("Mean density of the lesion, HU"), _("Mean density of its organ without lesions, HU"),
    )  # fmt: skip


def cells_of(lesion: Lesion) -> tuple[str | float | None, ...]:
    """Return the cells of a lesion's row, in the order of `column_titles`."""
    return (
        lesion.number,
        lesion.place,
        round(lesion.volume_ml, 1 if lesion.volume_ml >= 1 else 2),
        round(lesion.long_axis_mm, 1),
        round(lesion.short_axis_mm, 1),
        lesion.slice_index,
        round(lesion.hu_mean),
        round(lesion.organ_hu) if math.isfinite(lesion.organ_hu) else None,
    )


def ras_of(lesion: Lesion) -> tuple[float, float, float]:
    """Return where to look, RAS mm, without the volume's transform."""
    x, y, z = lesion.centre_lps_mm
    return -x, -y, z


class LesionTable:
    """Fills a QTableWidget and tells which lesion a row is of."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.lesions: tuple[Lesion, ...] = ()
        fit(self.table)

    def show(self, lesions: Sequence[Lesion]) -> None:
        """Show these lesions; a table without any is hidden."""
        self.lesions = tuple(lesions)
        self.table.setSortingEnabled(False)  # or rows would move while they are filled
        set_titles(self.table, column_titles(), column_tips())
        self.table.setRowCount(len(self.lesions))
        for row, lesion in enumerate(self.lesions):
            for column, cell in enumerate(cells_of(lesion)):
                self.table.setItem(row, column, _item(cell, lesion.number, column))
        self.table.setSortingEnabled(True)
        fit(self.table, stretch=ORGAN)

    def at(self, row: int) -> Lesion | None:
        """Return the lesion of a row, None if there is no such row."""
        item = self.table.item(row, 0)
        number = int(item.data(NUMBER_ROLE)) if item else 0
        return next((lesion for lesion in self.lesions if lesion.number == number), None)


def _item(cell: str | float | None, number: int, column: int) -> Any:
    item = qt.QTableWidgetItem()
    if cell is not None:
        item.setData(qt.Qt.DisplayRole, cell)  # a number stays one and sorts as one
    if column == 0:
        item.setData(NUMBER_ROLE, number)
    if column == ORGAN:
        item.setToolTip(str(cell))
    else:
        item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
    return item
