"""One page of cases in a QTableWidget, with pictures that come when they are made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qt
from FLARESegLib.qt.signals import Signal

from FLARETrainLib.cases.rows import COLUMNS, CaseFilter, CaseRow
from FLARETrainLib.cases.texts import cells, tip, title_tips, titles
from FLARETrainLib.cases.thumbnails import Thumbnails

ICON = 40
"""Pixels of a picture in the table; a row is a little higher."""
MARGIN = 4
TOLD = ("name", "next", "status", "reason")
"""Columns where all that is known appears when the pointer rests on them."""
SOMETIMES = ("next", "confidence", "doubt", "patient", "held_out", "reason")
"""Columns that are shown where they hold anything."""
WIDEST = 220
"""Pixels of a column at most, except for the last one, which takes what is left."""
RIGHT = ("next", "organs", "confidence", "doubt")
"""Columns of numbers."""


class CaseTable:
    """Shows rows; tells what is selected, double-clicked, and by what to sort.

    Parameters
    ----------
    table : QTableWidget
    thumbnails : Thumbnails
        Makes the pictures.
    """

    def __init__(self, table: Any, thumbnails: Thumbnails) -> None:
        self.chosen = Signal()
        """Called when the selection has changed."""
        self.activated = Signal()
        """Called with the name of a case that was double-clicked."""
        self.sorted = Signal()
        """Called with a column of `COLUMNS` whose title was clicked."""
        self._table = table
        self._thumbnails = thumbnails
        self._rows: tuple[CaseRow, ...] = ()
        self._prepare()
        thumbnails.made.connect(self._picture_made)
        table.connect("itemSelectionChanged()", self.chosen.emit)
        table.connect("cellDoubleClicked(int,int)", self._activated)
        table.horizontalHeader().connect("sectionClicked(int)", self._title_clicked)

    def show(self, rows: Sequence[CaseRow], chosen: CaseFilter) -> None:
        """Show these rows, all of them."""
        table, selected = self._table, set(self.names)
        blocked = table.blockSignals(True)
        table.clearSelection()
        self._rows = tuple(rows)
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            self._fill(number, row)
        self._fit()
        order = qt.Qt.DescendingOrder if chosen.descending else qt.Qt.AscendingOrder
        table.horizontalHeader().setSortIndicator(COLUMNS.index(chosen.column), order)
        table.blockSignals(blocked)
        self.select(selected)
        self._thumbnails.want((row.record.image_sha256, row.record.image) for row in rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the selected cases, from top to bottom."""
        indexes = self._table.selectionModel().selectedRows()
        numbers = sorted(index.row() for index in indexes)
        return tuple(self._rows[n].record.name for n in numbers if n < len(self._rows))

    @property
    def selected(self) -> tuple[CaseRow, ...]:
        """The selected rows."""
        wanted = set(self.names)
        return tuple(row for row in self._rows if row.record.name in wanted)

    def select(self, names: Sequence[str] | set[str]) -> None:
        """Select these cases, as far as they are shown."""
        table = self._table
        blocked = table.blockSignals(True)
        table.clearSelection()
        flags = int(qt.QItemSelectionModel.Select) | int(qt.QItemSelectionModel.Rows)
        for number, row in enumerate(self._rows):
            if row.record.name in names:
                index = table.model().index(number, 0)
                table.selectionModel().select(index, qt.QItemSelectionModel.SelectionFlags(flags))
        table.blockSignals(blocked)
        self.chosen.emit()

    def _prepare(self) -> None:
        table = self._table
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels(titles())
        for column, text in enumerate(title_tips()):
            table.horizontalHeaderItem(column).setToolTip(text)
        table.setIconSize(qt.QSize(ICON, ICON))
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ICON + MARGIN)
        table.setWordWrap(False)
        header = table.horizontalHeader()
        header.setStretchLastSection(True)
        header.setSortIndicatorShown(True)
        header.setSectionsClickable(True)

    def _fill(self, number: int, row: CaseRow) -> None:
        about = tip(row, self._thumbnails.wide(row.record.image_sha256))
        for column, text in enumerate(cells(row)):
            item = qt.QTableWidgetItem(text)
            if COLUMNS[column] in TOLD:
                item.setToolTip(about)
            if COLUMNS[column] in RIGHT:
                item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
            self._table.setItem(number, column, item)
        self._set_icon(number, self._thumbnails.small(row.record.image_sha256))

    def _set_icon(self, number: int, picture: Path | None) -> None:
        if picture is None:  # an empty place of the same size, so that names stay aligned
            pixels = qt.QPixmap(ICON, ICON)
            pixels.fill(qt.QColor(0, 0, 0, 0))
        else:
            pixels = qt.QPixmap(str(picture))
        self._table.item(number, 0).setIcon(qt.QIcon(pixels))

    def _picture_made(self, sha256: str) -> None:
        for number, row in enumerate(self._rows):
            if row.record.image_sha256 == sha256:
                self._set_icon(number, self._thumbnails.small(sha256))
                about = tip(row, self._thumbnails.wide(sha256))
                for name in TOLD:
                    self._table.item(number, COLUMNS.index(name)).setToolTip(about)

    def _fit(self) -> None:
        """Fit the columns to what is in them; those without anything are not shown."""
        texts = [cells(row) for row in self._rows]
        for column, name in enumerate(COLUMNS):
            empty = name in SOMETIMES and not any(row[column] for row in texts)
            self._table.setColumnHidden(column, empty)
        self._table.resizeColumnsToContents()
        for column in range(len(COLUMNS) - 1):
            if self._table.columnWidth(column) > WIDEST:
                self._table.setColumnWidth(column, WIDEST)

    def _activated(self, row: int, column: int) -> None:
        if row < len(self._rows):
            self.activated.emit(self._rows[row].record.name)

    def _title_clicked(self, column: int) -> None:
        self.sorted.emit(COLUMNS[column])
