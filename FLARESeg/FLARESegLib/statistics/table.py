"""Lines of statistics in a QTableWidget: sorted as numbers, marked by colour and by words."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import qt

from FLARESegLib.qt.table_style import fit, set_titles
from FLARESegLib.statistics.lines import FEW, OrganLine, cells_of, column_tips, column_titles

COLOURS = {
    "wrong": (255, 180, 170),
    "high": (255, 214, 153),
    "low": (255, 214, 153),
    "cut": (204, 224, 255),
    "absent": (225, 225, 225),
}
"""Background of a marked cell; its text is black, so that it can be read in a dark theme too."""

VOLUME, REMARK = 1, 3
"""Columns that are marked."""

KEY_ROLE = qt.Qt.UserRole
"""Where the first cell of a line keeps the organ's key; rows move when the table is sorted."""


class StatisticsTable:
    """Fills a QTableWidget and tells which organ a row is of."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.lines: tuple[OrganLine, ...] = ()
        self._all_columns = False

    def fill_steps(self, lines: Sequence[OrganLine]) -> Generator[float, None, None]:
        """Show these lines, a row a step; the order a person chose stays."""
        self.lines = tuple(lines)
        self.table.setSortingEnabled(False)  # or rows would move while they are filled
        set_titles(self.table, column_titles(), column_tips())
        self.show_all_columns(self._all_columns)
        self.table.setRowCount(len(self.lines))
        for row, line in enumerate(self.lines):
            for column, cell in enumerate(cells_of(line)):
                self.table.setItem(row, column, _item(cell, line, column))
            yield row / len(self.lines)
        self.table.setSortingEnabled(True)
        fit(self.table, stretch=REMARK)

    def show_all_columns(self, wanted: bool) -> None:
        """Show every measure, or those that fit into a dock."""
        self._all_columns = wanted
        for column in range(FEW, self.table.columnCount):
            self.table.setColumnHidden(column, not wanted)

    def clear(self) -> None:
        """Show nothing."""
        self.lines = ()
        self.table.setRowCount(0)
        fit(self.table)

    def key_at(self, row: int) -> str:
        """Return the key of the organ in a row; empty if there is no such row."""
        item = self.table.item(row, 0)
        return str(item.data(KEY_ROLE)) if item else ""

    def shown_lines(self) -> tuple[OrganLine, ...]:
        """Return the lines in the order on the screen; the selected ones, if several are."""
        by_key = {line.key: line for line in self.lines}
        chosen = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        rows = chosen if len(chosen) > 1 else range(self.table.rowCount)
        return tuple(by_key[self.key_at(row)] for row in rows)


def _item(cell: str | float | None, line: OrganLine, column: int) -> Any:
    item = qt.QTableWidgetItem()
    if cell is not None:
        item.setData(qt.Qt.DisplayRole, cell)  # a number stays one and sorts as one
    if column == 0:
        item.setData(KEY_ROLE, line.key)
    elif column == REMARK:
        item.setToolTip(str(cell))
    elif not isinstance(cell, str):
        item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
    if line.mark in COLOURS and column in (VOLUME, REMARK):
        item.setBackground(qt.QBrush(qt.QColor(*COLOURS[line.mark])))
        item.setForeground(qt.QBrush(qt.QColor(0, 0, 0)))
    return item
