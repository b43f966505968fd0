"""The combo box with a check mark per organ."""

from __future__ import annotations

from typing import Any

import qt

from FLARESegLib.qt.translation import _


class OrganBox:
    """Shows the organs of a model in a ctkCheckableComboBox; all are checked at first."""

    def __init__(self, combo: Any) -> None:
        self.combo = combo
        self.keys: tuple[str, ...] = ()

    def fill(self, keys: tuple[str, ...], chosen: tuple[str, ...] = ()) -> None:
        """Show these organs, those of `chosen` checked; none of them there: all checked."""
        from flare_core.anatomy.organs import organ

        blocked = self.combo.blockSignals(True)
        self.combo.clear()
        self.keys = keys
        self.combo.addItems([organ(key).name for key in keys])
        self.combo.blockSignals(blocked)
        self.choose(chosen)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Keys of the checked organs; empty when it is all or none of them, which means all."""
        model = self.combo.model()
        checked = tuple(
            key
            for row, key in enumerate(self.keys)
            if self.combo.checkState(model.index(row, 0)) == qt.Qt.Checked
        )
        return () if len(checked) == len(self.keys) else checked

    def choose(self, chosen: tuple[str, ...]) -> None:
        """Check these organs; all if none of them is known."""
        wanted = set(chosen) & set(self.keys) or set(self.keys)
        blocked = self.combo.blockSignals(True)
        model = self.combo.model()
        for row, key in enumerate(self.keys):
            state = qt.Qt.Checked if key in wanted else qt.Qt.Unchecked
            self.combo.setCheckState(model.index(row, 0), state)
        self.combo.blockSignals(blocked)
        self.combo.setToolTip(_("All the model knows") if not self.chosen else self.words)

    @property
    def words(self) -> str:
        """Names of the checked organs."""
        from flare_core.anatomy.organs import organ

        return ", ".join(organ(key).name for key in self.chosen or self.keys)
