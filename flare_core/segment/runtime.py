"""Where a network runs and in which precision, chosen from what the machine can do."""

from __future__ import annotations

import errno
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from flare_core.errors import InputError
from flare_core.imaging.checks import free_memory_gib
from flare_core.segment.settings import DEVICES, PRECISIONS

if TYPE_CHECKING:
    import torch
    from torch import nn

TORCH_GIB = 0.25
"""Memory that torch takes to be loaded: measured, 2.13 for CPUs 0.2 GiB."""

TORCH_ADDRESSES_GIB = 0.7
"""Addresses that it takes, of which a limit counts even those without memory: measured, 0.55."""

NO_BF16 = (
    "This {device} has no bf16 instructions; emulating them takes many times longer, so float32 "
    "was used instead."
)

NO_FP16 = (
    "This {device} does not run the networks in fp16, so float32 was used instead; where it has "
    "bf16, that is what is taken without --precision."
)

_NO_MEMORY = re.compile(r"allocate memory|map segment|out of memory", re.IGNORECASE)


@dataclass(frozen=True)
class Runtime:
    """A device, a number format and the memory layout that suits them."""

    device: str
    """``cpu``, ``cuda`` or ``mps``."""
    precision: str
    """``float32``, ``bf16`` or ``fp16``."""
    threads: int
    """CPU threads."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What was chosen otherwise than asked for, and why; for a person."""

    @property
    def dtype(self) -> torch.dtype:
        """Return the number format of activations."""
        import torch

        return {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            self.precision
        ]

    @property
    def where(self) -> torch.device:
        """Return where tensors are put."""
        import torch

        return torch.device(self.device)

    @property
    def keeps_scores(self) -> bool:
        """Whether scores stay on the device until they are labels.

        MPS has no `embedding_bag` in the torch versions allowed: there they come back tile by tile.
        """
        return self.device == "cuda"

    @property
    def keeps_at(self) -> torch.device:
        """Return where a scan is brought onto a stage's grid, and scores stay."""
        import torch

        return self.where if self.keeps_scores else torch.device("cpu")

    @property
    def grid_type(self) -> torch.dtype:
        """Return the number format in which a scan is brought onto a network's grid.

        In float16 HU of soft tissue are off by up to half a unit, less than a network sees of them.
        """
        import torch

        half = self.device == "cuda" and self.precision == "fp16"
        return torch.float16 if half else torch.float32

    @property
    def layout(self) -> torch.memory_format:
        """Return channels-last on CPUs, where 3D convolutions are several times faster in it."""
        import torch

        return torch.channels_last_3d if self.device == "cpu" else torch.contiguous_format

    def place(self, network: nn.Module) -> nn.Module:
        """Return `network` ready to predict here."""
        placed = network.to(self.where, self.dtype)
        return placed.to(memory_format=self.layout).eval()  # type: ignore[call-overload]


def check_room() -> None:
    """Refuse to load libraries for which there is too little memory.

    What scipy rests on would try again and again, without end; torch's libraries end the process.

    Raises
    ------
    InputError
        If torch is not loaded yet and there is too little memory for it.
    """
    if "torch" in sys.modules:
        return
    free, room = free_memory_gib(), _address_space_gib()
    if free is not None and free < TORCH_GIB:
        raise _too_little(f"{free:.2f} GiB free", TORCH_GIB)
    if room is not None and room < TORCH_ADDRESSES_GIB:
        came = f"{room:.2f} GiB left of this process's limit (ulimit -v)"
        raise _too_little(came, TORCH_ADDRESSES_GIB)


def load_torch() -> ModuleType:
    """Import torch, which needs more memory than some machines or job limits leave.

    Raises
    ------
    InputError
        If there is too little memory.
    """
    check_room()
    try:
        import torch
    except MemoryError as error:
        raise _too_little("none left while torch was loaded", TORCH_ADDRESSES_GIB) from error
    except (ImportError, OSError) as error:
        if getattr(error, "errno", None) == errno.ENOMEM or _NO_MEMORY.search(str(error)):
            raise _too_little(str(error), TORCH_ADDRESSES_GIB) from error
        raise
    return torch


