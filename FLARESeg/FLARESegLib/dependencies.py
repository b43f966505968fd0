"""Which Python packages the worker needs, which are missing, and one question before they come.

Looking costs milliseconds and no network. Nothing is installed without a yes, and the question
comes before anything is downloaded. torch is the business of the PyTorch extension, which knows
the right build for the graphics card; packages that Slicer itself rests on are never replaced.
"""

from __future__ import annotations

import importlib
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from subprocess import CalledProcessError
from typing import Protocol

from FLARESegLib.run.failures import RunFailed

REQUIREMENTS_FILE = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"

PROTECTED = ("numpy", "SimpleITK", "requests")
"""Slicer's own code is built against these; another version breaks it, at the next start or now."""

SIZES = {
    "torch": "0.2 GB, or up to 3 GB if there is an NVIDIA graphics card",
    "safetensors": "1 MB",
    "scipy": "40 MB",
    "scikit-image": "30 MB",
    "pillow": "7 MB",
}
"""How much is downloaded for each package and what it needs itself, roughly."""

PYTORCH = "PyTorch"
"""Name of the extension that installs torch."""

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Requirement:
    """A package and the oldest version that will do."""

    name: str
    """Name of the distribution."""
    at_least: str
    """Version."""

    def __str__(self) -> str:
        """Return it as pip wants it."""
        return f"{self.name}>={self.at_least}"


class Installer(Protocol):
    """What installs things; Slicer's is `installer.SlicerInstaller`."""

    def has_torch_extension(self) -> bool:
        """Whether the PyTorch extension is there and can be used."""

    def install_torch_extension(self) -> bool:
        """Install it; return whether that worked. It can be used after a restart."""

    def install_torch(self, wanted: Requirement) -> None:
        """Install torch through the extension."""

    def install_packages(self, wanted: Sequence[Requirement], constraints: Path) -> None:
        """Install other packages with pip."""


def requirements(path: Path = REQUIREMENTS_FILE) -> tuple[Requirement, ...]:
    """Read the list of packages."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(">=") for line in lines if line.strip() and not line.startswith("#"))
    return tuple(Requirement(name.strip(), version.strip()) for name, version in pairs)


def missing(
    wanted: Sequence[Requirement] | None = None,
    version_of: Callable[[str], str] = metadata.version,
) -> tuple[Requirement, ...]:
    """Return what is not installed, or too old; imports none of it."""
    importlib.invalidate_caches()
    return tuple(
        each
        for each in (requirements() if wanted is None else wanted)
        if not _is_there(each, version_of)
    )


def ensure(installer: Installer, ask: Ask) -> None:
    """Have everything installed, after one question; nothing happens if nothing is missing.

    Parameters
    ----------
    installer : Installer
        Installs.
    ask : callable
        Shows a text to a person and returns whether they agree.

    Raises
    ------
    RunFailed
        ``declined`` if the person says no, ``restart`` if Slicer has to be started again,
        ``install`` if it failed; the message says what to do.
    """
    wanted = missing()
    if not wanted:
        return
    torch = next((each for each in wanted if each.name == "torch"), None)
    with_extension = torch is not None and not installer.has_torch_extension()
    if not ask(question(wanted, with_extension=with_extension)):
        raise RunFailed("declined", "Nothing was installed, as you wished; nothing was segmented.")
    try:
        if with_extension:
            _install_extension(installer)
        if torch is not None:
            installer.install_torch(torch)
        others = [each for each in wanted if each is not torch]
        if others:
            _install_packages(installer, others)
    except (CalledProcessError, ImportError, OSError, RuntimeError, ValueError) as error:
        raise _failed(f"{type(error).__name__}: {error}") from error
    still = missing()
    if still:
        raise _failed("still missing: " + ", ".join(map(str, still)))


def question(wanted: Sequence[Requirement], *, with_extension: bool) -> str:
    """Return the one question: what is to be installed, from where, how much, what happens then."""
    lines = [f"- {each} ({SIZES.get(each.name, 'a few MB')})" for each in wanted]
    if with_extension:
        lines.insert(0, f"- the Slicer extension {PYTORCH} (less than 1 MB)")
    sources = [
        *["extensions.slicer.org"] * with_extension,
        *["download.pytorch.org"] * any(each.name == "torch" for each in wanted),
        "pypi.org",
    ]
    restart = (
        "\n\nSlicer must then be restarted once; after the restart, press Apply again."
        if with_extension
        else "\n\nThis is needed once and takes some minutes."
    )
    return (
        "FLARESeg needs Python packages that are not installed yet:\n\n"
        + "\n".join(lines)
        + f"\n\nThey come from {', '.join(sources)}. No data of yours is sent anywhere."
        + restart
        + "\n\nInstall them now?"
    )


def missing_text(wanted: Sequence[Requirement]) -> str:
    """Return what to do where nobody can be asked."""
    names = ", ".join(map(str, wanted))
    return (
        f"Python packages are missing: {names}.\n  In Slicer, press Apply in the module FLARESeg, "
        "or run FLARESegLogic().installDependencies() in the Python console; in plain Python run "
        '"pip install flareseg[torch]".'
    )


def constraints_text(version_of: Callable[[str], str] = metadata.version) -> str:
    """Return pip constraints that keep the installed versions of what must not be replaced."""
    lines = []
    for name in PROTECTED:
        version = _version(name, version_of)
        if version is not None:
            lines.append(f"{name}=={version}\n")
    return "".join(lines)


def release_of(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, for comparing.

    Examples
    --------
    >>> release_of("2.13.0+cu126"), release_of("10.1rc2")
    ((2, 13, 0), (10, 1))
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def is_enough(version: str, at_least: str) -> bool:
    """Whether a version is not older than another.

    Examples
    --------
    >>> is_enough("0.22.0", "0.22"), is_enough("2.4", "2.4.1"), is_enough("10.0", "9.9")
    (True, False, True)
    """
    have, want = release_of(version), release_of(at_least)
    length = max(len(have), len(want))
    return have + (0,) * (length - len(have)) >= want + (0,) * (length - len(want))


def _is_there(wanted: Requirement, version_of: Callable[[str], str]) -> bool:
    version = _version(wanted.name, version_of)
    return version is not None and is_enough(version, wanted.at_least)


def _version(name: str, version_of: Callable[[str], str]) -> str | None:
    """Return the version of a distribution, or None; half-removed ones have none."""
    try:
        return version_of(name) or None
    except metadata.PackageNotFoundError:
        return None


def _install_extension(installer: Installer) -> None:
    """Install the PyTorch extension, which ends this attempt either way."""
    if not installer.install_torch_extension():
        raise RunFailed(
            "install",
            f"The extension {PYTORCH} could not be installed. Open the Extensions Manager, install "
            f"{PYTORCH} there, restart Slicer, and press Apply again.",
        )
    raise RunFailed("restart", f"The extension {PYTORCH} was installed. Restart Slicer now.")


def _install_packages(installer: Installer, wanted: Sequence[Requirement]) -> None:
    with tempfile.TemporaryDirectory(prefix="FLARESeg-pip-") as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text(constraints_text(), encoding="utf-8")
        installer.install_packages(wanted, constraints)


def _failed(came: str) -> RunFailed:
    return RunFailed(
        "install",
        f"The Python packages could not be installed ({came}).\n  Check that this computer reaches "
        "pypi.org and download.pytorch.org (a hospital's firewall may forbid it) and has 5 GB of "
        "free disk, restart Slicer, and press Apply again. If torch is the trouble, open the "
        "module PyTorch Utils, uninstall torch there, restart, and install it there.",
    )
