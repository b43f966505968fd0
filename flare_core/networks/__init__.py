"""Networks, built from the NetworkSpec of a model card.

★ ADD A NETWORK: one file beside this one and one line in NETWORKS. Its state-dict names are part
of the package format, so choose them once. Weights that nnU-Net trained fit the U-Nets here once
`models.nnunet.shapes` has dropped the names that come twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flare_core.errors import InputError
from flare_core.networks.dual_decoder_unet import DualDecoderUNet
from flare_core.networks.fasternet_segformer import FasterNetSegFormer
from flare_core.networks.light_residual_unet import LightResidualUNet
from flare_core.networks.masked_residual_unet import MaskedResidualUNet
from flare_core.networks.metaformer_unetr import MetaFormerUNETR
from flare_core.networks.phtrans import PHTrans
from flare_core.networks.plain_unet import PlainUNet
from flare_core.networks.residual_unet import ResidualEncoderUNet
from flare_core.networks.space_to_depth import SpaceToDepthNet
from flare_core.networks.stunet import STUNet

if TYPE_CHECKING:
    from torch import nn

    from flare_core.models.stage_card import NetworkSpec

NETWORKS = {
    "plain_unet": PlainUNet,
    "residual_encoder_unet": ResidualEncoderUNet,
    "stunet": STUNet,
    "dual_decoder_unet": DualDecoderUNet,
    "phtrans": PHTrans,
    "metaformer_unetr": MetaFormerUNETR,
    "fasternet_segformer": FasterNetSegFormer,
    "light_residual_unet": LightResidualUNet,
    "masked_residual_unet": MaskedResidualUNet,
}

__all__ = ["NETWORKS", "build_network"]


def build_network(spec: NetworkSpec) -> nn.Module:
    """Return the network of a card, with fresh weights.

    Parameters
    ----------
    spec : NetworkSpec
        As the stage of a card has it.

    Returns
    -------
    nn.Module
        Maps (B, input_channels, Z, Y, X) to logits (B, output_channels, Z, Y, X), or to a list of
        them, finest first, while training with deep supervision.

    Raises
    ------
    InputError
        If the kind is unknown.
    """
    if spec.kind not in NETWORKS:
        raise InputError(
            "network kind",
            repr(spec.kind),
            ", ".join(NETWORKS),
            "Update FLARESeg, or use a model whose network is in the list.",
        )
    network = NETWORKS[spec.kind]
    if spec.space_to_depth != (1, 1, 1):
        return SpaceToDepthNet(network, spec)
    return network(spec)
