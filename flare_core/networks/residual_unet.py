"""U-Net with a residual encoder (nnU-Net's ResidualEncoderUNet).

Source: He et al. 2016; Isensee et al., nnU-Net Revisited, MICCAI 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from flare_core.networks.blocks import ONE, ConvStack, ResidualStack, initialise
from flare_core.networks.decoder import Decoder

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec


class ResidualEncoder(nn.Module):
    """A stem convolution, then stages of residual blocks, each entered with a stride."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths = (spec.features_per_stage[0], *spec.features_per_stage)
        self.stem = ConvStack(1, (spec.input_channels, widths[0]), spec.kernel_sizes[0], ONE, spec)
        self.stages = nn.Sequential(
            *(
                ResidualStack(
                    spec.convolutions_per_stage_encoder[s],
                    (widths[s], widths[s + 1]),
                    spec.kernel_sizes[s],
                    spec.strides[s],
                    spec,
                )
                for s in range(len(spec.features_per_stage))
            )
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of every stage, finest first."""
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class ResidualEncoderUNet(nn.Module):
    """Residual encoder, plain decoder, logits."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.encoder = ResidualEncoder(spec)
        self.decoder = Decoder(spec)
        initialise(list(self.modules()), spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map (B, C, Z, Y, X) to logits (B, K, Z, Y, X); a list, finest first, if supervised."""
        return self.decoder(self.encoder(x))
