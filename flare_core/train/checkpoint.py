"""One file that resumes a run or explains it: weights, optimiser, configuration, progress.

It is a torch archive read with ``weights_only=True``: tensors and plain values, no code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from flare_core import atomic
from flare_core.errors import InputError

FORMAT = 1


@dataclass
class Progress:
    """How far a run is."""

    phase: int = 0
    """Index of the phase that runs."""
    step: int = 0
    """Steps done in this phase."""
    seconds: float = 0.0
    """Wall-clock seconds spent in this phase, over all sessions."""
    total_steps: int = 0
    """Steps done in all phases."""
    skipped: int = 0
    """Steps not taken because the gradient was not finite."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Validation scores so far: step, seconds, DSC by organ."""


def save_checkpoint(
    path: Path, *, network: dict, ema: dict, optimiser: dict, config: str, progress: Progress
) -> None:
    """Write everything needed to go on; an older checkpoint is replaced only when this is whole."""
    state = {
        "format": FORMAT,
        "network": network,
        "ema": ema,
        "optimiser": optimiser,
        "config": config,
        "progress": vars(progress),
    }
    with atomic.atomic_path(path) as part:
        torch.save(state, part)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises
    ------
    InputError
        If it is not one of ours or is damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise _unreadable(path, str(error).splitlines()[0]) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise _unreadable(path, "a file of another kind or format")
    return state


def _unreadable(path: Path, came: str) -> InputError:
    return InputError(
        str(path),
        came,
        f"a checkpoint of format {FORMAT} written by flare train",
        "Delete it to start the run anew, or restore it from a copy.",
    )
