"""What a lesion is made of: main tissue, mosaic, rim or capsule, dead core, calcium, oil.

Hu et al. 2023 draw one blurred Bernoulli field; here each part has a grain and a place of its own.
"""

from __future__ import annotations

import numpy as np

from flare_core.datasets.lesions.look import Look
from flare_core.datasets.lesions.noise import Floats, smooth_noise
from flare_core.datasets.lesions.shape import Form, Window

Random = np.random.Generator

OIL_GRAIN_MM = 1.7
"""Size of a spot of oil."""
CALCIUM_GRAIN_MM = 1.8
FINE_GRAIN_MM = 3.0
"""Of the mosaic's fine part."""


def tissue_hu(look: Look, form: Form, window: Window, random: Random) -> Floats:
    """Return the HU (Z, Y, X) of a lesion's tissue, without the scan's noise.

    Values far outside the form mean nothing.
    """
    hu = np.full(window.shape, look.level_hu, np.float32)
    hu += _mosaic(look, window, random)
    if look.rim_hu:
        hu += np.float32(look.rim_hu) * _rim(look, form, window, random)
    if look.necrosis:
        dead = _dead(look, form, window, random)
        hu += dead * (np.float32(look.necrosis_hu) - hu)
    if look.calcified:
        hu += np.float32(look.dense_hu) * _spots(look.calcified, CALCIUM_GRAIN_MM, window, random)
    if look.lipiodol:
        hu += _oil(look, form, window, random)
    return hu


def _noise(window: Window, grain_mm: float, random: Random) -> Floats:
    return smooth_noise(random, window.shape, window.spacing_mm, grain_mm)


def _mosaic(look: Look, window: Window, random: Random) -> Floats:
    """Return nodules and strands: a broad field squeezed to two levels, and a fine one."""
    if not look.mosaic_hu:
        return np.zeros(window.shape, np.float32)
    broad = np.tanh(1.5 * _noise(window, max(4.0, 0.45 * look.radius_mm), random))
    fine = _noise(window, FINE_GRAIN_MM, random)
    return np.float32(look.mosaic_hu) * (np.float32(0.8) * broad + np.float32(0.6) * fine)


def _rim(look: Look, form: Form, window: Window, random: Random) -> Floats:
    """Return the rim's share: a bell below the surface, missing in places."""
    middle = look.rim_mm * (0.3 if look.capsule else 0.5)
    width = max(0.5 * look.rim_mm, 0.5 * min(window.spacing_mm))
    bell = np.exp(-0.5 * np.square((form.depth_mm - middle) / width))
    gaps = _noise(window, max(5.0, look.radius_mm), random)
    return np.asarray(bell * np.clip(0.75 + 0.45 * gaps, 0, 1.2), np.float32)


def _dead(look: Look, form: Form, window: Window, random: Random) -> Floats:
    """Return the dead core's share: what lies deep, with a ragged, soft border."""
    ragged = _noise(window, max(4.0, 0.35 * look.radius_mm), random)
    deep = form.depth_mm / look.radius_mm - look.necrosis + np.float32(0.16) * ragged
    return np.asarray(np.clip(0.5 + deep * look.radius_mm / 3.5, 0, 1), np.float32)


def _spots(share: float, grain_mm: float, window: Window, random: Random) -> Floats:
    """Return clustered spots that fill about a share, 0 to 1.5 each."""
    spots = 0.8 * _noise(window, grain_mm, random) + 0.6 * _noise(window, 5 * grain_mm, random)
    least = np.float32(np.sqrt(2) * _normal_quantile(1 - share) / 1.4142)
    return np.clip((spots - least) / 0.6, 0, 1.5).astype(np.float32)


def _oil(look: Look, form: Form, window: Window, random: Random) -> Floats:
    """Return the HU of oil: spots that gather at one side, or nearly all of a small tumour."""
    side = random.normal(size=3)
    side /= np.linalg.norm(side)
    slope = sum(
        np.float32(c / look.radius_mm) * o for c, o in zip(side, window.offsets_mm(), strict=True)
    )
    spots = 0.75 * _noise(window, OIL_GRAIN_MM, random) + 0.35 * _noise(window, 8.0, random)
    spots = spots + np.float32(0.9) * slope * (1 - look.lipiodol)
    spots = spots + np.float32(0.6) * np.clip(form.radial, 0, 1) - np.float32(0.3)
    least = np.float32(_normal_quantile(1 - look.lipiodol))
    # Dense where it pools, thin at the pool's edge.
    return np.asarray(look.dense_hu * np.clip((spots - least) / 1.6, 0, 1.5) ** 1.3, np.float32)


def _normal_quantile(share: float) -> float:
    """Return where a bell curve of deviation 1 leaves `share` of itself below (Tukey's lambda).

    Examples
    --------
    >>> round(_normal_quantile(0.5), 3), round(_normal_quantile(0.975), 2)
    (0.0, 1.96)
    """
    return float((share**0.14 - (1 - share) ** 0.14) * 4.91)
