"""Learn `segment.stroke_judge` from simulated strokes, and write its weights.

    python benchmarks/strokes_judge.py SCANS WORK --models MODEL default [--patients a,b]
                                       [--examples 2000] [--output FILE]

SCANS has ct/, labels/ and cases.json (each scan's patient). Each of the models segments the scans
of --patients, as they are and made hard (`default_model/hard.py`: ascites, noise and so on); their
real errors are what strokes are drawn over, and in a third of the examples the labels are made
wrong on purpose (`damaged`). Each example is one organ with 1 to 6 strokes; what they say about all
voxels near them is kept in WORK, so that a run that was ended goes on. Then the perceptron is
fitted (a minute or two) and put in its place in the package, or where --output says; the file's
metadata says which patients it learned from. A try: one patient, --changes "as it is",
--examples 4, --output elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save
from scipy import ndimage
from stroke_person import Piece, Strokes, draw
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from flare_core import atomic
from flare_core.anatomy.organs import ORGANS
from flare_core.datasets.case import cases_of_folder
from flare_core.imaging.files import read_labels, read_volume
from flare_core.imaging.geometry import Box
from flare_core.imaging.resample import filled_share, resample_intensity
from flare_core.imaging.volume import Volume
from flare_core.segment.pipeline import segment_ct
from flare_core.segment.settings import Settings
from flare_core.segment.stroke_features import REACH, Scene, Voxels, features, odds_of
from flare_core.segment.stroke_judge import MOST, PRIOR, SLOPE, WEIGHTS
from flare_core.segment.strokes import (
    FADE,
    MARGIN,
    SOFT_TISSUE_HU,
    StrokeSettings,
    odds_on,
    radius_mm,
)

sys.path.insert(0, str(Path(__file__).parent / "default_model"))
from hard import CHANGES

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Random = np.random.Generator

SEEN_MM = 50.0
"""Around an organ and its errors."""
GOOD = 0.93
"""An organ outside of the worst third with this DSC teaches little."""
DAMAGED, WITHOUT_SCORES, RIGHT = 0.3, 0.3, 0.04
"""Shares of examples: labels made wrong, scores left out, nothing wrong at all."""
SHORT = 0.2
"""Share of strokes that do not run along the whole error."""
HIDDEN = (96, 48)
"""Units of the perceptron's hidden layers."""
WRONG, DOUBTED, FIRM = 2500, 2500, 2000
"""Most voxels kept of an example: to be changed, right but doubted, right and firmly believed."""


@dataclass(frozen=True, eq=False)
class Sample:
    """An organ of a scan as a model found it, on the solution's grid."""

    spacing_mm: float
    image: Float
    was: Float
    goal: Float
    others: Float
    scores: Float | None


def sample_of(image: Volume, was: Mask, goal: Mask, others: Mask, belief: Volume | None) -> Sample:
    """Bring an organ to the grid that it is solved on."""
    there = Box.of_mask(was | goal)
    assert there is not None
    reach = [int(np.ceil(SEEN_MM / s)) for s in image.geometry.spacing_mm]
    box = there.grow((reach[0], reach[1], reach[2]), was.shape)
    part, here = image.geometry.crop(box), box.slices
    voxels = max(np.count_nonzero(was), 0.3 * np.count_nonzero(goal))
    settings = StrokeSettings()
    radius = radius_mm(voxels * image.geometry.voxel_ml)
    spacing = float(
        np.clip(radius / settings.across_radius, settings.finest_mm, settings.coarsest_mm)
    )
    grid = part.with_spacing((spacing, spacing, spacing))

    def share(mask: Mask) -> Float:
        return filled_share(mask[here], part, grid)

    ct = np.clip(image.array[here], *SOFT_TISSUE_HU).astype(np.float32)
    hu = np.asarray(resample_intensity(Volume(ct, part), grid).array, np.float32)
    return Sample(spacing, hu, share(was), share(goal), share(others), odds_on(belief, grid))


