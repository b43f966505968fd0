"""A round's model goes into use: installed as a version beside the old ones, then pointed at."""

from __future__ import annotations

import shutil
from pathlib import Path

from flare_core.errors import InputError
from flare_core.home import Home, open_home
from flare_core.models.card import CARD_FILE
from flare_core.models.in_use import put_in_use
from flare_core.models.package import Package, installed_models, load_package, new_folder
from flare_core.train.rounds.state import RoundFolder, RunFolder, now


def next_version(home: Home, name: str) -> str:
    """Return the version after the installed ones: 1.0.0, 1.1.0, 1.2.0, ..."""
    minor = -1
    for model, version in installed_models(home):
        parts = version.partition("-")[0].split(".")
        if model == name:
            minor = max(minor, int(parts[1]) if len(parts) > 1 else 0)
    return f"1.{minor + 1}.0"


def install_package(package: Package, home: Home) -> Package:
    """Copy a package into the home; a copy that is there already stays as it is.

    Raises
    ------
    InputError
        If another model is installed under this name and version.
    """
    folder = home.model(package.card.name, package.card.version)
    if folder.exists():
        there = load_package(folder)
        if there.fingerprint != package.fingerprint:
            raise InputError(
                "model",
                f"another {package.card.name}@{package.card.version} is installed in {home.models}",
                "a version that is not taken",
                "Two runs ended at once: start one of them anew, it will take the next version.",
            )
        return there
    files = (CARD_FILE, *(weights.file for weights in package.card.weights_files))
    with new_folder(folder) as part:
        for file in files:
            shutil.copyfile(package.folder / file, part / file)
    return load_package(folder)


def put_round_in_use(
    run: RunFolder, folder: RoundFolder, *, before: Package | None, reason: str
) -> str:
    """Install a round's model and let its name mean it; return ``name@version``.

    Parameters
    ----------
    before : Package, optional
        What was used until now; `models.in_use.roll_back` goes back to it.

    Raises
    ------
    InputError
        If the model finds nothing, whoever asks for it; or its version is taken.
    """
    if (folder.read("verdict") or {}).get("finds_nothing"):
        raise InputError(
            f"round {folder.number}",
            "a model that finds no organ in any hold-out scan",
            "a model that finds at least one",
            "Train longer, or with more labelled scans.",
        )
    home = open_home(run.settings.home)
    installed = install_package(load_package(folder.package), home)
    model = f"{installed.card.name}@{installed.card.version}"
    old = reference_of(before, home) if before is not None else ""
    put_in_use(home, installed.card.name, model, before=old, reason=reason)
    folder.write("promotion", {"model": model, "before": old, "reason": reason, "at": now()})
    return model


def incumbent_of(run: RunFolder, number: int) -> Package | None:
    """Return the model that was to beat in a round: the last one fit before it, or the teacher."""
    for earlier in range(number - 1, 0, -1):
        verdict = run.round(earlier).read("verdict")
        if verdict and verdict["promote"]:
            return load_package(run.round(earlier).package)
    teacher = run.state.teacher
    return load_package(Path(teacher)) if teacher else None


def reference_of(package: Package, home: Home) -> str:
    """Return ``name@version`` of an installed package, else its folder."""
    installed = home.model(package.card.name, package.card.version)
    if installed.is_dir() and load_package(installed).fingerprint == package.fingerprint:
        return f"{package.card.name}@{package.card.version}"
    return str(package.folder.resolve())


def round_to_promote(run: RunFolder, number: int | None) -> RoundFolder:
    """Return the round whose model a person wants: the one named, else the last with a verdict.

    Raises
    ------
    InputError
        If there is no such round, or its model is not ready.
    """
    ready = [n for n in range(1, run.settings.rounds + 1) if _verdict(run.path, n).is_file()]
    wanted = ready[-1:] if number is None else [n for n in ready if n == number]
    if not wanted:
        raise InputError(
            "round",
            "none" if number is None else str(number),
            f"a round that is finished: {', '.join(map(str, ready)) or 'none yet'}",
            "Wait for it, or go on with flare rounds resume.",
        )
    return run.round(wanted[0])


def _verdict(path: Path, number: int) -> Path:
    return path / f"round-{number:02d}" / "verdict.json"
