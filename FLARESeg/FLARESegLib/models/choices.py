"""Which models can be chosen now, and what their cards say to a person who has to choose."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from FLARESegLib.qt.translation import _

if TYPE_CHECKING:
    from flare_core.home import Home
    from flare_core.models.card import ModelCard


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
    from flare_core.home import open_home
    from flare_core.models.card import CATALOGUE
    from flare_core.models.package import installed_models, read_card

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
    from flare_core.anatomy.organs import organ

    final = card.stage("organs") or card.stages[-1]
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
