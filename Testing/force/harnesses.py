"""All harnesses by name, and what each may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from force import hostile, kills, readers_imaging, readers_models, readers_tables, traps
from force.budget import Budget
from force.children import Reader, fuzz
from force.counts import Counts
from force.killing import Scene, kill


@dataclass(frozen=True)
class Harness:
    """One row of the table."""

    run: Callable[[Budget, Path], Counts]
    """Tries within a budget; the folder is empty and goes afterwards."""
    weight: float = 1.0
    """Its share of the time."""
    short: int = 6
    """Attempts of a short run."""


def _fuzzed(name: str, reader: Reader, budget: Budget, folder: Path) -> Counts:
    return fuzz(name, reader, budget, folder / "in")


def _killed(name: str, scene: Scene, budget: Budget, folder: Path) -> Counts:
    return kill(name, scene, budget, folder)


READERS: dict[str, Reader] = {
    **readers_imaging.READERS,
    **readers_models.READERS,
    **readers_tables.READERS,
    **hostile.READERS,
}

HARNESSES: dict[str, Harness] = {
    **{name: Harness(partial(_fuzzed, name, each)) for name, each in READERS.items()},
    **{
        name: Harness(partial(_killed, name, each), weight=3.0, short=2)
        for name, each in kills.SCENES.items()
    },
    "traps": Harness(traps.run, weight=2.0, short=1),
}
"""Every harness by its name: the rows of the table."""

SLOW = frozenset(("kill-rounds", "kill-train"))
"""Left out of a short run: an attempt takes many seconds."""
