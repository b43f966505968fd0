"""What a step moves: weights and their mean, the learning rate, how far a phase is, time left.

A phase ends at its step limit or its time limit, whichever is nearer, and the cosine follows that
one: a slow machine takes fewer steps, but always a finished schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network
from flare_core.segment.runtime import Runtime
from flare_core.train.checkpoint import TrainingProgress
from flare_core.train.config import Phase, TrainConfig

FINAL = 0.01
"""Learning rate at the end of a phase, as a fraction of its peak."""

POWER = 0.9
"""Of the ``poly`` decay, as in nnU-Net."""


def optimiser_of(config: TrainConfig, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Return a configuration's AdamW, or the SGD that nnU-Net and most teams train with.

    The rate is set before every step.
    """
    if config.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=1e-3,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )


def phase_fraction(phase: Phase, progress: TrainingProgress) -> float:
    """Return how much of the phase is done; 1 or more at its end.

    Examples
    --------
    >>> phase = Phase((2.0, 2.0, 2.0), (32, 32, 32), steps=100, minutes=1.0)
    >>> phase_fraction(phase, TrainingProgress(step=20, seconds=45.0))
    0.75
    """
    by_clock = progress.seconds / (60 * phase.minutes) if phase.minutes else 0.0
    return max(progress.step / phase.steps, by_clock)


def run_fraction(phases: Sequence[Phase], progress: TrainingProgress) -> float:
    """Return how much of all phases is done, 0 to 1, by their steps.

    Examples
    --------
    >>> phases = [Phase((2.0, 2.0, 2.0), (32, 32, 32), steps=n) for n in (300, 100)]
    >>> [run_fraction(phases, TrainingProgress(p, step=50)) for p in (0, 1)]
    [0.125, 0.875]
    """
    before = sum(phase.steps for phase in phases[: progress.phase])
    here = phases[progress.phase]
    done = before + here.steps * min(1.0, phase_fraction(here, progress))
    return done / sum(phase.steps for phase in phases)


def learning_rate(
    phase: Phase, progress: TrainingProgress, warm_up_steps: int, decay: str = "cosine"
) -> float:
    """Return the rate of the next step: a rise, then a fall from the peak.

    `decay` is ``cosine``, which ends at `FINAL` of the peak, or ``poly``, which ends at nothing.

    Examples
    --------
    >>> phase = Phase((2.0, 2.0, 2.0), (32, 32, 32), steps=100, learning_rate=0.1)
    >>> [round(learning_rate(phase, TrainingProgress(step=n), 10), 4) for n in (0, 9, 50, 100)]
    [0.01, 0.098, 0.0505, 0.001]
    """
    warm = min(1.0, (progress.step + 1) / max(1, warm_up_steps))
    done = min(1.0, phase_fraction(phase, progress))
    if decay == "poly":
        return phase.learning_rate * warm * (1 - done) ** POWER
    return phase.learning_rate * warm * (FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * done)))


def phase_seconds_left(phase: Phase, progress: TrainingProgress) -> float | None:
    """Return the seconds until the phase ends, as fast as until now; None before its first step."""
    done = phase_fraction(phase, progress)
    return max(0.0, progress.seconds * (1 - done) / done) if done > 0 else None


def run_seconds_left(phases: Sequence[Phase], progress: TrainingProgress) -> float | None:
    """Return the seconds until the run ends, at most; None while a later phase has no time limit.

    Examples
    --------
    >>> coarse = Phase((4.0, 4.0, 4.0), (32, 32, 32), steps=100)
    >>> fine = Phase((2.0, 2.0, 2.0), (32, 32, 32), steps=100, minutes=2.0)
    >>> run_seconds_left((coarse, fine), TrainingProgress(step=25, seconds=10.0))
    150.0
    """
    here = phase_seconds_left(phases[progress.phase], progress)
    later = [60 * phase.minutes for phase in phases[progress.phase + 1 :]]
    return None if here is None or 0 in later else here + sum(later)


class RunningMean:
    """A second set of weights that follows a network's: what is validated and exported.

    An exponential moving average (Polyak and Juditsky 1992) is better and steadier than the weights
    of any one step; with batches of one patch it is worth several DSC points.

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
        self.network = build_network(spec)
        self.network.to(  # type: ignore[call-overload]  # torch's types know no memory format here
            device=runtime.device, memory_format=runtime.layout
        )

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
