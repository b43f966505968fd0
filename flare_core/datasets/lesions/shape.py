"""The lesion's own box, its form in it, and the push on what surrounds it.

A form is an ellipsoid with lobes: its level set is shifted by smooth noise of two grains, and then
levelled so that the volume stays that of the ellipsoid. All lengths are millimetres, so a lesion of
20 mm is 20 mm along thick slices too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, map_coordinates

from flare_core.datasets.lesions.appearance import Appearance

Floats = npt.NDArray[np.float32]

KNOT_BLUR = 0.9
"""Width of a knot's bell in knot distances; with less, the lattice shows as straight edges."""
KNOTS_A_GRAIN = 1.5
BELL_TO_SD = 1.4826
"""From the median absolute deviation to the standard deviation of a bell curve."""


def smooth_noise(
    random: np.random.Generator, shape: Sequence[int], spacing_mm: Sequence[float], grain_mm: float
) -> Floats:
    """Return noise (Z, Y, X) of mean 0 and standard deviation 1 that varies over `grain_mm`.

    Random numbers are drawn on a lattice `grain_mm` wide and spread with one small matrix per axis,
    which costs much less than blurring as many numbers as there are voxels.
    """
    grains = [max(grain_mm / KNOTS_A_GRAIN, 0.6 * step) for step in spacing_mm]
    knots = [int(n * s / g) + 7 for n, s, g in zip(shape, spacing_mm, grains, strict=True)]
    field = random.standard_normal(knots, dtype=np.float32)
    for n, k, s, g in zip(shape, knots, spacing_mm, grains, strict=True):
        field = np.tensordot(field, _spread(n, k, s / g), axes=(0, 1))
    return field


