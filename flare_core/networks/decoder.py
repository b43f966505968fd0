"""The decoder both U-Nets share: up-sample, join with the encoder's features, convolve."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from flare_core.networks.blocks import ConvStack
from flare_core.networks.slabs import Joined, can_stream, can_tell, tell

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec

Up = TypeVar("Up", bound=nn.Module)
Stage = TypeVar("Stage", bound=nn.Module)


def joined(up: nn.Module, stage: nn.Module, below: Tensor, skip: Tensor) -> Tensor:
    """Return a level's features: what comes from below goes up, beside the encoder's."""
    x = torch.cat((up(below), skip), dim=1)
    del below, skip
    return stage(x)


def decoded(
    features: list[Tensor],
    levels: Iterable[tuple[Up, Stage, nn.Module]],
    *,
    supervised: bool,
    join: Callable[[Up, Stage, Tensor, Tensor], Tensor] = joined,
) -> Tensor | list[Tensor]:
    """Go up level by level; return logits, or a list of them, finest first, if supervised.

    Where nobody learns, logits may be written over the finest level's features (`slabs.tell`).

    Parameters
    ----------
    features : list of Tensor
        The encoder's, finest first; emptied on the way, so that each is freed when it is joined.
    levels : iterable of (up, stage, head)
        Coarsest first, one for each of the features but the coarsest.
    """
    x = features.pop()
    logits: list[Tensor] = []
    for up, stage, head in levels:
        x = join(up, stage, x, features.pop())
        if not features and not supervised and can_tell(head, x):
            return tell(head, x)
        if supervised or not features:
            logits.insert(0, head(x))
    return logits if supervised else logits[0]


class Decoder(nn.Module):
    """Transposed convolutions up, coarsest stage first; logits at every stage.

    All `seg_layers` exist even when only the last one is used, because public weights hold them.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths = spec.features_per_stage
        ups, stages, heads = [], [], []
        for i, below in enumerate(range(len(widths) - 1, 0, -1)):
            here = below - 1
            stride = spec.strides[below]
            ups.append(
                nn.ConvTranspose3d(widths[below], widths[here], stride, stride, bias=spec.conv_bias)
            )
            stages.append(
                ConvStack(
                    spec.convolutions_per_stage_decoder[i],
                    (2 * widths[here], widths[here]),
                    spec.decoder_kernel_sizes[i]
                    if spec.decoder_kernel_sizes
                    else spec.kernel_sizes[here],
                    (1, 1, 1),
                    spec,
                )
            )
            heads.append(nn.Conv3d(widths[here], spec.output_channels, 1))
        self.transpconvs = nn.ModuleList(ups)
        self.stages = nn.ModuleList(stages)
        self.seg_layers = nn.ModuleList(heads)
        self.deep_supervision = spec.deep_supervision

    def forward(self, features: list[Tensor]) -> Tensor | list[Tensor]:
        """Map encoder features, finest first, to logits; a list, finest first, if supervised.

        `features` is emptied on the way: each is freed as soon as it is joined, and what was joined
        as soon as it is convolved. At the finest level that is a third of a network's memory.
        Without gradients the features themselves are overwritten (`networks.slabs`).
        """
        # the type of a ModuleList does not say what it holds
        ups = cast("Iterable[nn.ConvTranspose3d]", self.transpconvs)
        stages = cast("Iterable[ConvStack]", self.stages)
        levels = zip(ups, stages, self.seg_layers, strict=True)
        supervised = self.deep_supervision and self.training
        return decoded(features, levels, supervised=supervised, join=self._joined)

    @staticmethod
    def _joined(up: nn.ConvTranspose3d, stage: ConvStack, below: Tensor, skip: Tensor) -> Tensor:
        """Return a level's features; where nobody learns, in the memory of `skip`."""
        if can_stream(skip) and can_stream(below):
            return stage.streamed(Joined(up, up.stride[0], below, skip), into=skip)
        x = torch.cat((up(below), skip), dim=1)
        del below, skip
        for block in stage.convs:
            x = block(x)
        return x
