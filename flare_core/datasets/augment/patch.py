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

from flare_core.datasets.augment.anatomy import AnatomyPatch, change_anatomy
from flare_core.datasets.augment.sampling_grid import (
    affine_grid,
    looked_up,
    resampling,
    smooth_field,
)
from flare_core.datasets.augment.settings import Augmentation
from flare_core.datasets.lesions.generate import add_lesions
from flare_core.datasets.lesions.settings import LesionSettings
from flare_core.datasets.sampling import PatchLocation
from flare_core.datasets.soft_map import SURE

AIR_HU = -1024

BEND_PITCH_MM = 60.0
"""Distance of the points whose displacements are drawn; bends are smooth in between."""

BEND_REACH = 4.0
"""Standard deviations of the displacement that the block around a patch leaves room for."""


@dataclass(frozen=True, eq=False)
class AugmentedPatch:
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


@dataclass(frozen=True)
class Tumours:
    """Synthetic tumours for patches."""

    settings: LesionSettings
    """How many, how large, where."""
    marked: bool
    """Whether they become lesions in the labels; if not, they are part of their organ."""


def augmented_patch(
    location: PatchLocation,
    patch: tuple[int, int, int],
    settings: Augmentation,
    random: np.random.Generator,
    device: torch.device,
    *,
    tumours: Tumours | None = None,
) -> AugmentedPatch:
    """Return an augmented patch, made on `device`; with synthetic tumours if they are wanted."""
    sample = location.sample
    matrix = _draw_matrix(settings, random, sample.spacing_mm)
    reach_mm = BEND_REACH * settings.bend_mm if settings.bend_probability else 0.0
    low, high = _source_box(location, patch, matrix, reach_mm)
    block = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    shape = sample.image[block].shape
    bend = None
    if random.random() < settings.bend_probability:
        bend = _bend(patch, sample.spacing_mm, settings, random).to(device)
    grid = affine_grid(location.centre - low, patch, matrix, shape, device, bend=bend)
    plain = grid.linear(sample.image[block], AIR_HU)
    labels = grid.nearest(sample.labels[block])
    edited = None if sample.edited is None else grid.nearest(sample.edited[block].view(np.uint8))
    soft = None if sample.soft is None else grid.nearest(sample.soft[block], SURE)
    before = None if soft is None else labels.clone()
    change_anatomy(AnatomyPatch(plain, labels, sample.spacing_mm), settings, random)
    if tumours is not None:
        _paint_tumours(plain, labels, sample.spacing_mm, tumours, random)
    if soft is not None and before is not None:
        soft[labels != before] = SURE
    changed = _change_intensity(plain, labels, location, settings, random)
    if random.random() < settings.window_probability:
        least = settings.window_mm / sample.spacing_mm[0]
        _shorten((changed, plain), (labels, edited, soft), least, random)
    return AugmentedPatch(changed, labels, plain, edited, soft)


def _paint_tumours(
    image: Tensor,
    labels: Tensor,
    spacing_mm: tuple[float, float, float],
    tumours: Tumours,
    random: np.random.Generator,
) -> None:
    """Paint synthetic tumours into a patch, in place.

    They are drawn by numpy on the CPU, whatever the patch's device.
    """
    made = add_lesions(
        image[0, 0].cpu().numpy(), labels[0, 0].cpu().numpy(), spacing_mm, random, tumours.settings
    )
    image.copy_(torch.from_numpy(made.image))
    labels.copy_(torch.from_numpy(made.with_lesion_label() if tumours.marked else made.labels))


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
    location: PatchLocation, patch: tuple[int, int, int], matrix: np.ndarray, reach_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (first, behind the last) voxel that the patch can touch: no whole scan is converted.

    `reach_mm` is how far a bend may move a voxel.
    """
    bend = reach_mm / np.asarray(location.sample.spacing_mm)
    reach = np.abs(matrix) @ (np.asarray(patch) / 2.0) + bend + 2.0
    low = np.maximum(0, np.floor(location.centre - reach)).astype(int)
    high = np.minimum(location.sample.image.shape, np.ceil(location.centre + reach) + 1).astype(int)
    return low, high


def _bend(
    patch: tuple[int, int, int],
    spacing: tuple[float, float, float],
    settings: Augmentation,
    random: np.random.Generator,
) -> Tensor:
    """Return a smooth random displacement (3, Z, Y, X) along z, y, x, voxels."""
    coarse = tuple(
        max(3, round(n * s / BEND_PITCH_MM)) for n, s in zip(patch, spacing, strict=True)
    )
    field = random.normal(0.0, settings.bend_mm, (3, *coarse))[::-1]  # drawn for x first
    voxels = field / np.asarray(spacing)[:, None, None, None]
    return smooth_field(torch.from_numpy(voxels.astype(np.float32)), patch)


def _change_intensity(
    image: Tensor,
    labels: Tensor,
    location: PatchLocation,
    settings: Augmentation,
    random: np.random.Generator,
) -> Tensor:
    """Return the patch as another scanner, contrast phase or dose might show it, HU."""
    if random.random() < settings.organ_probability:
        shift = random.normal(0.0, settings.organ_offset_hu, 256).astype(np.float32)
        shift[0] = 0.0
        changed = looked_up(torch.from_numpy(shift).to(image.device), labels).add_(image)
    else:
        changed = image.clone()
    gain = math.exp(random.uniform(-settings.contrast, settings.contrast))
    offset = random.normal(0.0, settings.offset_hu) if settings.offset_hu else 0.0
    changed.sub_(40.0).mul_(gain).add_(40.0 + offset)
    if random.random() < settings.blur_probability:
        changed = _blur_in_plane(changed)
    if random.random() < settings.noise_probability:
        seed = int(random.integers(2**31))
        generator = torch.Generator(image.device).manual_seed(seed)
        noise = torch.empty_like(image).normal_(generator=generator)
        changed.add_(noise, alpha=random.uniform(0.0, settings.noise_hu))
    if random.random() < settings.thick_probability:
        thick_mm = random.uniform(2.0, settings.thick_mm)
        changed = _thicken(changed, thick_mm / location.sample.spacing_mm[0])
    return changed


def _blur_in_plane(image: Tensor) -> Tensor:
    """Smooth with a 3 x 3 binomial filter in plane, the border's voxels repeated beyond it."""
    for axis in (3, 4):
        size = image.shape[axis]
        mean = image * 0.5
        for start, end, edge in ((0, 1, 0), (1, 0, size - 1)):
            part = image.narrow(axis, start, size - 1)
            mean.narrow(axis, end, size - 1).add_(part, alpha=0.25)
            mean.narrow(axis, edge, 1).add_(image.narrow(axis, edge, 1), alpha=0.25)
        image = mean
    return image


def _thicken(image: Tensor, factor: float) -> Tensor:
    """Average over `factor` slices and interpolate back."""
    slices = image.shape[2]
    few = max(2, round(slices / max(1.0, factor)))
    if few >= slices:
        return image
    both = resampling(slices, few, "area") @ resampling(few, slices, "linear")
    return (both.T.to(image.device) @ image.view(slices, -1)).view(image.shape)
