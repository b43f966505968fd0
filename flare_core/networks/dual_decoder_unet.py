"""A U-Net with one encoder and two decoders that go up differently, to disagree.

Source: team aladdin5 (FLARE22): the decoders teach each other on unlabelled scans (cross pseudo
supervision, `train.strategies.cross_pseudo`); afterwards their mean is the answer. One decoder
goes up by transposed convolutions, the other by nearest neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from flare_core.networks.blocks import initialise
from flare_core.networks.decoder import Decoder, joined
from flare_core.networks.plain_unet import PlainEncoder
from flare_core.networks.stunet import StuUp

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec


class NearestDecoder(Decoder):
    """The same decoder, up by nearest neighbours and a 1x1x1 convolution."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        widths, strides = spec.features_per_stage, spec.strides
        self.transpconvs = nn.ModuleList(
            StuUp((widths[s], widths[s - 1]), strides[s]) for s in range(len(widths) - 1, 0, -1)
        )

    _joined = staticmethod(joined)


class DualDecoderUNet(nn.Module):
    """Encoder, two decoders, the mean of their logits."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.encoder = PlainEncoder(spec)
        self.decoder = Decoder(spec)
        self.second = NearestDecoder(spec)
        initialise(list(self.modules()), spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map (B, C, Z, Y, X) to logits (B, K, Z, Y, X); a list, finest first, if supervised."""
        features = self.encoder(x)
        kept = [level.clone() for level in features]  # a decoder empties and overwrites its list
        one, other = self.decoder(features), self.second(kept)
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            return (one + other) / 2
        return [(a + b) / 2 for a, b in zip(one, other, strict=True)]
