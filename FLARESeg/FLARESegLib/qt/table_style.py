"""How the panel's tables look: narrow rows, no row numbers, columns that fit into the dock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

PADDING = 8
"""Pixels of a row beside its text."""
NARROWEST = 24
"""Pixels of a column at least, so that one that stretches never vanishes."""
WIDEST = 26
"""Characters of a column at most, where another one takes what is left."""
MOST_ROWS = 14
"""A table that has more scrolls by itself; a shorter one is shown whole, as the panel scrolls."""


def set_titles(table: Any, titles: Sequence[str], tips: Sequence[str] = ()) -> None:
    """Give a QTableWidget its columns; `tips` explain short titles."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(titles)
    for column, tip in enumerate(tips):
        table.horizontalHeaderItem(column).setToolTip(tip)
    rows = table.verticalHeader()
    rows.setVisible(False)
    height = table.fontMetrics().height() + PADDING
    rows.setMinimumSectionSize(height)
    rows.setDefaultSectionSize(height)


def fit(table: Any, stretch: int | None = None) -> None:
    """Fit columns and height to what is in them; a table without rows is not shown at all.

    Qt gives a table 192 pixels whatever is in it: under two rows there would be a white gap.

    Parameters
    ----------
    table : QTableWidget
    stretch : int, optional
        Column that takes what the others leave of the dock's width; its texts are cut with dots
        where they are longer, so they need a tool tip. Without it the table is as wide as it is.
    """
    header = table.horizontalHeader()
    if stretch is not None:  # set first: resizing leaves a column that stretches alone
        header.setMinimumSectionSize(NARROWEST)
        header.setSectionResizeMode(stretch, qt.QHeaderView.Stretch)
    table.setWordWrap(False)  # cells have one line; wrapped, a text a pixel too long lost a word
    _fit_columns(table, stretch)
    height = _whole_height(table)
    table.setMinimumHeight(height)
    table.setMaximumHeight(height + table.horizontalScrollBar().sizeHint.height())
    table.setVisible(table.rowCount > 0)


def _whole_height(table: Any) -> int:
    """Return how high a table has to be for its rows, `MOST_ROWS` at most; pixels."""
    rows = min(table.rowCount, MOST_ROWS) * table.verticalHeader().defaultSectionSize
    return int(table.horizontalHeader().sizeHint.height() + rows + 2 * table.frameWidth)


def _fit_columns(table: Any, stretch: int | None) -> None:
    """Make columns as wide as their texts, `WIDEST` at most where another one stretches.

    Qt's own width of a title has room for bold letters and an arrow, a third of it empty here.
    """
    metrics = table.fontMetrics()
    most = WIDEST * metrics.averageCharWidth()
    for column in range(table.columnCount):
        title = metrics.horizontalAdvance(table.horizontalHeaderItem(column).text())
        width = max(table.sizeHintForColumn(column), title + PADDING)
        if stretch is None:
            table.setColumnWidth(column, width)
        elif column != stretch:
            table.setColumnWidth(column, min(width, most))
