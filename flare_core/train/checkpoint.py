"""One file that resumes a run or explains it: weights, optimiser, configuration, progress.

It is a torch archive read with ``weights_only=True``: tensors and plain values, no code.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeGuard

import torch
from torch import Tensor

from flare_core import atomic
from flare_core.errors import InputError
from flare_core.models.nnunet.checkpoint import DAMAGED, check_pickles

FORMAT = 1
PARTS = {"format", "network", "ema", "optimiser", "config", "progress"}
"""What every checkpoint holds. Those of strategies with networks of their own hold "strategy" too:
runs without any go on from checkpoints that were written before there were strategies."""


@dataclass  # mutable: counts while the run goes on
class Progress:
    """How far a run is."""

    phase: int = 0
    """Index of the phase that runs."""
    step: int = 0
    """Steps done in this phase."""
    seconds: float = 0.0
    """Wall-clock seconds spent in this phase, over all sessions; validation included."""
    total_steps: int = 0
    """Steps done in all phases."""
    skipped: int = 0
    """Steps not taken because the gradient was not finite, in all phases."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Validation scores so far: step (of all phases), DSC by organ."""

    def next_phase(self) -> Progress:
        """Return the start of the phase after this one."""
        return Progress(
            self.phase + 1,
            total_steps=self.total_steps,
            skipped=self.skipped,
            history=self.history,
        )


def save_checkpoint(
    path: Path,
    *,
    network: dict,
    ema: dict,
    strategy: dict,
    optimiser: dict,
    config: str,
    progress: Progress,
) -> None:
    """Write everything needed to go on; an older checkpoint is replaced only when this is whole."""
    state = {
        "format": FORMAT,
        "network": network,
        "ema": ema,
        "strategy": strategy,
        "optimiser": optimiser,
        "config": config,
        "progress": vars(progress),
    }
    with atomic.atomic_path(path) as part:
        torch.save(state, part)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; tensors come on the CPU.

    Raises
    ------
    InputError
        If it is missing, not one of ours, or damaged anywhere.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums it writes
            damaged = archive.testzip()
        if not damaged:
            check_pickles(path, zipped=True)
        state = torch.load(path, map_location="cpu", weights_only=True) if not damaged else None
    except zipfile.BadZipFile as error:
        raise _unreadable(path, f"cut short or no torch archive: {error}") from error
    except InputError:
        raise
    except (UnpicklingError, *DAMAGED) as error:
        raise _unreadable(path, _first_line(error)) from error
    if damaged:
        raise _unreadable(path, f"damaged: {damaged} does not fit its checksum")
    if not _is_ours(state):
        raise _unreadable(path, "a file of another kind or format")
    return {"strategy": {}} | state


def _is_ours(state: object) -> TypeGuard[dict[str, Any]]:
    """Whether what was read is a checkpoint of this format."""
    if not isinstance(state, dict) or not set(state) >= PARTS or state["format"] != FORMAT:
        return False
    tables = [state[name] for name in PARTS - {"format", "config"}]
    known = {each.name for each in fields(Progress)}
    return all(isinstance(each, dict) for each in tables) and set(state["progress"]) <= known


def read_start(path: Path) -> dict[str, Tensor]:
    """Return the weights to start another run from: a checkpoint's running mean, or safetensors.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    if path.suffix != ".safetensors":
        return load_checkpoint(path)["ema"]
    from flare_core.models.package import read_weights

    return {name: tensor.float() for name, tensor in read_weights(path).items()}


def _first_line(error: Exception) -> str:
    """Return what went wrong in one line; torch's messages explain pickle for pages."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _unreadable(path: Path, came: str) -> InputError:
    return InputError(
        str(path),
        came,
        f"a checkpoint of format {FORMAT} written by flare train",
        "Delete it to start the run anew, or restore it from a copy.",
    )
