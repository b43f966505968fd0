"""What went on or went wrong, in words for a person who knows CTs and not programs.

An error arrives as an exception of the logic. Where its kind is known, a sentence that says what to
do stands first and the program's own words follow in the log; nobody is shown a traceback.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from FLARESegLib.qt.translation import _

STAGES: dict[str, Callable[[], str]] = {
    "starting": lambda: _("Starting the worker"),
    "exporting": lambda: _("Preparing the CT"),
    "load image": lambda: _("Reading the CT"),
    "load model": lambda: _("Loading the model"),
    "reading the scan": lambda: _("Reading the CT"),
    "loading the model": lambda: _("Loading the model"),
    "writing": lambda: _("Writing the labels"),
    "localise": lambda: _("Finding the abdomen"),
    "organs": lambda: _("Segmenting the organs"),
    "lesions": lambda: _("Looking for lesions"),
    "labels": lambda: _("Putting the labels together"),
    "statistics": lambda: _("Measuring the organs"),
    "packing the scan": lambda: _("Packing the CT"),
    "sending the scan": lambda: _("Sending the CT"),
    "receiving the result": lambda: _("Receiving the result"),
    "importing": lambda: _("Showing the result"),
    "running": lambda: _("Waiting for the worker"),
    "stopping": lambda: _("Stopping"),
    "done": lambda: _("Done"),
    "failed": lambda: _("Failed"),
}
"""Names of the steps, translated when they are shown."""

OUT_OF_MEMORY = re.compile(
    r"out of memory|memoryerror|std::bad_alloc|cannot allocate", re.IGNORECASE
)
MODEL = re.compile(r"\bmodel\b|\bcard\b|safetensors|sha-?256|weights", re.IGNORECASE)
NETWORK = re.compile(
    r"connection|timed? ?out|temporary failure in name|proxy|ssl|network is unreachable",
    re.IGNORECASE,
)
QUEUED = re.compile(r"position (\d+) of (\d+) in the queue")
"""Stage of a run that waits on a server."""
SERVER = "server "
"""How the argument of an error begins that another computer is about."""
BY_CLASS = {
    "Cancelled": "cancelled",
    "NothingFound": "nothing_found",
    "MemoryError": "out_of_memory",
}
"""By name, because a reloaded module has classes of its own."""
DISK_FULL = re.compile(r"no space left|disk full|errno 28", re.IGNORECASE)


def stage_text(stage: str) -> str:
    """Return the name of a step for the progress bar.

    Examples
    --------
    >>> stage_text("organs"), stage_text("something new")
    ('Segmenting the organs', 'something new')
    """
    known, queued = STAGES.get(stage), QUEUED.fullmatch(stage)
    if queued:
        return _("Position {position} of {of} in the server's queue").format(
            position=queued[1], of=queued[2]
        )
    return known() if known else stage


def time_left_text(seconds: float | None) -> str:
    """Return the time that is left, rounded as far as it can be trusted.

    Examples
    --------
    >>> time_left_text(3.2), time_left_text(44), time_left_text(130), time_left_text(None)
    ('a few seconds left', 'about 45 s left', 'about 2 min left', '')
    """
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 5:
        return _("a few seconds left")
    if seconds < 90:
        return _("about {seconds} s left").format(seconds=5 * round(seconds / 5))
    return _("about {minutes} min left").format(minutes=round(seconds / 60))


def progress_text(stage: str, fraction: float, seconds_left: float | None) -> str:
    """Return the line on the progress bar.

    Examples
    --------
    >>> progress_text("organs", 0.4, 12.0)
    'Segmenting the organs - 40 % - about 10 s left'
    """
    parts = [stage_text(stage), f"{100 * fraction:.0f} %", time_left_text(seconds_left)]
    return " - ".join(part for part in parts if part)


def error_text(error: BaseException | str) -> str:
    """Return what a person should know of an error, and do about it."""
    words = str(error).strip()
    kind = kind_of(error)
    if kind in _ADVICE:
        return _ADVICE[kind]()
    parts = getattr(error, "parts", None)
    return four_parts_text(*parts) if parts else words or type(error).__name__


def kind_of(error: BaseException | str) -> str:
    """Sort an error: by what the logic says, by its class, at last by its words.

    Examples
    --------
    >>> kind_of("RuntimeError: CUDA out of memory. Tried to allocate 2 GiB")
    'out_of_memory'
    >>> kind_of(OSError(28, "No space left on device"))
    'disk_full'
    """
    words = str(error)
    told = getattr(error, "kind", "")
    if told in _ADVICE:
        return told
    by_class = {
        "Cancelled": "cancelled",
        "NothingFound": "nothing_found",
        "MemoryError": "out_of_memory",
    }
    name = type(error).__name__
    if name in by_class:
        return by_class[name]
    argument = str(getattr(error, "parts", ("",))[0])
    if argument.startswith(SERVER):
        return "input"
    for kind, pattern in (("out_of_memory", OUT_OF_MEMORY), ("disk_full", DISK_FULL)):
        if pattern.search(words):
            return kind
    if MODEL.search(argument):
        return "model"
    if NETWORK.search(words):
        return "network"
    return "input" if argument else told or "internal"


def four_parts_text(argument: str, came: str, legal: str, action: str) -> str:
    """Return the four parts of an input error as two sentences for a person.

    Examples
    --------
    >>> four_parts_text("input", "an MR volume", "a CT in HU", "Choose the CT.")
    'Choose the CT. (input: an MR volume; needed: a CT in HU)'
    """
    needed = _("needed: {legal}").format(legal=legal) if legal else ""
    detail = "; ".join(part for part in (f"{argument}: {came}".strip(": "), needed) if part)
    return f"{action} ({detail})" if action else detail


_ADVICE: dict[str, Callable[[], str]] = {
    "no_input": lambda: _("Choose a CT volume first. To load one, drag its files into Slicer."),
    "cancelled": lambda: _("Stopped. Nothing was changed in the scene."),
    "nothing_found": lambda: _(
        "No abdominal organ was found. Check that this is an abdominal CT and that its patient "
        "axes are right (the letters R, A, S in the slice views)."
    ),
    "out_of_memory": lambda: _(
        "The computer ran out of memory. Close other programs, choose the processor (CPU) instead "
        "of the graphics card, or crop the CT to the abdomen (module Crop Volume), then press "
        "Apply again."
    ),
    "disk_full": lambda: _(
        "The disk for temporary files is full. Free some space, then press Apply again."
    ),
    "worker_died": lambda: _(
        "The worker process ended unexpectedly; often the computer is out of memory. Press Apply "
        "to try again; the log below says more."
    ),
    "declined": lambda: _(
        "FLARESeg needs the packages it asked for. Press Apply and accept the installation."
    ),
    "missing": lambda: _(
        "Python packages that FLARESeg needs are missing. Press Apply and accept the installation; "
        "the log below names them."
    ),
    "restart": lambda: _("Restart Slicer to finish the installation, then press Apply again."),
    "install": lambda: _(
        "The installation failed; the log below says why. Check the network connection, restart "
        "Slicer and press Apply again. Behind a firewall, ask your IT department to allow pypi.org "
        "and download.pytorch.org, or install by hand what FLARESeg/Resources/requirements.txt "
        "lists."
    ),
    "model": lambda: _(
        "The model is missing or damaged. Choose another one under Settings, or install it again; "
        "the log below says which file is wrong."
    ),
    "network": lambda: _(
        "The network could not be reached. What is installed already works without it; check the "
        "connection and try again."
    ),
    "shutdown": lambda: _("Stopped, because the module was closed."),
    "scene_closed": lambda: _("Stopped, because the scene was closed."),
    "node_removed": lambda: _(
        "Stopped, because the CT or the segmentation was removed from the scene."
    ),
}
"""Kind of an error -> what to do about it; the kinds that the logic can name come first."""
