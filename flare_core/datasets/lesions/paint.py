"""One lesion or decoy into its own box of a scan: push, outline, tissue, the scan's noise, masks.

Invariant: outside the box nothing changes; the box is written once, at the end, and only if enough
of the lesion has room.

A lesion is made of a main tissue, a mosaic, a rim or capsule, a dead core, calcium, oil. Hu et
al. 2023 draw one blurred Bernoulli field; here each has a grain and a place of its own. One decoy
is no body: the dome, partial volume at an organ's upper end, where the diaphragm moved or the
slices are thick: there a smooth patch is averaged over neighbouring slices, and lung or fat mixes
into the organ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.ndimage import gaussian_filter1d

from flare_core.datasets.lesions.appearance import Appearance, Host
from flare_core.datasets.lesions.kinds import BOWEL, HOLLOW, KINDS
from flare_core.datasets.lesions.shape import (
    Floats,
    Form,
    Triple,
    Window,
    blurred,
    draw_form,
    pushed,
    reach_of,
    smooth_noise,
    turned,
)

Random = np.random.Generator
Mask = npt.NDArray[np.bool_]

DETAIL_MM = 2.0
"""What is finer than this in a scan counts as its noise."""
NOISE_GRAIN_MM = 1.1
"""Grain of noise made where the scan's own cannot be used: edges, vessels, gas."""
FAT_HU = (-150.0, -20.0)
"""A lesion grows out of its organ into this only."""
ROOM_HU: dict[str, tuple[float, float]] = {
    BOWEL: (-1100.0, 130.0),
    "lung": (-1000.0, -250.0),
    "bone": (70.0, 3000.0),
    "lymph_node": (-160.0, -10.0),
    "muscle": (-40.0, 130.0),
}
"""What a tumour of a host without label takes the place of; of the bowel gas, wall and chyme."""
BONE_HU, BONE_SHARE, STIFF = 220.0, 0.003, 0.3
"""With more than this share of bone around, a push has `STIFF` of its strength: ribs stay."""
LEAST_SHARE = 0.35
"""A lesion of whose volume less than this has room is not painted."""
LEAST_SHARE_HOLLOW = 0.15


@dataclass(frozen=True, eq=False)
class LesionCanvas:
    """A scan being changed in place."""

    image: npt.NDArray[Any]
    """HU (Z, Y, X)."""
    labels: npt.NDArray[np.uint8]
    """Organ ids (Z, Y, X)."""
    instances: npt.NDArray[np.uint16]
    """Lesion ids (Z, Y, X)."""
    spacing_mm: Triple
    """Voxel size z, y, x."""


@dataclass(frozen=True, eq=False)
class Painted:
    """What `paint` changed."""

    window: Window
    """Nothing outside it changed."""
    mask: Mask
    """The lesion in the window (Z, Y, X)."""


def paint(
    canvas: LesionCanvas,
    appearance: Appearance,
    host: Host,
    centre: tuple[int, int, int],
    random: Random,
) -> Painted | None:
    """Paint one lesion or decoy; None, and nothing changed, if it has no room there.

    The caller gives a lesion its id by `Painted.mask`.
    """
    window = Window.around(centre, reach_of(appearance), canvas.image.shape, canvas.spacing_mm)
    image = still = canvas.image[window.slices].astype(np.float32)
    labels = canvas.labels[window.slices]
    others = canvas.instances[window.slices] > 0
    turn = turned(random)
    if appearance.push > 0 and not others.any():
        stiff = bool(((image > BONE_HU) & (labels == 0)).mean() > BONE_SHARE)
        softer = replace(appearance, push=appearance.push * STIFF) if stiff else appearance
        image, labels = pushed(image, labels, softer, window, turn)
    form = draw_form(appearance, window, turn, random)
    smooth = blurred(image, canvas.spacing_mm, DETAIL_MM)
    room = _room(appearance, host, labels, smooth, form) & ~others
    mask = _connected(_core(form) & room, window)
    least = LEAST_SHARE_HOLLOW if host.organ in HOLLOW else LEAST_SHARE
    if not mask.any() or mask.sum() < least * (form.member >= 0.5).sum():
        return None
    share = form.member * _softened(room, canvas.spacing_mm)
    inside = tissue_hu(appearance, form, window, random) + _scan_noise(still, host, window, random)
    if not appearance.bulging and host.organ not in HOLLOW:
        inside = _kept_edge(inside, image, labels == host.id, host, window)
    image += share * (inside - image)
    canvas.image[window.slices] = as_type(image, canvas.image.dtype)
    canvas.labels[window.slices] = labels
    if host.id and KINDS[appearance.kind].lesion or appearance.kind == "cyst":
        canvas.labels[window.slices][mask] = host.id
    return Painted(window, mask)


