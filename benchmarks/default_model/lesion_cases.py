"""What the lesion stage learns from: scans with pseudo-labelled liver tumours, scans without any.

    python ../shared/tools/liver_lesions.py CT LABELS RUNS/liver-lesions/CASE.nii.gz --package ...
    python benchmarks/default_model/lesion_cases.py RUNS

The first line, once for each case of WITH, gives probabilities (see ../shared/tools/README.md).
Here they become lesions, 14 over the organs: what reaches .6 somewhere, down to .4, at least .3 mL,
most of it inside the liver. RUNS/lesion-cases.json lists these and the scans of collections without
abdominal tumours; synthetic tumours are painted into both while training. The weights to start from
are RUNS/lesion-start.safetensors: the organ stage's, with a fresh last layer.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from teacher import NETWORK

from flare_core import atomic, read_volume
from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.case import ALL_ORGANS, Case, save_cases
from flare_core.imaging.files import read_labels, write_labels
from flare_core.networks import build_network

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
WITH = (
    "crlm1004", "hcc002a", "hcc005b", "hcc007b", "hcc009a", "hcc011a", "hcc013b", "hcc015a",
)  # fmt: skip
WITHOUT = ("acrin001", "acrin042", "totalseg_ct", "ctc0518a", "ctc0518b", "lidc0001")
SURE, LIKELY = 153, 102
"""Probabilities x 255 that a lesion must reach somewhere, and everywhere."""
LEAST_ML = 0.3
INSIDE = 0.5
"""Share of a lesion that must lie in what was labelled liver."""


def lesions(
    chance: npt.NDArray[np.integer], liver: npt.NDArray[np.bool_], voxel_ml: float
) -> npt.NDArray[np.bool_]:
    """Return the believed lesions (Z, Y, X)."""
    pieces, count = ndimage.label(chance >= LIKELY, np.ones((3, 3, 3)))
    if not count:
        return np.zeros(chance.shape, bool)
    numbers = range(1, count + 1)
    kept = np.zeros(count + 1, bool)
    kept[1:] = np.asarray(ndimage.maximum(chance, pieces, numbers)) >= SURE
    kept[1:] &= np.bincount(pieces.ravel())[1:] * voxel_ml >= LEAST_ML
    kept[1:] &= np.asarray(ndimage.mean(liver, pieces, numbers)) >= INSIDE
    return kept[pieces]


def main() -> None:
    """Write label maps, the list of cases and the weights to start from."""
    from safetensors.torch import load_file, save

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path)
    runs = parser.parse_args().runs
    patients = json.loads((DATA / "cases.json").read_text("utf-8"))
    cases = []
    for name in (*WITH, *WITHOUT):
        labels = DATA / "labels" / f"{name}.nii.gz"
        if name in WITH:
            organs = read_labels(labels)
            canonical, axes = organs.canonical()
            chance = read_volume(runs / "liver-lesions" / f"{name}.nii.gz").canonical()[0].array
            liver = canonical.array == organ("liver").id
            found = lesions(chance, liver, canonical.geometry.voxel_ml)
            print(f"{name:12s} {np.count_nonzero(found) * canonical.geometry.voxel_ml:6.1f} mL")
            array = np.where(axes.undo(found), np.uint8(LESION.id), organs.array)
            labels = runs / "lesion-labels" / f"{name}.nii.gz"
            labels.parent.mkdir(parents=True, exist_ok=True)
            write_labels(labels, organs.with_array(np.ascontiguousarray(array)))
        image = DATA / "ct" / f"{name}.nii.gz"
        known = (*ALL_ORGANS, LESION.key)
        patient = patients[name]["patient"]
        cases.append(Case(name, image, labels, known, patient=patient, kind="pseudo"))
    save_cases(runs / "lesion-cases.json", cases)
    start = load_file(runs / "teacher.safetensors")
    fresh = build_network(replace(NETWORK, output_channels=2)).state_dict()
    fitting = {k: start[k] if start[k].shape == v.shape else 0.1 * v for k, v in fresh.items()}
    atomic.write_bytes(runs / "lesion-start.safetensors", save(fitting))


if __name__ == "__main__":
    main()
