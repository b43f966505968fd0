"""The lesion stage on the liver: what it finds against what it invents, at every peak.

    python benchmarks/default_model/froc.py [MODEL] [-o TABLE.json]

Two kinds of scan of ../shared/data:

    free        scans of collections without abdominal tumours
    synthetic   the same with tumours and decoys of `datasets.lesions` in the liver, one size class
                a scan, the same each time

Only the lesion stage runs, on the liver of ../shared/data/labels (a painted tumour is part of it).
A finding is a connected piece above the card's threshold, of at least its least volume, that
somewhere reaches the peak. It finds a lesion if the two overlap by more than a tenth of their
union, all pieces that touch the lesion taken together; it is false if less than a tenth of it is
lesion. The peak proposed is the lowest with at most FALSE_WITH false findings a scan with lesions,
FALSE_FREE a scan without.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core import Volume, atomic, read_volume
from flare_core.anatomy.organs import LESION
from flare_core.datasets.lesions.generate import add_lesions
from flare_core.datasets.lesions.settings import LesionSettings
from flare_core.imaging.files import read_labels
from flare_core.imaging.geometry import Box
from flare_core.imaging.resample import resample_labels
from flare_core.models.package import load_package
from flare_core.models.stage_card import StageCard
from flare_core.segment.cascade import Plan, lesion_region, unsure
from flare_core.segment.postprocess import ALL_NEIGHBOURS
from flare_core.segment.runtime import choose_runtime
from flare_core.segment.stage import LoadedStage, load_stage, run_stage

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FREE = ("acrin001", "acrin042", "ctc0518a", "lidc0001", "totalseg_ct")
"""Those with most of the liver."""
LIVER = LesionSettings(organs=("liver",), lesions=(2, 5), least_contrast_hu=30)
SIZES = ("tiny", "small", "medium", "large")
BINS_MM = {"< 10 mm": 0.0, "10-20 mm": 10.0, "20-50 mm": 20.0, "> 50 mm": 50.0}
"""Least diameter (of the ball of equal volume)."""

PEAKS = (0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)
MARGIN_MM = 20.0
OVERLAP = 0.1
FALSE_WITH, FALSE_FREE = 1.0, 0.5

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan around its organs, and its truth on the same grid (Z, Y, X)."""

    kind: str
    """``synthetic`` or ``free``."""
    name: str
    """Case, and size class of a synthetic one."""
    image: Volume
    """HU."""
    organs: Volume
    """Ids; what a lesion covers is its organ."""
    instances: Volume
    """Lesion numbers from 1."""


@dataclass
class Tally:
    """What one peak gives, over scans."""

    lesions: dict[str, list[bool]] = field(default_factory=dict)
    """Kind and size -> whether each lesion was found."""
    false: dict[str, list[int]] = field(default_factory=dict)
    """Kind -> false findings of each scan."""
    dsc: dict[str, list[float]] = field(default_factory=dict)
    """Kind -> DSC of each scan with lesions."""


def scans() -> Iterator[Scan]:
    """Make the scans, one after another."""
    for number, name in enumerate(FREE):
        image, labels = _cut(name)
        nothing = labels.with_array(np.zeros(labels.array.shape, np.uint16))
        yield Scan("free", name, image, labels, nothing)
        for size in SIZES:
            random = np.random.default_rng((number, SIZES.index(size)))
            wanted = replace(LIVER, sizes=(size,))
            steps = image.geometry.spacing_mm
            made = add_lesions(image.array, labels.array, steps, random, wanted)
            yield Scan(
                "synthetic",
                f"{name} {size}",
                image.with_array(made.image),
                labels,
                labels.with_array(made.instances),
            )


def _cut(name: str) -> tuple[Volume, Volume]:
    """Return image and labels around the organs, canonical axes."""
    image = read_volume(DATA / "ct" / f"{name}.nii.gz").canonical()[0]
    labels = read_labels(DATA / "labels" / f"{name}.nii.gz").canonical()[0]
    box = Box.of_mask(labels.array)
    assert box is not None
    reach = [round(MARGIN_MM / step) for step in image.geometry.spacing_mm]
    start = [a - r for a, r in zip(box.start, reach, strict=True)]
    stop = [b + r for b, r in zip(box.stop, reach, strict=True)]
    wide = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    wide = wide.intersect(Box.of_shape(image.geometry.shape))
    place = image.geometry.crop(wide)
    cut = [np.ascontiguousarray(v.array[wide.slices]) for v in (image, labels)]
    return Volume(cut[0], place), Volume(cut[1], place)