def _core(form: Form) -> Mask:
    """Return the voxels that are mostly lesion; the most so, if a tiny one fills none by half."""
    return np.asarray(form.member >= min(0.5, float(form.member.max())))


def _room(
    appearance: Appearance, host: Host, labels: npt.NDArray[np.uint8], smooth: Floats, form: Form
) -> Mask:
    """Return where this lesion may be (Z, Y, X)."""
    if host.organ in ROOM_HU:
        low, high = ROOM_HU[host.organ]
        return np.asarray((labels == 0) & (smooth > low) & (smooth < high))
    room = labels == host.id
    if not appearance.bulging:
        return room
    fat = (labels == 0) & (smooth > FAT_HU[0]) & (smooth < FAT_HU[1]) & (form.member > 0)
    # Between organ and fat lies a voxel that looks like neither.
    both = ndimage.binary_closing(np.pad(room | fat, 2, mode="edge"), iterations=2)
    return np.asarray((room | fat | both[2:-2, 2:-2, 2:-2]) & ((labels == 0) | room))


def _connected(mask: Mask, window: Window) -> Mask:
    """Return the piece at the centre, or else the largest: one lesion is one piece."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    z, y, x = (min(int(round(c)), n - 1) for c, n in zip(window.centre, mask.shape, strict=True))
    best = pieces[z, y, x] or int(np.argmax(np.bincount(pieces.ravel())[1:])) + 1
    return np.asarray(pieces == best)


def _softened(room: Mask, spacing_mm: Triple) -> Floats:
    """Return the room with edges as blurred as the scanner's."""
    return blurred(room.astype(np.float32), spacing_mm, 0.7)


def _scan_noise(still: Floats, host: Host, window: Window, random: Random) -> Floats:
    """Return noise for the lesion: the scan's own where that can be, of the scan before any push.

    A push stretches noise to rings. Where the scan shows something else than the organ (a vessel,
    an edge), what is finer than `DETAIL_MM` is not noise; as much noise is made there.
    """
    smooth = blurred(still, window.spacing_mm, DETAIL_MM)
    limit = 2.6 * host.noise_hu + 1.0
    own = np.clip(still - smooth, -limit, limit)
    made = smooth_noise(random, window.shape, window.spacing_mm, NOISE_GRAIN_MM)
    foreign = np.clip((np.abs(smooth - host.hu) - 18.0) / 20.0, 0, 1)
    return np.asarray(own + foreign * (np.float32(0.85 * host.noise_hu) * made - own))


def _kept_edge(inside: Floats, image: Floats, organ: Mask, host: Host, window: Window) -> Floats:
    """Return the lesion's HU with the organ's blurred surface kept where it cuts the lesion.

    A voxel there is part organ, part fat: the difference is added to it instead of replacing it.
    """
    deep = np.clip(2.2 * blurred(organ.astype(np.float32), window.spacing_mm, 1.3) - 1.2, 0, 1)
    return np.asarray(deep * inside + (1 - deep) * (image + inside - host.hu))


