"""From cases to what one training step reads: augmented, normalised patches and their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flare_core.datasets.augment import cut_patch
from flare_core.datasets.cache import Sample
from flare_core.datasets.sampling import PatchSampler
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.validation import labels_to_classes


@dataclass(frozen=True, eq=False)
class Patch:
    """One patch as the network sees it."""

    image: Tensor
    """float32 (1, 1, Z, Y, X), normalised."""
    classes: Tensor
    """uint8 (1, 1, Z, Y, X): output channel of each voxel."""
    annotated: tuple[bool, ...]
    """By output channel: whether the case annotates it. True for the background."""


class PatchSource:
    """Draws batches for one phase.

    Parameters
    ----------
    config : TrainConfig
    phase : Phase
        Gives the patch size.
    samples : sequence of Sample
        At the phase's voxel size.
    start : (int, int)
        Phase and step at which drawing begins. A run that goes on draws other patches than it drew
        before it was stopped, and a run repeated from the start draws the same.
    device : torch.device
        Where patches are made.
    """

    def __init__(
        self,
        config: TrainConfig,
        phase: Phase,
        samples: Sequence[Sample],
        start: tuple[int, int],
        device: torch.device,
    ) -> None:
        where, how = np.random.SeedSequence((config.seed, *start)).spawn(2)
        seed = int(where.generate_state(1, np.uint64)[0])
        self.sampler = PatchSampler(samples, phase.patch, centred=config.centred, seed=seed)
        self.random = np.random.default_rng(how)
        self.config, self.phase, self.device = config, phase, device
        self.classes = channels_of(config)

    def draw(self) -> list[Patch]:
        """Return the next batch."""
        return [self._patch() for _ in range(self.config.batch_size)]

    def _patch(self) -> Patch:
        draw = self.sampler.draw()
        image, ids = cut_patch(
            draw, self.phase.patch, self.config.augmentation, self.random, self.device
        )
        n = self.config.normalisation
        image = image.clamp_(n.lower_hu, n.upper_hu).sub_(n.mean).div_(n.std)
        known = {k: c for k, c in self.classes.items() if k in draw.sample.case.annotated}
        table = torch.from_numpy(labels_to_classes(np.arange(256, dtype=np.uint8), known))
        annotated = (True, *(key in known for key in self.classes))
        return Patch(image, table.to(self.device)[ids.long()], annotated)


def channels_of(config: TrainConfig) -> dict[str, int]:
    """Return organ key -> output channel."""
    return {key: channel for channel, key in enumerate(config.organs, 1)}
