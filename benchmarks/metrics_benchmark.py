"""How long DSC and NSD of 13 organs take, beside the way the organisers' scripts do it.

    python benchmarks/metrics_benchmark.py [--labels REFERENCE.nii.gz] [--shape 200 512 512]
    python benchmarks/metrics_benchmark.py --folder REFERENCES

A phantom's labels (or a file's) are brought to the shape; the prediction is the same map, bent a
little. Of a folder every label map is taken as it is, and reading both files of a case counts on
both sides. Both ways run in this one process, one after the other, and must agree to 4 decimals.
Printed are wall and processor seconds and their ratios: compare ratios of one run, not seconds of
two.

The organisers' way, written here from its description: every organ from the whole volume, counted
anew at each question; codes by correlation with a 2 x 2 x 2 kernel; the distance of every voxel of
the box to each surface; distances sorted as Python pairs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.datasets.phantom.make import PhantomSettings, make_phantom
from flare_core.evaluate.metrics.surface import WHOLE, areas_mm2
from flare_core.evaluate.protocols import Target, edition
from flare_core.evaluate.scoring import ScoringRules, score_labels
from flare_core.imaging.files import read_labels, write_labels
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

Labels = npt.NDArray[np.uint8]
Scores = dict[str, tuple[float, float]]

KERNEL = np.array([[[128, 64], [32, 16]], [[8, 4], [2, 1]]])
"""Weights of the neighbours, x y z."""
BEND = 3.0
"""Largest shift of a slice, voxels."""


@dataclass(frozen=True)
class Timed:
    """What a way gave and took."""

    scores: Scores
    """Organ -> DSC, NSD, 4 decimals."""
    wall_s: float
    """By the clock."""
    processor_s: float
    """Of this process: what other programs do beside it does not count."""

    def plus(self, case: str, other: Timed) -> Timed:
        """Return the sum with the times of a case."""
        scores = {f"{case} {organ}": value for organ, value in other.scores.items()}
        wall_s, processor_s = self.wall_s + other.wall_s, self.processor_s + other.processor_s
        return Timed({**self.scores, **scores}, wall_s, processor_s)


def main() -> None:
    """Print the times of both ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", help="reference label map in FLARE22's values")
    parser.add_argument(
        "--shape", type=int, nargs=3, default=(200, 512, 512), metavar=("Z", "Y", "X")
    )
    parser.add_argument("--folder", type=Path, help="reference label maps in FLARE22's values")
    arguments = parser.parse_args()
    if arguments.folder:
        compare_folder(arguments.folder)
        return
    source = read_labels(arguments.labels) if arguments.labels else phantom_labels()
    truth = stretched(source, tuple(arguments.shape))
    found = bent(truth.array)
    spacing = " x ".join(f"{mm:.2f}" for mm in truth.geometry.spacing_mm)
    print(f"{' x '.join(map(str, truth.array.shape))} voxels of {spacing} mm (z y x), 13 organs")
    tell(timed(lambda: our_way(found, truth)), timed(lambda: their_way(found, truth)))


def compare_folder(folder: Path) -> None:
    """Print the times of both ways for all label maps of a folder, the files read by each."""
    ours, theirs = Timed({}, 0.0, 0.0), Timed({}, 0.0, 0.0)
    with TemporaryDirectory() as place:
        for path in sorted(folder.glob("*.nii.gz")):
            found = Path(place) / path.name
            labels = read_labels(path)
            write_labels(found, labels.with_array(bent(labels.array.astype(np.uint8))))

            def read(path: Path = path, found: Path = found) -> tuple[Labels, Volume]:
                return read_labels(found).array.astype(np.uint8, copy=False), read_labels(path)

            ours = ours.plus(path.name, timed(lambda read=read: our_way(*read())))
            theirs = theirs.plus(path.name, timed(lambda read=read: their_way(*read())))
            print(f"{path.name} {' x '.join(map(str, labels.array.shape))}", flush=True)
    tell(ours, theirs)


def tell(ours: Timed, theirs: Timed) -> None:
    """Print the times, and whether the scores are the same."""
    for name, one in (("flare_core", ours), ("organisers' way", theirs)):
        print(f"  {name:16s} {one.wall_s:8.2f} s wall {one.processor_s:8.2f} s processor")
    wall, processor = theirs.wall_s / ours.wall_s, theirs.processor_s / ours.processor_s
    print(f"  ratio            {wall:8.1f} x      {processor:8.1f} x")
    same = sum(ours.scores[key] == theirs.scores[key] for key in ours.scores)
    print(f"  the same scores  {same} of {len(ours.scores)} organs")


