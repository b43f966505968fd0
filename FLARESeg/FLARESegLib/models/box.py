"""The combo box of models; their cards' facts appear when the pointer rests on them."""

from __future__ import annotations

from typing import Any

import qt

from FLARESegLib.models.choices import ModelChoice
from FLARESegLib.qt.translation import _


class ModelBox:
    """Fills a QComboBox with models and tells which one is chosen."""

    def __init__(self, combo: Any) -> None:
        self.combo = combo
        self.choices: tuple[ModelChoice, ...] = ()

    def fill(self, choices: tuple[ModelChoice, ...]) -> None:
        """Show these models; the one chosen before stays chosen if it is among them."""
        before = self.name
        blocked = self.combo.blockSignals(True)
        self.combo.clear()
        self.choices = choices
        for row, choice in enumerate(choices):
            self.combo.addItem(choice.title)
            self.combo.setItemData(row, choice.tip, qt.Qt.ToolTipRole)
        self.combo.blockSignals(blocked)
        self.choose(before)

    @property
    def choice(self) -> ModelChoice | None:
        """The chosen model; None if there is none at all."""
        row = self.combo.currentIndex
        return self.choices[row] if 0 <= row < len(self.choices) else None

    @property
    def name(self) -> str:
        """What the logic takes; empty without any model."""
        return self.choice.name if self.choice else ""

    def choose(self, name: str) -> bool:
        """Choose a model by name, the first one if it is unknown; return whether it is known."""
        names = [choice.name for choice in self.choices]
        known = name in names
        self.combo.setCurrentIndex(names.index(name) if known else min(0, len(names) - 1))
        self.combo.setToolTip(self.choice.tip if self.choice else _("No model is installed."))
        return known
