"""Small specs of the winners' networks, and a patch that each must be able to learn by heart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch.nn import functional

from flare_core.datasets.phantom.make import PhantomSettings, make_phantom
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network

SMALL = NetworkSpec(
    "phtrans",
    output_channels=3,
    features_per_stage=(8, 12, 16),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)),
    kernel_sizes=((3, 3, 3),) * 3,
    convolutions_per_stage_encoder=(1, 1, 2),
    convolutions_per_stage_decoder=(1, 1),
)
FLAT = replace(
    SMALL,
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    input_channels=2,
)


def parameters(spec: NetworkSpec) -> int:
    """How many numbers a network learns, counted without memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in build_network(spec).parameters())


@cache
def phantom_patch() -> tuple[torch.Tensor, torch.Tensor]:
    """Image (1, 1, 8, 16, 16) and labels (1, 8, 16, 16): background, liver, other organs.

    The same for every network: a phantom takes seconds.
    """
    case = make_phantom(PhantomSettings(seed=3, spacing_mm=(10.0, 8.0, 8.0)))
    cut = tuple(
        slice(n // 2 - k // 2, n // 2 - k // 2 + k)
        for n, k in zip(case.image.array.shape, (8, 16, 16), strict=True)
    )
    image, labels = (v.array[cut] for v in (case.image, case.labels))
    scaled = torch.from_numpy(((image.astype("float32") - 40) / 150).clip(-3, 3))
    classes = torch.from_numpy((labels > 0).astype("int64") + (labels > 1).astype("int64"))
    assert len(classes.unique()) == 3
    return scaled[None, None], classes[None]


def loss_after(spec: NetworkSpec, steps: int = 50, rate: float = 3e-3) -> tuple[float, float]:
    """Cross entropy on the patch before and after training on it alone."""
    torch.manual_seed(0)
    network = build_network(spec).train()
    image, labels = phantom_patch()
    optimiser = torch.optim.AdamW(network.parameters(), rate)
    losses = []
    for _ in range(steps):
        loss = functional.cross_entropy(network(image), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses[0], losses[-1]


def check_shapes(kind: str) -> None:
    """Logits have the image's size, also where it is no multiple of a window."""
    for spec in (replace(SMALL, kind=kind), replace(FLAT, kind=kind)):
        network = build_network(spec).eval()
        sizes = [5 * d for d in spec.divisor]
        image = torch.randn(2, spec.input_channels, *sizes)
        with torch.no_grad():
            both = network(image)
            alone = network(image[1:])
        assert both.shape == (2, spec.output_channels, *sizes)
        # images of a batch know nothing of each other
        assert torch.allclose(both[1:], alone, atol=1e-4)
