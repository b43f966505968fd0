"""What goes on or went wrong while a model is installed or removed, in words for a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import four_parts_text, kind_of

STAGES: dict[str, Callable[[], str]] = {
    "downloading": lambda: _("Downloading"),
    "converting": lambda: _("Converting"),
    "unpacking": lambda: _("Unpacking"),
    "removing": lambda: _("Removing"),
}
"""Stages of `flare_core.cli.models_report`, translated when they are shown."""

ADVICE: dict[str, Callable[[], str]] = {
    "cancelled": lambda: _(
        "Stopped. Nothing was installed; what was downloaded is kept, and choosing the model again "
        "goes on from there."
    ),
    "disk_full": lambda: _("The disk is full. Free some space, then choose the model again."),
    "out_of_memory": lambda: _(
        "The computer ran out of memory while the model was converted. Close other programs, then "
        "choose the model again; it is not downloaded a second time."
    ),
    "declined": lambda: _(
        "FLARESeg needs the packages it asked for. Choose the model again and accept the "
        "installation."
    ),
    "restart": lambda: _("Restart Slicer to finish the installation, then choose the model again."),
}
"""Kind of an error -> what to do about it."""


def progress_text(stage: str, fraction: float, done: int | None, total: int | None) -> str:
    """Return the line on the bar: short, as file names are too long for it.

    Examples
    --------
    >>> progress_text("downloading", 0.25, 5_000_000, 20_000_000)
    'Downloading - 25 % - file: 5 of 20 MB'
    >>> progress_text("converting", 0.9, None, None)
    'Converting - 90 %'
    """
    known = STAGES.get(stage)
    text = f"{known() if known else stage} - {100 * fraction:.0f} %"
    if done is None:
        return text
    if total is None:
        return text + _(" - file: {done:.0f} MB").format(done=done / 1e6)
    return text + _(" - file: {done:.0f} of {total:.0f} MB").format(
        done=done / 1e6, total=total / 1e6
    )


def error_text(error: BaseException) -> str:
    """Return what a person should know of an error, and do about it."""
    kind = kind_of(error)
    if kind in ADVICE:
        return ADVICE[kind]()
    parts = getattr(error, "parts", None)
    return four_parts_text(*parts) if parts else str(error).strip() or type(error).__name__


def installed_text(name: str) -> str:
    """Return the good news."""
    return _("{name} is installed and chosen.").format(name=name)


def removed_text(name: str) -> str:
    """Return that a model is gone."""
    return _("{name} was removed.").format(name=name)


def ended_text(reason: str, code: int | None, log: tuple[str, ...]) -> str:
    """Return what is known of a process that ended without a last word."""
    came = _("could not be started: {reason}").format(reason=reason) if reason else ""
    came = came or _("ended unexpectedly (code {code})").format(code=code)
    text = _("The program that installs models {came}. Try again; what was downloaded is kept.")
    return "\n  ".join([text.format(came=came), *log])


def file_question() -> str:
    """Return the title of the dialog for a file."""
    return _("Choose a model package, or a zip of an nnU-Net model folder")


def folder_question() -> str:
    """Return the title of the dialog for a folder."""
    return _("Choose an nnU-Net model folder")


def reading_text(path: Path) -> str:
    """Return what is done before anything is known of a file."""
    return _("Looking into {name}").format(name=path.name)
