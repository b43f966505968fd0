"""The model's lesions: what it finds against what it invents, at every peak.

    python benchmarks/default_model/froc.py [MODEL] [--cases A,B] [-o OUT.json] [--chart OUT.svg]
    python benchmarks/default_model/froc.py --stage lesions_2 ...      kidneys, spleen, pancreas ...

Scans of ../shared/data without known tumours of the stage's organs (`SCANS`), each

    free        as it is
    synthetic   with tumours and decoys of `datasets.lesions` painted into these organs, one size
                class a scan, the same each time

The model runs on each as on any scan: its own localiser and organs, then the lesion stage on its
own organs. It never saw a synthetic lesion of these; its organ stage has learned from some of the
scans (not from make.py's `HELD_OUT`). No scan has an expert's lesions: what is found in a free scan
is called false.

A finding is a connected piece above the card's threshold, of at least its least volume, that
somewhere reaches the peak. It finds a lesion if the two overlap by more than a tenth of their
union, all pieces that touch the lesion taken together; it is false if less than a tenth of it is
lesion. The peak moves along the curve, the threshold stays; what the card adds to the findings of
its own peak, by growth and other looks, is there at every peak.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core import Volume, atomic, read_volume
from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.lesions.generate import LesionRecord, add_lesions
from flare_core.datasets.lesions.settings import PRESETS
from flare_core.imaging.files import read_labels
from flare_core.imaging.geometry import Box
from flare_core.imaging.resample import resample_labels
from flare_core.models.package import load_package
from flare_core.models.stage_card import StageCard
from flare_core.report.charts.plane import ChartLine, line_chart
from flare_core.segment.cascade import (
    Plan,
    Stages,
    lesion_region,
    load_stages,
    part_of_hosts,
    run_cascade,
)
from flare_core.segment.contrast_look import contrast_scores
from flare_core.segment.lesion_edges import OrganHu, grown_scores
from flare_core.segment.lesion_scores import unsure
from flare_core.segment.lesions import without_holes
from flare_core.segment.postprocess import ALL_NEIGHBOURS
from flare_core.segment.runtime import choose_runtime
from flare_core.segment.second_look import bright_scores
from flare_core.segment.stage import LoadedStage, SeenOrgans, run_stage

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SCANS = {
    "lesions": ("acrin001", "acrin042", "ctc0518a", "lidc0001", "totalseg_ct", "cptac249"),
    "lesions_2": ("hcc011a", "hcc015b", "lidc0001", "acrin042", "ctc0518b", "cptac189"),
}
"""Stage -> scans. Of the liver those with most of it, two with contrast; the last is of a patient
with pancreatic cancer. Of other organs those of patients that the stage never saw; the last has a
tumour of the pancreas."""
BEYOND_MM = 50.0
"""What is left of a scan above and below the organs."""
SIZES = ("tiny", "small", "medium", "large")
BINS_MM = {"< 10 mm": 0.0, "10-20 mm": 10.0, "20-50 mm": 20.0, "> 50 mm": 50.0}
"""Least diameter (of the ball of equal volume)."""
MEASURED = ">= 10 mm"
ALIKE_HU = 15.0
"""Lesions that differ less than this from the organ around are as bright as it."""

PEAKS = (0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995)
LEAST_ML = (0.0, 0.3, 0.5, 1.0)
OVERLAP = 0.1

Row = dict[str, float]


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan and its truth (Z, Y, X), canonical axes."""

    kind: str
    """``synthetic`` or ``free``."""
    name: str
    """Case, and size class of a synthetic one."""
    image: Volume
    """HU."""
    organs: Volume
    """Organ ids of the scan as it is."""
    instances: Volume
    """Lesion numbers from 1."""
    records: tuple[LesionRecord, ...] = ()
    """The lesions, by their numbers."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that is above the threshold in one scan, and its lesions."""

    kind: str
    """Of the scan."""
    name: str
    """Of the scan."""
    piece_ml: npt.NDArray[np.float64]
    """Volume of each piece (P,), mL."""
    peaks: npt.NDArray[np.float64]
    """Highest probability in each piece (P,); 1 where another look found it."""
    lesion_ml: npt.NDArray[np.float64]
    """Volume of each lesion (L,), mL."""
    contrasts: npt.NDArray[np.float64]
    """Mean HU of each lesion less its organ's (L,)."""
    hosts: tuple[str, ...]
    """Organ of each lesion."""
    shared_ml: npt.NDArray[np.float64]
    """What pieces and lesions share (P, L), mL."""


