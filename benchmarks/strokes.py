"""What a few strokes are worth: a simulated person corrects organs, three ways.

    python benchmarks/strokes.py PREDICTIONS LABELS SCANS [--model MODEL] [--cases A,B]

For the worst third of the organs of each scan (by DSC against LABELS, at least --least of it), the
person looks at a plane chosen at random through the largest error, draws a hand-wide, unsteady
stroke along its middle, and looks again. Rows: our solver with the scores of --model (which made
the predictions) and without; "grow from seeds" (Slicer's kind of
competing growth from all strokes, `skimage.segmentation.watershed` on edges, inside the same box);
painting the drawn voxels only. Also: how many slices and voxels a person paints, slice by slice
and worst first, to reach the DSC that our solver has after the last stroke.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.anatomy.organs import ORGANS
from flare_core.imaging.files import read_labels, read_volume
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.segment.belief import ClassScores
from flare_core.segment.pipeline import segment_ct
from flare_core.segment.settings import Settings
from flare_core.segment.strokes import StrokeSettings, correct_by_strokes

Mask = npt.NDArray[np.bool_]
HAND_MM = 2.0
"""Half the width of a stroke."""
TREMBLE_MM = 1.0
"""How far a hand strays from the middle of what it marks."""


@dataclass
class Strokes:  # mutable: a person adds to it
    """What was drawn so far."""

    belongs: Mask
    """Marked as organ."""
    outside: Mask
    """Marked as not the organ."""


def dsc(a: Mask, b: Mask) -> float:
    """Dice similarity of two masks."""
    return 2.0 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def draw(
    now: Mask, truth: Mask, strokes: Strokes, spacing: tuple[float, ...],
    chance: np.random.Generator,
) -> None:  # fmt: skip
    """Add one stroke: along the middle of the largest error in a plane chosen at random."""
    wrong = now ^ truth
    box = Box.of_mask(wrong)
    if box is None:
        return
    pieces, _ = ndimage.label(wrong[box.slices])
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    piece = pieces == sizes.argmax()
    axis = int(chance.integers(3))
    areas = piece.sum(axis=tuple(a for a in range(3) if a != axis))
    index = int(areas.argmax())
    flat = np.take(piece, index, axis=axis)
    path = _middle(flat, [s for a, s in enumerate(spacing) if a != axis], chance)
    stroke = np.zeros_like(wrong[box.slices])
    where: list[slice | int] = [slice(None)] * 3
    where[axis] = index
    stroke[tuple(where)] = path
    missing = bool(truth[box.slices][piece].mean() > 0.5)
    (strokes.belongs if missing else strokes.outside)[box.slices] |= stroke
    (strokes.outside if missing else strokes.belongs)[box.slices] &= ~stroke


def _middle(flat: Mask, spacing: list[float], chance: np.random.Generator) -> Mask:
    """A hand-wide line through the innermost pixels of a flat region, kept inside it."""
    deep = ndimage.distance_transform_edt(np.pad(flat, 1), spacing)[1:-1, 1:-1]
    ridge = deep >= max(0.6 * deep.max(), min(spacing))
    pieces, _ = ndimage.label(ridge, np.ones((3, 3)))
    ridge = pieces == pieces[np.unravel_index(deep.argmax(), deep.shape)]
    shift = [round(chance.normal(0.0, TREMBLE_MM) / s) for s in spacing]
    ridge = ndimage.shift(ridge.astype(np.uint8), shift, order=0).astype(bool) & flat
    if not ridge.any():
        ridge[np.unravel_index(deep.argmax(), deep.shape)] = True
    apart = ndimage.distance_transform_edt(~ridge, spacing)
    return (apart <= HAND_MM) & (deep > 0.5 * min(spacing))


def ours(image: Volume, start: Mask, strokes: Strokes, belief: Volume | None) -> Mask:
    """The solver, with scores if there are any."""
    return correct_by_strokes(
        image, start, strokes.belongs, strokes.outside,
        probability=belief,
    ).mask  # fmt: skip


def alone(image: Volume, start: Mask, strokes: Strokes, belief: Volume | None) -> Mask:
    """The solver without scores."""
    return ours(image, start, strokes, None)


def painted(image: Volume, start: Mask, strokes: Strokes, belief: Volume | None) -> Mask:
    """Only what was drawn."""
    return (start | strokes.belongs) & ~strokes.outside


def grown(image: Volume, start: Mask, strokes: Strokes, belief: Volume | None) -> Mask:
    """Competing growth over edges, from strokes and the cores of organ and rest."""
    from skimage.segmentation import watershed

    marked = Box.of_mask(strokes.belongs | strokes.outside)
    if marked is None:
        return start
    margin = [int(np.ceil(StrokeSettings().reach_mm / s)) for s in image.geometry.spacing_mm]
    box = marked.grow((margin[0], margin[1], margin[2]), start.shape).slices
    ct = np.clip(image.array[box].astype(np.float32), -150, 250)
    part, spacing = start[box], image.geometry.spacing_mm
    core = ndimage.distance_transform_edt(part, spacing) > 6.0
    far = ndimage.distance_transform_edt(~part, spacing) > 6.0
    near = ndimage.distance_transform_edt(~(strokes.belongs | strokes.outside)[box], spacing) < 25.0
    seeds = np.where(core & ~near, 1, np.where(far & ~near, 2, 0))
    seeds = np.where(strokes.belongs[box], 1, np.where(strokes.outside[box], 2, seeds))
    edges = ndimage.gaussian_gradient_magnitude(ct, [1.0 / s for s in spacing])
    new = start.copy()
    new[box] = watershed(edges, seeds) == 1
    return new


WAYS: dict[str, Callable[[Volume, Mask, Strokes, Volume | None], Mask]] = {
    "strokes, scores": ours, "strokes": alone, "grow from seeds": grown, "painted voxels": painted,
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


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("predictions", "labels", "scans"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--model", help="its scores are used; without it there are none")
    parser.add_argument("--cases", default="", help="names, with commas; all predictions")
    parser.add_argument("--strokes", type=int, nargs="+", default=[1, 2, 3, 5, 10])
    parser.add_argument("--least", type=float, default=0.0, help="no correction below this DSC")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = sorted(path.name[:-7] for path in given.predictions.glob("*.nii.gz"))
    given.names = given.cases.split(",") if given.cases else found
    return given


def corrected(
    way: str,
    image: Volume,
    start: Mask,
    goal: Mask,
    belief: Volume | None,
    *,
    chance: np.random.Generator,
    most: int,
) -> tuple[list[float], list[float]]:
    """DSC before and after each of so many strokes, and the seconds each took."""
    strokes = Strokes(np.zeros_like(start), np.zeros_like(start))
    now, scores, seconds = start, [dsc(start, goal)], []
    for _ in range(most):
        draw(now, goal, strokes, image.geometry.spacing_mm, chance)
        begun = time.perf_counter()
        now = WAYS[way](image, start, strokes, belief)
        seconds.append(time.perf_counter() - begun)
        scores.append(dsc(now, goal))
    return scores, seconds


def scores_of(model: str | None, image: Volume) -> ClassScores | None:
    """What a model believes of a scan."""
    if model is None:
        return None
    return segment_ct(image, Settings(model=model), keep_scores=True).scores


def worst(predicted: Volume, truth: Volume, least: float) -> list[int]:
    """The third of the organs with the lowest DSC."""
    organs = [o.id for o in ORGANS if np.count_nonzero(truth.array == o.id) > 200]
    scored = sorted((dsc(predicted.array == n, truth.array == n), n) for n in organs)
    return [n for score, n in scored[: max(1, len(scored) // 3)] if score >= least]


def print_means(rows: dict[str, list[list[float]]], counts: list[int]) -> None:
    """Print the mean DSC of each way by number of strokes, and the share of the error closed."""
    head = f"mean of {len(rows[MAIN])}"
    print(f"\n{head:18s} before " + "".join(f"{n:>7d}" for n in counts))
    for way, scores in rows.items():
        table = np.array(scores)
        closed = np.mean((table[:, 3] - table[:, 0]) / np.maximum(1e-9, 1 - table[:, 0]))
        means = "".join(f"{table[:, n].mean():7.3f}" for n in counts)
        print(f"{way:18s} {table[:, 0].mean():.3f}  {means}   3 strokes close {closed:.0%}")


def main() -> None:
    """Correct the worst organs of each scan; print DSC by number of strokes."""
    given = arguments()
    rows: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    seconds: list[float] = []
    for name in given.names:
        image = read_volume(given.scans / f"{name}.nii.gz").canonical()[0]
        predicted = read_labels(given.predictions / f"{name}.nii.gz").canonical()[0]
        truth = read_labels(given.labels / f"{name}.nii.gz").canonical()[0]
        scores = scores_of(given.model, image)
        for number in worst(predicted, truth, given.least):
            start, goal = predicted.array == number, truth.array == number
            line = [f"{name:10s} organ {number:2d} DSC {dsc(start, goal):.3f}"]
            for way in WAYS:
                chance = np.random.default_rng([given.seed, number])
                belief = None if scores is None else scores.belief(number)
                each, took = corrected(
                    way, image, start, goal, belief, chance=chance, most=max(given.strokes)
                )
                seconds += took if way == MAIN else []
                rows[way].append(each)
                line.append(f"{way}: " + " ".join(f"{each[n]:.3f}" for n in given.strokes))
            touched, voxels = slices_to(rows[MAIN][-1][-1], start, goal)
            print("; ".join([*line, f"by slices: {touched} slices, {voxels} voxels"]), flush=True)
    print_means(rows, given.strokes)
    print(
        f"seconds a stroke: median {np.median(seconds):.2f}, 95 % {np.percentile(seconds, 95):.2f}"
    )


if __name__ == "__main__":
    main()
