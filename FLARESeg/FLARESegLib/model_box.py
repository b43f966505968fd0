"""The combo box of models, and what their cards say when the pointer rests on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import qt

from FLARESegLib.translation import _

if TYPE_CHECKING:
    from flare_core.store.home import Home
    from flare_core.store.models import ModelCard


@dataclass(frozen=True)
class ModelChoice:
    """One line of the combo box."""

    name: str
    """What the logic takes: ``default`` or ``name@version``."""
    title: str
    """What is shown."""
    tip: str
    """The card's facts, as HTML."""
    organs: tuple[str, ...]
    """Keys of the organs the model knows."""


def model_choices(home: Home | None = None) -> tuple[ModelChoice, ...]:
    """Return the models that can be used now: the known ones, then those installed in `home`.

    A package whose card cannot be read is left out; choosing it would only fail later.
    """
    from flare_core.errors import InputError
    from flare_core.store.home import open_home
    from flare_core.store.models import CATALOGUE
    from flare_core.store.package import installed_models, read_card

    home = open_home() if home is None else home
    folders = [(name, known.folder) for name, known in CATALOGUE.items()]
    folders += [(f"{n}@{v}", home.model(n, v)) for n, v in reversed(installed_models(home))]
    choices = []
    for name, folder in folders:
        try:
            choices.append(choice_of(name, read_card(folder)))
        except InputError:
            continue
    return tuple(choices)


def choice_of(name: str, card: ModelCard) -> ModelChoice:
    """Return what the combo box shows of a card."""
    title = _("Default ({name} {version})") if name == "default" else "{name} {version}"
    return ModelChoice(
        name, title.format(name=card.name, version=card.version), card_tip(card), organs_of(card)
    )


def organs_of(card: ModelCard) -> tuple[str, ...]:
    """Return the keys of the organs a model knows, in the order of the organ table."""
    from flare_core.anatomy.organs import ALL_TARGETS

    known = {label for stage in card.stages for label in stage.labels}
    return tuple(organ.key for organ in ALL_TARGETS if organ.key in known)


def card_tip(card: ModelCard) -> str:
    """Return the facts of a card for a person who has to choose: HTML, a few lines."""
    from html import escape

    from flare_core.anatomy.organs import organ

    final = card.stages[-1]
    z, y, x = final.spacing_mm
    size_mb = sum(weights.size_bytes for weights in card.weights_files) / 1e6
    names = ", ".join(organ(key).name for key in organs_of(card))
    trained = ", ".join(f"{source.name} ({source.cases})" for source in card.training_data)
    facts = (
        (_("Organs"), names),
        (_("Licence"), card.licence),
        (_("Works at"), f"{x:g} x {y:g} x {z:g} mm"),
        (_("Size"), f"{size_mb:.1f} MB"),
        (_("Made for"), card.intended_use),
        (_("Limits"), card.limitations),
        (_("Learned from"), trained),
    )
    lines = "".join(f"<br><b>{escape(k)}:</b> {escape(v)}" for k, v in facts if v)
    head = f"<b>{escape(card.name)} {escape(card.version)}</b><br>{escape(card.description)}"
    return f"<qt>{head}{lines}</qt>"


class ModelBox:
    """Fills a QComboBox with models and tells which one is chosen.

    Models from a catalogue (downloads) become further choices here; what `fill` needs of one is a
    `ModelChoice`.
    """

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
