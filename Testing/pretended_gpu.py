"""A graphics card for machines without one: its tensors lie beside the processor, its memory ends.

All that a run does for a device is done: scores stay there, grids are in half precision, sums move
when memory runs out. What only a card can show (its kernels, its speed) is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flare_core.segment.runtime import Runtime


class PretendedGpu(Runtime):
    """A CUDA device, in name."""

    @property
    def where(self) -> torch.device:
        """Beside the processor."""
        return torch.device("cpu")


class Nowhere(Runtime):
    """A CUDA device whose tensors have shapes and no numbers."""

    @property
    def where(self) -> torch.device:
        """On torch's device for such."""
        return torch.device("meta")


GPU = PretendedGpu("cuda", "float32", 1)
HALF_GPU = PretendedGpu("cuda", "fp16", 1)
NOWHERE = Nowhere("cuda", "fp16", 1)


def no_memory() -> RuntimeError:
    """What torch raises on a full card."""
    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")


class Full(nn.Module):
    """A network during some of whose calls memory runs out."""

    def __init__(self, network: nn.Module, failing: Sequence[int]) -> None:
        super().__init__()
        self.network, self.failing, self.calls = network, set(failing), 0

    def forward(self, x: Tensor) -> Tensor:
        """Run the network, or fail."""
        self.calls += 1
        if self.calls - 1 in self.failing:
            raise no_memory()
        return self.network(x)