def hosts_of(card: StageCard) -> tuple[str, ...]:
    """Return the organs whose lesions a stage finds."""
    return card.hosts if card.mask is None else card.mask.organs


def scans(names: Iterable[str], hosts: tuple[str, ...]) -> Iterator[Scan]:
    """Make the scans, one after another; the same for each name wherever it stands."""
    for name in names:
        image, labels = _around(name, hosts)
        nothing = labels.with_array(np.zeros(labels.array.shape, np.uint16))
        yield Scan("free", name, image, labels, nothing)
        for size in SIZES:
            random = np.random.default_rng([*name.encode(), SIZES.index(size)])
            wanted = replace(PRESETS[size], organs=hosts)
            steps = image.geometry.spacing_mm
            made = add_lesions(image.array, labels.array, steps, random, wanted)
            yield Scan(
                "synthetic",
                f"{name} {size}",
                image.with_array(made.image),
                labels,
                labels.with_array(made.instances),
                made.records,
            )


def _around(name: str, hosts: tuple[str, ...]) -> tuple[Volume, Volume]:
    """Return the slices of a scan around these organs, and their labels, canonical axes."""
    image = read_volume(DATA / "ct" / f"{name}.nii.gz").canonical()[0]
    labels = read_labels(DATA / "labels" / f"{name}.nii.gz").canonical()[0]
    seen = Box.of_mask(np.isin(labels.array, [organ(key).id for key in hosts]))
    assert seen is not None, f"{name} shows none of {hosts}"
    reach = round(BEYOND_MM / image.geometry.spacing_mm[0])
    _, height, width = image.geometry.shape
    box = Box((seen.start[0] - reach, 0, 0), (seen.stop[0] + reach, height, width))
    box = box.intersect(Box.of_shape(image.geometry.shape))
    place = image.geometry.crop(box)
    cut = [np.ascontiguousarray(v.array[box.slices]) for v in (image, labels)]
    return Volume(cut[0], place), Volume(cut[1], place)


def outcome(scan: Scan, stages: Stages, stage: LoadedStage) -> Outcome:
    """Run the model on a scan and compare what is above the threshold with the truth."""
    card = stage.card
    first = replace(stages, lesions=None, further_lesions=())
    organs = run_cascade(scan.image, first, Plan(), lambda step, share: None).organs
    region = lesion_region(organs, card, Plan())
    if region is None:  # none of its organs was found
        return compared(scan, organs.with_array(np.zeros(organs.array.shape)), organs, card)
    scores = run_stage(stage, scan.image, region, organs=organs)
    channel = next(c for c, key in card.organ_channels if key == LESION.key)
    chance = scores.probabilities()[channel].cpu().numpy()
    whole = with_more(chance, stage, scores.seen)
    above = Volume(whole > card.threshold, scores.geometry)
    counted = part_of_hosts(above, resample_labels(organs, scores.geometry), card.hosts)
    whole = np.where(counted.array, whole, np.minimum(whole, card.threshold))
    return compared(scan, Volume(whole, scores.geometry), organs, card)