def samples(
    scans: Path, patients: set[str], models: Sequence[str], changes: Sequence[str]
) -> list[Sample]:
    """Segment each patient's scans in each way; return the organs that are wrong enough."""
    found = []
    ways = [(model, change) for model in models for change in changes]
    cases = [case for case in cases_of_folder(scans) if case.labels is not None]
    for number, (case, (model, change)) in enumerate(product(cases, ways)):
        if patients and case.patient not in patients:
            continue
        image, labelled = read_volume(case.image), read_labels(case.labels)
        hard = CHANGES[change](image, labelled, np.random.default_rng(number))
        image, truth = hard.image.canonical()[0], np.asarray(hard.truth.canonical()[0].array)
        result = segment_ct(image, Settings(model=model, assume_hu=True), keep_scores=True)
        labels = np.asarray(result.labels.canonical()[0].array)
        there = [o.id for o in ORGANS if np.count_nonzero(truth == o.id) > 200]
        scored = sorted((_dsc(labels == n, truth == n), n) for n in there)
        for rank, (score, n) in enumerate(scored):
            if rank < max(1, len(scored) // 3) or score <= GOOD:
                belief = None if result.scores is None else result.scores.belief(n)
                others = (labels > 0) & (labels != n)
                found.append(sample_of(image, labels == n, truth == n, others, belief))
    return found


def _dsc(a: Mask, b: Mask) -> float:
    return 2.0 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def damaged(sample: Sample, random: Random) -> tuple[Float, Float | None] | None:
    """Make the truth wrong in one to three ways; return what was found, and scores in half."""
    goal = sample.goal > 0.5
    depth = np.where(
        goal, ndimage.distance_transform_edt(goal), -ndimage.distance_transform_edt(~goal)
    )
    bad = goal.copy()
    for _ in range(random.integers(1, 4)):
        bad = WAYS[random.integers(len(WAYS))](bad, depth, sample, random)
    if np.count_nonzero(bad) < 5:
        return None
    was = ndimage.gaussian_filter(bad.astype(np.float32), 0.5)
    if random.random() < 0.5:
        return was, None
    mix = random.uniform(0, 0.6)
    blurred = [
        ndimage.gaussian_filter(m.astype(np.float32), random.uniform(0.8, 2)) for m in (bad, goal)
    ]
    odds = odds_of((1 - mix) * blurred[0] + mix * blurred[1]) * random.uniform(0.5, 1.2)
    return was, (odds + _waves(goal.shape, random, 8) * random.uniform(0, 0.7)).astype(np.float32)


def _waves(shape: Sequence[int], random: Random, cells: float) -> Float:
    """Smooth noise with a standard deviation of about one."""
    coarse = random.normal(0, 1, [int(np.ceil(n / cells)) + 2 for n in shape]).astype(np.float32)
    fine = ndimage.zoom(coarse, [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1)
    return np.asarray(fine, np.float32)


def _from_centre(bad: Mask, depth: Float, random: Random) -> tuple[list[Float], float]:
    """Distances along each axis from a voxel of the organ, and the organ's radius; voxels."""
    places = np.argwhere(depth > 0)
    centre = places[random.integers(len(places))]
    axes = [np.arange(n, dtype=np.float32) - c for n, c in zip(bad.shape, centre, strict=True)]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True)), max(
        3.0, (0.24 * len(places)) ** (1 / 3)
    )


def _cut(bad: Mask, depth: Float, sample: Sample, random: Random) -> Mask:
    """Lose what lies beyond a plane."""
    away, radius = _from_centre(bad, depth, random)
    across = random.normal(0, 1, 3)
    across /= np.linalg.norm(across)
    beyond = sum(d * a for d, a in zip(away, across, strict=True))
    return bad & (beyond < random.uniform(-0.2, 0.8) * radius)


def _ball(bad: Mask, depth: Float, random: Random) -> Mask:
    away, radius = _from_centre(bad, depth, random)
    size = random.uniform(0.4, 1.1) * radius
    apart = sum((d * e) ** 2 for d, e in zip(away, random.uniform(0.7, 1.4, 3), strict=True))
    return np.asarray(apart + 8 * size * _waves(bad.shape, random, 6) < size**2)


def _hole(bad: Mask, depth: Float, sample: Sample, random: Random) -> Mask:
    """Lose a lump."""
    return bad & ~_ball(bad, depth, random)


def _leak(bad: Mask, depth: Float, sample: Sample, random: Random) -> Mask:
    """Take a lump beside the organ, mostly of alike tissue."""
    edge = np.argwhere((depth <= 0) & (depth > -2))
    lump = _ball(bad, depth, random)
    centre = np.argwhere(lump).mean(axis=0) if lump.any() else edge[0]
    move = edge[random.integers(len(edge))] - centre.astype(int)
    lump = np.roll(lump, move, (0, 1, 2))
    if random.random() < 0.7:
        middle = np.median(sample.image[depth > 0])
        apart = np.abs(ndimage.gaussian_filter(sample.image, 1) - middle)
        lump &= apart < random.uniform(25, 80)
    return bad | lump


