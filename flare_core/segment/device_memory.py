"""The memory of a graphics card: how much of it is free, and what to do when it runs out.

What runs out there is seldom the network: it is what lies beside it, the scores of a whole region.
They can move to the machine's own memory in the middle of a run, and the labels are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from flare_core.errors import InputError

Result = TypeVar("Result")

OWN_MEMORY = torch.device("cpu")
"""Where the processor works."""

SIGNS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""How torch and the libraries under it say that a device has no more memory."""

TOO_LITTLE = "Close other programs that use it, or choose --device cpu."
"""What a person can do."""


class Relief:
    """Does work on a device; when memory runs out there, something is given up, once."""

    def __init__(self, give_up: Callable[[], None]) -> None:
        self._give_up = give_up
        self._spent = False

    def do(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns; it is begun anew after something was given up.

        Parameters
        ----------
        work : callable
            Changes nothing before it has all the memory it needs.

        Raises
        ------
        InputError
            If memory runs out again.
        """
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                if self._spent:
                    raise _refused(error) from error
            # not inside `except`: what the failed work held there goes with its error
            self._spent = True
            self._give_up()
            release()


def or_own_memory(tensor: Tensor, work: Callable[[Tensor], Result]) -> Result:
    """Return what `work` makes of a tensor, or of a copy beside the processor for lack of memory.

    Raises
    ------
    InputError
        If memory runs out again.
    """
    held = [tensor]

    def move() -> None:
        held[0] = held[0].cpu()

    return Relief(move).do(lambda: work(held[0]))


def ran_out(error: RuntimeError) -> bool:
    """Whether an error says that a device has no more memory.

    Examples
    --------
    >>> ran_out(RuntimeError("MPS backend out of memory")), ran_out(RuntimeError("no kernel"))
    (True, False)
    """
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in SIGNS)


def release() -> None:
    """Give memory that torch keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_device_gib(where: torch.device) -> float | None:
    """Return the memory that may still be taken on a device, GiB; None where nothing tells.

    What torch keeps for later counts as free.
    """
    if where.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(where)
    kept = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
    return (free + kept) / 2**30


def _refused(error: RuntimeError) -> InputError:
    return InputError(
        "memory of the graphics card",
        f"it ran out ({str(error).splitlines()[0][:200]})",
        "enough for one tile of the network",
        TOO_LITTLE,
    )
