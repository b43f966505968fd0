"""All models in one list: built in, installed, and installable from the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models.card import CATALOGUE
from flare_core.models.catalogue import PUBLIC
from flare_core.models.in_use import model_in_use
from flare_core.models.package import installed_models, read_card


@dataclass(frozen=True)
class ModelRow:
    """One model, or one version of it."""

    name: str
    """What to call it: a name, or ``name@version``."""
    state: str
    """``built in``, ``installed`` or ``installable``."""
    summary: str
    """What it is."""
    folder: Path | None
    """Its package; None if it is not here."""
    in_use: bool = False
    """Whether it is what the name without a version means."""
    organs: tuple[str, ...] = ()
    """Organ keys it finds."""

    def fields(self) -> dict[str, object]:
        """Return the row as plain values."""
        folder = None if self.folder is None else str(self.folder)
        return {**vars(self), "folder": folder, "organs": list(self.organs)}


def all_models(home: Home) -> tuple[ModelRow, ...]:
    """Return the built-in models, the installed ones and the rest of the catalogue."""
    rows = [_of_folder(key, "built in", known.folder, True) for key, known in CATALOGUE.items()]
    installed = installed_models(home)
    newest = dict(installed)
    for name, version in installed:
        full = f"{name}@{version}"
        chosen = model_in_use(home, name) or f"{name}@{newest[name]}"
        # a built-in model keeps its plain name
        in_use = chosen == full and name not in CATALOGUE
        rows.append(_of_folder(full, "installed", home.model(name, version), in_use))
    rows += [
        ModelRow(key, "installable", f"{model.title} ({model.licence})", None, False, model.organs)
        for key, model in PUBLIC.items()
        if (key, model.version) not in installed
    ]
    return tuple(rows)


def installed_folder(home: Home, model: str) -> Path:
    """Return the folder of an installed ``name@version``.

    Raises
    ------
    InputError
        If it is not installed, or no version is named.
    """
    name, _, version = model.partition("@")
    if (name, version) in installed_models(home):
        return home.model(name, version)
    known = ", ".join(f"{n}@{v}" for n, v in installed_models(home)) or "none is installed"
    raise InputError(
        "model", model, f"an installed name@version: {known}", "Name one of these, with version."
    )


def _of_folder(name: str, state: str, folder: Path, in_use: bool) -> ModelRow:
    """Return the row of a package; a damaged one is listed as such."""
    try:
        card = read_card(folder)
    except InputError as error:
        return ModelRow(name, state, f"damaged: {error.parts[1]}", folder, in_use)
    return ModelRow(name, state, card.description, folder, in_use, card.found_organs)
