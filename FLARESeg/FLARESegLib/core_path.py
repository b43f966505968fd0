"""Where `flare_core` is, in a source checkout and in an installed extension.

Slicer loads modules from folders that it knows; `flare_core` is a package beside them. In a
checkout it lies in the repository's root, above ``FLARESeg/``; an installed extension has it in
``qt-scripted-modules``, beside ``FLARESegLib``. Slicer's environment variables stay as they are:
this process gets the folder in ``sys.path``, a worker process as an argument.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

START = (
    "import sys; sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]; "
    "from flare_core.cli import main; sys.exit(main())"
)
"""What a child process runs. Its first argument takes the place of the current folder, which has no
name in the search path, so that a file that happens to be called numpy.py there is not imported."""


def core_folder(here: Path | None = None) -> Path:
    """Return the folder that holds the package `flare_core`.

    Parameters
    ----------
    here : path, optional
        The folder ``FLARESegLib``; by default that of this file.

    Raises
    ------
    ModuleNotFoundError
        If it is at neither place: the extension is not whole.
    """
    here = here or Path(__file__).resolve().parent
    for folder in (here.parent, here.parent.parent):  # installed, checkout
        if (folder / "flare_core" / "__init__.py").is_file():
            return folder
    raise ModuleNotFoundError(
        f"flare_core is neither in {here.parent} nor in {here.parent.parent}. Install the "
        "extension FLARESeg again, or add FLARESeg/ of a whole checkout as a module path.",
        name="flare_core",
    )


def make_importable(folder: Path | None = None) -> None:
    """Let ``import flare_core`` find the package that belongs to this module.

    First in the search path: somebody may have installed another version with pip.
    """
    path = str(folder or core_folder())
    if path not in sys.path:
        sys.path.insert(0, path)


def flare_arguments(words: Sequence[str], folder: Path | None = None) -> list[str]:
    """Return the arguments with which a Python runs ``flare WORDS``, wherever flare_core is.

    UTF-8 mode, so that what a library prints about a file name is readable on Windows too.

    Examples
    --------
    >>> flare_arguments(["--version"], Path("/opt/x"))[-2:]
    ['/opt/x', '--version']
    """
    return ["-X", "utf8", "-c", START, str(folder or core_folder()), *words]
