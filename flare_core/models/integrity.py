"""Files that are what they claim to be, and folders that appear whole or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from flare_core.alive import held, sweep
from flare_core.atomic import sha256_of
from flare_core.errors import InputError
from flare_core.home import ensure_folder
from flare_core.models.stage_card import WeightsFile

__all__ = [
    "exists_already", "new_folder", "sweep_models", "unsound",
    "verify",
]  # fmt: skip


def verify(path: Path, expected: WeightsFile) -> None:
    """Check that a file has the size and SHA-256 its card states.

    The hash is computed once per process for a file that does not change (path, size, time).

    Raises
    ------
    InputError
        If the file is missing or differs, or the card states no hash.
    """
    try:
        found = path.stat()
        if not path.is_file():  # a pipe would be waited for
            raise unsound(path, "no file", "a weights file")
        if expected.size_bytes and found.st_size != expected.size_bytes:
            legal = f"{expected.size_bytes} bytes, as its card states"
            raise unsound(path, f"{found.st_size} bytes", legal)
        digest = _sha256(str(path), found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise unsound(path, error.strerror or str(error), "a readable weights file") from error
    if digest != expected.sha256:
        legal = f"SHA-256 {expected.sha256 or '(the card states none)'}"
        raise unsound(path, f"SHA-256 {digest}", legal)


def unsound(path: Path, came: str, legal: str) -> InputError:
    """Error about a package that is damaged or is not one."""
    return InputError(
        str(path), came, legal,
        "Do not use this model: delete it and install it again from where it came"
        " (for the built-in model, reinstall FLARESeg).",
    )  # fmt: skip


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `target`; rename it to `target` if the block succeeds.

    On failure the hidden folder goes, and so do parents made for it. A killed process leaves at
    most the hidden folder, which the next write beside it sweeps away.

    Raises
    ------
    InputError
        If `target` exists already, or its parent cannot be written.
    """
    if os.path.lexists(target):
        raise exists_already(target)
    made = [parent for parent in target.parents if not os.path.exists(parent)]
    part = target.with_name(f".{uuid.uuid4().hex[:8]}.part.{target.name}")
    try:
        ensure_folder(target.parent)
        sweep(target.parent, f".????????.part.{glob.escape(target.name)}")
        with held(lambda: _made(part)):
            yield part
            # Fails, as it must, if somebody else has filled `target` in the meantime
            os.rename(part, target)
    except OSError as error:
        raise InputError(
            str(target), f"writing failed: {error.strerror or error}",
            "a new folder on a disk with free space",
            "Free space or choose another place, then run again; nothing was left behind.",
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if not os.path.lexists(target):
            _remove_empty(made)


def exists_already(target: Path) -> InputError:
    """Error about a package that would be overwritten."""
    return InputError(
        str(target), "exists already", "a new name or version: a package never changes",
        "Raise the version in the card, choose another place, or delete the old one first.",
    )  # fmt: skip


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """`sha256_of`, remembered as long as size and time of the file stay the same."""
    return sha256_of(Path(path))


def sweep_models(models: Path) -> None:
    """Remove what killed installations and removals left among the installed models."""
    for pattern in (".????????.part.*", ".*.removed"):
        places = {left.parent for left in models.glob(f"*/{pattern}")}
        sweep(models, f"*/{pattern}")
        _remove_empty(sorted(places))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty: somebody else uses it
            folder.rmdir()
