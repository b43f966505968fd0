"""Step 1: the network that made the labels of ../shared/data, as weights our U-Net starts from.

    pip install onnx
    python benchmarks/default_model/teacher.py RUNS/teacher.safetensors

The labels' maker (a public FLARE25 task-2 entry, Apache-2.0, 0.36 M parameters) is a plain U-Net of
depth-wise separable convolutions, which our `plain_unet` has too (`separable`). Its depth-wise
convolutions have a bias b, ours do not: behind a point-wise one with weights p it is p b more of
that one's bias. Zero padding does not mind, because the bias is added after it, everywhere alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from flare_core import atomic
from flare_core.models.stage_card import NetworkSpec, Normalisation
from flare_core.networks import build_network

ROOT = Path(__file__).resolve().parents[2]
ONNX = ROOT.parent / "shared" / "data" / "teacher" / "flare25_organs.onnx"

CUBE = (3, 3, 3)
NETWORK = NetworkSpec(
    "plain_unet",
    output_channels=14,
    features_per_stage=(16, 32, 64, 128, 192),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2)),
    kernel_sizes=(CUBE,) * 5,
    convolutions_per_stage_encoder=(1, 1, 2, 2, 2),
    convolutions_per_stage_decoder=(1, 1, 2, 2),
    separable=True,
)
NORMALISATION = Normalisation("window", -971, 291, 83.7786, 144.8389)
SPACING_MM = (1.9736, 1.538, 1.538)
PATCH = (96, 160, 160)


def read_onnx(path: Path) -> dict[str, Tensor]:
    """Return the tensors of an ONNX file by name."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    return {
        each.name: torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in graph.initializer
    }


def ours(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights by our names."""
    found = {}
    for name, tensor in theirs.items():
        block, _, part = name.rpartition(".conv.")
        if part == "depthwise.weight":
            found[f"{block}.conv.depth.weight"] = tensor
        elif part == "pointwise.weight":
            found[f"{block}.conv.point.weight"] = tensor
        elif part == "pointwise.bias":
            mixed = theirs[f"{block}.conv.pointwise.weight"].flatten(1)  # (O, I)
            found[f"{block}.conv.point.bias"] = (
                tensor + mixed @ theirs[f"{block}.conv.depthwise.bias"]
            )
        elif not part.startswith("depthwise"):
            found[name] = tensor
    return found


def main() -> None:
    """Write the weights, after trying that they fit."""
    from safetensors.torch import save

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--onnx", type=Path, default=ONNX)
    arguments = parser.parse_args()
    weights = {name: part.contiguous() for name, part in ours(read_onnx(arguments.onnx)).items()}
    network = build_network(NETWORK)  # its coarser heads are for training alone, the file has none
    heads = {k: torch.zeros_like(v) for k, v in network.state_dict().items() if k not in weights}
    network.load_state_dict(weights | heads)
    weights |= heads
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(arguments.out, save(weights))
    print(f"{arguments.out}: {sum(part.numel() for part in weights.values()) / 1e6:.2f} M numbers")


if __name__ == "__main__":
    main()
