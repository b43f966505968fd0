"""What the tests of training share: three cases on disk, and the cache of their samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_training import make_cases


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")
