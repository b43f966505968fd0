"""An engine without a network, for tests of the command line and the worker.

What happens to a case follows from its name: `bad` cannot be read, `segv` crashes its reader,
`empty` shows no organ, `crash` breaks inside, `slow` takes 30 s and listens to a cancellation,
`deaf` takes 2 s and does not, `noisy` prints to standard output past the protocol, `interrupt` is
stopped by Ctrl-C, `spawn` leaves a process behind that lives on for 4 s, `lost` kills its process,
`once` does so the first time.
As a program (``python fake_engine.py segment ...``) it is `flare` with this engine.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flare_core import cli
from flare_core.anatomy.organs import organ
from flare_core.cli import segment as command
from flare_core.cli import serve as serving
from flare_core.errors import Cancelled, InputError, NothingFound
from flare_core.imaging import apart
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.jobs.engine import Engine
from flare_core.paths import usable_path

CALLS: list[str] = []
"""What was called, in order; cleared by the tests."""

SHAPE = (6, 20, 24)

GEOMETRY = Geometry(
    shape=SHAPE,
    spacing_mm=(5.0, 1.5, 1.25),
    origin_mm=(-10.0, 20.0, -300.0),
    direction=((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)),
)


def read(path: Path, series: str | None) -> Volume:
    """Give a small scan, or refuse."""
    CALLS.append(f"read {path.name}")
    usable_path(path)
    time.sleep(0.02)
    if "lost" in path.name or ("once" in path.name and not path.with_suffix(".was").exists()):
        path.with_suffix(".was").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if "segv" in path.name:
        apart.call("fake_engine:die", path)
    if "bad" in path.name:
        raise InputError("input", f"{path} is truncated", "a whole file", "Copy it again.")
    if "remembered" in path.name:
        CALLS.append(f"series {series}")
    return scan()


def die(path: Path) -> None:
    """End this process as a library does that writes where it must not."""
    os.kill(os.getpid(), signal.SIGSEGV)


def scan() -> Volume:
    """Give a box of 40 HU in air."""
    image = np.full(SHAPE, -1000, dtype=np.int16)
    image[:, 4:16, 4:20] = 40
    return Volume(image, GEOMETRY)


def preload(settings: object) -> None:
    """Note that it was asked for."""
    CALLS.append("preload")


def segment(image, settings, on_progress, cancelled):
    """Give a box as the liver, after whatever the name of the case read last asks for."""
    from flare_core.segment.pipeline import Progress, Segmentation
    from flare_core.segment.statistics import organ_statistics

    name = next(call for call in reversed(CALLS) if call.startswith("read "))
    CALLS.append("segment")
    on_progress(Progress("localiser", 0.0, None))
    _misbehave(name, on_progress, cancelled)
    on_progress(Progress("organs", 0.5, 2.0))
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1:4, 6:12, 6:14] = 1
    found = Volume(labels, image.geometry)
    return Segmentation(
        labels=found,
        rows=organ_statistics(image, found, [organ("liver"), organ("spleen")]),
        timings={"localiser": 0.1, "organs": 0.2},
        provenance={"model": settings.model, "organs": settings.organs, "threads": np.int64(2)},
        notes=("a note",),
    )


def _misbehave(name, on_progress, cancelled):
    if "empty" in name:
        raise NothingFound("no abdominal organ found")
    if "crash" in name:
        raise RuntimeError("the network fell over")
    if "interrupt" in name:
        raise KeyboardInterrupt
    if "noisy" in name:
        print("a library says hello")
        os.write(1, b"a C++ library says hello\n")
    if "spawn" in name:
        with open(os.devnull, "wb") as nowhere:
            subprocess.Popen(["sleep", "4"], stderr=nowhere)
    if "deaf" in name:
        time.sleep(2)
    if "slow" in name:
        _take_long(on_progress, cancelled)


def _take_long(on_progress, cancelled):
    from flare_core.segment.pipeline import Progress

    for number in range(600):
        if cancelled():
            raise Cancelled
        on_progress(Progress("organs", number / 600, 30 - number / 20))
        time.sleep(0.05)


FAKE = Engine(read=read, preload=preload, segment=segment)


@dataclass(frozen=True)
class FakeSegment:
    """The command `segment` with the engine above."""

    NAME: str = command.NAME
    HELP: str = command.HELP

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Same arguments as the real one."""
        command.add_arguments(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """Same run, another engine."""
        return command.run(arguments, FAKE)


@dataclass(frozen=True)
class FakeServe:
    """The command `serve` with the engine above."""

    NAME: str = serving.NAME
    HELP: str = serving.HELP

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Same arguments as the real one."""
        serving.add_arguments(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """Same server, another engine."""
        return serving.run(arguments, FAKE)


def flare(*words: object) -> int:
    """Run `flare` in this process with the fake engine; return the exit code."""
    commands = {"segment": FakeSegment(), "serve": FakeServe()}
    return cli.main([str(word) for word in words], commands)


def four(case: str) -> set[str]:
    """Names of a case's outputs."""
    return {f"{case}.nii.gz", f"{case}.png", f"{case}_statistics.csv", f"{case}_statistics.json"}


if __name__ == "__main__":
    sys.exit(flare(*sys.argv[1:]))
