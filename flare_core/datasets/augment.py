"""Random changes to a patch, drawn once and applied to image and labels alike, on any device.

Geometry and intensity follow nnU-Net's habits (rotation, scaling, noise, blur, contrast, gamma,
low resolution). Two things are ours because training cases are few: organs get a HU offset each, so
that contrast phases not seen in training are still met, and thick slices are imitated.
Left and right are never mirrored: the liver's side is part of what is learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flare_core.datasets.sampling import Draw
from flare_core.datasets.soft_map import SURE

AIR_HU = -1024

BEND_PITCH_MM = 60.0
"""Distance of the points whose displacements are drawn; bends are smooth in between."""

BEND_REACH = 4.0
"""Standard deviations of the displacement that the block around a patch leaves room for."""


@dataclass(frozen=True)
class Augmentation:
    """How far patches are changed. All ranges are half-widths unless said otherwise."""

    rotation_degrees: tuple[float, float, float] = (12.0, 6.0, 6.0)
    """Around z, y, x."""
    zoom: float = 0.18
    """Natural logarithm of the scale, each axis partly on its own."""
    bend_mm: float = 6.0
    """Standard deviation of a smooth random displacement."""
    bend_probability: float = 0.4
    """Share of patches that are bent."""
    offset_hu: float = 12.0
    """Standard deviation of a shift of all values."""
    contrast: float = 0.15
    """Natural logarithm of a gain around 40 HU."""
    organ_offset_hu: float = 25.0
    """Standard deviation of each organ's own shift (another contrast phase)."""
    organ_probability: float = 0.35
    """Share of patches whose organs are shifted."""
    noise_hu: float = 30.0
    """Largest standard deviation of added noise."""
    noise_probability: float = 0.4
    """Share of patches with noise."""
    blur_probability: float = 0.2
    """Share of patches smoothed in plane."""
    thick_probability: float = 0.25
    """Share of patches whose slices are thickened."""
    thick_mm: float = 10.0
    """Largest imitated slice thickness."""
    window_probability: float = 0.0
    """Share of patches of which only some slices are left, as if the scan were short; the rest is
    air. Teaches a localiser what a chest or a pelvis alone looks like."""
    window_mm: float = 60.0
    """Least height of what is left."""