def _too_little(came: str, needed_gib: float) -> InputError:
    return InputError(
        "memory",
        came,
        f"{needed_gib:g} GiB to load the networks' library, torch, and more to run a model",
        "Close other programs, raise the limit of the job, or use a machine with more memory.",
    )


def _address_space_gib() -> float | None:
    """Return what a limit on this process's addresses leaves; None where there is none."""
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most == resource.RLIM_INFINITY:
            return None
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        return (most - pages * resource.getpagesize()) / 2**30
    except (ImportError, AttributeError, OSError, ValueError, IndexError):
        return None


def choose_runtime(device: str = "auto", precision: str = "auto", threads: int = 0) -> Runtime:
    """Resolve ``auto`` and check what was asked for.

    Parameters
    ----------
    device : str
        ``auto`` takes a CUDA GPU if a usable one is there, else the CPU.
    precision : str
        ``auto`` takes bf16 on CPUs with bf16 instructions (AVX512-BF16, AMX), float16 on CUDA
        GPUs, float32 elsewhere. Half precision that the device lacks becomes float32, and a note
        says so.
    threads : int
        0 takes all cores this process may use.

    Raises
    ------
    InputError
        If the device or precision is unknown or not to be had here.
    """
    torch = load_torch()
    _require(device, "--device", DEVICES)
    _require(precision, "--precision", PRECISIONS)
    if threads < 0:
        raise InputError(
            "--threads", str(threads), "0 (automatic) or more", "Leave the option out."
        )
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": _has_mps()}
    chosen = ("cuda" if usable["cuda"] else "cpu") if device == "auto" else device
    if not usable[chosen]:
        raise InputError(
            "--device",
            chosen,
            ", ".join(name for name, there in usable.items() if there),
            "Use --device auto, or install a PyTorch build for that device.",
        )
    notes: tuple[str, ...] = ()
    if precision == "auto":
        precision = _best_precision(chosen)
    elif precision != "float32" and not _has(chosen, precision):
        lacking = NO_BF16 if precision == "bf16" else NO_FP16
        where = "processor" if chosen == "cpu" else "graphics processor"
        precision, notes = "float32", (lacking.format(device=where),)
    return Runtime(chosen, precision, threads or available_cores(), notes)


def available_cores() -> int:
    """Return the cores this process may run on (containers often allow fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware; emulated bf16 is slower than float32."""
    import torch

    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return bool(amx) or bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def _has(device: str, precision: str) -> bool:
    """Whether a device runs networks in half precision, ``bf16`` or ``fp16``."""
    if device == "cpu":  # few have fp16 (AVX512-FP16), and torch lacks some of a network's steps
        return precision == "bf16" and cpu_has_bf16()
    if device == "cuda":
        return precision == "fp16" or _cuda_has_bf16()
    return _mps_convolves(precision)


def _cuda_has_bf16() -> bool:
    """Whether a GPU multiplies bf16 in hardware: NVIDIA's from Ampere on, and AMD's."""
    import torch

    return torch.version.hip is not None or torch.cuda.get_device_capability()[0] >= 8


def _mps_convolves(precision: str) -> bool:
    """Whether Apple's GPU convolves volumes in this format; that came with torch and macOS."""
    import torch

    ones = {"device": "mps", "dtype": Runtime("mps", precision, 1).dtype}
    try:
        volume, kernel = (torch.ones((1, 1, 3, 3, 3), **ones) for _ in range(2))  # type: ignore[call-overload]
        return torch.nn.functional.conv3d(volume, kernel).item() == 27.0  # of 3 x 3 x 3
    except (RuntimeError, TypeError):
        return False


def _best_precision(device: str) -> str:
    if device == "cpu":
        return "bf16" if cpu_has_bf16() else "float32"
    return "fp16" if device == "cuda" else "float32"  # MPS: 3D convolutions in half came late


def _has_mps() -> bool:
    import torch

    return bool(torch.backends.mps.is_available())


def _require(value: str, argument: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise InputError(argument, repr(value), ", ".join(legal), "Choose one of these.")
