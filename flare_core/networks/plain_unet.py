"""U-Net with plain convolution stacks (nnU-Net's PlainConvUNet).

Source: Ronneberger et al. 2015; Isensee et al., Nature Methods 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from flare_core.networks.blocks import ConvStack, initialise
from flare_core.networks.decoder import Decoder

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec


class PlainEncoder(nn.Module):
    """Stages of convolutions, each entered with a stride."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths = (spec.input_channels, *spec.features_per_stage)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    ConvStack(
                        spec.convolutions_per_stage_encoder[s],
                        (widths[s], widths[s + 1]),
                        spec.kernel_sizes[s],
                        spec.strides[s],
                        spec,
                    )
                )
                for s in range(len(spec.features_per_stage))
            )
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of every stage, finest first."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class PlainUNet(nn.Module):
    """Encoder, decoder, logits."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.encoder = PlainEncoder(spec)
        self.decoder = Decoder(spec)
        initialise(list(self.modules()), spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map (B, C, Z, Y, X) to logits (B, K, Z, Y, X); a list, finest first, if supervised."""
        return self.decoder(self.encoder(x))
