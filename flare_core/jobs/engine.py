"""What a run calls: read a scan, get a model ready, segment. Tests put their own in its place.

The real functions are imported when they are called: torch and SimpleITK take seconds to load,
and `flare --help` or a misspelt option should not wait for them.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flare_core.errors import Cancelled

if TYPE_CHECKING:
    from flare_core.imaging.volume import Volume
    from flare_core.jobs.progress import OnProgress
    from flare_core.segment.pipeline import Segmentation
    from flare_core.segment.settings import Settings

Result = TypeVar("Result")
IsCancelled = Callable[[], bool]

POLL_S = 0.1
"""How often a wait looks whether the person has cancelled."""

SETTLE_S = 10.0
"""How long the end of a process waits for its background threads."""

_STARTED: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_LOADING = threading.Lock()


def read(path: Path, series: str | None) -> Volume:
    """Read and check a CT in a process of its own: see `flare_core.imaging.apart`."""
    from flare_core.imaging.apart import read_volume

    return read_volume(path, series=series)


def preload(settings: Settings) -> None:
    """Load the model, so that it is warm when the scan has been read."""
    from flare_core.imaging import apart
    from flare_core.segment.runtime import check_room

    apart.warm()
    check_room()
    from flare_core.segment import pipeline

    with _LOADING:  # a cancelled run may still be loading what the next one wants
        pipeline.preload(settings)


def segment(
    image: Volume, settings: Settings, on_progress: OnProgress, cancelled: IsCancelled
) -> Segmentation:
    """Segment: see `flare_core.segment.pipeline.segment_ct`."""
    from flare_core.segment.pipeline import segment_ct

    return segment_ct(image, settings, progress=on_progress, cancelled=cancelled)


def segment_keeping(
    image: Volume, settings: Settings, on_progress: OnProgress, cancelled: IsCancelled
) -> Segmentation:
    """Segment and keep what the network believed: for a worker whose results are corrected."""
    from flare_core.segment.pipeline import segment_ct

    return segment_ct(image, settings, progress=on_progress, cancelled=cancelled, keep_scores=True)


@dataclass(frozen=True)
class Engine:
    """The three calls of a run."""

    read: Callable[[Path, str | None], Volume] = read
    """Path and DICOM series (or None) to a checked volume in HU."""
    preload: Callable[[Settings], None] = preload
    """Gets the model ready; calling it again costs nothing."""
    segment: Callable[[Volume, Settings, OnProgress, IsCancelled], Segmentation] = segment
    """Volume to labels and numbers; asks `cancelled` at least once a second."""


REAL = Engine()
"""The engine of the program."""

KEEPING = Engine(segment=segment_keeping)
"""The engine of a worker."""


def in_background(task: Callable[[], Result]) -> Future[Result]:
    """Run `task` in a thread that never keeps the process from ending."""
    future: Future[Result] = Future()

    def body() -> None:
        try:
            future.set_result(task())
        except BaseException as error:  # handed to whoever asks for the result
            future.set_exception(error)

    thread = threading.Thread(target=body, daemon=True)
    _STARTED.add(thread)
    thread.start()
    return future


def settle(timeout_s: float = SETTLE_S) -> bool:
    """Wait for threads whose results nobody wants any more; return whether they have ended.

    A scan that cannot be read is told while torch is still being imported in the background, and
    Python cannot end cleanly in the middle of that.
    """
    end = time.monotonic() + timeout_s
    for thread in tuple(_STARTED):
        if thread.is_alive():  # Ctrl-C may have come before its start
            thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in tuple(_STARTED))


def wait_for(future: Future[Result], cancelled: IsCancelled) -> Result:
    """Return the future's result, or stop waiting within `POLL_S` of a cancellation.

    Raises
    ------
    Cancelled
        If `cancelled()` becomes true; the thread goes on and its result is dropped.
    """
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    while not done.wait(POLL_S):
        stop_if(cancelled)
    stop_if(cancelled)
    return future.result()


def stop_if(cancelled: IsCancelled) -> None:
    """Raise `Cancelled` if the person has cancelled."""
    if cancelled():
        raise Cancelled("stopped on request")
