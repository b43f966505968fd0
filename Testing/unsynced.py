"""Tests that make many small files do not wait for the disk; what survives is tested apart."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `os.fsync` return at once."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
