"""Networks small enough to run in milliseconds, with everything that can differ between stages."""

from __future__ import annotations

from dataclasses import replace

import torch

from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import NETWORKS

KINDS = [kind for kind, made in NETWORKS.items() if made.__module__.startswith("flare_core.")]
"""Without what other tests have registered: which those are depends on the order."""

ISOTROPIC = NetworkSpec(
    "plain_unet",
    output_channels=4,
    features_per_stage=(6, 8, 10),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)),
    kernel_sizes=((3, 3, 3), (3, 3, 3), (3, 3, 3)),
    convolutions_per_stage_encoder=(2, 2, 2),
    convolutions_per_stage_decoder=(2, 2),
)

ANISOTROPIC = NetworkSpec(
    "plain_unet",
    output_channels=3,
    features_per_stage=(5, 5, 9, 7),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (1, 2, 1)),
    kernel_sizes=((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 5, 3)),
    convolutions_per_stage_encoder=(1, 2, 3, 1),
    convolutions_per_stage_decoder=(1, 3, 2),
    input_channels=2,
    norm_epsilon=1e-3,
    negative_slope=0.1,
)

SPECS = {
    "isotropic": ISOTROPIC,
    "anisotropic": ANISOTROPIC,
    "no bias": replace(ANISOTROPIC, conv_bias=False),
    "residual isotropic": replace(ISOTROPIC, kind="residual_encoder_unet"),
    "residual anisotropic": replace(ANISOTROPIC, kind="residual_encoder_unet"),
    "residual no bias": replace(ANISOTROPIC, kind="residual_encoder_unet", conv_bias=False),
    "separable": replace(ANISOTROPIC, separable=True),
    "residual separable": replace(ISOTROPIC, kind="residual_encoder_unet", separable=True),
}


def image_for(spec: NetworkSpec, blocks: tuple[int, int, int] = (3, 2, 2)) -> torch.Tensor:
    """A batch of two images that the network can halve as often as it must."""
    sizes = [n * d for n, d in zip(blocks, spec.divisor, strict=True)]
    random = torch.Generator().manual_seed(4)
    return torch.randn(2, spec.input_channels, *sizes, generator=random)


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """Give biases and norms values too, so that forgetting one of them shows."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=random))
    return network
