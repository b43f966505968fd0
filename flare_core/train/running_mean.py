"""The running mean of the weights: what is validated and exported.

An exponential moving average (Polyak and Juditsky 1992) is better and steadier than the weights of
any one step; with batches of one patch it is worth several DSC points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network
from flare_core.segment.runtime import Runtime


class RunningMean:
    """A second set of weights that follows a network's.

    Parameters
    ----------
    spec : NetworkSpec
        Of the network that is followed.
    decay : float
        Share of the mean that stays in each step, once the run is old enough.
    runtime : Runtime
        Where training runs.
    """

    def __init__(self, spec: NetworkSpec, decay: float, runtime: Runtime) -> None:
        self.spec, self.decay, self.runtime = spec, decay, runtime
        self.network = build_network(spec).to(device=runtime.device, memory_format=runtime.layout)

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Move the mean towards `network`; faster in the first of the run's `steps`."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        for mean, now in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    def ready(self) -> nn.Module:
        """Return a copy placed to predict, in the number format of the product."""
        copy = build_network(self.spec)
        copy.load_state_dict(self.network.state_dict())
        return self.runtime.place(copy)

    def for_export(self) -> dict[str, Tensor]:
        """Return the weights as float16: half the size, and DSC does not change."""
        return {k: v.half().contiguous().cpu() for k, v in self.network.state_dict().items()}
