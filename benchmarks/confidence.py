"""Does a result's confidence follow the truth?

Every scan is made worse in several ways (noise, thick slices, a short field of view, another
contrast phase, rare anatomy), segmented at the stage's own voxel size, and compared with the labels
of the clean scan. Printed are, for each organ, the rank correlation of the confidence with the true
DSC, the mean error, how many of the wrong results are marked, and the table `TRUST` that
`flare_core.segment.confidence` holds, fitted on the same rows; the error given is that of patients
the fit has not seen.

    python benchmarks/confidence.py SCANS ROWS [--model default] [--kinds noise,thick] [--step 0.75]

SCANS has ct/ and labels/ and may have cases.json with each scan's patient. ROWS is a folder that
keeps one file a run; runs that are there are not done again. A scan takes about 10 s on two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage, stats

from flare_core import atomic
from flare_core.anatomy.organs import ORGANS, organ
from flare_core.datasets.augment.anatomy import AnatomyPatch, change_anatomy
from flare_core.datasets.augment.settings import Augmentation
from flare_core.datasets.case import cases_of_folder
from flare_core.errors import NothingFound
from flare_core.evaluate.metrics.dsc import dice
from flare_core.imaging.files import read_labels, read_volume
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.resample import resample_labels
from flare_core.imaging.volume import Volume
from flare_core.models.package import load_package
from flare_core.segment.cascade import Plan, Stages, load_stages, organ_region, run_organs
from flare_core.segment.confidence import LOW, MOST, evidence_of
from flare_core.segment.postprocess import clean_up
from flare_core.segment.runtime import choose_runtime

Random = np.random.Generator
Floats = npt.NDArray[np.float64]

WRONG = 0.7
"""A DSC below this is a wrong result."""


@dataclass(frozen=True)
class Scan:
    """A CT and its organs, canonical axes, on one grid."""

    image: Volume
    """HU, int16."""
    labels: Volume
    """Organ ids."""


def clean(scan: Scan, random: Random) -> Scan:
    """Leave a scan as it is."""
    return scan


def noise(scan: Scan, random: Random) -> Scan:
    """Add noise of 20 to 90 HU, as smooth in plane as a scanner's."""
    grain = random.normal(0, 1, scan.image.array.shape).astype(np.float32)
    grain = ndimage.gaussian_filter(grain, (0, 0.8, 0.8))
    grain *= random.uniform(20, 90) / grain.std()
    return replace(scan, image=_whole_hu(scan.image, scan.image.array + grain))


def crop(scan: Scan, random: Random) -> Scan:
    """Keep 35 to 60 % of the slices."""
    z, y, x = scan.image.geometry.shape
    count = max(1, int(z * random.uniform(0.35, 0.6)))
    start = int(random.integers(0, z - count + 1))
    box = Box((start, 0, 0), (start + count, y, x))
    return Scan(scan.image.crop(box), scan.labels.crop(box))


def thick(scan: Scan, random: Random) -> Scan:
    """Average slices to 9 to 16 mm."""
    grid = scan.image.geometry
    times = max(2, round(random.uniform(9, 16) / grid.spacing_mm[0]))
    count = grid.shape[0] // times
    slabs = scan.image.array[: count * times].reshape(count, times, *grid.shape[1:])
    x, y, z = (float(mm) for mm in grid.voxel_to_lps([(times - 1) / 2, 0, 0]))
    spacing = (grid.spacing_mm[0] * times, *grid.spacing_mm[1:])
    coarse = Geometry((count, *grid.shape[1:]), spacing, (x, y, z), grid.direction)
    mean = slabs.mean(axis=1, dtype=np.float32)
    image = _whole_hu(Volume(mean.astype(np.int16), coarse), mean)
    return Scan(image, resample_labels(scan.labels, coarse))


def contrast(scan: Scan, random: Random) -> Scan:
    """Shift each organ's HU, and all soft tissue's contrast, as another phase does."""
    hu = scan.image.array.astype(np.float32)
    for target in ORGANS:
        hu[scan.labels.array == target.id] += random.normal(0, 45)
    soft = (hu > -150) & (hu < 250)
    hu[soft] = 40 + (hu[soft] - 40) * np.exp(random.normal(-0.3, 0.4)) + random.normal(0, 25)
    return replace(scan, image=_whole_hu(scan.image, hu))


RARE = Augmentation(
    ascites_probability=0.5, filled_probability=0.7, excretion_probability=0.5,
    removed_probability=0.5,
)  # fmt: skip


def anatomy(scan: Scan, random: Random) -> Scan:
    """Paint ascites, oral and excreted contrast, and take organs out."""
    hu = torch.from_numpy(scan.image.array.astype(np.float32))[None, None]
    ids = torch.from_numpy(scan.labels.array.astype(np.uint8))[None, None]
    change_anatomy(AnatomyPatch(hu, ids, scan.image.geometry.spacing_mm), RARE, random)
    labels = scan.labels.with_array(ids[0, 0].numpy())
    return Scan(_whole_hu(scan.image, hu[0, 0].numpy()), labels)


KINDS: dict[str, Callable[[Scan, Random], Scan]] = {
    "clean": clean,
    "noise": noise,
    "crop": crop,
    "thick": thick,
    "contrast": contrast,
    "anatomy": anatomy,
}


def _whole_hu(like: Volume, hu: npt.NDArray[Any]) -> Volume:
    return like.with_array(np.round(hu).astype(np.int16))


