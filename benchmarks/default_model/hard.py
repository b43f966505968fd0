"""Last step: models on scans made hard, beside the same scans as they are.

    python benchmarks/default_model/hard.py [MODEL ...] [--cases hcc011a,lidc0001] [-o TABLE.json]

Scans of patients that no training of ours saw (`lesion_cases.HELD_OUT`). Each is segmented as it
is, and again with one thing painted in or done to it, the same for every model:

    tumours      synthetic ones of 20 mm and more in liver, kidneys, spleen and pancreas
    ascites      fat around the organs becomes fluid
    filled       stomach and duodenum hold contrast, water or gas
    excretion    the middle of the kidneys shines
    noise        40 HU more
    thick        slices of 7.5 mm and more

The truth is ../shared/data/labels, moved where tumours push; so a row says how much of what the
labels' maker finds in the scan as it is a model still finds in the hard one. `inside` is the share
of tumour voxels that the model puts into the tumour's organ or calls lesion. Without MODEL: the
default model. Rows: mean DSC over organs of 1 mL and more, then the organs that lose most.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from score import dsc_of_organs, mean

from flare_core import Settings, Volume, atomic, read_volume, segment_ct
from flare_core.anatomy.organs import LESION, ORGANS, organ
from flare_core.datasets.augment.anatomy import AnatomyPatch, change_anatomy
from flare_core.datasets.augment.settings import Augmentation
from flare_core.datasets.lesions.generate import add_lesions
from flare_core.datasets.lesions.settings import LesionSettings
from flare_core.imaging.files import read_labels

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CASES = ("hcc011a", "hcc015b", "lidc0001", "acrin042")
TUMOURS = LesionSettings(
    lesions=(3, 6),
    sizes=("medium", "large"),
    organs=("liver", "right_kidney", "left_kidney", "spleen", "pancreas"),
    decoys=(0, 0),
)
NO_CHANGE = Augmentation(
    ascites_probability=0.0, filled_probability=0.0,
    excretion_probability=0.0, removed_probability=0.0,
)  # fmt: skip
THICK_MM = 7.5
NOISE_HU, CLIPPED_HU = 40.0, -1024

Random = np.random.Generator
Row = dict[str, float]


@dataclass(frozen=True, eq=False)
class Hard:
    """A scan, its truth, and its synthetic tumours (Z, Y, X)."""

    image: Volume
    truth: Volume
    instances: npt.NDArray[np.uint16] | None = None


def _tumours(image: Volume, truth: Volume, random: Random) -> Hard:
    made = add_lesions(image.array, truth.array, image.geometry.spacing_mm, random, TUMOURS)
    return Hard(image.with_array(made.image), truth.with_array(made.labels), made.instances)


def _painted(**shares: float) -> Callable[[Volume, Volume, Random], Hard]:
    """Return what paints one change of `datasets.augment.anatomy`, surely."""

    def paint(image: Volume, truth: Volume, random: Random) -> Hard:
        scene = AnatomyPatch(
            torch.from_numpy(image.array.astype(np.float32))[None, None],
            torch.from_numpy(truth.array.astype(np.uint8))[None, None],
            image.geometry.spacing_mm,
        )
        change_anatomy(scene, replace(NO_CHANGE, **shares), random)
        array = scene.image[0, 0].numpy().round().astype(np.int16)
        return Hard(image.with_array(array), truth)

    return paint


def _noisy(image: Volume, truth: Volume, random: Random) -> Hard:
    added = random.normal(0.0, NOISE_HU, image.array.shape)
    seen = image.array >= CLIPPED_HU  # padding has no noise, and a scanner clips what has
    noisy = np.where(seen, np.maximum(image.array + added, CLIPPED_HU), image.array).round()
    return Hard(image.with_array(noisy.astype(np.int16)), truth)


def _thick(image: Volume, truth: Volume, random: Random) -> Hard:
    """Average slices over the thickness, in place: what partial volume takes away."""
    count = max(2, round(THICK_MM / image.geometry.spacing_mm[0]))
    thick = ndimage.uniform_filter1d(image.array.astype(np.float32), count, axis=0)
    return Hard(image.with_array(thick.round().astype(np.int16)), truth)


CHANGES: dict[str, Callable[[Volume, Volume, Random], Hard]] = {
    "as it is": lambda image, truth, random: Hard(image, truth),
    "tumours": _tumours,
    "ascites": _painted(ascites_probability=1.0),
    "filled": _painted(filled_probability=1.0),
    "excretion": _painted(excretion_probability=1.0),
    "noise": _noisy,
    "thick": _thick,
}


def scans(names: list[str]) -> Iterator[tuple[str, str, Hard]]:
    """Make the scans: case, change, scan; the same each time."""
    for number, name in enumerate(names):
        image = read_volume(DATA / "ct" / f"{name}.nii.gz")
        truth = read_labels(DATA / "labels" / f"{name}.nii.gz")
        for change, make in CHANGES.items():
            seed = np.random.SeedSequence((number, list(CHANGES).index(change)))
            yield name, change, make(image, truth, np.random.default_rng(seed))


def inside(found: Volume, hard: Hard) -> float:
    """Return the share of tumour voxels that are given to their organ or to lesions."""
    if hard.instances is None or not hard.instances.any():
        return float("nan")
    tumour = hard.instances > 0
    right = (found.array == hard.truth.array) | (found.array == LESION.id)
    return float(right[tumour].mean())


def _without_nan(rows: dict[str, dict[str, list[Row]]]) -> dict[str, dict[str, list[Row]]]:
    """Leave out what was not measured: JSON has no word for it."""
    return {
        model: {
            change: [{k: v for k, v in row.items() if not np.isnan(v)} for row in table]
            for change, table in changes.items()
        }
        for model, changes in rows.items()
    }


def main() -> None:
    """Segment, print a line a scan and model, then means by change and the organs that lose."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=["default"])
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--changes", default=",".join(CHANGES))
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    rows: dict[str, dict[str, list[Row]]] = {m: {} for m in arguments.models}
    for name, change, hard in scans(arguments.cases.split(",")):
        if change not in arguments.changes.split(","):
            continue
        for model in arguments.models:
            found = segment_ct(hard.image, Settings(model=model)).labels
            row = dsc_of_organs(found, hard.truth)
            row["mean"] = float(np.mean(list(row.values())))
            row["inside"] = inside(found, hard)
            rows[model].setdefault(change, []).append(row)
            print(f"{name:10s} {change:10s} {model}: {row['mean']:.3f}, {row['inside']:.2f} inside",
                  flush=True)  # fmt: skip
    for model, changes in rows.items():
        clean = mean(changes["as it is"])
        for change, table in changes.items():
            values = mean(table)
            both = [o.key for o in ORGANS if o.key in values and o.key in clean]
            losses = {key: values[key] - clean[key] for key in both}
            worst = sorted((each for each in losses if losses[each] < 0), key=losses.__getitem__)
            lost = ", ".join(f"{organ(key).name} {losses[key]:+.3f}" for key in worst[:4])
            print(f"{model} {change:10s} {values['mean']:.3f}  {values['inside']:.2f}  {lost}")
    if arguments.output:
        atomic.write_json(arguments.output, _without_nan(rows))


if __name__ == "__main__":
    main()
