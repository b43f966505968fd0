"""Who is told how far a run is, who may stop it, and how long its steps took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flare_core.errors import Cancelled

SHARES = {"localise": 0.12, "organs": 0.55, "lesions": 0.40, "labels": 0.15, "statistics": 0.18}
"""Time of the steps relative to each other, on 512 x 512 x 109 voxels; those that do not run do not
count."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    stage: str
    """Step that runs: ``load image``, ``load model``, then keys of `SHARES`."""
    fraction: float
    """Share of the whole run that is done, 0 to 1; never falls."""
    seconds_left: float | None
    """Estimated; None at the start."""
    message: str = ""
    """More words, if there are any."""


@dataclass  # mutable: counts while the run goes on
class RunClock:
    """The progress and the timings of one run.

    Invariant: the timings add up to the time since the start, because every moment belongs to the
    step that is named at its end.
    """

    tell: Callable[[Progress], None] | None = None
    """Told every step forward, in the calling thread."""
    cancelled: Callable[[], bool] | None = None
    """Asked at every step forward."""
    timings: dict[str, float] = field(default_factory=dict)
    """Step -> seconds so far."""
    steps: tuple[str, ...] = tuple(SHARES)
    """Those that will run, in order."""
    fraction: float = 0.0
    """Furthest that was told."""
    began: float = field(default_factory=time.perf_counter)
    """When the steps began (reading and loading are over)."""
    marked: float = field(default_factory=time.perf_counter)
    """Until when the time has been given to steps."""

    def begin(self, steps: Sequence[str]) -> None:
        """Say which steps will run; the estimate of the time left counts from here."""
        self.steps, self.began = tuple(steps), time.perf_counter()

    def announce(self, stage: str) -> None:
        """Report that a step begins whose share of the run cannot be told."""
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
        """Mark, and report that a share (0 to 1) of a step is done.

        Raises
        ------
        Cancelled
            If `cancelled` returns True.
        """
        self.mark(stage)
        if self.tell is None:
            return
        before = self.steps[: self.steps.index(stage)]
        done = sum(map(_share, before)) + share * _share(stage)
        # A stage that looks again (its box grew) starts at 0 once more; people see no way back.
        whole = sum(map(_share, self.steps))
        self.fraction = max(self.fraction, min(1.0, done / whole))
        elapsed = self.marked - self.began
        left = elapsed * (1 / self.fraction - 1) if self.fraction > 0.02 else None
        self.tell(Progress(stage, self.fraction, left))


def _share(step: str) -> float:
    """Return a step's share; ``organs_2`` takes as long as ``organs``."""
    return SHARES[step.partition("_")[0]]
