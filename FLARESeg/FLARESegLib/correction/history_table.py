"""The versions of a case in a QTableWidget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import qt

from FLARESegLib.qt.table_style import fit, set_titles
from FLARESegLib.qt.translation import _

if TYPE_CHECKING:
    from flare_core.cases.store import LabelVersion

NOTE = 5
"""Column of the note, which may be long."""


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
                item.setToolTip(text)
                self.table.setItem(row, column, item)
        fit(self.table, stretch=NOTE)


def texts_of(version: LabelVersion) -> tuple[str, ...]:
    """Return the cells of a version."""
    facts = version.facts
    when = version.created[:16].replace("T", " ")
    changed = f"{sum(facts.edited_ml.values()):.1f} mL" if facts.edited_ml else ""
    return (
        str(version.number), when, facts.author or facts.model, str(len(facts.annotated)), changed,
        facts.note,
    )  # fmt: skip
