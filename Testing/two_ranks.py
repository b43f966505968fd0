"""Run a module in two processes as torchrun does, for the price of one start.

    python -m two_ranks MODULE [ARGUMENTS ...]

torchrun imports PyTorch, and each of its processes once more; here one process imports it and is
forked before it computes anything. `Testing/core/train/test_processes.py` starts torchrun itself.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys

# what takes seconds to import
import flare_core.segment.pipeline  # noqa: F401
import flare_core.train.loop  # noqa: F401

RANKS = 2
LAUNCH = (
    ("-m", "two_ranks")
    if hasattr(os, "fork")
    else ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
)
"""Words before the module's name, after Python's."""


def run_as(rank: int, port: int, words: list[str]) -> int:
    """Run the module in this process, as one of the ranks; return its exit code."""
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "two_ranks", "WORLD_SIZE": str(RANKS), "RANK": str(rank),
        "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main(words: list[str]) -> int:
    """Start the ranks; return 0 if all end well. Where one does not, the others are ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = set()
    for rank in range(RANKS):
        child = os.fork()
        if not child:
            code = run_as(rank, port, words)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        children.add(child)
    worst = 0
    while children:
        child, status = os.wait()
        children.discard(child)
        worst = worst or os.waitstatus_to_exitcode(status)
        if worst:
            for other in children:
                os.kill(other, signal.SIGKILL)
    return abs(worst)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
