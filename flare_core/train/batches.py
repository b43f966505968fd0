"""From cases to what one training step reads: augmented, normalised patches and their classes.

Patch number i of a phase depends on the seed, the phase and i alone. So a run that is stopped and
goes on, or is spread over several processes, sees the patches it would have seen anyway, and they
can be made ahead of time by another thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from flare_core.anatomy.organs import LESION
from flare_core.datasets.augment.anatomy import grown
from flare_core.datasets.augment.patch import AugmentedPatch, Tumours, augmented_patch
from flare_core.datasets.augment.sampling_grid import looked_up
from flare_core.datasets.cache import Sample
from flare_core.datasets.case import Case
from flare_core.datasets.lesions.mix import LesionMix
from flare_core.datasets.sampling import PatchSampler
from flare_core.datasets.soft_map import SURE
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.processes import ALONE, Processes
from flare_core.train.validation import channel_table


@dataclass(frozen=True, eq=False)
class Patch:
    """One patch as the network sees it."""

    image: Tensor
    """float32 (1, 1, Z, Y, X), normalised."""
    classes: Tensor
    """uint8 (1, 1, Z, Y, X): output channel of each voxel."""
    annotated: tuple[bool, ...]
    """By output channel: whether the case annotates it. True for the background."""
    plain: Tensor | None = None
    """Like `image`, but its intensities were not augmented: what a teacher sees."""
    weights: Tensor | None = None
    """float32 (1, 1, Z, Y, X): how much each voxel counts; 0 is left out. None: all alike."""
    second: Tensor | None = None
    """uint8 (1, 1, Z, Y, X): second most likely channel; None without soft labels."""
    share: Tensor | None = None
    """float32 (1, 1, Z, Y, X): share of the most likely channel against the second, 0.5 to 1."""

    @property
    def unlabelled(self) -> bool:
        """Whether the case annotates nothing that the network learns."""
        return not any(self.annotated[1:])

    @property
    def fully_labelled(self) -> bool:
        """Whether the case annotates everything that the network learns."""
        return all(self.annotated[1:])


class PatchSource:
    """Draws the batches of one phase; use it in a ``with`` block, as it owns a thread.

    Parameters
    ----------
    config : TrainConfig
    phase : Phase
        Gives the patch size.
    samples : sequence of Sample
        At the phase's voxel size; unlabelled ones annotate nothing.
    start : (int, int)
        Phase and step at which drawing begins.
    device : torch.device
        Where patches are made.
    processes : Processes
        Which part of every batch is drawn here.
    """

    def __init__(
        self,
        config: TrainConfig,
        phase: Phase,
        samples: Sequence[Sample],
        start: tuple[int, int],
        device: torch.device,
        *,
        processes: Processes = ALONE,
    ) -> None:
        self.sampler = PatchSampler(
            samples,
            phase.patch,
            organs=config.organs,
            centres=config.centre_on,
            centred=config.centred if phase.centred is None else phase.centred,
            unlabelled_share=config.unlabelled_share,
            full_share=phase.full_share,
        )
        self.lesions = LesionMix(samples, phase.patch) if config.lesion_mix else None
        self.config, self.phase, self.device = config, phase, device
        self.classes, self.processes = channels_of(config), processes
        self.tumours = Tumours(config.synthetic, marked=LESION.key in self.classes)
        self.number, self.step = start
        self._waiting: deque[Future[list[Patch]]] = deque()
        self._thread = ThreadPoolExecutor(1, "patches") if config.prefetch else None

    def __enter__(self) -> PatchSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread; what it made ahead is thrown away."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def draw(self) -> list[Patch]:
        """Return this process's part of the next batch; the thread goes on with those after it."""
        if self._thread is None:
            self.step += 1
            return self.batch(self.step - 1)
        while len(self._waiting) <= self.config.prefetch:
            self._waiting.append(self._thread.submit(self.batch, self.step))
            self.step += 1
        return self._waiting.popleft().result()

    def batch(self, step: int) -> list[Patch]:
        """Return this process's part of the batch of one step."""
        size = self.config.batch_size
        return [self.patch(step * size + i) for i in self.processes.part_of(size)]

    def patch(self, index: int) -> Patch:
        """Return patch number `index` of the phase."""
        seed = np.random.SeedSequence((self.config.seed, self.number, index))
        random = np.random.default_rng(seed)
        location = self.sampler.draw(random, self._of_the_batch(index))
        if self.lesions is not None and random.random() < self.config.lesion_mix:
            location = self.lesions.paste(location, random)
        keys = location.sample.case.annotated
        tumours = self.tumours if self._adds_tumours(keys, random) else None
        settings = self.config.augmentation
        augmented = augmented_patch(
            location, self.phase.patch, settings, random, self.device, tumours=tumours
        )
        return self._patch(augmented, location.sample.case)

    def _of_the_batch(self, index: int) -> np.random.Generator | None:
        """Return chance that is the same for all patches of a batch, if they have one set."""
        if not self.config.one_set_batches:
            return None
        step = index // self.config.batch_size
        return np.random.default_rng(
            np.random.SeedSequence((self.config.seed, self.number, 0, step))
        )

    def _adds_tumours(self, keys: Sequence[str], random: np.random.Generator) -> bool:
        """Draw whether a patch gets synthetic tumours: only where real ones would be labelled."""
        share = self.config.synthetic_share
        known = LESION.key in keys or not self.tumours.marked
        return bool(share) and known and random.random() < share

    def _patch(self, augmented: AugmentedPatch, case: Case) -> Patch:
        """Normalise the image and turn organ ids into channels."""
        case = self._case_here(augmented, case)
        known = {k: c for k, c in self.classes.items() if k in case.annotated}
        table = torch.from_numpy(channel_table(known)).to(self.device)
        second, share = self._soft(augmented, table)
        classes = looked_up(table, augmented.labels)
        return Patch(
            self._normalised(augmented.image),
            classes,
            (True, *(key in known for key in self.classes)),
            self._normalised(augmented.plain),
            self._weights(augmented, case, classes),
            second,
            share,
        )

    def _case_here(self, augmented: AugmentedPatch, case: Case) -> Case:
        """Return what a case annotates in this patch.

        Of organs and lesions, a patch without a lesion of those labelled in part annotates the
        organs, as other cases without lesions do.
        """
        others = {*case.annotated} & {*self.classes} - {LESION.key}
        if LESION.key not in case.partly or not others:
            return case
        if bool((augmented.labels == LESION.id).any()):
            return case
        return replace(case, annotated=tuple(k for k in case.annotated if k != LESION.key))

    def _normalised(self, image: Tensor) -> Tensor:
        n = self.config.normalisation
        return image.clamp_(n.lower_hu, n.upper_hu).sub_(n.mean).div_(n.std)

    def _weights(self, augmented: AugmentedPatch, case: Case, classes: Tensor) -> Tensor | None:
        """Return what each voxel counts, or None if all count alike.

        A lesion lies in an organ: to a network that does not know lesions, its voxels are neither
        background nor, for sure, that organ, so they are left out. To one that does, background far
        from a labelled lesion is left out where others may be unlabelled.
        """
        weights = None
        if augmented.edited is not None and self.config.edited_weight != 1:
            weights = 1 + (self.config.edited_weight - 1) * augmented.edited.float()
        if LESION.key not in self.classes:
            lesion = augmented.labels == LESION.id
            if bool(lesion.any()):
                weights = torch.ones_like(augmented.image) if weights is None else weights
                weights = weights.masked_fill(lesion, 0.0)
        elif LESION.key in {*case.partly} & {*case.annotated}:
            near = grown(
                augmented.labels == LESION.id, self.config.partial_reach_mm, self.phase.spacing_mm
            )
            weights = torch.ones_like(augmented.image) if weights is None else weights
            weights = weights.masked_fill(~near & (classes == 0), 0.0)
        return weights

    def _soft(
        self, augmented: AugmentedPatch, table: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the second most likely channel and the first one's share."""
        if augmented.soft is None:
            return None, None
        return table[(augmented.soft >> 8).long()], (augmented.soft & 255).float() / SURE


def channels_of(config: TrainConfig) -> dict[str, int]:
    """Return organ key -> output channel."""
    return {key: channel for channel, key in enumerate(config.organs, 1)}
