"""Judge synthetic lesions by eye: a page of them beside real ones, and what they cost.

    python benchmarks/lesions/picture_page.py OUT --cases hcc005b hcc007b --data DATA
    python benchmarks/lesions/picture_page.py OUT --phantoms 2

DATA holds ``ct/CASE.nii.gz``, ``labels/CASE.nii.gz`` (organ ids) and, for real tumours,
``lesions/CASE.nii.gz`` (probability x 255). Each case gets a sheet of axial pictures in an
abdominal window: per lesion the scan before, after, and after with the lesion's outline; then
decoys; then real tumours. OUT holds scans' pictures: keep it out of the repository.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from flare_core.datasets.lesions.generate import LesionScan, add_lesions
from flare_core.datasets.lesions.settings import PRESETS
from flare_core.datasets.phantom.make import make_phantom
from flare_core.datasets.phantom.settings import PhantomSettings
from flare_core.imaging.files import read_labels, read_volume

WINDOW_HU = (-110.0, 240.0)
HALF_MM = 62.0
"""Half width of a picture."""
PIXELS = 232
TITLE = 30
COLUMNS = 6
REAL = 6
"""Most real tumours shown."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What is painted into."""

    name: str
    """The case."""
    image: npt.NDArray[np.int16]
    """HU (Z, Y, X)."""
    labels: npt.NDArray[np.uint8]
    """Organ ids (Z, Y, X)."""
    spacing_mm: tuple[float, float, float]
    """Voxel size z, y, x."""
    real: npt.NDArray[np.bool_] | None = None
    """Real tumours (Z, Y, X), where they are known."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of the sheet."""

    title: str
    """Two lines at most."""
    pixels: npt.NDArray[np.uint8]
    """Grey or with an outline (H, W, 3)."""


def read_scan(folder: Path, case: str) -> Scan:
    """Read a case in canonical axes."""
    scan = read_volume(folder / "ct" / f"{case}.nii.gz").canonical()[0]
    labels = read_labels(folder / "labels" / f"{case}.nii.gz").canonical()[0]
    found, path = None, folder / "lesions" / f"{case}.nii.gz"
    if path.is_file():
        found = np.asarray(read_labels(path).canonical()[0].array, np.uint8) > 127
    organs = np.asarray(labels.array, np.uint8)
    return Scan(case, np.asarray(scan.array, np.int16), organs, scan.geometry.spacing_mm, found)


def phantom_scan(seed: int, field: str) -> Scan:
    """Make a phantom without lesions."""
    settings = PhantomSettings(seed=seed, spacing_mm=(2.5, 1.2, 1.2), field=field)
    made = make_phantom(settings)
    image, labels = np.asarray(made.image.array, np.int16), np.asarray(made.labels.array, np.uint8)
    return Scan(f"phantom {seed}", image, labels, settings.spacing_mm)


def plane(
    scan: Scan, image: npt.NDArray, centre: Sequence[int], mask: npt.NDArray | None = None
) -> npt.NDArray[np.uint8]:
    """Return an axial picture around a voxel, with the outline of a mask if there is one."""
    z, y, x = centre
    half = [int(HALF_MM / mm) for mm in scan.spacing_mm[1:]]
    spans = tuple(
        slice(max(0, c - h), min(n, c + h + 1))
        for c, h, n in zip((y, x), half, image.shape[1:], strict=True)
    )
    low, high = WINDOW_HU
    grey = np.clip((image[z][spans] - low) / (high - low), 0, 1) * 255
    size = (
        PIXELS,
        round(PIXELS * grey.shape[0] * scan.spacing_mm[1] / grey.shape[1] / scan.spacing_mm[2]),
    )
    picture = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(picture.convert("RGB")).copy()
    if mask is not None:
        shown = Image.fromarray(mask[z][spans].astype(np.uint8) * 255).resize(size)
        inside = np.asarray(shown) > 127
        pixels[inside & ~ndimage.binary_erosion(inside)] = (255, 190, 0)
    return pixels


def pictures(scan: Scan, made: LesionScan) -> Iterator[Picture]:
    """Yield the pictures of one scan's sheet."""
    for each in made.records:
        mask = made.instances == each.id
        areas = mask.sum(axis=(1, 2))
        place = (int(np.argmax(areas)), *each.centre[1:])
        about = f"{each.organ} {each.diameter_mm:g} mm\n{each.kind}"
        extra = f"{each.hu:.0f} HU in {each.organ_hu:.0f}\n{' '.join(each.features)}"
        yield Picture("before", plane(scan, scan.image, place))
        yield Picture(about, plane(scan, made.image, place))
        yield Picture(extra, plane(scan, made.image, place, mask))
    for decoy in made.decoys:
        about = f"decoy: {decoy.kind} {decoy.diameter_mm:g} mm\n{decoy.organ}"
        yield Picture("before", plane(scan, scan.image, decoy.centre))
        yield Picture(about, plane(scan, made.image, decoy.centre))
    yield from real_tumours(scan)


def real_tumours(scan: Scan) -> Iterator[Picture]:
    """Yield pictures of real tumours, largest first."""
    if scan.real is None:
        return
    pieces, _ = ndimage.label(scan.real)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    for number in np.argsort(sizes)[::-1][:REAL]:
        if sizes[number] < 8:
            continue
        mask = pieces == number
        z, y, x = (int(round(c)) for c in ndimage.center_of_mass(mask))
        place = (int(np.argmax(mask.sum(axis=(1, 2)))), y, x)
        yield Picture("real", plane(scan, scan.image, place))
        yield Picture("real, labels' maker", plane(scan, scan.image, place, mask))


def sheet(shown: Sequence[Picture]) -> Image.Image:
    """Lay pictures out in rows."""
    rows = -(-len(shown) // COLUMNS)
    height = max(each.pixels.shape[0] for each in shown) + TITLE
    page = Image.new("RGB", (COLUMNS * (PIXELS + 4), rows * (height + 4)), (20, 20, 23))
    draw = ImageDraw.Draw(page)
    for number, each in enumerate(shown):
        left, top = number % COLUMNS * (PIXELS + 4), number // COLUMNS * (height + 4)
        draw.multiline_text((left + 3, top + 2), each.title, fill=(210, 210, 210), spacing=1)
        page.paste(Image.fromarray(each.pixels), (left, top + TITLE))
    return page


def main() -> None:
    """Write one sheet per scan and print what each lesion cost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--cases", nargs="*", default=[])
    parser.add_argument("--phantoms", type=int, default=0)
    parser.add_argument("--field", default="upper-abdomen", help="field of view of the phantoms")
    parser.add_argument("--preset", default="mix", choices=sorted(PRESETS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    scans = [lambda case=case: read_scan(arguments.data, case) for case in arguments.cases]
    field = arguments.field
    scans += [lambda seed=seed: phantom_scan(seed, field) for seed in range(arguments.phantoms)]
    for read in scans:
        scan = read()
        start = time.perf_counter()
        random = np.random.default_rng(arguments.seed)
        made = add_lesions(
            scan.image, scan.labels, scan.spacing_mm, random, PRESETS[arguments.preset]
        )
        seconds = time.perf_counter() - start
        path = (
            arguments.out / f"{scan.name.replace(' ', '_')}_{arguments.preset}_{arguments.seed}.png"
        )
        sheet(list(pictures(scan, made))).save(path)
        print(
            f"{path}: {made.phase}, {len(made.records)} lesions, {len(made.decoys)} decoys,"
            f" {seconds:.2f} s"
        )


if __name__ == "__main__":
    main()
