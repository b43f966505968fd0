"""A server in a thread, for the tests of `flare_core.jobs.remote`; its engine does as scans say.

Its networks are in the scan: the first voxel says what happens (`NORMAL`, `SLOW` ...), the second
how many voxels the liver has, so that everybody can see whose result it is.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fake_engine
from flare_core.anatomy.organs import organ
from flare_core.errors import Cancelled, NothingFound
from flare_core.imaging.volume import Volume
from flare_core.jobs.engine import Engine
from flare_core.jobs.remote.access import Access
from flare_core.jobs.remote.line import Patience
from flare_core.jobs.remote.server import PREFIX, Server, ServerListeners, Setup
from flare_core.segment.progress import Progress

TOKEN = "a token that is long enough for anybody"
NORMAL, SLOW, EMPTY, CRASH, DEAF = range(5)
QUICK = Patience(hello_s=4.0, stall_s=3.0, bytes_per_s=1e4, alive_s=0.1)
"""Of a server whose clients are expected to fail."""

RAN: list[int] = []
"""The second voxel of every scan that was begun; cleared by `serving`."""


def scan(what: int = NORMAL, liver: int = 5) -> Volume:
    """A small scan with noise, so that it has some length on its way."""
    image = fake_engine.scan()
    rng = np.random.default_rng(liver)
    image.array[...] += rng.integers(0, 50, image.array.shape).astype(np.int16)
    image.array.flat[:2] = what, liver
    return image


def segment(image, settings, on_progress, cancelled):
    """Do as the scan says."""
    from flare_core.segment.belief import ClassScores
    from flare_core.segment.pipeline import Segmentation
    from flare_core.segment.statistics import organ_statistics

    what, liver = (abs(int(value)) for value in image.array.flat[:2])
    RAN.append(liver)
    on_progress(Progress("organs", 0.5, 2.0))
    if what == EMPTY:
        raise NothingFound("no abdominal organ found")
    if what == CRASH:
        raise RuntimeError("the network fell over")
    if what == DEAF:
        time.sleep(3.0)
    end = time.monotonic() + (60 if what == SLOW else 0.0)
    while time.monotonic() < end:
        if cancelled():
            raise Cancelled
        time.sleep(0.01)
    labels = np.zeros(image.array.shape, np.uint8)
    labels.flat[100 : 100 + liver] = 1
    found = Volume(labels, image.geometry)
    grid = image.canonical()[0].geometry
    beliefs = np.linspace(0, 1, 2 * labels.size).reshape(2, *grid.shape).astype(np.float16)
    return Segmentation(
        found,
        organ_statistics(image, found, [organ("liver"), organ("spleen")]),
        {"organs": 0.25},
        {"model": settings.model, "threads": settings.threads},
        ("a note",),
        None,
        ClassScores(beliefs, (0, 1), grid),
    )


ENGINE = Engine(read=fake_engine.read, preload=lambda settings: None, segment=segment)


@contextmanager
def serving(engine: Engine = ENGINE, **facts: object) -> Iterator[Access]:
    """Yield access to a server that lives as long as the block."""
    RAN.clear()
    setup = Setup(**{"host": "127.0.0.1", "port": 0, "token": TOKEN, **facts})
    address: list[str] = []
    ready = threading.Event()
    LOG.clear()
    server = Server(
        setup, engine, ServerListeners(lambda at: (address.append(at), ready.set()), LOG.append)
    )
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(asyncio.run(server.run())))
    thread.start()
    assert ready.wait(30)
    try:
        yield Access("127.0.0.1", int(address[0].rpartition(":")[2]), TOKEN)
    finally:
        server.stop()
        thread.join(30)
        assert ended == [True]


LOG: list[str] = []
"""What the last server logged."""


def left_files() -> list[Path]:
    """What servers keep now."""
    places = Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
    return [file for place in places for file in place.iterdir()]


def eventually(true: object, limit_s: float = 30.0) -> bool:
    """Whether a function returns something true soon."""
    end = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Cable:
    """A way to a server that is cut after so many bytes down from it, or up to it."""

    def __init__(self, access: Access, cut_after: int = 2**40, *, down: bool = True) -> None:
        self._most = {down: cut_after, not down: 2**40}
        self.carried = {True: 0, False: 0}
        """Bytes down and up."""
        self._server = (access.host, access.port)
        self._near = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.access = replace(access, port=self._near.getsockname()[1])
        """Access through it."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take it away."""
        self._near.close()
        _shut(*self._ends)
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._near.accept()
                far = socket.create_connection(self._server)
                self._ends += [near, far]
                for words in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._carry, args=words, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, down: bool) -> None:
        with suppress(OSError):
            while (left := self._most[down] - self.carried[down]) > 0:
                data = source.recv(min(65536, left))
                if not data:
                    break
                target.sendall(data)
                self.carried[down] += len(data)
        _shut(source, target)


def _shut(*ends: socket.socket) -> None:
    """End connections; closing alone would not while a thread waits on them."""
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "certificate.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=flare",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    words += ["-out", str(paths[0]), "-keyout", str(paths[1])]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl makes no certificate here: {error}")
    return paths
