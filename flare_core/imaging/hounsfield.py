"""Hounsfield units: are these numbers such, what else are they, and what a network gets of them.

`doubt` judges by the peaks that every CT of a body has:

1. count the values, one bin a HU (`histogram`);
2. set aside padding (one value, far from all others, that many voxels have) and what was cut off
   at one value (a window's edge) (`_Values.of`);
3. look where the densest tissue and the air have their peaks, and for what no CT has (`_oddity`);
4. ask whether another reading (1024 added, negated, ten times as large ...) fits much better.

Minimum and maximum say little: one voxel can make them. On 29 abdominal CTs of nine sources the
bands of air, fat and soft tissue hold 50 to 70 % of what is not padding.

Without a value below zero an image is refused whatever its peaks; `kind_of` then guesses what it
is, for the words that tell a person what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]
Pixels = TypeVar("Pixels", bound=npt.NDArray[np.float32])
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LOWEST, HIGHEST = -32768, 32767
"""Values of the first and the last bin, HU; what lies beyond is counted there."""
PADDING_SHARE, PADDING_APART_HU, PADDING_COMPANY = 0.005, 300, 0.2
"""Padding is one value with this share of the voxels; so far around it there are fewer voxels than
this part of its own (interpolation smears a few)."""
CUT_SHARE, CUT_HU = 0.002, 20
"""The lowest or highest value was cut off if this share has it, and more than the next 20 HU."""
HIGHEST_TISSUE_HU = 1300
"""Compact bone and a phantom's bone; single values above it are padding."""
LEAST_SPREAD_HU = 220.0
"""From fat to soft tissue alone it is 150 HU; narrower windows have lost one of the two."""
TISSUE_HU = (-200.0, 400.0)
"""From fat to strongly enhanced organs; where the densest peak of a body lies."""
DENSE_HU = -500.0
"""Above it is body, below it lung and air."""
LEAST_TISSUE = 0.5
"""Of what is denser than lung, the share in `TISSUE_HU`; skulls and metal are the rest."""
LIGHT_HU, LEAST_LIGHT = -40.0, 0.002
"""Share of voxels lighter than water that fat, lung and gas make even in a tight crop."""
PEAK_HU, PEAK_SHARE = 75, 0.015
"""A peak counts if so many of the voxels lie so near to it; bone is spread much wider."""
AIR_SHARE, AIR_HU = 0.15, (-1150.0, -650.0)
"""With so much below `DENSE_HU`, its peak is air or lung, which lie there."""
BELOW_AIR_HU, BELOW_AIR_SHARE = -1250.0, 0.05
"""Noise of air ends there, but for a few voxels."""
MIRRORED_SHARE = 0.003
"""Share of voxels near 1000 HU that is much for bone."""
BANDS_HU = ((-1050.0, -960.0), (-130.0, -70.0), (20.0, 130.0))
"""Air, fat, soft tissue."""
LEAST_BAND = 0.04
"""A reading is one only if soft tissue, and air or fat, have this share."""
LEAST_FIT, FITS_BETTER = 0.3, 2.0
"""A reading counts if the bands hold this share; it refuses HU if theirs is so many times less."""
SHIFTS = (*range(-3000, -180, 10), *range(200, 3000, 10))
USUAL_SHIFTS, USUAL_FITS = (1024, -1024, 1000, -1000, 2048, 8192), 0.85
SCALES = {10.0: "ten times HU", 2.0: "twice HU", 0.5: "half of HU", 0.1: "a tenth of HU"}

MASK, SHIFTED, PET, MR, GREY = "mask", "shifted CT", "PET", "MR", "grey levels"

FEW_VALUES = 64
"""A mask or label map has no more values than this, all of them whole."""
GREY_LEVELS = 255
SHIFT = 1024
SHIFTED_TISSUE = (SHIFT + TISSUE_HU[0], SHIFT + TISSUE_HU[1])
SHIFTED_DENSE = SHIFT + DENSE_HU
SHIFTED_LEAST_TISSUE, SHIFTED_LEAST_DENSE = 0.8, 0.1
"""Of what is denser than lung, the share that is soft tissue; and the share that is denser."""
FAINT, LEAST_BRIGHT = 0.05, 0.1
"""PET is dark but for a few spots: less than a tenth is above 5 % of its brightest."""

REMEDY = {
    MASK: "This is a mask: choose the CT that it was drawn on.",
    SHIFTED: "This is a CT stored with 1024 added: subtract 1024 from every voxel.",
    PET: (
        "This looks like PET or SPECT, which the models do not know: choose the CT of the same "
        "examination."
    ),
    MR: "This looks like MR, which the models do not know: choose a CT of this patient.",
    GREY: "Give the CT before it became grey levels or labels; HU cannot be had back.",
}
"""Kind -> what to do."""