def with_more(
    chance: npt.NDArray[np.float32], stage: LoadedStage, seen: SeenOrgans | None
) -> npt.NDArray[np.float32]:
    """Return probabilities (Z, Y, X) with what the card adds to the findings of its own peak.

    What a finding grows by is just above the threshold, what another look finds has 1.
    """
    card = stage.card
    if seen is None:
        return chance
    first = (chance > card.threshold) & ~unsure(chance, card.threshold, card.peak)
    organs = OrganHu(seen, card)
    grown = grown_scores(organs, first)
    bright = bright_scores(stage, organs, first) if card.second_look is not None else None
    large = contrast_scores(stage, organs, first) if card.contrast_look is not None else None
    for scores, value in ((grown, card.threshold + 1e-3), (bright, 1.0), (large, 1.0)):
        if scores is not None:
            above = scores.sigmoid().numpy() > card.threshold
            chance = np.where(above, np.maximum(chance, np.float32(value)), chance)
    return chance


def compared(scan: Scan, probability: Volume, organs: Volume, card: StageCard) -> Outcome:
    """Return pieces and lesions of one scan; the lesions' volumes are those on the scan's grid.

    Parameters
    ----------
    probability : Volume (Z, Y, X)
        Of a lesion, on the stage's own grid.
    organs : Volume
        Organ ids on the scan's grid.
    """
    chance, grid = probability.array, probability.geometry
    above = probability.with_array(chance > card.threshold)
    whole = without_holes(above, resample_labels(organs, grid))
    pieces, count = ndimage.label(whole.array, ALL_NEIGHBOURS)
    truth = resample_labels(scan.instances, grid).array.astype(np.int64)
    lesions = len(scan.records)
    pairs = np.bincount(
        (pieces * (lesions + 1) + truth).ravel(), minlength=(count + 1) * (lesions + 1)
    ).reshape(count + 1, lesions + 1)
    peaks = ndimage.maximum(chance, pieces, range(1, count + 1)) if count else []
    own_ml = scan.instances.geometry.voxel_ml
    voxels = np.bincount(scan.instances.array.ravel(), minlength=lesions + 1)[1:]
    return Outcome(
        scan.kind,
        scan.name,
        pairs[1:].sum(axis=1) * grid.voxel_ml,
        np.asarray(peaks, np.float64),
        np.asarray(voxels * own_ml, np.float64),
        np.array([each.hu - each.organ_hu for each in scan.records]),
        tuple(each.organ for each in scan.records),
        pairs[1:, 1:] * grid.voxel_ml,
    )


def kept(one: Outcome, peak: float, least_ml: float) -> npt.NDArray[np.bool_]:
    """Return which pieces (P,) are findings."""
    return (one.peaks >= peak) & (one.piece_ml >= least_ml)


