"""What a few strokes are worth: a simulated person corrects organs, in several ways.

    python benchmarks/strokes.py SCANS ROWS --model MODEL [--patients A,B] [--seeds 0,1]
                                 [--organs 2] [--strokes 1 2 3]

SCANS has ct/, labels/ and cases.json (each scan's patient). MODEL segments each scan. For the worst
third of a scan's organs (by DSC against the labels; with --organs at most so many, worst first) the
person of `stroke_person` draws over the
largest error, sees what came of it, and draws again. Ways: our solver with the scores of MODEL and
without; "grow from seeds" (Slicer's kind of competing growth from all strokes,
`skimage.segmentation.watershed` on edges, inside the same box); painting the drawn voxels only.
Also: how many slices and voxels a person paints, slice by slice and worst first, to reach the DSC
that our solver has after the last stroke. ROWS is a folder that keeps one file a scan and seed;
those that are there are not done again. A scan takes about two minutes of one core; for a try of
some seconds: --organs 1 --strokes 1 2. The last table printed is Markdown, for the documentation.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from stroke_person import Strokes, draw

from flare_core import atomic
from flare_core.anatomy.organs import ORGANS
from flare_core.datasets.case import cases_of_folder
from flare_core.imaging.files import read_labels, read_volume
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.segment.pipeline import segment_ct
from flare_core.segment.settings import Settings
from flare_core.segment.strokes import correct_by_strokes

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
GROWN_MM = 60.0
"""Around the strokes, in which regions grow from seeds."""


def dsc(a: Mask, b: Mask) -> float:
    """Dice similarity of two masks."""
    return 2.0 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


@dataclass(frozen=True, eq=False)
class Start:
    """An organ before the first stroke."""

    image: Volume
    mask: Mask
    others: Mask
    """What is called another organ."""
    belief: Volume | None
    """What the model believed of it."""


def ours(start: Start, strokes: Strokes, *, scores: bool = True) -> Mask:
    """The solver, with scores if there are any."""
    return correct_by_strokes(
        start.image, start.mask, strokes.belongs, strokes.outside,
        probability=start.belief if scores else None, others=start.others,
    ).mask  # fmt: skip


def alone(start: Start, strokes: Strokes) -> Mask:
    """The solver without scores."""
    return ours(start, strokes, scores=False)


def painted(start: Start, strokes: Strokes) -> Mask:
    """Only what was drawn."""
    return (start.mask | strokes.belongs) & ~strokes.outside


def grown(start: Start, strokes: Strokes) -> Mask:
    """Competing growth over edges, from strokes and the cores of organ and rest."""
    from skimage.segmentation import watershed

    marked = Box.of_mask(strokes.belongs | strokes.outside)
    if marked is None:
        return start.mask
    spacing = start.image.geometry.spacing_mm
    margin = [int(np.ceil(GROWN_MM / s)) for s in spacing]
    box = marked.grow((margin[0], margin[1], margin[2]), start.mask.shape).slices
    ct = np.clip(start.image.array[box].astype(np.float32), -150, 250)
    part = start.mask[box]
    core = ndimage.distance_transform_edt(part, spacing) > 6.0
    far = ndimage.distance_transform_edt(~part, spacing) > 6.0
    near = ndimage.distance_transform_edt(~(strokes.belongs | strokes.outside)[box], spacing) < 25.0
    seeds = np.where(core & ~near, 1, np.where(far & ~near, 2, 0))
    seeds = np.where(strokes.belongs[box], 1, np.where(strokes.outside[box], 2, seeds))
    edges = ndimage.gaussian_gradient_magnitude(ct, [1.0 / s for s in spacing])
    new = start.mask.copy()
    new[box] = watershed(edges, seeds) == 1
    return new


WAYS: dict[str, Callable[[Start, Strokes], Mask]] = {
    "strokes, scores": ours, "strokes, no scores": alone,
    "grow from seeds": grown, "painted voxels": painted,
}  # fmt: skip


MAIN = "strokes, scores"


def slices_to(goal: float, start: Mask, truth: Mask) -> tuple[int, int]:
    """Slices touched and voxels painted, worst axial slice first, until the DSC reaches `goal`."""
    now, voxels = start.copy(), 0
    wrong = (start ^ truth).sum(axis=(1, 2))
    for count, z in enumerate(np.argsort(-wrong), 1):
        voxels += int(wrong[z])
        now[z] = truth[z]
        if dsc(now, truth) >= goal or not wrong[z]:
            return count, voxels
    return len(wrong), voxels


def corrected(
    way: str, start: Start, goal: Mask, chance: np.random.Generator, most: int
) -> tuple[list[float], list[float]]:
    """DSC before and after each of so many strokes, and the CPU seconds each took."""
    strokes = Strokes.none(goal.shape)
    now, scores, seconds = start.mask, [dsc(start.mask, goal)], []
    for _ in range(most):
        if draw(now, goal, strokes, start.image.geometry.spacing_mm, chance) is not None:
            begun = time.process_time()
            now = WAYS[way](start, strokes)
            seconds.append(time.process_time() - begun)
        scores.append(dsc(now, goal))
    return scores, seconds


def worst(predicted: Labels, truth: Labels) -> list[int]:
    """The third of the organs with the lowest DSC."""
    organs = [o.id for o in ORGANS if np.count_nonzero(truth == o.id) > 200]
    scored = sorted((dsc(predicted == n, truth == n), n) for n in organs)
    return [n for _, n in scored[: max(1, len(scored) // 3)]]


def rows_of(
    image: Volume, truth: Labels, model: str, seed: int, most: int, organs: int
) -> list[dict[str, Any]]:
    """Correct the worst organs of one scan, at most so many, in all ways with `most` strokes."""
    found = segment_ct(image, Settings(model=model, assume_hu=True), keep_scores=True)
    labels, scores = np.asarray(found.labels.canonical()[0].array), found.scores
    rows = []
    for number in worst(labels, truth)[:organs]:
        start = Start(
            image, labels == number, (labels != 0) & (labels != number),
            None if scores is None else scores.belief(number),
        )  # fmt: skip
        goal, ways = truth == number, {}
        for way in WAYS:
            chance = np.random.default_rng([seed, number])
            ways[way] = corrected(way, start, goal, chance, most)
        slices, voxels = slices_to(ways[MAIN][0][-1], start.mask, goal)
        rows.append({"organ": number, "ways": ways, "slices": slices, "voxels": voxels})
    return rows


def closed(rows: list[dict[str, Any]], way: str) -> npt.NDArray[np.float64]:
    """Share of the error (rows, strokes) that is gone after each number of strokes."""
    table = np.array([row["ways"][way][0] for row in rows])
    return np.asarray((table[:, 1:] - table[:, :1]) / np.maximum(1e-9, 1 - table[:, :1]))


def lines(rows: list[dict[str, Any]], counts: list[int]) -> Iterator[str]:
    """Yield the printed tables."""
    at = np.array(counts) - 1
    yield f"{len(rows)} organs; share of the error closed, mean / median, after {counts} strokes"
    for way in WAYS:
        share = closed(rows, way)[:, at]
        cells = zip(share.mean(axis=0), np.median(share, axis=0), strict=True)
        before = np.mean([row["ways"][way][0][0] for row in rows])
        after = np.mean([row["ways"][way][0] for row in rows], axis=0)[1:][at]
        yield f"{way:18s} " + "  ".join(f"{a:4.0%} / {b:4.0%}" for a, b in cells)
        yield f"{'':18s} DSC {before:.3f} -> " + " ".join(f"{each:.3f}" for each in after)
    slices, voxels = (np.median([row[name] for row in rows]) for name in ("slices", "voxels"))
    yield f"slice by slice to the same DSC: median {slices:.0f} slices, {voxels:.0f} voxels"
    seconds = [each for row in rows for each in row["ways"][MAIN][1]]
    yield (
        f"CPU seconds a stroke: median {np.median(seconds):.2f}, "
        f"95 % {np.percentile(seconds, 95):.2f}, most {max(seconds):.2f}"
    )
    yield from table(rows, counts)


def table(rows: list[dict[str, Any]], counts: list[int]) -> Iterator[str]:
    """Yield a Markdown table: mean DSC by organ before, and in each way after each count."""
    after = f"after {', '.join(map(str, counts))}"
    heads = [f"{way}, {after}" if way == MAIN else way for way in WAYS]
    yield f"| organ | n | before | {' | '.join(heads)} | slices, voxels to the same DSC |"
    yield "|---" * (len(WAYS) + 4) + "|"
    groups = {o.name: [row for row in rows if row["organ"] == o.id] for o in ORGANS}
    for name, mine in (*groups.items(), ("**all**", rows)):
        if mine:
            means = {way: np.mean([r["ways"][way][0] for r in mine], axis=0) for way in WAYS}
            cells = [
                " ".join(f"{m[k]:.2f}".removeprefix("0") for k in counts) for m in means.values()
            ]
            slices, voxels = (np.median([r[key] for r in mine]) for key in ("slices", "voxels"))
            cells += [f"{slices:.0f}, {voxels:.0f}"]
            yield f"| {name} | {len(mine)} | {means[MAIN][0]:.2f} | {' | '.join(cells)} |"


def main() -> None:
    """Do every scan and seed that is not there yet, then print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scans", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--patients", default="", help="with commas; all of them")
    parser.add_argument("--seeds", default="0", help="with commas")
    parser.add_argument("--organs", type=int, default=len(ORGANS), help="of a scan, at most")
    parser.add_argument("--strokes", type=int, nargs="+", default=[1, 2, 3, 5, 10])
    given = parser.parse_args()
    given.rows.mkdir(parents=True, exist_ok=True)
    patients = set(filter(None, given.patients.split(",")))
    for case in cases_of_folder(given.scans):
        if case.labels is None or (patients and case.patient not in patients):
            continue
        for seed in map(int, given.seeds.split(",")):
            path = given.rows / f"{case.name}.{seed}.json"
            if not path.exists():
                image = read_volume(case.image).canonical()[0]
                truth = np.asarray(read_labels(case.labels).canonical()[0].array)
                most = max(given.strokes)
                rows = rows_of(image, truth, given.model, seed, most, given.organs)
                atomic.write_json(path, rows)
                print(f"{case.name}, seed {seed}: {len(rows)} organs", flush=True)
    done = [json.loads(path.read_text("utf-8")) for path in sorted(given.rows.glob("*.json"))]
    print("\n".join(lines([row for rows in done for row in rows], given.strokes)))


if __name__ == "__main__":
    main()
