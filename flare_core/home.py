"""Where everything lives: one home folder, by default ``~/.flareseg``.

Nothing is created by asking for a path; a folder appears when something is about to be written.
The home is passed explicitly (``--home`` on the command line), never read from the environment.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flare_core.errors import InputError
from flare_core.paths import usable_path

ROOM = 400
"""Bytes of the longest name of a file in a home, below it."""

FOLDER_NAME = ".flareseg"
"""Name of the default home inside the person's own folder."""


@dataclass(frozen=True)
class Home:
    """The folder that holds what this project keeps between runs."""

    path: Path
    """Absolute path; need not exist yet."""

    @property
    def models(self) -> Path:
        """Installed models: ``models/NAME/VERSION/``."""
        return self.path / "models"

    @property
    def cases(self) -> Path:
        """The case store."""
        return self.path / "cases"

    @property
    def runs(self) -> Path:
        """Training runs and self-training rounds."""
        return self.path / "runs"

    @property
    def cache(self) -> Path:
        """What can be made again: delete it at will."""
        return self.path / "cache"

    def model(self, name: str, version: str) -> Path:
        """Folder of one version of an installed model."""
        return self.models / name / version


def open_home(path: str | os.PathLike[str] | None = None) -> Home:
    """Choose the home folder: `path`, or ``~/.flareseg`` of the person who runs the program.

    Raises
    ------
    InputError
        If `path` is a file or empty, or there is no home directory to put the default in.

    Examples
    --------
    >>> open_home("/data/flare").models.as_posix().endswith("/data/flare/models")
    True
    """
    chosen = _default_path() if path is None else usable_path(path, "home").expanduser()
    chosen = usable_path(Path(os.path.abspath(chosen)), "home", room=ROOM)
    if os.path.exists(chosen) and not os.path.isdir(chosen):
        raise InputError(
            "home", f"{chosen} is a file", "a folder, which need not exist yet",
            "Name another folder (on the command line: --home).",
        )  # fmt: skip
    return Home(chosen)


def ensure_folder(folder: Path) -> Path:
    """Create `folder` if needed and make sure that it can be written to; return it.

    Raises
    ------
    InputError
        If it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Asking is not enough: permissions, quotas and read-only mounts only show on a real write
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            str(folder), f"cannot be written to: {error.strerror or error}",
            "a folder on a disk with free space that this user may write to",
            "Choose another home folder (on the command line: --home), or correct its permissions.",
        ) from error  # fmt: skip
    return folder


def _default_path() -> Path:
    try:
        return Path.home() / FOLDER_NAME
    except RuntimeError as error:  # a service account without a home directory
        raise InputError(
            "home", "this user has no home directory", "a folder to keep models and runs in",
            "Name a folder (on the command line: --home).",
        ) from error  # fmt: skip
