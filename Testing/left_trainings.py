"""Start trainings and leave them, for the price of one start: PyTorch is imported once.

    python -m left_trainings CONFIG FOLDER

The processes are forked from this one before it computes anything. Prints how each has ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import flare_core.segment.pipeline  # noqa: F401 - takes seconds, as the next one
from flare_core import cli
from flare_core.train import loop

PATIENCE_S = 120.0


def closed_terminal(config: str, run: Path) -> int:
    """The system tells of it, the shell again, and whatever is printed then fails."""
    child, terminal = os.forkpty()
    if child == 0:
        train(config, run)
    said = b""
    while b"step 2 " not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)  # the first SIGHUP
    end = time.monotonic() + PATIENCE_S
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):  # the shell's, and again
        os.kill(child, signal.SIGHUP)
        assert time.monotonic() < end
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1])


def reader_that_leaves(config: str, run: Path) -> int:
    """What is printed goes into a pipe that nobody reads any more."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        os.dup2(writes, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        train(config, run, "--progress", "json")
    os.close(writes)
    with open(reads, "rb") as stream:
        while b'"step": 2,' not in stream.readline():
            pass
    end = time.monotonic() + PATIENCE_S
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        assert time.monotonic() < end
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1])


def train(config: str, run: Path, *more: str) -> None:
    """Be `flare train`, to the end of this process."""
    loop.REPORT_EVERY = 2
    code = 1
    try:
        code = cli.main(["train", config, "-o", str(run), *more])
    finally:
        os._exit(code)


if __name__ == "__main__":
    for leave in (closed_terminal, reader_that_leaves):
        print(leave.__name__, leave(sys.argv[1], Path(sys.argv[2], leave.__name__)), flush=True)