def as_type(image: Floats, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return HU in the scan's type, rounded and within what a scanner writes."""
    if not np.issubdtype(dtype, np.integer):
        return image.astype(dtype)
    low = max(np.iinfo(dtype).min, -32768)
    return np.clip(np.rint(image), low, np.iinfo(dtype).max).astype(dtype)


OIL_GRAIN_MM = 1.7
"""Size of a spot of oil."""
CALCIUM_GRAIN_MM = 1.8
FINE_GRAIN_MM = 3.0
"""Of the mosaic's fine part."""


def tissue_hu(appearance: Appearance, form: Form, window: Window, random: Random) -> Floats:
    """Return the HU (Z, Y, X) of a lesion's tissue, without the scan's noise.

    Values far outside the form mean nothing.
    """
    hu = np.full(window.shape, appearance.level_hu, np.float32)
    hu += _mosaic(appearance, window, random)
    if appearance.rim_hu:
        hu += np.float32(appearance.rim_hu) * _rim(appearance, form, window, random)
    if appearance.necrosis:
        dead = _dead(appearance, form, window, random)
        hu += dead * (np.float32(appearance.necrosis_hu) - hu)
    if appearance.calcified:
        hu += np.float32(appearance.dense_hu) * _spots(
            appearance.calcified, CALCIUM_GRAIN_MM, window, random
        )
    if appearance.lipiodol:
        hu += _oil(appearance, form, window, random)
    return hu


def _field(window: Window, grain_mm: float, random: Random) -> Floats:
    return smooth_noise(random, window.shape, window.spacing_mm, grain_mm)


def _mosaic(appearance: Appearance, window: Window, random: Random) -> Floats:
    """Return nodules and strands: a broad field squeezed to two levels, and a fine one."""
    if not appearance.mosaic_hu:
        return np.zeros(window.shape, np.float32)
    broad = np.tanh(1.5 * _field(window, max(4.0, 0.45 * appearance.radius_mm), random))
    fine = _field(window, FINE_GRAIN_MM, random)
    return np.float32(appearance.mosaic_hu) * (np.float32(0.8) * broad + np.float32(0.6) * fine)


def _rim(appearance: Appearance, form: Form, window: Window, random: Random) -> Floats:
    """Return the rim's share: a bell below the surface, missing in places."""
    middle = appearance.rim_mm * (0.3 if appearance.capsule else 0.5)
    width = max(0.5 * appearance.rim_mm, 0.5 * min(window.spacing_mm))
    bell = np.exp(-0.5 * np.square((form.depth_mm - middle) / width))
    gaps = _field(window, max(5.0, appearance.radius_mm), random)
    return np.asarray(bell * np.clip(0.75 + 0.45 * gaps, 0, 1.2), np.float32)


def _dead(appearance: Appearance, form: Form, window: Window, random: Random) -> Floats:
    """Return the dead core's share: what lies deep, with a ragged, soft border."""
    ragged = _field(window, max(4.0, 0.35 * appearance.radius_mm), random)
    deep = form.depth_mm / appearance.radius_mm - appearance.necrosis + np.float32(0.16) * ragged
    return np.asarray(np.clip(0.5 + deep * appearance.radius_mm / 3.5, 0, 1), np.float32)


def _spots(share: float, grain_mm: float, window: Window, random: Random) -> Floats:
    """Return clustered spots that fill about a share, 0 to 1.5 each."""
    spots = 0.8 * _field(window, grain_mm, random) + 0.6 * _field(window, 5 * grain_mm, random)
    least = np.float32(np.sqrt(2) * _normal_quantile(1 - share) / 1.4142)
    return np.clip((spots - least) / 0.6, 0, 1.5).astype(np.float32)


def _oil(appearance: Appearance, form: Form, window: Window, random: Random) -> Floats:
    """Return the HU of oil: spots that gather at one side, or nearly all of a small tumour."""
    side = random.normal(size=3)
    side /= np.linalg.norm(side)
    slope = sum(
        np.float32(c / appearance.radius_mm) * o
        for c, o in zip(side, window.offsets_mm(), strict=True)
    )
    spots = 0.75 * _field(window, OIL_GRAIN_MM, random) + 0.35 * _field(window, 8.0, random)
    spots = spots + np.float32(0.9) * slope * (1 - appearance.lipiodol)
    spots = spots + np.float32(0.6) * np.clip(form.radial, 0, 1) - np.float32(0.3)
    least = np.float32(_normal_quantile(1 - appearance.lipiodol))
    # Dense where it pools, thin at the pool's edge.
    return np.asarray(
        appearance.dense_hu * np.clip((spots - least) / 1.6, 0, 1.5) ** 1.3, np.float32
    )


def _normal_quantile(share: float) -> float:
    """Return where a bell curve of deviation 1 leaves `share` of itself below (Tukey's lambda).

    Examples
    --------
    >>> round(_normal_quantile(0.5), 3), round(_normal_quantile(0.975), 2)
    (0.0, 1.96)
    """
    return float((share**0.14 - (1 - share) ** 0.14) * 4.91)


DOME_MM = (14.0, 40.0)
"""Diameter of the patch."""
MIX_MM = (3.0, 6.0)
"""Over which height slices mix."""


def paint_dome(
    canvas: LesionCanvas, centre: tuple[int, int, int], random: np.random.Generator
) -> float | None:
    """Mix slices around a centre; the labels stay. Return the diameter, mm."""
    size, mix = random.uniform(*DOME_MM), random.uniform(*MIX_MM)
    step = canvas.spacing_mm[0]
    window = Window.around(centre, size / 2 + 2 * mix, canvas.image.shape, canvas.spacing_mm)
    if window.shape[0] < 2:
        return None
    image = canvas.image[window.slices].astype(np.float32)
    z, y, x = window.offsets_mm()
    away = np.sqrt(z * z + y * y + x * x) / np.float32(size / 2)
    share = np.clip(1.6 * (1 - away), 0, 1)
    mixed = gaussian_filter1d(image, mix / step, axis=0, mode="nearest", truncate=2.0)
    image += share * (mixed - image)
    canvas.image[window.slices] = as_type(image, canvas.image.dtype)
    return float(size)