def _thin(bad: Mask, depth: Float, sample: Sample, random: Random) -> Mask:
    """Be too small or too large all over."""
    if random.random() < 0.5:
        return bad & (depth > random.uniform(0.5, 2))
    return bad | (depth > -random.uniform(1, 2.5))


def _ragged(bad: Mask, depth: Float, sample: Sample, random: Random) -> Mask:
    """Have a border that strays."""
    strayed = depth + _waves(bad.shape, random, random.uniform(5, 10)) * random.uniform(0.8, 2.5)
    return np.where(bad == (depth > 0), strayed > 0, bad)


WAYS = (_cut, _hole, _hole, _leak, _thin, _ragged)


def shortened(strokes: Strokes, piece: Piece, stroke: Mask, random: Random) -> Mask:
    """Leave a part of a stroke's length, .3 to .7 of it; a short one stays as it is."""
    places = np.argwhere(stroke)
    axis = int(np.ptp(places, axis=0).argmax())
    first, length = int(places[:, axis].min()), int(np.ptp(places[:, axis])) + 1
    if length < 6:
        return stroke
    kept = int(length * random.uniform(0.3, 0.7))
    begin = first + int(random.integers(length - kept + 1))
    along = np.arange(stroke.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
    left = stroke & (along >= begin) & (along < begin + kept)
    marked = strokes.belongs if piece.missing else strokes.outside
    marked[piece.box.slices] &= ~(stroke & ~left)
    return left


def drawn(start: Mask, goal: Mask, spacing: float, random: Random) -> Strokes:
    """Draw one to six strokes; each mends its surroundings, as a correction would."""
    now, strokes = start.copy(), Strokes.none(start.shape)
    for _ in range(int(random.choice([1, 1, 2, 2, 3, 3, 4, 6]))):
        last = draw(now, goal, strokes, (spacing,) * 3, random)
        if last is None:
            break
        piece, stroke = last
        if random.random() < SHORT:
            stroke = shortened(strokes, piece, stroke, random)
        reach = random.uniform(6, 30) / spacing
        grow = int(np.ceil(reach))
        box = piece.box.grow((grow, grow, grow), now.shape)
        full = np.zeros(now.shape, bool)
        full[piece.box.slices] = stroke
        near = ndimage.distance_transform_edt(~full[box.slices]) <= reach
        part, right = now[box.slices], goal[box.slices]
        mended = near & ((right & ~part) if piece.missing else (part & ~right))
        part[mended] = piece.missing
    if not (strokes.belongs.any() or strokes.outside.any()):
        z, y, x = np.argwhere(start)[random.integers(np.count_nonzero(start))]
        strokes.belongs[z, y, max(0, x - 4) : x + 5] = start[z, y, max(0, x - 4) : x + 5]
    return strokes


def example(sample: Sample, random: Random) -> dict[str, npt.NDArray[np.float32]] | None:
    """Draw on an organ; return what is known of voxels near strokes, and whether they change."""
    was, scores = sample.was, None if random.random() < WITHOUT_SCORES else sample.scores
    if random.random() < DAMAGED:
        made = damaged(sample, random)
        if made is None:
            return None
        was, scores = made
    if random.random() < RIGHT:
        was = sample.goal
    if not (was > 0.5).any() and not (sample.goal > 0.5).any():
        return None
    strokes = drawn(was > 0.5, sample.goal > 0.5, sample.spacing_mm, random)
    marked = Box.of_mask(strokes.belongs | strokes.outside)
    assert marked is not None
    here = marked.grow((REACH + MARGIN,) * 3, was.shape).slices
    image = sample.image[here]
    if random.random() < 0.5:
        grain = random.normal(random.normal(0, 10), random.uniform(0, 12), image.shape)
        image = np.clip(image * random.uniform(0.9, 1.1) + grain, *SOFT_TISSUE_HU)
    others = sample.others[here] * (random.random() < 0.85)
    organ_ml = np.count_nonzero(was > 0.5) * sample.spacing_mm**3 / 1000.0
    scene = Scene(
        image.astype(np.float32), was[here], None if scores is None else scores[here],
        others.astype(np.float32), strokes.belongs[here], strokes.outside[here],
        sample.spacing_mm, radius_mm(organ_ml),
    )  # fmt: skip
    return _kept(features(scene), scene, sample.goal[here], random)


def _kept(
    voxels: Voxels, scene: Scene, goal: Float, random: Random
) -> dict[str, npt.NDArray[np.float32]]:
    """Choose voxels, with weights that stand for all; an example's errors weigh one in all."""
    share = goal[voxels.places]
    changes = np.where(scene.organ[voxels.places], 1.0 - share, share)
    fade = np.clip((REACH - voxels.apart) / FADE, 0.0, 1.0)
    wrong, seen = changes > 0.5, fade > 0
    firm = np.abs(voxels.prior) >= 2.5
    kept, weights = [], []
    groups = (wrong & seen, WRONG), (~wrong & seen & ~firm, DOUBTED), (~wrong & seen & firm, FIRM)
    for group, most in groups:
        all_of = np.flatnonzero(group)
        some = random.permutation(all_of)[:most]
        kept.append(some)
        weights.append(np.full(len(some), len(all_of) / max(1, len(some))))
    index = np.concatenate(kept)
    weight = np.concatenate(weights) * fade[index] / (300.0 + float((fade * wrong).sum()))
    values = {
        "columns": voxels.columns[index], "prior": voxels.prior[index],
        "changes": changes[index], "weight": weight,
    }  # fmt: skip
    return {name: np.asarray(value, np.float32) for name, value in values.items()}


def fit(
    examples: Sequence[dict[str, Float]], about: dict[str, str], seed: int = 0, rounds: int = 3
) -> bytes:
    """Fit the perceptron; return its file, with what is said about it."""
    torch.manual_seed(seed)
    names = ("columns", "prior", "changes", "weight")
    columns, prior, changes, weight = (
        torch.from_numpy(np.concatenate([e[name] for e in examples])) for name in names
    )
    mean, scale = columns.mean(0), columns.std(0) + 1e-3
    columns = ((columns - mean) / scale).clamp_(-MOST, MOST)
    sizes = (columns.shape[1], *HIDDEN, 1)
    layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
    nn.init.zeros_(layers[-1].weight)
    rest = (module for layer in layers[1:] for module in (nn.LeakyReLU(SLOPE), layer))
    net = nn.Sequential(layers[0], *rest)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-3)
    steps = rounds * len(columns) // 4096
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (0.5 * (1 + np.cos(np.pi * step / steps)) + 0.01)
        few = torch.randint(0, len(columns), (4096,))
        odds = PRIOR * prior[few] + 4 * net(columns[few])[:, 0]
        each = binary_cross_entropy_with_logits(odds, changes[few], reduction="none")
        optimiser.zero_grad()
        ((each * weight[few]).sum() / weight[few].sum()).backward()
        optimiser.step()
    found = {"mean": mean.numpy(), "scale": scale.numpy()}
    for k, layer in enumerate(layers):
        gain = 4.0 if layer is layers[-1] else 1.0
        found[f"weight{k}"] = gain * layer.weight.detach().numpy()
        found[f"bias{k}"] = gain * layer.bias.detach().numpy()
    return save({name: np.ascontiguousarray(a, np.float32) for name, a in found.items()}, about)


