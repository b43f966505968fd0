"""How long and how often a harness may try."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """An end in time, in number, or both; every harness tries at least once."""

    seconds: float = 60.0
    """No attempt begins later than this."""
    most: int = 10**9
    """Attempts at most."""
    seed: int = 0
    """Of the first attempt; the next ones count up."""

    def seeds(self) -> Iterator[int]:
        """Yield the seed of each attempt while there is time."""
        end = time.monotonic() + self.seconds
        for number in range(self.most):
            if number and time.monotonic() > end:
                return
            yield self.seed + number

    def share(self, parts: int) -> Budget:
        """Return what one of several harnesses may take."""
        return Budget(self.seconds / parts, self.most, self.seed)
