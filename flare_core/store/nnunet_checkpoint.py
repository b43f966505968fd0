"""Weights out of a PyTorch checkpoint that anybody may have made, without running any of it.

A checkpoint is a pickle, and a pickle is a program. torch's weights-only loader runs none of it: it
builds tensors and plain containers and refuses everything else. nnU-Net's training log holds numpy
numbers, which nobody needs here; they become `Ignored`, so that not even numpy is called.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = (
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.float64",
    "numpy.float32",
    "numpy.int64",
    "numpy.bool_",
)
"""What a checkpoint may hold besides tensors and plain containers; it is not read."""

DAMAGED = (
    OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, zipfile.BadZipFile,
)  # fmt: skip
"""What torch and zipfile raise on a damaged checkpoint."""

ACTION = "Do not use this checkpoint unless you trust it and can convert it elsewhere."


class Ignored:
    """In place of a numpy number."""

    def __init__(self, *args: object) -> None:
        del args

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What is needed of a checkpoint."""

    weights: Mapping[str, Tensor]
    """By nnU-Net's names."""
    facts: Mapping[str, Any]
    """Everything else."""


def read_checkpoint(path: Path, weights: str) -> Checkpoint:
    """Read a checkpoint of nnU-Net; nothing in it is executed.

    Parameters
    ----------
    path : Path
        Such as ``fold_0/checkpoint_final.pth``.
    weights : str
        The entry with the weights: ``network_weights`` (v2), ``state_dict`` (v1).

    Raises
    ------
    InputError
        If it cannot be read, holds anything but numbers, or has no weights.
    """
    content = load_safely(path)
    if not isinstance(content, Mapping) or not isinstance(content.get(weights), Mapping):
        came = ", ".join(map(str, content)) if isinstance(content, Mapping) else str(type(content))
        raise InputError(str(path), came, f"an nnU-Net checkpoint with {weights}", ACTION)
    facts = {key: value for key, value in content.items() if key != weights}
    return Checkpoint(_tensors(content[weights], path), facts)


def load_safely(path: Path) -> Any:
    """Return what torch's weights-only loader makes of a file.

    Raises
    ------
    InputError
        If the file is damaged, or holds anything but numbers and plain containers.
    """
    import torch

    options: dict[str, Any] = {"mmap": True} if zipfile.is_zipfile(path) else {}
    try:
        if options:
            _check_stored(path)
        with torch.serialization.safe_globals(_stand_ins()):
            return torch.load(path, map_location="cpu", weights_only=True, **options)
    except pickle.UnpicklingError as error:
        reason = _first_line(str(error))
        came = f"a file that holds more than numbers ({reason}); nothing of it was executed"
        raise InputError(
            str(path), came, "tensors, numbers, text, lists and dicts", ACTION
        ) from error
    except InputError:
        raise
    except DAMAGED as error:
        came = f"not readable: {_first_line(str(error))}"
        action = "Fetch the file again; it may be cut off."
        raise InputError(str(path), came, "a PyTorch checkpoint", action) from error


def _tensors(found: Mapping[str, Any], path: Path) -> Mapping[str, Tensor]:
    import torch

    strange = [name for name, value in found.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise InputError(str(path), f"{strange[0]} is no tensor", "weights as tensors", ACTION)
    size = path.stat().st_size
    for name, tensor in found.items():
        # One number, repeated without end by a stride of 0, would fill the memory when copied
        if tensor.numel() * tensor.element_size() > size:
            came = f"{name} of shape {tuple(tensor.shape)} in {size} bytes"
            raise InputError(str(path), came, "tensors no larger than their file", ACTION)
    return found


def _check_stored(path: Path) -> None:
    """Refuse a checkpoint with packed parts: torch writes none, and they may be bombs."""
    with zipfile.ZipFile(path) as archive:
        packed = [e.filename for e in archive.infolist() if e.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise InputError(str(path), f"{packed[0]} compressed", "parts as torch stores them", ACTION)


def _stand_ins() -> list[Any]:
    """Return classes that torch's loader finds under numpy's names."""
    made = []
    for name in IGNORED:
        module, _, short = name.rpartition(".")
        made.append(type(short, (Ignored,), {"__module__": module}))
    return made


def _first_line(text: str) -> str:
    """Return the part of torch's long message that names what was refused."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (named or lines or ["no reason given"])[0][:200]
