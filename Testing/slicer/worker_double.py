"""A worker without a network: speaks the protocol of ``flare segment --worker``, labels by HU.

Slicer's self-tests run it where torch is not installed. It is a program::

    python worker_double.py CORE_FOLDER [--seconds S] [--fail KIND]

A voxel of 100 k HU (k from 1 to 13) becomes organ k. `--seconds`: how long a run takes. `--fail`:
``memory``, ``nothing``, ``model``, ``dies`` (in the middle of a run) or ``never`` (deaf to cancel).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from queue import SimpleQueue

STEPS = 20

ERRORS = {
    "memory": {
        "kind": "internal", "argument": "", "came": "the memory is not enough for this scan",
        "legal": "", "action": "Close other programs.", "message": "the memory is not enough",
    },
    "nothing": {
        "kind": "nothing_found", "argument": "input", "came": "no abdominal organ found",
        "legal": "", "action": "", "message": "no abdominal organ found",
    },
    "model": {
        "kind": "input", "argument": "model", "came": "nonsense", "legal": "default",
        "action": "Choose one of these.", "message": "model: nonsense",
    },
}  # fmt: skip


class Double:
    """Reads requests in a thread and works on them in another."""

    def __init__(self, seconds: float, fail: str) -> None:
        self.seconds, self.fail = seconds, fail
        self.stopped: set[int] = set()
        self.tasks: SimpleQueue[dict | None] = SimpleQueue()
        self.busy = False
        self.sending = threading.Lock()

    def say(self, number: int | None, event: str, **fields: object) -> None:
        with self.sending:
            sys.stdout.write(json.dumps({"id": number, "event": event, **fields}) + "\n")
            sys.stdout.flush()

    def listen(self) -> None:
        for line in sys.stdin:
            self.take(json.loads(line))
        self.tasks.put(None)
        threading.Timer(3.0, lambda: os._exit(0)).start()

    def take(self, request: dict) -> None:
        number, command = request["id"], request["command"]
        if command == "ping":
            self.say(number, "pong", busy=self.busy, waiting=0)
        elif command == "cancel":
            if self.fail != "never":
                self.stopped.add(request["target"])
            self.say(number, "ok", cancelled=self.fail != "never")
        elif command == "shutdown":
            self.say(number, "bye")
            os._exit(0)
        elif command == "preload":
            self.say(number, "preloaded", seconds=0.0)
        else:
            self.tasks.put(request)

    def work(self) -> None:
        with self.sending:
            ready = {"event": "ready", "protocol": 1, "version": "double", "pid": os.getpid()}
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
        while (request := self.tasks.get()) is not None:
            self.busy = True
            self.segment(request)
            self.busy = False

    def segment(self, request: dict) -> None:
        number = request["id"]
        for step in range(STEPS):
            if number in self.stopped:
                self.say(number, "cancelled")
                return
            if self.fail == "dies" and step == STEPS // 2:
                sys.stderr.write("Fatal error of the double\n")
                sys.stderr.flush()
                os._exit(3)
            left = self.seconds * (STEPS - step) / STEPS
            self.say(number, "progress", stage="organs", fraction=step / STEPS, seconds_left=left)
            time.sleep(self.seconds / STEPS)
        if self.fail in ERRORS:
            self.say(number, "error", **ERRORS[self.fail])
            return
        self.say(number, "result", **labelled(request))


def labelled(request: dict) -> dict:
    """Write the label map; return the fields of the answer."""
    import numpy as np

    from flare_core.anatomy.organs import ORGANS, parse_organs
    from flare_core.imaging.files import read_volume, write_volume
    from flare_core.imaging.volume import Volume
    from flare_core.segment.statistics import organ_statistics, rows_to_json

    wanted = request["settings"].get("organs")
    organs = parse_organs(wanted) if wanted else ORGANS
    image = read_volume(request["input"])
    labels = np.zeros(image.geometry.shape, np.uint8)
    for organ in organs:
        labels[image.array == 100 * organ.id] = organ.id
    volume = Volume(labels, image.geometry)
    write_volume(request["output"], volume, compressed=False)
    return {
        "files": {"labels": request["output"]},
        "rows": rows_to_json(organ_statistics(image, volume, organs)),
        "timings_s": {"organs": 0.1},
        "notes": ["made by the double"],
        "provenance": {"model": "double", "model_version": "1.0", "settings": request["settings"]},
    }


def main() -> int:
    """Serve until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("core_folder")
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--fail", default="")
    chosen = parser.parse_args()
    sys.path.insert(0, chosen.core_folder)
    double = Double(chosen.seconds, chosen.fail)
    threading.Thread(target=double.listen, daemon=True).start()
    double.work()
    return 0


if __name__ == "__main__":
    sys.exit(main())