def hits(one: Outcome, findings: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which lesions (L,) are found."""
    touching = (one.shared_ml > 0) & findings[:, None]
    both = (one.shared_ml * touching).sum(axis=0)
    union = (one.piece_ml[:, None] * touching).sum(axis=0) + one.lesion_ml - both
    return np.asarray(both > OVERLAP * union)


def false_count(one: Outcome, findings: npt.NDArray[np.bool_]) -> int:
    """Return how many findings are no lesion."""
    share = one.shared_ml.sum(axis=1) / one.piece_ml
    return int(np.count_nonzero(findings & (share < OVERLAP)))


def dsc(one: Outcome, findings: npt.NDArray[np.bool_]) -> float:
    """Return the DSC of findings and lesions."""
    total = one.piece_ml[findings].sum() + one.lesion_ml.sum()
    return float(2 * one.shared_ml[findings].sum() / total)


def size_class(volume_ml: float) -> str:
    """Return the size class of a lesion."""
    diameter = np.cbrt(volume_ml * 6000 / np.pi)
    return [name for name, least in BINS_MM.items() if diameter >= least][-1]


def groups_of(volume_ml: float, contrast_hu: float, host: str) -> list[str]:
    """Return what a lesion counts for: its size; of those that RECIST measures look and organ."""
    size = size_class(volume_ml)
    if size == "< 10 mm":
        return [size]
    look = "darker" if contrast_hu < 0 else "brighter"
    look = look if abs(contrast_hu) >= ALIKE_HU else "alike"
    kind = host.removeprefix("right_").removeprefix("left_")
    return [size, MEASURED, f"{MEASURED}, {look}", f"{MEASURED}, {kind}"]


def row_of(outcomes: Iterable[Outcome], peak: float, least_ml: float) -> Row:
    """Return sensitivity by group, false findings a scan, mean DSC."""
    found: dict[str, list[bool]] = {}
    false: dict[str, list[int]] = {"free": [], "synthetic": []}
    agreement = []
    for one in outcomes:
        findings = kept(one, peak, least_ml)
        false[one.kind].append(false_count(one, findings))
        lesions = zip(one.lesion_ml, one.contrasts, one.hosts, hits(one, findings), strict=True)
        for *lesion, hit in lesions:
            for group in groups_of(*lesion):
                found.setdefault(group, []).append(bool(hit))
        if len(one.lesion_ml):
            agreement.append(dsc(one, findings))
    row = {"peak": peak, "least_ml": least_ml}
    row |= {name: float(np.mean(values)) for name, values in sorted(found.items())}
    row |= {f"false, {kind}": float(np.mean(values)) for kind, values in false.items() if values}
    return row | {"DSC": float(np.mean(agreement))}


def counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return how many lesions of each group there are."""
    groups = [
        group
        for one in outcomes
        for lesion in zip(one.lesion_ml, one.contrasts, one.hosts, strict=True)
        for group in groups_of(*lesion)
    ]
    return dict(sorted(Counter(groups).items()))


def show(outcomes: list[Outcome], card: StageCard) -> list[Row]:
    """Print and return the rows: all peaks with the card's least volume, then other volumes."""
    rows = [row_of(outcomes, peak, card.least_ml) for peak in PEAKS]
    rows += [row_of(outcomes, card.peak, ml) for ml in LEAST_ML]
    for key in rows[0]:
        print(f"{key:28s}", " ".join(f"{row[key]:5.3g}" for row in rows))
    return rows


def curve(rows: Iterable[Row]) -> str:
    """Return the curves as SVG: sensitivity by size over false findings a scan with lesions."""
    table = list(rows)
    lines = [
        ChartLine(size, [(row["false, synthetic"], row[size]) for row in reversed(table)])
        for size in BINS_MM
        if size in table[0]
    ]
    axes = ("false findings a scan", "sensitivity")
    return line_chart("Sensitivity over false findings a scan", lines, least=0.0, axes=axes)


def main() -> None:
    """Print the scans at the card's peak, then the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--stage", default="lesions", choices=sorted(SCANS))
    parser.add_argument("--cases", default="", help="names, separated by commas")
    parser.add_argument("-o", "--out", type=Path, help="JSON file for the table")
    parser.add_argument("--chart", type=Path, help="SVG file for the curves")
    arguments = parser.parse_args()
    stages = load_stages(load_package(arguments.model), choose_runtime())
    there = {each.card.name: each for each in stages.lesion_stages}
    assert arguments.stage in there, f"the model has no stage {arguments.stage}"
    stage = there[arguments.stage]
    card, outcomes = stage.card, []
    names = arguments.cases.split(",") if arguments.cases else SCANS[arguments.stage]
    for scan in scans(names, hosts_of(card)):
        one = outcome(scan, stages, stage)
        outcomes.append(one)
        findings = kept(one, card.peak, card.least_ml)
        found = f"found {hits(one, findings).sum()} of {len(one.lesion_ml)}"
        print(f"{scan.kind:9s} {scan.name:18s} {found}, false {false_count(one, findings)}",
              flush=True)  # fmt: skip
    table = counts(outcomes)
    print("lesions:", ", ".join(f"{key}: {n}" for key, n in table.items()))
    rows = show(outcomes, card)
    if arguments.out:
        value = {"model": arguments.model, "lesions": table, "rows": rows}
        atomic.write_json(arguments.out, value)
    if arguments.chart:
        atomic.write_text(arguments.chart, curve(rows[: len(PEAKS)]))


if __name__ == "__main__":
    main()
