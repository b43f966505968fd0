"""Whether a voxel near strokes changes sides: a small perceptron, one judgement a voxel.

Its weights are learned from simulated strokes over the errors of real networks and over labels made
wrong (`benchmarks/strokes_judge.py`); no organ has columns of its own, so that any organ has it.
The file's metadata names the patients: on 32 organs of others three strokes close 38 % of the
error, with the judge before it 34 % (`docs/slicer.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core.segment.stroke_features import Float, Voxels

WEIGHTS = Path(__file__).parents[1] / "resources" / "strokes" / "judge.safetensors"

PRIOR = 0.5
"""Share of the belief before any stroke in the log-odds of a change; the rest is learned."""

MOST = 5.0
"""Standard deviations at which a column is cut."""

SLOPE = 0.1
"""Of the leaky rectifier."""


@dataclass(frozen=True, eq=False)
class Judge:
    """The perceptron."""

    mean: npt.NDArray[np.float32]
    """(columns,), of the voxels that it was learned from."""
    scale: npt.NDArray[np.float32]
    """(columns,), their standard deviation."""
    layers: tuple[tuple[Float, Float], ...]
    """Weights (out, in) and bias (out,) of each."""

    def odds(self, voxels: Voxels) -> Float:
        """Return the log-odds (n,) that each voxel changes sides."""
        x = np.clip((voxels.columns - self.mean) / self.scale, -MOST, MOST)
        for weight, bias in self.layers[:-1]:
            x = x @ weight.T + bias
            x = np.maximum(x, SLOPE * x)
        weight, bias = self.layers[-1]
        return np.asarray(PRIOR * voxels.prior + (x @ weight.T + bias)[:, 0], np.float32)


@lru_cache(maxsize=1)
def default_judge() -> Judge:
    """Return the one that comes with the product."""
    return read_judge(WEIGHTS)


def read_judge(path: Path) -> Judge:
    """Return a judge from its file.

    Parameters
    ----------
    path : Path
        safetensors: ``mean``, ``scale``, and ``weight0``, ``bias0``, ... of the layers.
    """
    from safetensors.numpy import load

    found = load(path.read_bytes())
    count = sum(name.startswith("weight") for name in found)
    layers = tuple((found[f"weight{k}"], found[f"bias{k}"]) for k in range(count))
    return Judge(found["mean"], found["scale"], layers)