NO_AUGMENTATION = Augmentation(
    (0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
)


@dataclass(frozen=True, eq=False)
class Cut:
    """One augmented patch; outside the scan the image is air and the label 0."""

    image: Tensor
    """float32 (1, 1, Z, Y, X), HU, all changes made."""
    labels: Tensor
    """uint8 (1, 1, Z, Y, X), organ ids."""
    plain: Tensor
    """float32 (1, 1, Z, Y, X), HU: moved like `image`, its intensities as they were. What a teacher
    sees, so that the student learns to answer the same of a harder picture."""
    edited: Tensor | None = None
    """uint8 (1, 1, Z, Y, X): 1 where a person corrected the labels; None if nobody did."""
    soft: Tensor | None = None
    """int16 (1, 1, Z, Y, X), see `datasets.soft_map`; None without soft labels."""


def cut_patch(
    draw: Draw,
    patch: tuple[int, int, int],
    settings: Augmentation,
    random: np.random.Generator,
    device: torch.device,
) -> Cut:
    """Return an augmented patch, made on `device`."""
    sample = draw.sample
    matrix = _draw_matrix(settings, random, sample.spacing_mm)
    reach_mm = BEND_REACH * settings.bend_mm if settings.bend_probability else 0.0
    low, high = _source_box(draw, patch, matrix, reach_mm)
    block = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    shape = sample.image[block].shape
    grid = _sampling_grid(draw.centre - low, patch, matrix, shape)
    if random.random() < settings.bend_probability:
        grid += _bend(patch, draw, settings, random, shape)
    grid = grid.to(device)[None]  # (1, Z, Y, X, 3)
    image = torch.from_numpy(sample.image[block].astype(np.float32)).to(device)
    plain = functional.grid_sample((image - AIR_HU)[None, None], grid, align_corners=False)
    plain += AIR_HU
    labels = _nearest(sample.labels[block], grid).to(torch.uint8)
    edited = None if sample.edited is None else _nearest(sample.edited[block], grid).to(torch.uint8)
    soft = None
    if sample.soft is not None:
        soft = _nearest(sample.soft[block], grid, SURE).to(torch.int16)
    changed = _change_intensity(plain, labels, draw, settings, random)
    if random.random() < settings.window_probability:
        least = settings.window_mm / sample.spacing_mm[0]
        _shorten((changed, plain), (labels, edited, soft), least, random)
    return Cut(changed, labels, plain, edited, soft)


def _nearest(block: np.ndarray, grid: Tensor, outside: int = 0) -> Tensor:
    """Return the value of the nearest voxel, float32 (1, 1, Z, Y, X); `outside` beyond the scan."""
    values = torch.from_numpy(block.astype(np.float32)).to(grid.device) - outside
    moved = functional.grid_sample(values[None, None], grid, mode="nearest", align_corners=False)
    return moved + outside


def _shorten(
    images: Sequence[Tensor],
    maps: Sequence[Tensor | None],
    least: float,
    random: np.random.Generator,
) -> None:
    """Leave a random range of at least `least` slices of a patch; blank the others, in place.

    `maps` are labels, edited, soft; what is blanked is surely background.
    """
    slices = images[0].shape[2]
    height = min(slices, round(random.uniform(min(least, slices), slices)))
    start = int(random.integers(slices - height + 1))
    for part in (slice(0, start), slice(start + height, slices)):
        for image in images:
            image[:, :, part] = AIR_HU
        for each, blank in zip(maps, (0, 0, SURE), strict=True):
            if each is not None:
                each[:, :, part] = blank


def _draw_matrix(
    settings: Augmentation, random: np.random.Generator, spacing: tuple[float, float, float]
) -> np.ndarray:
    """Return the 3 x 3 map from patch offsets to scan offsets, (z, y, x) voxels."""
    angles = [math.radians(random.uniform(-a, a)) for a in settings.rotation_degrees]
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        rotation = rotation @ turn
    common = random.uniform(-settings.zoom, settings.zoom)
    own = random.uniform(-settings.zoom, settings.zoom, 3) / 3
    scale = np.diag(np.exp(common + own))
    mm = np.diag(spacing)
    return np.linalg.inv(mm) @ rotation @ scale @ mm


def _source_box(
    draw: Draw, patch: tuple[int, int, int], matrix: np.ndarray, reach_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (first, behind the last) voxel that the patch can touch: no whole scan is converted.

    `reach_mm` is how far a bend may move a voxel.
    """
    bend = reach_mm / np.asarray(draw.sample.spacing_mm)
    reach = np.abs(matrix) @ (np.asarray(patch) / 2.0) + bend + 2.0
    low = np.maximum(0, np.floor(draw.centre - reach)).astype(int)
    high = np.minimum(draw.sample.image.shape, np.ceil(draw.centre + reach) + 1).astype(int)
    return low, high


def _sampling_grid(
    centre: np.ndarray, patch: tuple[int, int, int], matrix: np.ndarray, shape: tuple[int, ...]
) -> Tensor:
    """Return grid_sample's coordinates (Z, Y, X, 3), x first, -1 to 1 over the block's cells."""
    sizes = np.asarray(shape, float)
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch]
    grid = torch.empty(*patch, 3)
    for source in range(3):  # the block's axis z, y, x
        scale = 2.0 / sizes[source]
        value = float((centre[source] + 0.5) * scale - 1.0)
        part = torch.full(patch, value)
        for axis in range(3):
            view = [1, 1, 1]
            view[axis] = patch[axis]
            part += axes[axis].view(view) * float(matrix[source, axis] * scale)
        grid[..., 2 - source] = part
    return grid


def _bend(
    patch: tuple[int, int, int],
    draw: Draw,
    settings: Augmentation,
    random: np.random.Generator,
    shape: tuple[int, ...],
) -> Tensor:
    """Return a smooth random displacement (Z, Y, X, 3) in grid_sample's units."""
    coarse = tuple(
        max(3, round(n * s / BEND_PITCH_MM))
        for n, s in zip(patch, draw.sample.spacing_mm, strict=True)
    )
    field = random.normal(0.0, settings.bend_mm, (1, 3, *coarse)).astype(np.float32)
    for source in range(3):
        field[:, 2 - source] *= 2.0 / (shape[source] * draw.sample.spacing_mm[source])
    smooth = functional.interpolate(
        torch.from_numpy(field), size=patch, mode="trilinear", align_corners=True
    )
    return smooth[0].permute(1, 2, 3, 0)


def _change_intensity(
    image: Tensor, labels: Tensor, draw: Draw, settings: Augmentation, random: np.random.Generator
) -> Tensor:
    """Return the patch as another scanner, contrast phase or dose might show it, HU."""
    if random.random() < settings.organ_probability:
        shift = random.normal(0.0, settings.organ_offset_hu, 256).astype(np.float32)
        shift[0] = 0.0
        image = image + torch.from_numpy(shift).to(image.device)[labels.long()]
    gain = math.exp(random.uniform(-settings.contrast, settings.contrast))
    offset = random.normal(0.0, settings.offset_hu) if settings.offset_hu else 0.0
    image = (image - 40.0) * gain + (40.0 + offset)
    if random.random() < settings.blur_probability:
        image = _blur_in_plane(image)
    if random.random() < settings.noise_probability:
        seed = int(random.integers(2**31))
        generator = torch.Generator(image.device).manual_seed(seed)
        noise = torch.empty_like(image).normal_(generator=generator)
        image = image + noise * random.uniform(0.0, settings.noise_hu)
    if random.random() < settings.thick_probability:
        image = _thicken(image, random.uniform(2.0, settings.thick_mm) / draw.sample.spacing_mm[0])
    return image


def _blur_in_plane(image: Tensor) -> Tensor:
    """Smooth with a 3 x 3 binomial filter in plane."""
    row = torch.tensor([0.25, 0.5, 0.25], device=image.device)
    kernel = (row[:, None] * row[None, :]).view(1, 1, 1, 3, 3)
    return functional.conv3d(functional.pad(image, (1, 1, 1, 1, 0, 0), mode="replicate"), kernel)


def _thicken(image: Tensor, factor: float) -> Tensor:
    """Average over `factor` slices and interpolate back."""
    slices = image.shape[2]
    few = max(2, round(slices / max(1.0, factor)))
    if few >= slices:
        return image
    thick = functional.interpolate(image, size=(few, *image.shape[3:]), mode="area")
    return functional.interpolate(thick, size=image.shape[2:], mode="trilinear")
