"""Weights out of a PyTorch checkpoint that anybody may have made, without running any of it.

A checkpoint is a pickle, and a pickle is a program. torch's weights-only loader runs none of it: it
builds tensors and plain containers and refuses everything else. nnU-Net's training log holds numpy
numbers, which nobody needs here; they become `Ignored`, so that not even numpy is called.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError
from flare_core.models.pickle_size import check_pickle

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
    TypeError, IndexError, OverflowError, AssertionError, MemoryError, ImportError, struct.error,
    zlib.error,
)  # fmt: skip
"""What torch and zipfile raise on a damaged checkpoint."""

OLD_PICKLES = 5
"""What torch wrote before it wrote zips: a mark, a version, the machine, the content, the keys."""

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
        came = ", ".join(map(str, list(content)[:20])) if isinstance(content, Mapping) else ""
        came = came[:200] or f"{type(content).__name__} without entries"
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
        check_pickles(path, zipped=bool(options))
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


def _tensors(found: Mapping[Any, Any], path: Path) -> Mapping[str, Tensor]:
    size = path.stat().st_size
    for name, tensor in found.items():
        if not isinstance(name, str) or not _is_plain(tensor):
            came = f"{str(name)[:200]} is no tensor of numbers"
            raise InputError(str(path), came, "weights as tensors", ACTION)
        # One number, repeated without end by a stride of 0, would fill the memory when copied
        if tensor.numel() * tensor.element_size() > size:
            came = f"{name} of shape {tuple(tensor.shape)} in {size} bytes"
            raise InputError(str(path), came, "tensors no larger than their file", ACTION)
    return found


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor of real numbers that lies in memory, element by element."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_nested or value.is_complex())
    )


def check_pickles(path: Path, *, zipped: bool) -> None:
    """Refuse a checkpoint of which a few bytes stand for more than any memory holds.

    In a zip torch reads one pickle; before that there were five, one behind the other.
    """
    if zipped:
        _check_stored(path)
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.rpartition("/")[2] == "data.pkl":
                    with archive.open(entry) as stream:
                        check_pickle(io.BytesIO(stream.read()))
        return
    with path.open("rb") as stream:
        for _ in range(OLD_PICKLES):
            check_pickle(stream)


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
