"""All harnesses by name, and what each may take."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from force import hostile, kill_store, kills, readers_imaging, readers_models, readers_tables, traps
from force.budget import Budget
from force.children import Reader, fuzz
from force.counts import Counts
from force.killing import Scene, kill

GROUP = 60
"""Processes that are killed over one store."""


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


def _store_killed(budget: Budget, folder: Path) -> Counts:
    """Kill the writers of a store, in groups of eight and two beside them."""
    counts, group = Counts(), min(GROUP, budget.most)
    for seed in replace(budget, most=max(1, budget.most // group)).seeds():
        counts += kill_store.run(group, seed, folder / f"store{seed}")
        shutil.rmtree(folder / f"store{seed}", ignore_errors=True)
    return counts


READERS: dict[str, Reader] = {
    **readers_imaging.READERS,
    **readers_models.READERS,
    **readers_tables.READERS,
    **hostile.READERS,
}

HARNESSES: dict[str, Harness] = {
    **{name: Harness(partial(_fuzzed, name, each), 0.5) for name, each in READERS.items()},
    **{
        name: Harness(partial(_killed, name, each), weight=3.0, short=2)
        for name, each in kills.SCENES.items()
    },
    "kill-store": Harness(_store_killed, weight=20.0, short=10),
    "traps": Harness(traps.run, weight=3.0, short=1),
}
"""Every harness by its name: the rows of the table."""

SLOW = frozenset(("kill-rounds", "kill-train"))
"""Left out of a short run: an attempt takes many seconds."""
