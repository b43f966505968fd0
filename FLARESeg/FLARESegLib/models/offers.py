"""Which models can be brought in or removed, and what a person is told before that happens.

Looking takes no network: the catalogue is a part of `flare_core`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from FLARESegLib.qt.translation import _

if TYPE_CHECKING:
    from flare_core.home import Home
    from flare_core.models.catalogue import PublicModel


def installable(home: Home, catalogue: Mapping[str, PublicModel]) -> tuple[PublicModel, ...]:
    """Return the entries of the catalogue that are not installed yet."""
    from flare_core.models.package import installed_models

    there = set(installed_models(home))
    return tuple(each for key, each in catalogue.items() if (key, each.version) not in there)


def removable(home: Home) -> tuple[str, ...]:
    """Return the installed models as ``name@version``; the built-in one stays."""
    from flare_core.models.package import installed_models

    return tuple(f"{name}@{version}" for name, version in installed_models(home))


def is_package(path: Path) -> bool:
    """Return whether a file is a package of ours, and not a model folder of nnU-Net in a zip."""
    from flare_core.models.card import CARD_FILE

    try:
        with zipfile.ZipFile(path) as archive:
            return CARD_FILE in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False  # who tries to import it will say what is wrong


def size_text(count: int | None) -> str:
    """Return a number of bytes in MB, as the models' cards have it.

    Examples
    --------
    >>> size_text(231_600_000), size_text(None)
    ('231.6 MB', 'size unknown')
    """
    return _("size unknown") if count is None else f"{count / 1e6:.1f} MB"


def consent_text(
    model: PublicModel, files: Sequence[tuple[str, int | None]], home: Home
) -> str:  # fmt: skip
    """Return the question before a download: what, from where, how much, under which licence.

    Parameters
    ----------
    model : PublicModel
        Entry of the catalogue.
    files : sequence of (str, int or None)
        Address and size in bytes, if the server told it.
    home : Home
        Where it is going to be installed.
    """
    known = [size for _url, size in files if size is not None]
    whole = size_text(sum(known) if known else None)
    if known and len(known) < len(files):
        whole = _("more than {size}").format(size=whole)
    addresses = "\n".join(f"- {url} ({size_text(size)})" for url, size in files)
    return _(
        "Download and install this model?\n\n{facts}\n\n"
        "It is downloaded from:\n{addresses}\nIn all: {whole}. It is kept in {folder}.\n\n"
        "No data of yours is sent anywhere. You can go on working meanwhile."
    ).format(facts=facts_text(model), addresses=addresses, whole=whole, folder=home.models)


def by_hand_text(model: PublicModel) -> str:
    """Return what to do for a model whose publisher wants a person to download it."""
    return _(
        "This model has to be downloaded by hand.\n\n{facts}\n\n"
        "Open its page in a browser, download the model, then press Yes and choose the file."
    ).format(facts=facts_text(model))


def facts_text(model: PublicModel) -> str:
    """Return title, purpose, organs, licence, citation and page, a line each."""
    from flare_core.anatomy.organs import organ

    facts = (
        (_("Model"), f"{model.title} ({model.key} {model.version})"),
        (_("Good for"), model.summary),
        (_("Organs"), ", ".join(organ(key).name.lower() for key in model.organs)),
        (_("Licence"), model.licence),
        (_("To be cited as"), model.citation),
        (_("Page"), model.page),
    )
    return "\n".join(f"{name}: {value}" for name, value in facts)


def removal_text(name: str, home: Home) -> str:
    """Return the question before a model is removed."""
    number, _at, version = name.partition("@")
    return _(
        "Remove the model {name}?\n\nIts folder is deleted: {folder}\n"
        "Segmentations that it made stay as they are."
    ).format(name=name, folder=home.model(number, version))
