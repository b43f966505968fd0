"""How far a run over many cases is, on standard error."""

from __future__ import annotations

import sys
import time

from flare_core.jobs.progress import Display, Nothing, Step, display_for


class Watch:
    """Shows how far a run over many cases is; a context manager."""

    def __init__(self, progress: str, stage: str, *, title: str = "data set") -> None:
        self._display: Display = Nothing() if progress == "none" else display_for(sys.stderr)
        self._stage = stage
        self._title = title
        self._started = time.monotonic()

    def __enter__(self) -> Watch:
        """Begin."""
        self._display.start(self._title)
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._display.clear()

    def tell(self, done: int, count: int) -> None:
        """Show that `done` of `count` cases are done."""
        left = (time.monotonic() - self._started) * (count - done) / max(1, done)
        self._display.show(Step(f"{self._stage} {count} cases", done / max(1, count), left))
