"""Reading scans in a second process: a reader in C++ that crashes or hangs costs one file.

ITK, GDCM and what they rest on were not written for hostile or damaged files, and a crash inside
takes its process along. So whatever reads files of unknown origin one after another (a batch, the
warm worker, an evaluation) reads them here. The process is kept warm; it costs 0.4 s of another
core once, and 60 ms for each 57 MB scan.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError
from flare_core.paths import usable_path
from flare_core.processes import Ended, Sidecar

if TYPE_CHECKING:
    from flare_core.imaging.geometry import Geometry
    from flare_core.imaging.inputs import CaseInput
    from flare_core.imaging.volume import Volume

BASE_LIMIT_S = 120.0
"""How long reading may take, whatever the size; real scans take seconds."""
LIMIT_BYTES_PER_S = 1e6
"""Beyond that, as slow as a bad network."""

_IDLE: list[Sidecar] = []
_LOCK = threading.Lock()


class ReaderEnded(InputError):
    """A file on which the process that read it ended."""


def read_volume(path: str | Path, *, series: str | None = None, python: str = "") -> Volume:
    """Read a CT as `files.read_volume` does.

    Parameters
    ----------
    python : str
        The Python that reads; by default the one we are in.

    Raises
    ------
    InputError
        As there; `ReaderEnded` if the reader crashed or hung.
    """
    volume: Volume = call("flare_core.imaging.apart:_read_volume", path, series, python=python)
    return volume


def read_labels(path: str | Path) -> Volume:
    """Read a label map as `files.read_labels` does.

    Raises
    ------
    InputError
        As there; `ReaderEnded` if the reader crashed or hung.
    """
    volume: Volume = call("flare_core.imaging.files:read_labels", path)
    return volume


def read_geometry(path: str | Path) -> Geometry:
    """Read only where the voxels of a file are, as `files.read_geometry` does.

    Raises
    ------
    InputError
        As there; `ReaderEnded` if the reader crashed or hung.
    """
    geometry: Geometry = call("flare_core.imaging.files:read_geometry", path)
    return geometry


def find_inputs(path: str | Path, *, series: str | None = None) -> list[CaseInput]:
    """Return the cases that a path holds as `inputs.find_inputs` does.

    Raises
    ------
    InputError
        As there; `ReaderEnded` if looking at a DICOM file crashed or hung.
    """
    found: list[CaseInput] = call("flare_core.imaging.apart:_find_inputs", path, series)
    return found


def call(function: str, path: str | Path, *arguments: Any, python: str = "") -> Any:
    """Return ``function(path, *arguments)``, called in a process of its own.

    Raises
    ------
    ReaderEnded
        If that process ended meanwhile.
    InputError
        If the path is no text that every library understands; or the function's own.
    """
    usable_path(path)
    sidecar = _take(python)
    try:
        sidecar.warm()
    except OSError:  # no process can be started here: better read than not
        return _here(function, path, *arguments)
    try:
        return sidecar.call(function, path, *arguments, limit_s=limit_s(Path(path)))
    except Ended as end:
        raise ReaderEnded(
            str(path),
            f"a file on which its reader {end.reason}",
            "an undamaged file of a format that is read here, and enough memory for it",
            "Convert or export it again, or copy it again from its source.",
        ) from end
    finally:
        _give_back(sidecar)


def warm() -> None:
    """Start a reader without waiting for it."""
    sidecar = _take("")
    try:
        sidecar.warm()
    except OSError:
        return
    finally:
        _give_back(sidecar)


def limit_s(path: Path) -> float:
    """Return after how many seconds reading this file or folder is given up."""
    return BASE_LIMIT_S + _size(path) / LIMIT_BYTES_PER_S


def _size(path: Path) -> int:
    """Return the bytes of a file and what lies beside it under its name, or below a folder."""
    try:
        if path.is_dir():
            files = [Path(top, name) for top, _, names in os.walk(path) for name in names]
        else:
            stem = path.name.split(".")[0]
            files = [each for each in path.parent.iterdir() if each.name.startswith(stem)]
        return sum(each.stat().st_size for each in files if each.is_file())
    except OSError:
        return 0


def _take(python: str) -> Sidecar:
    with _LOCK:
        return _IDLE.pop() if _IDLE else Sidecar(python)


def _give_back(sidecar: Sidecar) -> None:
    """Keep one for the next file; a cancelled run's may still be busy, so there can be more."""
    with _LOCK:
        if sidecar.alive and not _IDLE:
            _IDLE.append(sidecar)
            return
    sidecar.close()


def _here(function: str, *arguments: Any) -> Any:
    from flare_core.processes import _found

    return _found(function)(*arguments)


def _read_volume(path: str | Path, series: str | None) -> Volume:
    from flare_core.imaging.files import read_volume as read

    return read(path, series=series)


def _find_inputs(path: str | Path, series: str | None) -> list[CaseInput]:
    from flare_core.imaging.inputs import find_inputs as find

    return find(path, series=series)