def measured(scan: Scan, stages: Stages, tile_step: float | None) -> dict[str, dict[str, float]]:
    """Return organ key -> overlap that the scores let expect, true DSC, volume in mL."""
    assert stages.organs is not None
    plan = Plan(tile_step=tile_step)
    quiet = lambda *_: None  # noqa: E731
    region = organ_region(scan.image, stages.localiser, stages.organs.card, plan, quiet)
    scores, rough = run_organs(scan.image, stages.organs, region, plan, quiet)
    found, _ = clean_up(rough)
    truth = resample_labels(scan.labels, scores.geometry)
    ids = [target.id for target in ORGANS]
    dsc = dice(np.asarray(found.array, np.uint8), np.asarray(truth.array, np.uint8), ids)
    rows = {}
    for key, evidence in evidence_of(scores, rough).items():
        ml = np.count_nonzero(found.array == organ(key).id) * found.geometry.voxel_ml
        rows[key] = {"overlap": evidence.overlap, "dsc": dsc[organ(key).id], "ml": float(ml)}
    return rows


def run(arguments: argparse.Namespace) -> None:
    """Do every run that is not there yet."""
    runtime = choose_runtime("auto", "auto", arguments.threads)
    torch.set_num_threads(runtime.threads)
    stages = load_stages(load_package(arguments.model), runtime, ORGANS)
    kinds = [kind for kind in KINDS if kind in arguments.kinds]
    for turn in range(len(kinds)):  # every scan once, then every scan again in another way
        for number, case in enumerate(cases_of_folder(arguments.scans)):
            kind = kinds[(number + turn) % len(kinds)]
            path = arguments.rows / f"{case.name}.{kind}.json"
            if path.exists() or case.labels is None:
                continue
            image, _ = read_volume(case.image).canonical()
            labels, _ = read_labels(case.labels).canonical()
            random = np.random.default_rng([number, list(KINDS).index(kind)])
            try:
                rows = measured(KINDS[kind](Scan(image, labels), random), stages, arguments.step)
            except NothingFound:
                rows = {}
            told = {"case": case.name, "patient": case.patient, "kind": kind, "organs": rows}
            atomic.write_json(path, told)
            print(f"{case.name} {kind}: {len(rows)} organs", flush=True)


def pairs(folder: Path) -> dict[str, list[tuple[str, float, float]]]:
    """Return organ key -> (patient, overlap, DSC) of all runs in which it was found."""
    found: dict[str, list[tuple[str, float, float]]] = {target.key: [] for target in ORGANS}
    for path in sorted(folder.glob("*.json")):
        told = json.loads(path.read_text("utf-8"))
        for key, row in told["organs"].items():
            if row["ml"] > 0 and np.isfinite(row["dsc"]):
                found[key].append((told["patient"], row["overlap"], row["dsc"]))
    return found


def fitted(overlap: Floats, dsc: Floats) -> tuple[float, float]:
    """Return (top, slope) of DSC = top - slope (1 - overlap), least absolute error on a grid."""
    tops, slopes = np.linspace(0.9, 1.15, 26), np.linspace(1.0, 9.0, 81)
    lines = tops[:, None, None] - slopes[:, None] * (1 - overlap)  # (tops, slopes, N)
    error = np.abs(np.clip(lines, 0, MOST) - dsc).mean(axis=2)
    best = np.unravel_index(int(error.argmin()), error.shape)
    return float(tops[best[0]]), float(slopes[best[1]])


def unseen(rows: list[tuple[str, float, float]]) -> Floats:
    """Return each row's confidence from a fit without its patient."""
    patients = np.array([patient for patient, _, _ in rows])
    x, y = (np.array([row[k] for row in rows]) for k in (1, 2))
    guessed = np.empty(len(rows))
    for patient in np.unique(patients):
        mine = patients == patient
        top, slope = fitted(x[~mine], y[~mine])
        guessed[mine] = np.clip(top - slope * (1 - x[mine]), 0, MOST)
    return guessed


def lines(found: dict[str, list[tuple[str, float, float]]]) -> Iterator[str]:
    """Yield the printed table."""
    yield "organ                 runs  rank correlation  mean error  wrong  and marked  false marks"
    correlations = []
    for key, rows in found.items():
        if len({patient for patient, _, _ in rows}) < 3:
            continue
        y = np.array([dsc for _, _, dsc in rows])
        guess = unseen(rows)
        rho = float(stats.spearmanr([x for _, x, _ in rows], y)[0])
        correlations.append(rho)
        wrong, marked = y < WRONG, guess < LOW
        yield (
            f"{key:<21} {len(rows):>4} {rho:>17.2f} {np.abs(guess - y).mean():>11.3f} "
            f"{wrong.sum():>6} {(wrong & marked).sum():>11} {(marked & ~wrong).sum():>12}"
        )
    yield f"mean {np.mean(correlations):>38.2f}"
    yield "TRUST = {"
    for key, rows in found.items():
        if rows:
            top, slope = fitted(*(np.array([row[k] for row in rows]) for k in (1, 2)))
            yield f'    "{key}": ({top:.2f}, {slope:.1f}),'
    yield "}"


def main(words: Iterable[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("scans", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--step", type=float, default=None)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args(None if words is None else list(words))
    arguments.rows.mkdir(parents=True, exist_ok=True)
    if not arguments.table_only:
        run(arguments)
    print("\n".join(lines(pairs(arguments.rows))))


if __name__ == "__main__":
    main()
