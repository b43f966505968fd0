"""Files that are what they claim to be, and folders that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from flare_core import alive
from flare_core.atomic import sha256_of
from flare_core.errors import InputError
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
    """Yield a hidden folder that becomes the package `target`, as `alive.new_folder` does.

    Raises
    ------
    InputError
        If `target` exists already, even empty, or its parent cannot be written.
    """
    if os.path.lexists(target):
        raise exists_already(target)
    with alive.new_folder(target) as part:
        yield part


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
        alive.sweep(models, f"*/{pattern}")
        alive.remove_empty(sorted(places))
