"""Cross pseudo supervision: two decoders on one encoder label unlabelled scans for each other.

Sources: Chen et al. 2021 (CVPR), "Semi-supervised semantic segmentation with cross pseudo
supervision"; team aladdin5 (FLARE22), with two decoders instead of two networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from flare_core.errors import InputError
from flare_core.train.strategies.candidate import Candidate, Decision, refuse
from flare_core.train.strategies.second_opinion import completed, ramp
from flare_core.train.strategies.supervised import Limits, Supervised

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flare_core.train.batches import Patch
    from flare_core.train.config import TrainConfig
    from flare_core.train.training_step import TrainingStep

WITH_DECODER = ("plain_unet", "residual_encoder_unet", "dual_decoder_unet")
"""Kinds of networks whose encoder and decoder can be used apart."""


@dataclass(frozen=True)
class CrossPseudo(Supervised):
    """Learn from labels with both decoders, and from each other's arg-max where there are none."""

    weight: float = 0.5
    """Weight of what the other decoder says, in full; Chen et al. took 1.5 for natural images."""
    ramp_steps: int = 200
    """Steps in which that weight rises: at first the decoders know nothing."""
    least_probability: float = 0.9
    """Voxels of which the other decoder is less sure are left out; Chen et al. left none out (0).
    See `MeanTeacher.least_probability`."""

    uses_unlabelled: ClassVar[bool] = True
    """The decoders label them for each other."""
    LIMITS: ClassVar[Limits] = {
        "weight": (0, math.inf),
        "ramp_steps": (0, math.inf),
        "least_probability": (0, 1),
    }
    """Least and greatest legal value."""

    def select(self, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
        """Accept no predicted label: the scans are learned from without any."""
        why = "the decoders label this scan anew in every step"
        return tuple(refuse(each, why) for each in candidates)

    def check(self, config: TrainConfig) -> None:
        """Refuse a network that cannot have a second decoder.

        Raises
        ------
        InputError
            If it cannot.
        """
        kind = config.network.kind
        if kind not in WITH_DECODER:
            raise InputError(
                "strategy: kind",
                f"cross_pseudo for a network {kind}",
                f"cross_pseudo for one of {', '.join(WITH_DECODER)}",
                "Choose such a network, or mean_teacher, which any network can have.",
            )

    def networks(self, config: TrainConfig) -> dict[str, nn.Module]:
        """Return the second decoder; it starts with weights of its own, and so disagrees.

        A network that has two (`dual_decoder_unet`) needs none beside: both are exported then.
        """
        from flare_core.networks import build_network

        core = _core(build_network(config.network))
        return {} if hasattr(core, "second") else {"decoder": core.decoder}

    def patch_loss(self, patch: Patch, training: TrainingStep) -> Tensor:
        """Return the loss of both decoders."""
        one, other = self._answers(patch.image, training)
        if patch.fully_labelled:
            return (training.loss(one.levels, patch) + training.loss(other.levels, patch)) / 2
        least = self.least_probability
        cross = training.loss(one.levels, completed(patch, other.finest, least))
        cross = cross + training.loss(other.levels, completed(patch, one.finest, least))
        cross = self.weight * ramp(training.steps, self.ramp_steps) * cross / 2
        if patch.unlabelled:
            return cross
        return (training.loss(one.levels, patch) + training.loss(other.levels, patch)) / 2 + cross

    def _answers(self, image: Tensor, training: TrainingStep) -> tuple[_Answer, _Answer]:
        """Return what the student's decoder and the second one say."""
        from flare_core.networks.space_to_depth import fold, layout_of

        core, block = _core(training.student), training.config.network.space_to_depth
        with training.autocast():
            folded = fold(image, block).contiguous(memory_format=layout_of(image))
            features = core.encoder(folded)
            second = getattr(core, "second", None)
            decoders = (core.decoder, training.extra["decoder"] if second is None else second)
            raw = [decoder(list(features)) for decoder in decoders]  # a decoder empties its list
        one, other = (_Answer.of(each, block) for each in raw)
        return one, other


@dataclass(frozen=True, eq=False)
class _Answer:
    """What one decoder says of a patch."""

    levels: list[Tensor]
    """Logits at every resolution, in the order of `blocks_along_x`, finest first."""
    finest: Tensor
    """Logits (1, K, Z, Y, X) in the voxels' own order, without gradient: a label for the other."""

    @classmethod
    def of(cls, raw: Tensor | list[Tensor], block: tuple[int, int, int]) -> _Answer:
        from flare_core.networks.space_to_depth import blocks_along_x, unfold

        levels = raw if isinstance(raw, list) else [raw]
        finest = unfold(levels[0].detach(), block) if prod(block) > 1 else levels[0].detach()
        return cls([blocks_along_x(each, block) for each in levels], finest)


class _Core(Protocol):
    """What is read of a network."""

    encoder: nn.Module
    decoder: nn.Module


def _core(network: nn.Module) -> _Core:
    """Return the network with an encoder and a decoder, inside its folding if there is any."""
    from flare_core.networks.space_to_depth import SpaceToDepthNet

    core = network.network if isinstance(network, SpaceToDepthNet) else network
    return cast("_Core", core)