def main() -> None:
    """Draw what is missing, fit, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scans", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), help="of hard.py")
    parser.add_argument("--patients", default="", help="with commas; all of them")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    missing = [n for n in range(given.examples) if not (given.work / f"{n}.npz").exists()]
    patients = set(filter(None, given.patients.split(",")))
    organs = samples(given.scans, patients, given.models, given.changes) if missing else []
    if missing and not organs:
        parser.error(f"no labelled scan of {given.patients or 'any patient'} in {given.scans}")
    for n in missing:
        random, made = np.random.default_rng(n), None
        while made is None:
            made = example(organs[random.integers(len(organs))], random)
        np.savez(given.work / f"{n}.npz", **made)
        print(f"example {n}: {made['changes'].mean():.0%} of the voxels kept change", flush=True)
    examples = [dict(np.load(path)) for path in sorted(given.work.glob("*.npz"))]
    given.output.parent.mkdir(parents=True, exist_ok=True)
    known = sorted({c.patient for c in cases_of_folder(given.scans) if c.labels is not None})
    about = {
        "patients": ",".join(p for p in known if not patients or p in patients),
        "models": ",".join(given.models), "examples": str(len(examples)),
    }  # fmt: skip
    atomic.write_bytes(given.output, fit(examples, about))
    print(f"{len(examples)} examples -> {given.output}")


if __name__ == "__main__":
    main()