def _spread(n: int, knots: int, step: float) -> Floats:
    """Return weights (n, knots) of each knot at each voxel; the squares of a row sum to 1."""
    away = np.arange(n)[:, None] * step + 3.0 - np.arange(knots)[None, :]
    weights = np.exp(-0.5 * (away / KNOT_BLUR) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return weights.astype(np.float32)


def blurred(image: Floats, spacing_mm: Sequence[float], sigma_mm: float) -> Floats:
    """Return an image (Z, Y, X) blurred by `sigma_mm`; an axis much coarser than that stays."""
    for axis, step in enumerate(spacing_mm):
        if sigma_mm / step > 0.25:
            image = gaussian_filter1d(image, sigma_mm / step, axis=axis, truncate=2.5)
    return image


def spread_hu(values: Floats) -> float:
    """Return the standard deviation of most of the values (N), HU: few vessels do not count."""
    if values.size < 2:
        return 0.0
    return float(BELL_TO_SD * np.median(np.abs(values - np.median(values))))


Slices = tuple[slice, slice, slice]
Triple = tuple[float, float, float]

LOBE_REACH = 1.3
"""How far lobes reach, in half axes."""
PUSH_REACH = 1.9
"""How far a push reaches, in half axes; less for large lesions, whose boxes would be slow."""
LARGE_MM = 22.0
"""Radius above which the push reaches less far."""
THICK_MM = 2.2
"""Voxels longer than this are averaged over three places along that axis."""
FEW = 30
"""With fewer voxels an outline has no lobes that could be levelled."""


@dataclass(frozen=True)
class Window:
    """A box of voxels around a centre."""

    slices: Slices
    """Where it is in the scan."""
    centre: Triple
    """The centre in the box's voxels, z, y, x."""
    spacing_mm: Triple
    """Voxel size z, y, x."""

    @staticmethod
    def around(
        centre: Sequence[float], reach_mm: float, shape: Sequence[int], spacing_mm: Triple
    ) -> Window:
        """Return the box of all voxels within `reach_mm` of a centre, cut by the scan."""
        spans, local = [], []
        for middle, n, step in zip(centre, shape, spacing_mm, strict=True):
            start = max(0, int(np.floor(middle - reach_mm / step)))
            stop = min(n, int(np.ceil(middle + reach_mm / step)) + 1)
            spans.append(slice(start, stop))
            local.append(float(middle - start))
        return Window((spans[0], spans[1], spans[2]), (local[0], local[1], local[2]), spacing_mm)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        z, y, x = (s.stop - s.start for s in self.slices)
        return z, y, x

    def offsets_mm(self, shift: Sequence[float] = (0, 0, 0)) -> list[Floats]:
        """Return z, y, x from the centre, mm, as arrays that broadcast; `shift` in voxels."""
        axes = [
            ((np.arange(n) + move - middle) * step).astype(np.float32)
            for n, move, middle, step in zip(
                self.shape, shift, self.centre, self.spacing_mm, strict=True
            )
        ]
        return list(np.meshgrid(*axes, indexing="ij", sparse=True))


@dataclass(frozen=True, eq=False)
class Form:
    """A lesion's outline in its window."""

    member: Floats
    """Share of each voxel (Z, Y, X) that lies in it, its soft edge included."""
    depth_mm: Floats
    """How deep each voxel's middle (Z, Y, X) lies below its surface; negative outside."""
    radial: Floats
    """0 at its middle (Z, Y, X), 1 on the surface of the ellipsoid it was made from."""


def turned(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a rotation (3, 3), any as likely as any other."""
    q, r = np.linalg.qr(random.normal(size=(3, 3)))
    turn = q * np.sign(np.diag(r))
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    return np.asarray(turn)


def reach_of(appearance: Appearance) -> float:
    """Return how far a lesion changes a scan, mm from its centre."""
    half = appearance.radius_mm * max(appearance.axes)
    push = half * push_reach(appearance) if appearance.push > 0 else 0.0
    return max(half * LOBE_REACH + appearance.edge_mm + 1.0, push)


def push_reach(appearance: Appearance) -> float:
    """Return how far its push reaches, in half axes."""
    return PUSH_REACH if appearance.radius_mm < LARGE_MM else 1.55


def draw_form(
    appearance: Appearance,
    window: Window,
    turn: npt.NDArray[np.float64],
    random: np.random.Generator,
) -> Form:
    """Draw a lesion's outline."""
    radial, slope = _ellipsoid(appearance, turn, window.offsets_mm())
    lobes = _lobes(appearance, window, random)
    level = _level(radial, radial + lobes)
    depth = (level - radial - lobes) / slope
    width = appearance.edge_mm + 0.7 * float(min(window.spacing_mm))
    member: Floats = np.zeros(window.shape, np.float32)
    places = 0
    for shift in _places(window.spacing_mm):
        if any(shift):
            moved, slope = _ellipsoid(appearance, turn, window.offsets_mm(shift))
            below = (level - moved - lobes) / slope
        else:
            below = depth
        member += np.clip(0.5 + below / width, 0, 1)
        places += 1
    return Form(member / np.float32(places), depth.astype(np.float32), radial)


def _ellipsoid(
    appearance: Appearance, turn: npt.NDArray[np.float64], offsets: Sequence[Floats]
) -> tuple[Floats, Floats]:
    """Return the radial coordinate (1 on the surface), and its slope per mm."""
    square: Floats = np.zeros((1, 1, 1), np.float32)
    slope = square
    for row, axis in zip(turn, appearance.axes, strict=True):
        z, y, x = (np.float32(f) * o for f, o in zip(row, offsets, strict=True))
        half = np.float32(appearance.radius_mm * axis)
        part = np.square((z + y + x) / half)
        square = square + part
        slope = slope + part / (half * half)
    radial: Floats = np.sqrt(square) + np.float32(1e-4)
    return radial, (np.sqrt(slope) / radial + np.float32(1e-4)).astype(np.float32)


def _lobes(appearance: Appearance, window: Window, random: np.random.Generator) -> Floats:
    """Return the shift of the level set (Z, Y, X): broad lobes, then finer ones."""
    size = appearance.radius_mm * min(1.0, min(appearance.axes) * 1.5)
    broad = smooth_noise(random, window.shape, window.spacing_mm, 0.75 * size)
    fine = smooth_noise(random, window.shape, window.spacing_mm, 0.3 * size)
    lobes = (
        np.float32(0.1 * appearance.irregular) * broad
        + np.float32(0.04 * appearance.irregular) * fine
    )
    return np.float32(0.3) * np.tanh(lobes / np.float32(0.3))


def _level(radial: Floats, shifted: Floats) -> float:
    """Return the level at which the lobed form has the ellipsoid's volume."""
    count = int((radial < 1).sum())
    if count < FEW:
        return 1.0
    return float(np.partition(shifted.ravel(), count)[count])


def _places(spacing_mm: Triple) -> Iterator[tuple[float, ...]]:
    """Yield where in a voxel the form is asked for, voxels from its middle."""
    yield from product(*[(0.0, -1 / 3, 1 / 3) if s > THICK_MM else (0.0,) for s in spacing_mm])


def sources(
    appearance: Appearance, window: Window, turn: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Return which voxels (Z, Y, X) a push moves, and where each of them (3, N) came from.

    Along each ray from the centre, what was at r (1 - k (1 - t^2)^2) is now at r, where t is r over
    the reach and k < 1 the strength: monotonous, smooth, and nothing moves at the reach. Hu et al.
    scale locally as well.
    """
    offsets = window.offsets_mm()
    radial, _ = _ellipsoid(appearance, turn, offsets)
    t = radial / np.float32(push_reach(appearance))
    moved = t < 1
    scale = 1 - np.float32(appearance.push) * np.square(1 - np.square(t[moved]))
    places = np.stack(
        [
            np.float32(c) + np.broadcast_to(o, moved.shape)[moved] * scale / np.float32(s)
            for c, o, s in zip(window.centre, offsets, window.spacing_mm, strict=True)
        ]
    )
    return moved, places


def pushed(
    image: Floats,
    labels: npt.NDArray[np.uint8],
    appearance: Appearance,
    window: Window,
    turn: npt.NDArray,
) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Return image (HU) and labels of a window after the push."""
    moved, places = sources(appearance, window, turn)
    image, labels = image.copy(), labels.copy()
    # Cubic: linear interpolation would smooth the scan's noise, and that is easily learned.
    image[moved] = map_coordinates(image, places, order=3, mode="nearest")
    labels[moved] = map_coordinates(labels, places, order=0, mode="nearest")
    return image, labels
