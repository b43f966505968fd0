"""Fixtures of the tests of processes: a loop, a worker with stub models, a CT in a scene.

A test module has them through ``pytest_plugins``; functions to call are in `process_double`.
"""

from __future__ import annotations

import pytest
from FLARESegLib.logic import FLARESegLogic
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.run.workplace import Workplace
from process_double import bad_command, node_of, stub_command, until, worker_of

from flare_core.segment.settings import Settings


@pytest.fixture(scope="session")
def stub_model(tmp_path_factory):
    """The folder of a model that finds a liver and a spleen by their HU."""
    from stub_models import stub_package

    return str(stub_package(tmp_path_factory.mktemp("model") / "stub").folder)


@pytest.fixture(scope="session")
def stub_scan():
    """A scan with two blocks, and its labels."""
    from stub_models import scene

    return scene()


@pytest.fixture(scope="session")
def warm_place(tmp_path_factory):
    """A workplace with the real worker; shared by all tests, so that it is warm."""
    loop = PlainLoop()
    place = Workplace(
        loop, worker_of(stub_command(), loop), tmp_path_factory.mktemp("temporary files ü")
    )
    yield place
    place.worker.close()


@pytest.fixture
def place(warm_place):
    """The warm workplace; afterwards it is empty."""
    yield warm_place
    warm_place.loop.pump(0.05)
    assert list(warm_place.temporary.iterdir()) == []


@pytest.fixture
def ct(scene, stub_scan):
    """The scan as a node in the scene."""
    return node_of(scene, stub_scan[0])


@pytest.fixture
def logic(place):
    return FLARESegLogic(workplace=place)


@pytest.fixture
def follow(logic, place):
    """A function that starts a run with some choices and keeps what it tells."""

    def start(node, into=None, **choices):
        told = {"progress": [], "finished": [], "failed": []}
        run = logic.segmentAsync(
            node,
            into,
            Settings(**choices),
            onProgress=told["progress"].append,
            onFinished=told["finished"].append,
            onFailed=told["failed"].append,
        )
        return run, told

    return start


@pytest.fixture
def bad_place(tmp_path):
    """A function that makes a workplace whose worker misbehaves."""
    loop = PlainLoop()
    made = []

    def make(kind):
        folder = tmp_path / kind
        folder.mkdir()
        made.append(Workplace(loop, worker_of(bad_command(kind), loop), folder))
        return made[-1]

    yield make
    for place in made:
        place.worker.kill()
        until(loop, lambda place=place: not place.worker.running)
