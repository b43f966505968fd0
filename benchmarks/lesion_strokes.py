"""One stroke over a lesion that was missed: how much of it *Draw lesion* gets.

    python benchmarks/lesion_strokes.py [--cases lidc0001,cptac249] [--brush 4]

Synthetic lesions of the liver (`default_model/froc.py`: six scans of ../shared/data, one size class
a scan, the same each time), of 10 mm and more. For each a person draws one line along its longest
diameter in the axial slice where it is largest, a tenth short of it at a random end (seeded), with
a round brush. Printed, by size and by contrast: mean and median DSC of the drawn lesion with the
truth, its volume over the true one, and its length along the stroke over the stroke's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parent / "default_model"))

from froc import ALIKE_HU, SCANS, SIZES, scans

from flare_core.anatomy.organs import LESION, organ
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.segment.lesion_strokes import with_lesions

Mask = npt.NDArray[np.bool_]

LEAST_ML = 0.52
"""A ball of 10 mm."""
SHORT = 0.1
"""Of its length, that a stroke lacks."""
MARGIN_MM = 80.0
"""Around a lesion, of what is handed over: a person's scan is larger, and the answer the same."""


@dataclass(frozen=True)
class Row:
    """One lesion."""

    ml: float
    contrast_hu: float
    dsc: float
    volume_ratio: float
    length_ratio: float


def longest(mask: Mask, spacing_mm: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return the two ends (2, 2), mm along y and x, of a mask's (Y, X) longest diameter."""
    edge = np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.asarray(spacing_mm)
    apart = np.linalg.norm(edge[:, None] - edge[None], axis=2)
    one, other = np.unravel_index(int(apart.argmax()), apart.shape)
    return np.stack((edge[one], edge[other]))


def stroke_over(
    lesion: Mask,
    spacing_mm: tuple[float, float, float],
    brush_mm: float,
    random: np.random.Generator,
) -> tuple[Mask, npt.NDArray[np.float64]]:
    """Return a stroke (Z, Y, X) along a lesion's longest diameter, and its two ends (y, x), mm."""
    z = int(lesion.sum(axis=(1, 2)).argmax())
    ends = longest(lesion[z], spacing_mm[1:])
    low = SHORT * random.random()
    way = ends[1] - ends[0]
    ends = np.stack((ends[0] + low * way, ends[1] - (SHORT - low) * way))
    y, x = (n * mm for n, mm in zip(np.indices(lesion.shape[1:]), spacing_mm[1:], strict=True))
    way, places = ends[1] - ends[0], np.stack((y, x), axis=-1) - ends[0]
    along = np.clip((places @ way) / max(float(way @ way), 1e-9), 0, 1)
    away = np.linalg.norm(places - along[..., None] * way, axis=-1)
    stroke = np.zeros(lesion.shape, np.bool_)
    stroke[z] = away <= max(brush_mm / 2, min(spacing_mm[1:]) / 2)
    return stroke, ends


def rows(names: list[str], brush_mm: float) -> Iterator[Row]:
    """Draw every lesion of the scans."""
    liver = organ("liver").id
    for scan in scans(names, ("liver",)):
        if scan.kind != "synthetic":
            continue
        name, size = scan.name.split()
        random = np.random.default_rng([*name.encode(), SIZES.index(size), 1])
        labels = scan.organs.array.astype(np.uint8)
        steps = scan.image.geometry.spacing_mm
        for number in range(1, int(scan.instances.array.max()) + 1):
            whole = scan.instances.array == number
            ml = np.count_nonzero(whole) * scan.image.geometry.voxel_ml
            if ml < LEAST_ML:
                continue
            tight = Box.of_mask(whole)
            assert tight is not None
            z, y, x = (int(np.ceil(MARGIN_MM / mm)) for mm in steps)
            box = tight.grow((z, y, x), whole.shape)
            lesion = whole[box.slices]
            image = Volume(scan.image.array[box.slices], scan.image.geometry.crop(box))
            stroke, ends = stroke_over(lesion, steps, brush_mm, random)
            nothing = np.zeros_like(stroke)
            drawn = with_lesions(image, labels[box.slices], stroke, nothing) == LESION.id
            around = (labels[box.slices] == liver) & (scan.instances.array[box.slices] == 0)
            contrast = image.array[lesion].mean() - np.median(image.array[around])
            both = np.count_nonzero(drawn & lesion)
            way, drawn_mm = ends[1] - ends[0], np.argwhere(drawn)[:, 1:] * np.asarray(steps[1:])
            between = max(float(np.linalg.norm(way)), 1e-9)
            along, length = drawn_mm @ (way / between), between + brush_mm
            yield Row(
                float(ml), float(contrast), 2 * both / (drawn.sum() + lesion.sum()),
                float(drawn.sum() / lesion.sum()), float(np.ptp(along)) / length,
            )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", default=",".join(SCANS["lesions"]))
    parser.add_argument("--brush", type=float, default=4.0, help="mm")
    arguments = parser.parse_args()
    found = list(rows(arguments.cases.split(","), arguments.brush))
    bounds = {"10-20 mm": (0.0, 4.19), "20-50 mm": (4.19, 65.4), "> 50 mm": (65.4, np.inf)}
    groups = {
        "all": found,
        **{key: [r for r in found if a <= r.ml < b] for key, (a, b) in bounds.items()},
        "darker": [r for r in found if r.contrast_hu <= -ALIKE_HU],
        "brighter": [r for r in found if r.contrast_hu >= ALIKE_HU],
        "alike": [r for r in found if abs(r.contrast_hu) < ALIKE_HU],
    }
    print(f"{'':10s} lesions  DSC mean  median  volume  length (medians)")
    for key, group in groups.items():
        if group:
            dsc, volume, length = (
                np.array([getattr(r, name) for r in group])
                for name in ("dsc", "volume_ratio", "length_ratio")
            )
            print(f"{key:10s} {len(group):7d}  {dsc.mean():8.3f}  {np.median(dsc):6.3f}"
                  f"  {np.median(volume):6.2f}  {np.median(length):6.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
