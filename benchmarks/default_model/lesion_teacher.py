"""Step 2: the network that marks liver tumours, as weights of the lesion stage.

    pip download --no-deps --python-version 3.6 --only-binary=:all: pyliverlesionseg==0.3
    pip install h5py
    python benchmarks/default_model/lesion_teacher.py WHEEL RUNS/lesions.safetensors

PyPI's pyliverlesionseg 0.3 (Tang and Schramm, KU Leuven; Apache-2.0; a U-Net of DeepVoxNet, Robben
et al. 2018) was trained on the liver with nothing around it, in tiles of 86 x 172 x 180 voxels
without padding. Its instance norms see how much of a tile is liver: with its tiles spread evenly it
agrees with itself by a DSC of .71, and what it finds depends on where its tiles happen to lie. Here
it is a `masked_residual_unet`: the same convolutions, the liver as a whole, and norms that take it
for `SHARE` of the tile wherever it lies. Biases before a norm mean nothing and are left away.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flare_core import atomic
from flare_core.models.stage_card import NetworkSpec, Normalisation, OrganMask
from flare_core.networks import build_network

SHARE = 0.25
"""How much of a tile the norms take the liver for, at most. Of .2, .21, .25, .3 and .4, tried on
the scans that the false lesions are counted on. With .3 dark vessels of a liver without contrast
are marked (acrin001: 9.6 mL, with .25 3.6)."""

TEMPERATURE = 8.0
"""Its logits are divided by this: -20 to 70 become probabilities that can be told apart. Where a
probability is .5 nothing changes."""

CUBE = (3, 3, 3)
NETWORK = NetworkSpec(
    "masked_residual_unet",
    output_channels=1,
    features_per_stage=(40, 80, 160, 160),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    kernel_sizes=(CUBE,) * 4,
    convolutions_per_stage_encoder=(1,) * 4,
    convolutions_per_stage_decoder=(1,) * 3,
    conv_bias=False,
    norm_epsilon=1e-14,
    foreground_share=SHARE,
)
NORMALISATION = Normalisation("window", -200, 200, -200, 400)
"""What the original makes of HU, but .5 more: what is around the liver is 0."""
MASK = OrganMask(
    ("liver",), outside_hu=-200.0, closing_mm=3.0, widening_mm=(6.0, 2.0, 2.0),
    hidden=("gallbladder",),
)  # fmt: skip
SPACING_MM = (3.0, 1.0, 1.0)
PATCH = (88, 224, 264)
"""A whole liver, of most people."""
ORIENTATION = "SAR"


def read_wheel(path: Path) -> list[np.ndarray]:
    """Return the tensors of the lesion network in the order of its layers, as Keras has them."""
    import h5py

    with zipfile.ZipFile(path) as wheel:
        name = next(n for n in wheel.namelist() if "lesion_seg" in n and n.endswith(".hdf5"))
        data = io.BytesIO(wheel.read(name))
    with h5py.File(data, "r") as file:
        model = file.get("model_weights", file)
        return [
            np.array(model[layer][tensor])
            for layer in model.attrs["layer_names"]
            for tensor in model[layer].attrs["weight_names"]
        ]


def named(tensors: list[np.ndarray], network: torch.nn.Module) -> dict[str, Tensor]:
    """Return Keras' kernels (x, y, z, in, out) and biases under the names of our network.

    The file has each block's two convolutions, then its skip's where it has one.
    """
    wanted = [name for name in network.state_dict() if name.endswith(".weight")]
    kernels, biases = tensors[::2], tensors[1::2]
    found = {
        name: torch.from_numpy(np.ascontiguousarray(kernel.transpose(4, 3, 2, 1, 0)))
        for name, kernel in zip(wanted, kernels, strict=True)
    }
    found["head.bias"] = torch.from_numpy(biases[-1])
    return found | {n: found[n] / TEMPERATURE for n in ("head.weight", "head.bias")}


def main() -> None:
    """Write the weights, after trying that they fit."""
    from safetensors.torch import save

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    network = build_network(NETWORK)
    weights = named(read_wheel(arguments.wheel), network)
    network.load_state_dict(weights)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(arguments.out, save(weights))
    print(f"{arguments.out}: {sum(part.numel() for part in weights.values()) / 1e6:.1f} M numbers")


if __name__ == "__main__":
    main()
