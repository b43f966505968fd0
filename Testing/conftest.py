"""What the tests share: the development scans, a phantom, a home that is thrown away."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flare_core.datasets.phantom.make import PhantomCase
    from flare_core.home import Home

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_DATA = REPOSITORY.parent / "shared" / "data"

# Read when numpy and torch are first imported. Small arrays get slower with many threads, and a
# fixed number makes sums come out the same on every machine.
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))

# A script that starts pytest in its background lets it ignore Ctrl-C, and so every program that a
# test starts: tests of Ctrl-C need what a program has that a person starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same with nohup and the terminal's end.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def unsynced(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let `os.fsync` return at once: tests make many small files, and no power fails here.

    Tests in which a forked writer is killed at this very call say ``SYNCED = True``.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "SYNCED", False):
            patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of development scans (`ct/`, `labels/`, `cases.json`), beside the repository."""
    if not (REAL_DATA / "cases.json").is_file():
        pytest.skip(f"no development scans at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def phantom() -> PhantomCase:
    """A whole abdomen, anisotropic (5, 2.5, 2 mm) and oblique. Shared: its arrays are read-only."""
    from flare_core.datasets.phantom.make import PhantomSettings, make_phantom

    case = make_phantom(PhantomSettings(seed=7, spacing_mm=(5.0, 2.5, 2.0), oblique_degrees=8.0))
    case.image.array.flags.writeable = False
    case.labels.array.flags.writeable = False
    return case


@pytest.fixture
def tmp_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home folder; the person's own one is out of reach as well."""
    from flare_core.home import open_home

    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    return open_home()
