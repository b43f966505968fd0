"""Who is told how far a run is, who may stop it, and how long its stages took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flare_core.errors import Cancelled

SHARES = {"localise": 0.12, "organs": 0.55, "lesions": 0.40, "labels": 0.15, "statistics": 0.18}
"""Time of the stages relative to each other, on 512 x 512 x 109 voxels; those that do not run do
not count."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    stage: str
    """What is being done. Of a segmentation ``load image``, ``load model``, then keys of `SHARES`;
    else words for people."""
    fraction: float
    """Share of the whole run that is done, 0 to 1; never falls."""
    seconds_left: float | None = None
    """Estimated; None if it is not known yet."""
    message: str = ""
    """A detail worth a log line; often empty."""
    per_minute: float | None = None
    """Cases a minute, where many are done; None if it is not known yet."""


@dataclass  # mutable: counts while the run goes on
class RunClock:
    """The progress and the timings of one run.

    Invariant: the timings add up to the time since the start, because every moment belongs to the
    stage that is named at its end.
    """

    tell: Callable[[Progress], None] | None = None
    """Told every move forward, in the calling thread."""
    cancelled: Callable[[], bool] | None = None
    """Asked at every move forward."""
    timings: dict[str, float] = field(default_factory=dict)
    """Stage -> seconds so far."""
    stages: tuple[str, ...] = tuple(SHARES)
    """Those that will run, in order."""
    fraction: float = 0.0
    """Furthest that was told."""
    began: float = field(default_factory=time.perf_counter)
    """When the stages began (reading and loading are over)."""
    marked: float = field(default_factory=time.perf_counter)
    """Until when the time has been given to stages."""

    def begin(self, stages: Sequence[str]) -> None:
        """Say which stages will run; the estimate of the time left counts from here."""
        self.stages, self.began = tuple(stages), time.perf_counter()

    def announce(self, stage: str) -> None:
        """Report that a stage begins whose share of the run cannot be told."""
        if self.tell is not None:
            self.tell(Progress(stage, self.fraction, None))

    def mark(self, name: str) -> None:
        """Give the time since the last mark to `name`; stop the run if that is wanted.

        Raises
        ------
        Cancelled
            If `cancelled` returns True.
        """
        now = time.perf_counter()
        self.timings[name] = self.timings.get(name, 0.0) + now - self.marked
        self.marked = now
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("The run was cancelled; nothing was written.")

    def notify(self, stage: str, share: float) -> None:
        """Mark, and report that a share (0 to 1) of a stage is done.

        Raises
        ------
        Cancelled
            If `cancelled` returns True.
        """
        self.mark(stage)
        if self.tell is None:
            return
        before = self.stages[: self.stages.index(stage)]
        done = math.fsum((*map(_share, before), share * _share(stage)))
        # A stage that looks again (its box grew) starts at 0 once more; people see no way back.
        whole = math.fsum(map(_share, self.stages))  # at the end the same numbers, and so 1
        self.fraction = max(self.fraction, min(1.0, done / whole))
        elapsed = self.marked - self.began
        left = elapsed * (1 / self.fraction - 1) if self.fraction > 0.02 else None
        self.tell(Progress(stage, self.fraction, left))


def _share(stage: str) -> float:
    """Return a stage's share; ``organs_2`` takes as long as ``organs``, and so on."""
    return SHARES[stage.partition("_")[0]]
