"""Fixtures of the tests that run the command line or the jobs with the fake engine."""

from __future__ import annotations

from pathlib import Path

import pytest

import fake_engine
from flare_core.imaging.files import write_volume


@pytest.fixture(autouse=True)
def calls() -> list[str]:
    """Return what the fake engine was called with; empty at the start of each test."""
    fake_engine.CALLS.clear()
    return fake_engine.CALLS


@pytest.fixture
def scans(tmp_path: Path):
    """Return a function that makes small scans with these names in a new folder."""

    def make(*names: str, folder: str = "scans") -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            write_volume(place / f"{name}.nii.gz", fake_engine.scan())
        return place

    return make
