"""Anatomy that few training scans show: ascites, filled stomachs, bright kidneys, removed organs.

A network learns what it sees. With scans of a dozen patients it has never met a belly full of
fluid (and calls it liver), a stomach full of contrast (and takes two thirds of it), a renal pelvis
that excretes, or a patient whose gallbladder is gone. Each is painted into a patch from its labels,
which say where the organs lie; every draw is made once and applied to image and labels alike.

HU values: ascites 0 to 25 (transudate to exudate), positive oral contrast 150 to 600, excreted
contrast 300 to 1500, fat -115 to -85.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flare_core.anatomy.organs import BACKGROUND_ID, LESION, organ
from flare_core.datasets.augment.settings import Augmentation
from flare_core.imaging.label_map import part_of_host

FAT_HU = (-150.0, -30.0)
"""What counts as fat where fluid is to take its place."""

FLUID_REACH_MM = 25.0
"""Fat as near as this to an organ lies inside the abdomen; farther out it may be under the skin."""

WALL_MM = 3.0
"""Of a stomach, which stays as it is when its content changes."""

PELVIS_DEPTH_MM = 8.0
"""How far inside a kidney its excreted contrast begins."""

REMOVED = ("gallbladder", "left_kidney", "right_kidney", "spleen")
"""What surgeons take out whole, the commonest first."""

REMOVED_SHARE = (0.55, 0.15, 0.15, 0.15)
"""How often each of them, if it is in the patch."""

NOISE_HU = 12.0
"""Standard deviation of the texture that painted tissue gets before the scan's own noise."""

HOLLOW = ("stomach", "duodenum")
"""Organs whose content changes with what a patient drank."""

KIDNEYS = ("right_kidney", "left_kidney")


@dataclass(frozen=True, eq=False)
class AnatomyPatch:
    """A patch that is changed in place."""

    image: Tensor
    """float32 (1, 1, Z, Y, X), HU."""
    labels: Tensor
    """uint8 (1, 1, Z, Y, X), organ ids."""
    spacing_mm: tuple[float, float, float]
    """Voxel size z, y, x."""

    def mask(self, *keys: str) -> Tensor:
        """Return where organs are, bool (1, 1, Z, Y, X)."""
        found = torch.zeros_like(self.labels, dtype=torch.bool)
        for key in keys:
            found |= self.labels == organ(key).id
        return found


def change_anatomy(
    scene: AnatomyPatch, settings: Augmentation, random: np.random.Generator
) -> None:
    """Paint rare anatomy into a patch, in place.

    Parameters
    ----------
    scene : AnatomyPatch
        Canonical axes: y grows towards the back, where fluid gathers in a patient who lies.
    settings : Augmentation
        How often each change is made.
    random : numpy Generator
        All chance comes from it.
    """
    for paint, share in (
        (_remove, settings.removed_probability),
        (_fill, settings.filled_probability),
        (_excrete, settings.excretion_probability),
        (_flood, settings.ascites_probability),
    ):
        if random.random() < share:
            paint(scene, random)


def _remove(scene: AnatomyPatch, random: np.random.Generator) -> None:
    """Put fat where an organ was, and its lesions."""
    order = random.choice(len(REMOVED), len(REMOVED), replace=False, p=REMOVED_SHARE)
    keys = (REMOVED[int(each)] for each in order)
    key = next((key for key in keys if bool(scene.mask(key).any())), None)
    if key is None:
        return
    gone = scene.mask(key)
    if bool(scene.mask(LESION.key).any()):
        whole = part_of_host(scene.labels[0, 0].cpu().numpy(), LESION.id)  # (Z, Y, X)
        gone = torch.from_numpy(whole == organ(key).id).to(gone.device)[None, None]
    rim = grown(gone, 2.0, scene.spacing_mm) & (scene.labels == BACKGROUND_ID)
    _paint(scene, gone | rim, random.uniform(-115.0, -85.0), random)
    scene.labels[gone] = BACKGROUND_ID


def _fill(scene: AnatomyPatch, random: np.random.Generator) -> None:
    """Give stomach and duodenum another content: gas in front, contrast or water behind."""
    whole = scene.mask(*HOLLOW)
    if not bool(whole.any()):
        return
    lumen = ~grown(~whole, WALL_MM, scene.spacing_mm)
    rows = lumen.any(dim=4).any(dim=2)[0, 0].nonzero()
    if not len(rows):
        return
    front, back = int(rows.min()), int(rows.max()) + 1
    level = random.uniform(front - 0.5 * (back - front), back)  # often above the front: no gas
    liquid = random.uniform(150.0, 600.0) if random.random() < 0.6 else random.uniform(0.0, 30.0)
    y = torch.arange(lumen.shape[3], device=lumen.device)[:, None]
    _paint(scene, lumen & (y >= level), liquid, random, texture=NOISE_HU + 0.08 * abs(liquid))
    _paint(scene, lumen & (y < level), -960.0, random)


def _excrete(scene: AnatomyPatch, random: np.random.Generator) -> None:
    """Let the middle of the kidneys shine, as minutes after contrast was given."""
    kidneys = scene.mask(*KIDNEYS)
    if not bool(kidneys.any()):
        return
    deep = ~grown(~kidneys, PELVIS_DEPTH_MM, scene.spacing_mm)
    _paint(scene, deep, random.uniform(300.0, 1500.0), random, texture=60.0)


def _flood(scene: AnatomyPatch, random: np.random.Generator) -> None:
    """Turn the fat around the organs into fluid."""
    low, high = FAT_HU
    near = grown(scene.labels != BACKGROUND_ID, FLUID_REACH_MM, scene.spacing_mm)
    fat = near & (scene.labels == BACKGROUND_ID) & (scene.image > low) & (scene.image < high)
    _paint(scene, fat, random.uniform(0.0, 25.0), random, soften=False)


def _paint(
    scene: AnatomyPatch,
    where: Tensor,
    mean_hu: float,
    random: np.random.Generator,
    *,
    texture: float = NOISE_HU,
    soften: bool = True,
) -> None:
    """Set voxels to a mean HU with a texture; edges are blurred as a scanner blurs them."""
    if not bool(where.any()):
        return
    generator = torch.Generator(scene.image.device).manual_seed(int(random.integers(2**31)))
    grain = torch.empty_like(scene.image).normal_(generator=generator)
    grain = functional.avg_pool3d(grain, (1, 3, 3), stride=1, padding=(0, 1, 1)).mul_(3 * texture)
    share = where.float()
    if soften:
        share = functional.avg_pool3d(share, 3, stride=1, padding=1, count_include_pad=False)
        share.mul_(where)
    scene.image.lerp_(grain.add_(mean_hu), share)


def grown(mask: Tensor, reach_mm: float, spacing_mm: tuple[float, float, float]) -> Tensor:
    """Return a mask (1, 1, Z, Y, X) widened by a box of `reach_mm` to each side.

    Examples
    --------
    >>> row = torch.zeros(1, 1, 1, 1, 5, dtype=torch.bool)
    >>> row[..., 2] = True
    >>> grown(row, 1.0, (1.0, 1.0, 1.0)).int().flatten().tolist()
    [0, 1, 1, 1, 0]
    """
    found = mask.float()
    for axis, size in enumerate(spacing_mm):
        steps = round(reach_mm / size)
        if steps:
            kernel = [2 * steps + 1 if a == axis else 1 for a in range(3)]
            padding = [steps if a == axis else 0 for a in range(3)]
            found = functional.max_pool3d(found, kernel, stride=1, padding=padding)
    return found > 0