@dataclass(frozen=True)
class Doubt:
    """Why values are not taken for HU."""

    measured: str
    """What was measured."""
    remedy: str
    """What may make them HU, a sentence."""


def doubt(sample: Array) -> Doubt | None:
    """Return why a sample of a scan's voxels (Z, Y, X) cannot be HU; None if it can.

    Examples
    --------
    >>> chance = np.random.default_rng(0)
    >>> scan = np.concatenate([chance.normal(m, 15, 9000) for m in (-1000, -100, 50)])
    >>> doubt(scan.reshape(30, 30, 30)) is None
    True
    >>> doubt(scan.reshape(30, 30, 30) + 1024).remedy
    'These look like HU with about 1024 added: subtract 1024 from every voxel but padding.'
    """
    return judged(histogram(sample))


def histogram(sample: Array) -> Counts:
    """Count finite values (Z, Y, X) by whole HU from `LOWEST` to `HIGHEST`.

    Examples
    --------
    >>> counts = histogram(np.array([[[-1000, 40, 40]]], np.int16))
    >>> int(counts[40 - LOWEST])
    2
    """
    counts = np.zeros(HIGHEST - LOWEST + 1, np.int64)
    for plane in sample:  # plane by plane: bincount widens to 8 bytes a voxel
        inside = plane if plane.dtype == np.int16 else np.clip(plane, LOWEST, HIGHEST)
        whole = np.rint(inside) if plane.dtype.kind == "f" else inside
        counts += np.bincount(whole.ravel().astype(np.int64) - LOWEST, minlength=counts.size)
    return counts


def judged(counts: Counts) -> Doubt | None:
    """Return `doubt` of values that `histogram` has counted."""
    values = _Values.of(counts)
    if values.total == 0:  # a drawing: a few values without noise
        if TISSUE_HU[0] <= max(values.padding) <= TISSUE_HU[1]:
            return None
        return Doubt(f"single values only ({_list(values.padding)})", "Give the scan itself.")
    odd, (fit, name, remedy) = _oddity(values), _best_reading(values)
    better = fit >= max(LEAST_FIT, FITS_BETTER * _fit(values, 1.0, 0.0)) and not values.windowed
    if odd is None and not better:
        return None
    told = odd or f"peaks at {_list(_peaks(values))}, not those of air, fat and soft tissue"
    aside = f" (padding of {_list(values.padding)} set aside)" if values.padding else ""
    if fit < LEAST_FIT:
        return Doubt(told + aside, "Check rescale slope and intercept of the file.")
    return Doubt(told + aside, f"These look like {name}: {remedy}.")


@dataclass(frozen=True, eq=False)
class _Values:
    """Counted values without padding and cut ends."""

    counts: Counts
    """Voxels by value, from `LOWEST`."""
    up_to: Counts
    """Their running sum, from 0."""
    padding: tuple[int, ...]
    """The values that were set aside because they lie alone."""
    ends: tuple[float, float]
    """Between these lie nearly all, cut ends included."""
    windowed: bool
    """Whether air was cut off, and perhaps half of the fat: peaks then say less."""

    @classmethod
    def of(cls, counts: Counts) -> _Values:
        """Set padding and cut ends aside."""
        left, padding = counts.copy(), []
        for place in np.flatnonzero(counts >= PADDING_SHARE * counts.sum()):
            near = counts[max(0, place - PADDING_APART_HU) : place + PADDING_APART_HU + 1].sum()
            if near - counts[place] <= PADDING_COMPANY * counts[place]:
                left[place] = 0
                padding.append(int(place) + LOWEST)
        ends = (_quantile(left, 0.0005), _quantile(left, 0.9995))
        lowest = _drop_cut_ends(left)
        ends_of_windows = padding if lowest is None else [*padding, lowest]
        windowed = any(DENSE_HU < value < 0 for value in ends_of_windows)
        return cls(left, np.concatenate([[0], np.cumsum(left)]), tuple(padding), ends, windowed)

    @property
    def total(self) -> int:
        """All of them."""
        return int(self.up_to[-1])

    def share(self, low: float, high: float) -> float:
        """Return the share of the values from `low` to `high`."""
        return float(self.shares(np.array([low]), np.array([high]))[0])

    def shares(self, low: Floats, high: Floats) -> Floats:
        """Return `share` of many ranges (N,)."""
        first = np.clip(np.rint(low) - LOWEST, 0, len(self.counts)).astype(np.int64)
        behind = np.clip(np.rint(high) - LOWEST + 1, 0, len(self.counts)).astype(np.int64)
        found: Floats = (self.up_to[behind] - self.up_to[first]) / self.total
        return found


