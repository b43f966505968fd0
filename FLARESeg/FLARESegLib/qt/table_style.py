"""How the panel's tables look: narrow rows, no row numbers, columns as wide as their content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PADDING = 8
"""Pixels of a row beside its text."""


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


def fit(table: Any) -> None:
    """Fit the columns to what is in them; a table without rows is not shown at all."""
    table.resizeColumnsToContents()
    table.setVisible(table.rowCount > 0)
