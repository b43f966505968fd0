"""Child processes for tests: the real worker with models that need no training, and bad ones.

As a program (``python process_double.py KIND``) this file is a worker that misbehaves.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_S = 120.0

STAGES = ("starting", "exporting", "running", "importing")

STUB_START = (
    "import sys; sys.path[:0] = sys.argv.pop(1).split('|'); "
    "import stub_models; "
    "from flare_core.cli import main; sys.exit(main())"
)
"""Starts `flare` in a process that knows the network of `stub_models`."""


def stub_command() -> tuple[str, list[str]]:
    """The real ``flare segment --worker``, for packages of `stub_models`."""
    folders = f"{ROOT}|{ROOT / 'Testing'}"
    words = ["segment", "--worker", "--device", "cpu"]
    return sys.executable, ["-X", "utf8", "-c", STUB_START, folders, *words]


def bad_command(kind: str) -> tuple[str, list[str]]:
    """A worker that misbehaves: see `main`."""
    return sys.executable, [__file__, kind]


def until(loop, condition, patience_s=PATIENCE_S):
    """Handle events until something is true."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it never happened"
        loop.pump(0.02)


def alive(pid: int) -> bool:
    """Whether a process of this number is there and no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if not Path("/proc").is_dir():  # not Linux: zombies cannot be told from the living
        return True
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"


def worker_of(command, loop):
    """A worker process of this command, not started."""
    from FLARESegLib.run.child_process import ThreadedChild
    from FLARESegLib.run.worker_process import WorkerProcess

    return WorkerProcess(lambda: command, lambda: ThreadedChild(loop), loop)


def node_of(scene, volume, name="CT"):
    """A volume node with the voxels and the place of a `Volume`."""
    from FLARESegLib.scene.volumes import volume_node

    return volume_node(scene, volume, name)


def kinds(scene) -> list[str]:
    """Classes of all nodes of a scene, sorted."""
    return sorted(scene.GetNthNode(n).GetClassName() for n in range(scene.GetNumberOfNodes()))


def observers_of(scene) -> tuple[bool, bool]:
    """Whether somebody watches for the scene's end, and for the removal of nodes."""
    return (
        bool(scene.HasObserver(scene.StartCloseEvent)),
        bool(scene.HasObserver(scene.NodeAboutToBeRemovedEvent)),
    )


def in_state(place, run, *states):
    """Handle events until a run is in one of these states."""
    until(place.loop, lambda: run.state in states or run.over)
    assert run.state in states


def main(kind: str) -> int:
    """Be a worker of this kind."""
    if kind == "silent":
        time.sleep(600)
    if kind == "unstartable":
        sys.stderr.write("Traceback\nModuleNotFoundError: No module named 'torch'\n")
        return 1
    protocol = 99 if kind == "newer" else 1
    say({"event": "ready", "protocol": protocol, "version": "9.9", "pid": os.getpid()})
    for line in sys.stdin:
        serve(kind, json.loads(line))
    return 0


def serve(kind: str, request: dict) -> None:
    """Answer a request, or not."""
    if request["command"] == "ping":
        say({"id": request["id"], "event": "pong", "busy": kind == "deaf", "waiting": 0})
    elif kind == "garbage":
        os.write(2, b"\xff\xfe a broken name: \xe9\xe8\n")
        os.write(1, b'\xff\xfe\n[1, 2]\n{"id": 77, "event": "result"}\n{"event": 3\n')
        say({"id": request["id"], "event": "error", "kind": "internal", "message": "garbage"})
    elif kind == "dies":
        os.write(2, b"first line\nFatal Python error: Segmentation fault\nlast w\xf6rds")
        os._exit(3)
    elif kind == "memory":
        os.write(2, b"RuntimeError: [enforce fail at alloc_cpu.cpp] not enough memory\n")
        os._exit(1)
    elif kind == "killed":
        os.kill(os.getpid(), 9)
    elif kind == "mute":
        time.sleep(600)
    elif kind == "deaf" and request["command"] == "cancel":
        say({"id": request["id"], "event": "ok", "cancelled": True})
        say({"id": request["target"], "event": "cancelled"})


def say(event: dict) -> None:
    """Write an answer."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