def _quantile(counts: Counts, share: float) -> float:
    """Return the value below which this share of the voxels lies."""
    up_to = np.cumsum(counts)
    return float(np.searchsorted(up_to, share * up_to[-1], side="right")) + LOWEST


def _drop_cut_ends(counts: Counts) -> int | None:
    """Forget, in place, the ends that a window cut; return the lower one if it was."""
    lowest = None
    for view in (counts, counts[::-1]):
        filled = np.flatnonzero(view)
        if len(filled) < 2:
            break
        first = int(filled[0])
        following = view[first + 1 : first + 1 + CUT_HU].sum()
        if view[first] >= max(CUT_SHARE * counts.sum(), following):
            view[first] = 0
            lowest = first + LOWEST if view is counts else lowest
    return lowest


def _oddity(values: _Values) -> str | None:
    """Return what speaks against HU by itself, if anything does."""
    low, high = values.ends
    if 0 < high - low < LEAST_SPREAD_HU and not values.padding:
        return f"nearly all values between {low:.0f} and {high:.0f}"
    below = values.share(LOWEST, BELOW_AIR_HU)
    if below > BELOW_AIR_SHARE:
        return f"{below:.0%} of the voxels lighter than air"
    densest = max(_peaks(values), default=0)
    if not TISSUE_HU[0] <= densest <= TISSUE_HU[1]:
        return f"the densest tissue's peak at {densest}"
    high_padding = [value for value in values.padding if value > HIGHEST_TISSUE_HU]
    if high_padding:
        return f"many voxels of {_list(high_padding)} and none near it: padding above tissue"
    return _odd_parts(values)


def _odd_parts(values: _Values) -> str | None:
    """Return what is odd about the body's and the air's part of the voxels."""
    dense, tissue = values.share(DENSE_HU, HIGHEST), values.share(*TISSUE_HU)
    if tissue < LEAST_TISSUE * dense:
        low, high = TISSUE_HU
        return f"only {tissue / dense:.0%} of the body between {low:.0f} and {high:.0f}"
    without_air = values.share(LOWEST, LIGHT_HU) < LEAST_LIGHT and not values.windowed
    if without_air and not any(value < DENSE_HU for value in values.padding):
        return f"almost nothing below {LIGHT_HU:.0f}: no air, no fat"
    air = _air_peak(values)
    if air is not None and not AIR_HU[0] <= air <= AIR_HU[1]:
        return f"the air's peak at {air}"
    mirrored = values.share(850, 1150)
    if mirrored > max(MIRRORED_SHARE, values.share(550, 850), values.share(-1150, -850)):
        return f"{mirrored:.1%} of the voxels near 1000 and fewer near 700, as no bone has it"
    return None


def _air_peak(values: _Values) -> int | None:
    """Return where most of what is lighter than the body lies; None if there is little of it."""
    if values.share(LOWEST, DENSE_HU + 60) < AIR_SHARE:
        return None
    light = values.counts[: int(DENSE_HU) + 60 - LOWEST]
    return int(_smooth(light, 15).argmax()) + LOWEST