def judge(scan: Scan, stage: LoadedStage, tallies: dict[float, Tally]) -> str:
    """Add a scan to the tallies; return a line about it at the card's peak."""
    card = stage.card
    region = lesion_region(scan.organs, card, Plan())
    assert region is not None
    scores = run_stage(stage, scan.image, region, organs=scan.organs)
    channel = next(c for c, key in card.organ_channels if key == LESION.key)
    chance = scores.probabilities()[channel].numpy()
    grid = scores.geometry
    truth = resample_labels(scan.instances, grid).array
    line = ""
    for peak, tally in tallies.items():
        pieces, count = findings(chance, peak, card, grid.voxel_ml)
        hits = {n: found(truth == n, pieces) for n in np.unique(truth) if n}
        for n, hit in hits.items():
            size = _size(np.count_nonzero(truth == n) * grid.voxel_ml)
            tally.lesions.setdefault(f"{scan.kind} {size}", []).append(hit)
        share = ndimage.mean(truth > 0, pieces, range(1, count + 1)) if count else np.zeros(0)
        false = int(np.count_nonzero(np.asarray(share) < OVERLAP))
        tally.false.setdefault(scan.kind, []).append(false)
        both = np.count_nonzero((pieces > 0) & (truth > 0))
        total = np.count_nonzero(pieces) + np.count_nonzero(truth)
        if hits:
            tally.dsc.setdefault(scan.kind, []).append(2 * both / total)
        if peak == nearest(card.peak):
            line = (
                f"{scan.kind:9s} {scan.name:16s} found {sum(hits.values())} of {len(hits)}, "
                f"false {false}, DSC {2 * both / total if hits else float('nan'):.2f}"
            )
    return line


def nearest(peak: float) -> float:
    """Return the one of `PEAKS` that is nearest to a card's."""
    return min(PEAKS, key=lambda each: abs(each - peak))


def findings(
    chance: npt.NDArray[np.float32], peak: float, card: StageCard, voxel_ml: float
) -> tuple[npt.NDArray[np.int32], int]:
    """Return numbered pieces (Z, Y, X), and how many: large and sure enough."""
    above = chance > card.threshold
    pieces, count = ndimage.label(above & ~unsure(chance, card.threshold, peak), ALL_NEIGHBOURS)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * voxel_ml
    kept = sizes >= card.least_ml
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return numbers[pieces], int(kept.sum())


def found(lesion: Mask, pieces: npt.NDArray[np.int32]) -> bool:
    """Tell whether the pieces that touch a lesion overlap it enough."""
    touching = np.unique(pieces[lesion])
    seen = np.isin(pieces, touching[touching > 0])
    both = np.count_nonzero(seen & lesion)
    return bool(both > OVERLAP * np.count_nonzero(seen | lesion))


def _size(volume_ml: float) -> str:
    """Return the size class of a lesion."""
    diameter = np.cbrt(volume_ml * 6000 / np.pi)
    return [name for name, least in BINS_MM.items() if diameter >= least][-1]


def table(tallies: dict[float, Tally]) -> list[dict[str, float]]:
    """Return one row a peak: sensitivities, false findings a scan, DSC."""
    rows = []
    for peak, tally in tallies.items():
        row = {"peak": peak}
        row |= {key: float(np.mean(hits)) for key, hits in sorted(tally.lesions.items())}
        row |= {f"false, {kind}": float(np.mean(n)) for kind, n in tally.false.items()}
        row |= {f"DSC, {kind}": float(np.mean(values)) for kind, values in tally.dsc.items()}
        rows.append(row)
    return rows


def chosen(rows: list[dict[str, float]]) -> float:
    """Return the lowest peak with few enough false findings; the highest if there is none."""
    for row in rows:
        if row["false, synthetic"] <= FALSE_WITH and row["false, free"] <= FALSE_FREE:
            return row["peak"]
    return rows[-1]["peak"]


def main() -> None:
    """Print the scans at the card's peak, the table, and the peak it proposes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("-o", "--out", type=Path, help="JSON file for the table")
    arguments = parser.parse_args()
    stage = load_stage(load_package(arguments.model), "lesions", choose_runtime())
    assert stage is not None, "the model has no lesion stage"
    tallies = {peak: Tally() for peak in PEAKS}
    for scan in scans():
        print(judge(scan, stage, tallies), flush=True)
    rows = table(tallies)
    counts = {key: len(hits) for key, hits in tallies[PEAKS[0]].lesions.items()}
    print("lesions:", ", ".join(f"{key}: {n}" for key, n in sorted(counts.items())))
    for key in rows[0]:
        print(f"{key:20s}", " ".join(f"{row[key]:5.2f}" for row in rows))
    best = chosen(rows)
    print("proposed peak:", best)
    if arguments.out:
        value = {"model": arguments.model, "lesions": counts, "rows": rows, "peak": best}
        atomic.write_json(arguments.out, value)


if __name__ == "__main__":
    main()
