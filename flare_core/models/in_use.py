"""Which of a model's versions is in use: a pointer beside the versions, and its past.

Promoting a model never removes another: the pointer moves on, and `roll_back` moves it back. A name
without a pointer means its newest version.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from flare_core import atomic
from flare_core.alive import alone_in
from flare_core.errors import InputError
from flare_core.home import Home, ensure_folder
from flare_core.json_fields import decode, encode, read_json_file

POINTER = "in_use.json"
"""File in the folder of a model's versions."""


@dataclass(frozen=True)
class Move:
    """The pointer was moved."""

    model: str
    """Where to: ``name@version``, or the folder of a package."""
    at: str
    """When, ISO 8601, UTC."""
    reason: str = ""
    """Why, in words."""


@dataclass(frozen=True)
class InUse:
    """A model's pointer."""

    stack: tuple[str, ...] = ()
    """Models that were in use, oldest first; the last one is."""
    moves: tuple[Move, ...] = ()
    """All that ever happened, oldest first."""


def model_in_use(home: Home, name: str) -> str | None:
    """Return what `name` means, ``name@version`` or a package folder; None without a pointer.

    Raises
    ------
    InputError
        If the pointer is damaged.
    """
    stack = read_in_use(home, name).stack
    return stack[-1] if stack else None


def read_in_use(home: Home, name: str) -> InUse:
    """Return the pointer of a model with its history.

    Raises
    ------
    InputError
        If the pointer is damaged.
    """
    path = _pointer(home, name)
    if not path.is_file():
        return InUse()
    action = f"Restore it, or delete it: {name} then means its newest version."
    kept = read_json_file(path, argument=str(path), legal="a pointer to a version", action=action)
    return decode(InUse, kept, str(path))


def put_in_use(home: Home, name: str, model: str, *, before: str = "", reason: str = "") -> None:
    """Let `name` mean `model` from now on; doing it again changes nothing.

    Parameters
    ----------
    model : str
        ``name@version``, or the folder of a package.
    before : str
        What was used until now, in the same form, if the name had no pointer yet.
    """
    with _alone(home, name):
        now = read_in_use(home, name)
        stack = now.stack or ((before,) if before else ())
        if stack and stack[-1] == model:
            return
        _write(home, name, InUse((*stack, model), (*now.moves, _move(model, reason))))


def roll_back(home: Home, name: str, *, reason: str = "rolled back") -> str:
    """Let `name` mean what it meant before the last promotion; return that.

    Raises
    ------
    InputError
        If there was nothing before.
    """
    if len(read_in_use(home, name).stack) < 2:  # before a folder is made for it
        raise _nothing_before(home, name)
    with _alone(home, name):
        now = read_in_use(home, name)
        if len(now.stack) < 2:
            raise _nothing_before(home, name)
        back = now.stack[-2]
        _write(home, name, InUse(now.stack[:-1], (*now.moves, _move(back, reason))))
        return back


def _nothing_before(home: Home, name: str) -> InputError:
    stack = read_in_use(home, name).stack
    return InputError(
        "model",
        f"{name}, of which {stack[-1] if stack else 'no version'} is in use",
        "a model that was promoted after another one",
        f"Nothing to go back to; name the version wanted, as in {name}@1.0.0.",
    )


@contextmanager
def _alone(home: Home, name: str) -> Iterator[None]:
    """Move the pointer one process after the other: none undoes what another has just done."""
    path = _pointer(home, name)
    with alone_in(ensure_folder(path.parent)) as known:
        if known:
            for left in path.parent.glob(f".????????.part.{POINTER}"):
                left.unlink(missing_ok=True)
        yield


def _write(home: Home, name: str, value: InUse) -> None:
    atomic.write_json(_pointer(home, name), encode(value))


def _move(model: str, reason: str) -> Move:
    return Move(model, datetime.now(timezone.utc).isoformat(timespec="seconds"), reason)


def _pointer(home: Home, name: str) -> Path:
    return home.models / name / POINTER