def _peaks(values: _Values) -> list[int]:
    """Return the values with the most voxels around them, where there are enough, in order."""
    near = _smooth(values.counts, PEAK_HU)
    fine = _smooth(values.counts, PEAK_HU // 3)
    places = np.flatnonzero(near >= PEAK_SHARE * values.total)
    around = np.pad(fine, PEAK_HU)[places[:, None] + np.arange(2 * PEAK_HU + 1)]
    # The first of equal ones: a lone value makes a plateau.
    top = (fine[places] > 0) & (around.argmax(axis=1) == PEAK_HU)
    return [int(place) + LOWEST for place in places[top]]


def _best_reading(values: _Values) -> tuple[float, str, str]:
    """Return the share in the bands, the name and the remedy of the reading that fits best."""
    found = []
    for slope, name in SCALES.items():
        undo = f"divide every voxel by {slope:g}" if slope > 1 else f"multiply by {1 / slope:g}"
        found.append((_fit(values, slope, 0.0), name, undo))
    shift, fit = _best_shift(values)
    undo = f"subtract {shift} from" if shift > 0 else f"add {-shift} to"
    named = f"HU with about {abs(shift)} {'added' if shift > 0 else 'subtracted'}"
    found.append((fit, named, f"{undo} every voxel but padding"))
    for shift in (0, 1000, 1024):
        named = f"negated HU with {shift} added" if shift else "negated HU"
        undo = f"subtract every voxel from {shift}" if shift else "change the sign of every voxel"
        found.append((_fit(values, -1.0, float(shift)), named, undo))
    return max(found)


def _best_shift(values: _Values) -> tuple[int, float]:
    """Return what was added to HU, as it seems, and how well that fits; the usual one if near."""
    shifts = np.array([*USUAL_SHIFTS, *SHIFTS])
    fits = _fits(values, 1.0, shifts)
    usual, best = int(fits[: len(USUAL_SHIFTS)].argmax()), int(fits.argmax())
    chosen = usual if fits[usual] >= USUAL_FITS * fits[best] else best
    return int(shifts[chosen]), float(fits[chosen])


def _fit(values: _Values, slope: float, intercept: float) -> float:
    """Return `_fits` of one intercept."""
    return float(_fits(values, slope, np.array([intercept]))[0])


def _fits(values: _Values, slope: float, intercepts: npt.NDArray[Any]) -> Floats:
    """Return the share in the bands if values are HU * slope + intercept, for each intercept.

    Without soft tissue, or without both air and fat, it is 0.
    """
    edges = [sorted(slope * edge for edge in band) for band in BANDS_HU]
    air, fat, soft = (values.shares(low + intercepts, high + intercepts) for low, high in edges)
    there = (soft >= LEAST_BAND) & (np.maximum(air, fat) >= LEAST_BAND)
    return np.where(there, air + fat + soft, 0.0)


def _smooth(counts: Counts, reach: int) -> Counts:
    """Return for every value how many voxels lie at most `reach` away."""
    up_to = np.concatenate([[0], np.cumsum(np.pad(counts, reach))])
    return up_to[2 * reach + 1 :] - up_to[: -2 * reach - 1]


def _list(values: list[int] | tuple[int, ...]) -> str:
    return ", ".join(map(str, values)) or "none"


def kind_of(sample: Array) -> str:
    """Return what an image (Z, Y, X) without a value below zero most likely is.

    Examples
    --------
    >>> kind_of(np.arange(64).reshape(4, 4, 4) % 14)
    'mask'
    >>> chance = np.random.default_rng(0)
    >>> kind_of(chance.gamma(3.0, 150.0, (20, 20, 20)))
    'MR'
    """
    whole = sample.dtype.kind != "f" or bool(np.array_equal(sample, np.rint(sample)))
    if whole and len(np.unique(sample)) <= FEW_VALUES:
        return MASK
    if _is_shifted(sample):
        return SHIFTED
    if whole and float(sample.max()) <= GREY_LEVELS:
        return GREY
    bright = float(np.quantile(sample, 0.9999)) * FAINT
    return PET if float((sample > bright).mean()) < LEAST_BRIGHT else MR


def _is_shifted(sample: Array) -> bool:
    """Whether what is denser than lung would be soft tissue if 1024 were subtracted."""
    dense = sample > SHIFTED_DENSE
    count = int(np.count_nonzero(dense))
    low, high = SHIFTED_TISSUE
    tissue = int(np.count_nonzero((sample > low) & (sample < high)))
    return count >= SHIFTED_LEAST_DENSE * sample.size and tissue >= SHIFTED_LEAST_TISSUE * count


def normalise(array: Pixels, window_hu: tuple[float, float], mean: float, sd: float) -> Pixels:
    """Clip to a HU window, subtract `mean`, divide by `sd`; in place, to save a copy.

    Parameters
    ----------
    array : float32 (...), HU
        Changed in place and returned. Padding such as -2048 or -3024 ends at the window's edge.
    window_hu : (float, float)
        Lowest and highest value kept, HU.
    mean, sd : float
        HU; `sd` > 0. nnU-Net's CT normalisation is this with the foreground's percentiles .5
        and 99.5, mean and standard deviation.

    Examples
    --------
    >>> normalise(np.array([-3024.0, 40.0, 900.0], np.float32), (-160.0, 240.0), 40.0, 100.0)
    array([-2.,  0.,  2.], dtype=float32)
    """
    np.clip(array, window_hu[0], window_hu[1], out=array)
    np.subtract(array, np.float32(mean), out=array)
    np.multiply(array, np.float32(1.0 / sd), out=array)
    return array


def normalised(
    image: torch.Tensor, window_hu: tuple[float, float], mean: float, sd: float
) -> torch.Tensor:
    """Do what `normalise` does to a tensor anywhere, in place; in float32 with the same results."""
    return image.clamp_(*window_hu).sub_(mean).mul_(1.0 / sd)