def phantom_labels() -> Volume:
    """Return the labels of a phantom, coarse: it is the shape that matters here."""
    return make_phantom(PhantomSettings(spacing_mm=(2.5, 1.6, 1.6))).labels


def stretched(labels: Volume, shape: tuple[int, int, int]) -> Volume:
    """Return labels over the same field of view in another number of voxels, nearest neighbour."""
    picks = [
        np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(int)
        for new, old in zip(shape, labels.array.shape, strict=True)
    ]
    array = labels.array.astype(np.uint8)[np.ix_(*picks)]
    return Volume(np.ascontiguousarray(array), labels.geometry.with_shape(shape))


def bent(labels: Labels) -> Labels:
    """Return labels with every slice shifted a little, each another way."""
    moved = np.empty_like(labels)
    for z, plane in enumerate(labels):
        steps = round(BEND * np.sin(z / 7)), round(BEND * np.cos(z / 11))
        moved[z] = np.roll(plane, steps, axis=(0, 1))
    return moved


def timed(way: Callable[[], Scores]) -> Timed:
    """Run one way once."""
    wall, processor = time.perf_counter(), time.process_time()
    scores = way()
    return Timed(scores, time.perf_counter() - wall, time.process_time() - processor)


def our_way(found: Labels, truth: Volume) -> Scores:
    """Score with flare_core."""
    rules = ScoringRules(edition("flare22"), "official", ("dsc", "nsd"))
    rows = score_labels(found, truth.array.astype(np.uint8, copy=False), truth.geometry, rules)
    return {row.target: (row.values["dsc"], row.values["nsd"]) for row in rows}


def their_way(found: Labels, truth: Volume) -> Scores:
    """Score as the scripts do; their arrays are (x, y, z), so ours are turned."""
    reference, prediction = np.asfortranarray(truth.array.T), np.asfortranarray(found.T)
    return {
        target.key: their_scores(prediction, reference, target, truth.geometry)
        for target in edition("flare22").targets
    }


def their_scores(
    prediction: Labels, reference: Labels, target: Target, geometry: Geometry
) -> tuple[float, float]:
    """Score one organ from the whole volume."""
    i = target.value
    if np.sum(reference == i) == 0 and np.sum(prediction == i) == 0:
        return 1.0, 1.0
    if np.sum(reference == i) == 0 or np.sum(prediction == i) == 0:
        return 0.0, 0.0
    part = slice(None)
    if target.labelled_slices:
        labelled = np.where(reference == i)[2]
        part = slice(int(labelled.min()), int(labelled.max()))  # the last one is lost, as there
    true, found = reference[:, :, part] == i, prediction[:, :, part] == i
    dsc = 2 * (true & found).sum() / (true.sum() + found.sum())
    if dsc < 0.2:
        return float(np.round(dsc, 4)), 0.0
    nsd = their_nsd(true, found, geometry.spacing_mm[::-1], target.tolerance_mm)
    return float(np.round(dsc, 4)), float(np.round(nsd, 4))


def their_nsd(
    true: npt.NDArray[np.bool_],
    found: npt.NDArray[np.bool_],
    spacing_mm: tuple[float, ...],
    tolerance_mm: float,
) -> float:
    """Return the NSD by distance transforms of the box around both masks (x, y, z)."""
    union = true | found
    hits = [np.flatnonzero(union.any(axis=tuple({0, 1, 2} - {a}))) for a in range(3)]
    box = tuple(slice(h[0], h[-1] + 1) for h in hits)
    codes = [
        ndimage.correlate(np.pad(m[box], (0, 1)).astype(np.uint8), KERNEL, mode="constant")
        for m in (true, found)
    ]
    borders = [(code != 0) & (code != WHOLE) for code in codes]
    far = [ndimage.distance_transform_edt(~b, sampling=spacing_mm) for b in borders]
    table = areas_mm2((spacing_mm[2], spacing_mm[1], spacing_mm[0]))
    near = total = 0.0
    for here, there in ((0, 1), (1, 0)):
        distances, areas = far[there][borders[here]], table[codes[here]][borders[here]]
        ordered = np.array(sorted(zip(distances, areas, strict=True)))
        near += ordered[ordered[:, 0] <= tolerance_mm, 1].sum()
        total += ordered[:, 1].sum()
    return near / total


if __name__ == "__main__":
    main()
