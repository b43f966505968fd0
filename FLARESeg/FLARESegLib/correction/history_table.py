"""The versions of a case in a QTableWidget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import qt

from FLARESegLib.qt.table_style import fit, set_titles
from FLARESegLib.qt.translation import _

if TYPE_CHECKING:
    from flare_core.cases.store import LabelVersion

WHEN, NOTE = 1, 5
"""Columns of the day, whose tip has the time, and of the note, which may be long."""


class HistoryTable:
    """Shows label versions, in the order they come in."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def fill(self, versions: Sequence[LabelVersion]) -> None:
        """Show these versions."""
        titles = (_("No"), _("When"), _("Who"), _("Organs"), _("Changed"), _("Note"))
        tips = (
            _("Number of the version"),
            _("Date and time, UTC"),
            _("Who reviewed it, or which model made it"),
            _("How many organs it annotates"),
            _("How much was changed by hand"),
            "",
        )
        set_titles(self.table, titles, tips)
        self.table.setRowCount(len(versions))
        for row, version in enumerate(versions):
            for column, text in enumerate(texts_of(version)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(_moment(version) if column == WHEN else text)
                self.table.setItem(row, column, item)
        fit(self.table, stretch=NOTE)


def texts_of(version: LabelVersion) -> tuple[str, ...]:
    """Return the cells of a version."""
    facts = version.facts
    changed = f"{sum(facts.edited_ml.values()):.1f} mL" if facts.edited_ml else ""
    return (
        str(version.number), version.created[:10], facts.author or facts.model,
        str(len(facts.annotated)), changed, facts.note,
    )  # fmt: skip


def _moment(version: LabelVersion) -> str:
    """Return when a version was made, to the minute."""
    return _("{moment} UTC").format(moment=version.created[:16].replace("T", " "))
