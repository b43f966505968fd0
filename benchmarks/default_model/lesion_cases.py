"""What the lesion stage learns from: scans with pseudo-labelled liver tumours, scans without any.

    python ../shared/tools/liver_lesions.py CT LABELS RUNS/liver-lesions/CASE.nii.gz --package ...
    python benchmarks/default_model/lesion_cases.py RUNS

The first line, once for each case of WITH, gives probabilities (see ../shared/tools/README.md).
Here they become lesions, 14 over the organs (`lesions`): what is likely enough, inside the liver,
completed where it plainly goes on: that network stops at its window's edges and before dense
lipiodol. RUNS/lesion-cases.json lists these and the scans of collections without abdominal tumours;
synthetic tumours are painted into both while training. `HELD_OUT` patients are in the list too, but
lesions.json names them as such: froc.py measures on them. The weights to start from are
RUNS/lesion-start.safetensors: the organ stage's, with a fresh last layer.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from teacher import NETWORK

from flare_core import Volume, atomic, read_volume
from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.case import ALL_ORGANS, Case, save_cases
from flare_core.imaging.files import read_labels, write_labels
from flare_core.imaging.geometry import Box
from flare_core.networks import build_network

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
WITH = (
    "hcc002a", "hcc005b", "hcc007b", "hcc009a", "hcc011a", "hcc013a", "hcc015a",
    "crlm1004", "hcc006", "hcc048",
)  # fmt: skip
"""Chosen by eye: what is marked is a tumour, and no large one is left out."""
WITHOUT = ("acrin001", "totalseg_ct", "lidc0314", "acrin042", "lidc0001", "ctc0518a", "ctc0518b")
HELD_OUT = ("hcc011", "hcc015", "acrin042", "lidc0001", "ctc0518")
"""Patients, never trained on."""

LARGE_ML, LARGE_WEIGHT = 50.0, 0.4
"""Scans with a tumour so large are drawn less often: where it is would soon be known by heart."""

SURE, LIKELY = 153, 102
"""Probabilities x 255 that a lesion must reach somewhere, and everywhere."""
LEAST_ML = 0.3
CLEAR_HU = 25.0
"""A lesion that differs so much from the healthy liver is completed up to half the difference."""
DENSE_HU = 60.0
"""Lipiodol is denser than the healthy liver and the aorta by this."""

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Liver:
    """A liver with its surroundings; all arrays (Z, Y, X) on one grid."""

    hu: Floats
    """Smoothed by 1.8 mm."""
    inside: Mask
    """The liver, closed over what was left out of it."""
    chance: npt.NDArray[np.integer]
    """Probability x 255 of a lesion."""
    healthy_hu: float
    """Median far from anything suspect."""
    aorta_hu: float
    """Median; vessels are no denser."""
    spacing_mm: tuple[float, float, float]
    """Voxel size z, y, x."""

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.spacing_mm)) / 1000


def liver_of(
    image: Volume, labels: npt.NDArray[np.integer], chance: npt.NDArray[np.integer]
) -> tuple[Liver, Box]:
    """Return what `lesions` looks at, and where it lies in the scan."""
    steps = image.geometry.spacing_mm
    wide = [int(20 // s) for s in steps]
    whole = Box.of_mask(labels == organ("liver").id)
    assert whole is not None
    box = Box(
        tuple(max(0, a - w) for a, w in zip(whole.start, wide, strict=True)),  # type: ignore[arg-type]
        tuple(b + w for b, w in zip(whole.stop, wide, strict=True)),  # type: ignore[arg-type]
    ).intersect(Box.of_shape(labels.shape))
    part, here, likely = (a[box.slices] for a in (image.array, labels, chance))
    liver = here == organ("liver").id
    hu = ndimage.gaussian_filter(
        np.clip(part, -150, 600).astype(np.float32), [1.8 / s for s in steps]
    )
    inside = _closed(liver, 12, steps) | liver
    suspect = ndimage.binary_dilation(likely >= 40, ball(6, steps))
    healthy = ndimage.binary_erosion(liver, ball(4, steps)) & ~suspect
    aorta = image.array[labels == organ("aorta").id]
    healthy_hu = float(np.median(hu[healthy]))
    aorta_hu = float(np.median(aorta)) if aorta.size else healthy_hu
    return Liver(hu, inside, likely, healthy_hu, aorta_hu, steps), box


def lesions(liver: Liver) -> Mask:
    """Return the believed lesions (Z, Y, X)."""
    steps = liver.spacing_mm
    dense = liver.inside & (liver.hu > max(liver.healthy_hu, liver.aorta_hu) + DENSE_HU)
    dense = ndimage.binary_opening(dense, ball(2.9, steps))
    found = _at_least(dense, 2 * LEAST_ML, liver.voxel_ml)
    pieces, count = ndimage.label(liver.inside & (liver.chance >= LIKELY), np.ones((3, 3, 3)))
    for number in range(1, count + 1):
        seed = pieces == number
        sure = liver.chance[seed].max() >= SURE
        if sure and np.count_nonzero(seed) * liver.voxel_ml >= LEAST_ML:
            found |= _completed(seed, liver)
    return found


def _completed(seed: Mask, liver: Liver) -> Mask:
    """Return a lesion without holes, and up to its edge where that can be seen."""
    steps = liver.spacing_mm
    hollow = seed & (liver.hu < liver.healthy_hu)
    grown = seed
    level = float(np.median(liver.hu[hollow])) if hollow.any() else liver.healthy_hu
    if liver.healthy_hu - level >= CLEAR_HU:
        size_mm = np.cbrt(np.count_nonzero(seed) * liver.voxel_ml * 6000 / np.pi)
        away = ndimage.distance_transform_edt(~seed, sampling=steps)
        near = liver.inside & (away < np.clip(0.6 * size_mm, 6, 30))
        low = (liver.hu < (level + liver.healthy_hu) / 2) & (liver.hu > -20)
        dense = liver.hu > liver.healthy_hu + DENSE_HU
        grown = seed | (near & (low | (dense if size_mm > 30 else False)))
        opened = ndimage.binary_opening(grown, ball(2.9 if size_mm > 20 else 2.0, steps))
        pieces, _ = ndimage.label(opened)
        touched = np.unique(pieces[seed & opened])
        grown = np.isin(pieces, touched[touched > 0])
    return _closed(grown, 4, steps) & liver.inside


def ball(radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return a ball (Z, Y, X) for the morphology."""
    reach = [int(radius_mm // s) for s in spacing_mm]
    places = np.mgrid[tuple(slice(-r, r + 1) for r in reach)]
    return sum((p * s / radius_mm) ** 2 for p, s in zip(places, spacing_mm, strict=True)) <= 1.0  # type: ignore[return-value]


def _closed(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return a mask closed by a ball, the holes of its slices filled."""
    round_it = ball(radius_mm, spacing_mm)
    wide = [(n, n) for n in round_it.shape]
    inner = tuple(slice(n, -n) for n in round_it.shape)
    closed = ndimage.binary_closing(np.pad(mask, wide), round_it)[inner]
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed])


def _at_least(mask: Mask, least_ml: float, voxel_ml: float) -> Mask:
    """Return the pieces of a mask that are large enough."""
    pieces, _ = ndimage.label(mask)
    kept = np.bincount(pieces.ravel()) * voxel_ml >= least_ml
    kept[0] = False
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
        image = DATA / "ct" / f"{name}.nii.gz"
        labels, weight = DATA / "labels" / f"{name}.nii.gz", 1.0
        if name in WITH:
            labels = write_lesions(name, runs)
            weight = LARGE_WEIGHT if lesion_ml(labels) > LARGE_ML else 1.0
        known = (*ALL_ORGANS, LESION.key)
        patient = patients[name]["patient"]
        cases.append(
            Case(name, image, labels, known, patient=patient, kind="pseudo", weight=weight)
        )
    save_cases(runs / "lesion-cases.json", cases)
    start = load_file(runs / "teacher.safetensors")
    fresh = build_network(replace(NETWORK, output_channels=2)).state_dict()
    fitting = {k: start[k] if start[k].shape == v.shape else 0.1 * v for k, v in fresh.items()}
    atomic.write_bytes(runs / "lesion-start.safetensors", save(fitting))


def lesion_ml(path: Path) -> float:
    """Return how much lesion a label map has."""
    labels = read_labels(path)
    return float(np.count_nonzero(labels.array == LESION.id) * labels.geometry.voxel_ml)


def write_lesions(name: str, runs: Path) -> Path:
    """Write a case's organ labels with its lesions over them; return where, unless it is there."""
    path = runs / "lesion-labels" / f"{name}.nii.gz"
    if path.exists():
        return path
    organs = read_labels(DATA / "labels" / f"{name}.nii.gz")
    canonical, axes = organs.canonical()
    image = read_volume(DATA / "ct" / f"{name}.nii.gz").canonical()[0]
    chance = read_volume(runs / "liver-lesions" / f"{name}.nii.gz").canonical()[0].array
    liver, box = liver_of(image, canonical.array, chance)
    found = np.zeros(canonical.array.shape, bool)
    found[box.slices] = lesions(liver)
    print(f"{name:12s} {np.count_nonzero(found) * image.geometry.voxel_ml:7.1f} mL", flush=True)
    array = np.where(axes.undo(found), np.uint8(LESION.id), organs.array)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, organs.with_array(np.ascontiguousarray(array)))
    return path


if __name__ == "__main__":
    main()
