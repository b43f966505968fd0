"""One file that resumes a run or explains it: weights, optimiser, configuration, progress.

It is a torch archive read with ``weights_only=True``: tensors and plain values, no code.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from flare_core import atomic
from flare_core.errors import InputError
from flare_core.json_fields import read_json
from flare_core.models.nnunet.checkpoint import DAMAGED, check_pickles

CHECKPOINT = "checkpoint.pt"
"""Its name in a run's folder."""

WEIGHTS = "weights.safetensors"
"""Weights for use, beside it."""

FORMAT = 1
PARTS = {"format", "network", "ema", "optimiser", "config", "progress"}
"""What every checkpoint holds. Those of strategies with networks of their own hold "strategy" too:
runs without any go on from checkpoints that were written before there were strategies. Those of
float16 hold "scaler"; without it a run looks for the factor of its losses anew."""


@dataclass  # mutable: counts while the run goes on
class TrainingProgress:
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

    def next_phase(self) -> TrainingProgress:
        """Return the start of the phase after this one."""
        return TrainingProgress(
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
    progress: TrainingProgress,
    scaler: dict[str, float] | None = None,
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
        "scaler": scaler or {},
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
    if not isinstance(state, dict) or not set(state) >= PARTS or state["format"] != FORMAT:
        raise _unreadable(path, "a file of another kind or format")
    state = {"strategy": {}, "scaler": {}} | state
    for name, fits in FITS.items():
        if not fits(state[name]):
            raise _unreadable(path, f"a part {name} that flare train does not write")
    return state


def _are_weights(value: object) -> bool:
    """Whether it is name -> tensor."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(each, Tensor) for name, each in value.items()
    )


def _is_optimiser(value: object) -> bool:
    """Whether it has the form of an optimiser's state: numbers of parameters -> what is kept."""
    if not isinstance(value, dict):
        return False
    groups, kept = value.get("param_groups"), value.get("state")
    return (
        isinstance(groups, list)
        and all(isinstance(each, dict) for each in groups)
        and isinstance(kept, dict)
        and all(isinstance(each, dict) for each in kept.values())
    )


def _is_scaler(value: object) -> bool:
    """Whether it is the state of torch's GradScaler, or nothing."""
    if not isinstance(value, dict):
        return False
    names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
    numbers = all(type(each) in (int, float) and 0 <= each < math.inf for each in value.values())
    return numbers and (not value or set(value) == set(names))


def _is_config(value: object) -> bool:
    """Whether it is the text of a JSON object."""
    try:
        return isinstance(value, str) and isinstance(read_json(value, "config"), dict)
    except InputError:
        return False


def _is_progress(value: object) -> bool:
    """Whether the fields of `TrainingProgress` could be made of it."""
    if not isinstance(value, dict) or not set(value) <= set(vars(TrainingProgress())):
        return False
    numbers = {name: each for name, each in value.items() if name != "history"}
    history = value.get("history", [])
    whole = all(
        type(each) is int or (name == "seconds" and type(each) is float)
        for name, each in numbers.items()
    )
    return (
        whole
        and all(each >= 0 for each in numbers.values())  # NaN is not
        and isinstance(history, list)
        and all(isinstance(row, dict) and isinstance(row.get("dsc"), dict) for row in history)
    )


FITS: dict[str, Callable[[object], bool]] = {
    "network": _are_weights,
    "ema": _are_weights,
    "strategy": _are_weights,
    "optimiser": _is_optimiser,
    "config": _is_config,
    "progress": _is_progress,
    "scaler": _is_scaler,
}
"""What tells whether a part is what `save_checkpoint` writes."""


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
