"""Two workers on this computer, started once for the tests of a file: that takes 2 s of processor,
and their mere being there as much each minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flare_core.spread.shared import Shared, shared


@contextmanager
def two_workers() -> Iterator[Any]:
    pytest.importorskip("distributed")
    from flare_core.jobs.cluster import connected, place_of

    with connected(place_of("local:2")) as client:
        client.wait_for_workers(2, timeout=120)
        yield client


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Yield a client of a scheduler with two workers."""
    with two_workers() as client:
        yield client


@pytest.fixture
def mortal_workers() -> Iterator[Any]:
    """Yield one for a test that ends workers; others need not wait until they are back."""
    with two_workers() as client:
        yield client


@pytest.fixture
def proof(tmp_path: Path) -> Iterator[Shared]:
    """Yield what workers have to see."""
    with shared(tmp_path) as seen:
        yield seen
