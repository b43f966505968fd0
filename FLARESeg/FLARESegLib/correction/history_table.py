"""The versions of a case in a QTableWidget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import qt

from FLARESegLib.qt.table_style import fit, set_titles
from FLARESegLib.qt.translation import _

if TYPE_CHECKING:
    from flare_core.cases.store import LabelVersion


class HistoryTable:
    """Shows label versions, in the order they come in."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def fill(self, versions: Sequence[LabelVersion]) -> None:
        """Show these versions."""
        titles = (
            _("Version"),
            _("When (UTC)"),
            _("Who"),
            _("Organs"),
            _("Changed (mL)"),
            _("Note"),
        )
        set_titles(self.table, titles)
        self.table.setRowCount(len(versions))
        for row, version in enumerate(versions):
            for column, text in enumerate(texts_of(version)):
                self.table.setItem(row, column, qt.QTableWidgetItem(text))
        fit(self.table)


def texts_of(version: LabelVersion) -> tuple[str, ...]:
    """Return the cells of a version."""
    facts = version.facts
    when = version.created[:16].replace("T", " ")
    changed = f"{sum(facts.edited_ml.values()):.1f}" if facts.edited_ml else ""
    return (
        str(version.number), when, facts.author or facts.model, str(len(facts.annotated)), changed,
        facts.note,
    )  # fmt: skip
