"""Where a lesion goes: which organs are in view, how deep their voxels lie, which are no vessels.

All of it is asked on a coarse grid of the scan, and of one organ at a time, only when it is wanted.

Tissues without a label are told from HU: lung, bone, inner fat, muscle, for lesions of the whole
body (FLARE24 task 1). Made for phantoms and whole scans; told less surely in a patch that shows no
air around the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.anatomy.organs import ORGANS, organ
from flare_core.datasets.lesions.appearance import Appearance, Host
from flare_core.datasets.lesions.kinds import BOWEL, HOLLOW, KINDS, TISSUES
from flare_core.datasets.lesions.phase import phase_of
from flare_core.datasets.lesions.shape import Triple, Window, spread_hu

Mask = npt.NDArray[np.bool_]

AIR_HU = -300.0
"""Between the body and the air around it."""
TISSUE_HU: dict[str, tuple[float, float]] = {
    "lung": (-940.0, -650.0),
    "bone": (90.0, 900.0),
    "lymph_node": (-135.0, -70.0),
    "muscle": (30.0, 90.0),
}
"""Mean of a voxel and its neighbours in each tissue; lymph nodes lie in fat."""
LEAST_ML = {"lung": 60.0, "bone": 2.0, "lymph_node": 4.0, "muscle": 8.0}
"""A smaller piece is not trusted."""
LEAST_DEEP_MM = {"lung": 12.0, "bone": 8.0, "lymph_node": 26.0, "muscle": 8.0}
"""How far below the skin it is; fat nearer to it has few nodes."""
IN_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([0, 1, 0], bool)[:, None, None]
"""Neighbours within a slice."""
CORTEX_HU = 280.0
"""Bone is what this encloses in a slice; contrast in heart and vessels is not enclosed."""


def tissue_mask(
    key: str, hu: npt.NDArray[Any], labels: npt.NDArray[np.uint8], spacing_mm: Sequence[float]
) -> Mask:
    """Return where a tissue is on a coarse grid (Z, Y, X), away from organs with a label."""
    low, high = TISSUE_HU[key]
    smooth = ndimage.uniform_filter(hu.astype(np.float32), (1, 3, 3), mode="nearest")
    mask = (smooth > low) & (smooth < high) & (labels == 0)
    if key == "bone":
        cortex = ndimage.binary_closing(hu > CORTEX_HU, IN_PLANE)
        mask &= ndimage.binary_fill_holes(cortex, IN_PLANE)
    if mask.any():
        mask &= below_skin(hu, LEAST_DEEP_MM[key], spacing_mm)
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel()) * float(np.prod(spacing_mm)) / 1000
    sizes[0] = 0
    return np.asarray(sizes[pieces] > LEAST_ML[key])


def below_skin(hu: npt.NDArray[Any], depth_mm: float, spacing_mm: Sequence[float]) -> Mask:
    """Return what lies that deep below the skin (Z, Y, X), slice by slice.

    Air that touches a side of a slice is outside, with the table it surrounds; lungs touch none.
    """
    pieces, count = ndimage.label(hu < AIR_HU, IN_PLANE)
    sides = np.concatenate([pieces[:, [0, -1]].ravel(), pieces[:, :, [0, -1]].ravel()])
    outer = np.zeros(count + 1, bool)
    outer[sides] = True
    outer[0] = False
    steps = max(1, round(depth_mm / min(spacing_mm[1:])))
    # What the scan's side cuts goes on there.
    body = ndimage.binary_opening(
        np.pad(~outer[pieces], ((0, 0), (2, 2), (2, 2)), mode="edge"), IN_PLANE, 2
    )
    return np.asarray(ndimage.binary_erosion(body[:, 2:-2, 2:-2], IN_PLANE, steps, border_value=1))


Random = np.random.Generator
Index = tuple[int, int, int]

COARSE_MM = 3.5
"""Distance of the voxels that are looked at."""
FEW_VOXELS = 12
"""An organ with fewer coarse voxels is not in view."""
THIN = ("right_adrenal_gland", "left_adrenal_gland", "pancreas")
"""Organs looked at voxel by voxel, as a coarse grid would miss their inside."""
EVEN = ("liver", "spleen")
"""Organs whose tissue is so even that what differs is a vessel, or a lesion already."""
PROBE_MM = 4.0
"""Half width of the box whose mean tells a vessel."""
TRIES = 14
GAS_HU = (-1100.0, -930.0)
"""Gas of the bowel: lungs are brighter, and what lies outside the scanner's circle is darker."""
GAS_ML = 1.5
BOWEL_WALL_HU = 40.0
DEFAULT_NOISE_HU = 12.0


@dataclass(frozen=True, eq=False)
class Site:
    """The voxels of one organ, looked at coarsely."""

    voxels: npt.NDArray[np.intp]
    """Places in the scan (N, 3), z y x."""
    depth_mm: npt.NDArray[np.float32]
    """How deep below the organ's surface each lies (N); the scan's edge is no surface."""
    host: Host
    """What a lesion there needs to know."""

    @property
    def deepest_mm(self) -> float:
        """The greatest depth."""
        return float(self.depth_mm.max())


class OrganSites:
    """The organs of one scan, each looked at when it is first asked for."""

    def __init__(
        self,
        image: npt.NDArray[Any],
        labels: npt.NDArray[np.uint8],
        spacing_mm: Triple,
        phase: str | None = None,
    ) -> None:
        """Count organs on a coarse grid (Z, Y, X), and tell the phase if it is not given."""
        self.image, self.labels, self.spacing_mm = image, labels, spacing_mm
        self.step = tuple(max(1, round(COARSE_MM / s)) for s in spacing_mm)
        every = tuple(slice(None, None, s) for s in self.step)
        self.coarse, self.coarse_hu = labels[every], image[every]
        self._boxes = ndimage.find_objects(self.coarse)
        self._sites: dict[str, Site | None] = {}
        self.organ_hu = {each.key: hu for each in ORGANS if (hu := self._median(each.id))}
        self.phase = phase or phase_of(self.organ_hu)
        self.noise_hu = self._noise()

    def site(self, key: str) -> Site | None:
        """Return an organ's voxels, or those of the bowel's walls; None if it is not in view."""
        if key not in self._sites:
            find = self._tissue if key in TISSUES else self._organ
            self._sites[key] = self._bowel() if key == BOWEL else find(key)
        return self._sites[key]

    def _box(self, label: int) -> tuple[slice, ...] | None:
        """Return an organ's box on the coarse grid."""
        return self._boxes[label - 1] if label <= len(self._boxes) else None

    def _median(self, label: int) -> float | None:
        """Return an organ's median HU, of the coarse grid."""
        box = self._box(label)
        if box is None:
            return None
        values = self.coarse_hu[box][self.coarse[box] == label]
        return float(np.median(values)) if values.size >= FEW_VOXELS else None

    def _organ(self, key: str) -> Site | None:
        """Measure the depth of an organ's voxels."""
        label = organ(key).id
        if key not in self.organ_hu:
            return None
        step = (1, 1, 1) if key in THIN else self.step
        box = self._box(label)
        assert box is not None
        window = tuple(
            slice(max(0, (s.start - 1) * f), (s.stop + 1) * f, e)
            for s, f, e in zip(box, self.step, step, strict=True)
        )
        mask = self.labels[window] == label
        sampling = [s * mm for s, mm in zip(step, self.spacing_mm, strict=True)]
        depth = _depth(mask, sampling)
        where = np.argwhere(depth > 0)
        voxels = where * step + [s.start for s in window]
        host = Host(key, label, self._healthy(key, depth, window), self.noise_hu, self.phase)
        return Site(voxels, depth[tuple(where.T)].astype(np.float32), host)

    def _healthy(
        self, key: str, depth: npt.NDArray[np.float64], window: tuple[slice, ...]
    ) -> float:
        """Return the median HU of an organ away from its surface, where there is an away."""
        deep = depth > min(4.0, 0.5 * float(depth.max()))
        values = self.image[window][deep]
        return float(np.median(values)) if values.size else self.organ_hu[key]

    def _tissue(self, key: str) -> Site | None:
        """Find a tissue without a label by its HU."""
        sampling = [s * mm for s, mm in zip(self.step, self.spacing_mm, strict=True)]
        mask = tissue_mask(key, self.coarse_hu, self.coarse, sampling)
        if mask.sum() < FEW_VOXELS:
            return None
        where = np.argwhere(mask)
        # Steps instead of millimetres: the grid is near even, and the whole body is large.
        steps = ndimage.distance_transform_cdt(np.pad(mask, 1, mode="edge"), "chessboard")
        depth = steps[1:-1, 1:-1, 1:-1][tuple(where.T)] * np.float32(min(sampling))
        hu = float(np.median(self.coarse_hu[mask]))
        return Site(where * self.step, depth, Host(key, 0, hu, self.noise_hu, self.phase))

    def _bowel(self) -> Site | None:
        """Find the wall of gas-filled loops: pockets of gas among the organs, cut by no edge."""
        low, high = GAS_HU
        gas = (self.coarse_hu > low) & (self.coarse_hu < high) & (self.coarse == 0)
        pieces, _ = ndimage.label(gas)
        loops = np.isin(pieces, self._loops(pieces)) if self.organ_hu else gas & False
        if not loops.any():
            return None
        wall = ndimage.binary_dilation(loops) & ~loops & (self.coarse == 0) & (self.coarse_hu < 130)
        where = np.argwhere(wall)
        if len(where) < FEW_VOXELS:
            return None
        host = Host(BOWEL, 0, BOWEL_WALL_HU, self.noise_hu, self.phase)
        return Site(where * self.step, np.ones(len(where), np.float32), host)

    def _loops(self, pieces: npt.NDArray[np.int32]) -> list[int]:
        """Return the pockets of gas that are large enough, whole, and among the organs."""
        voxel_ml = float(np.prod(self.step) * np.prod(self.spacing_mm)) / 1000
        sizes = np.bincount(pieces.ravel()) * voxel_ml
        found = [box for each in ORGANS if (box := self._box(each.id)) is not None]
        low = [min(box[a].start for box in found) for a in range(3)]
        high = [max(box[a].stop for box in found) for a in range(3)]
        loops = []
        for number, box in enumerate(ndimage.find_objects(pieces), start=1):
            spans = zip(box, low, high, pieces.shape, strict=True)
            if sizes[number] >= GAS_ML and all(
                max(a, 1) <= s.start and s.stop <= min(b, n - 1) for s, a, b, n in spans
            ):
                loops.append(number)
        return loops

    def _noise(self) -> float:
        """Return the scan's noise: what voxels of an even organ, 2 apart in x, differ by."""
        for each in ("liver", "spleen", "right_kidney", "left_kidney", "stomach", "aorta"):
            if each in self.organ_hu:
                pairs = self._differences(organ(each).id)
                if pairs.size >= 50:
                    return float(np.clip(spread_hu(pairs) / np.sqrt(2), 0.5, 80))
        return DEFAULT_NOISE_HU

    def _differences(self, label: int) -> npt.NDArray[np.float32]:
        """Return differences (N) of voxels of one organ and their neighbours 2 to the right."""
        where = np.argwhere(self.coarse == label) * self.step
        where = where[where[:, 2] + 2 < self.image.shape[2]][::3]
        z, y, x = where.T
        both = self.labels[z, y, x + 2] == label
        z, y, x = z[both], y[both], x[both]
        return self.image[z, y, x].astype(np.float32) - self.image[z, y, x + 2]


def _depth(mask: npt.NDArray[np.bool_], spacing_mm: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the distance of voxels (Z, Y, X) to their organ's surface; a box's side is none."""
    padded = np.pad(mask, 1, mode="edge")
    # One layer more of background, so that an organ that fills the box has a depth as well.
    depth = ndimage.distance_transform_edt(np.pad(padded, 1), spacing_mm)
    return np.asarray(depth)[2:-2, 2:-2, 2:-2]


def find_place(
    sites: OrganSites,
    site: Site,
    appearance: Appearance,
    taken: Sequence[tuple[Index, float]],
    random: Random,
) -> Index | None:
    """Draw where a lesion goes.

    Parameters
    ----------
    sites, site : OrganSites, Site
        The scan and the organ.
    appearance : Appearance
        Its size, and whether it sits at the surface.
    taken : sequence of ((int, int, int), float)
        Centres (voxels z, y, x) of what is there already, and the distance to keep, mm.
    random : Generator
        Where the draw comes from.

    Returns
    -------
    (int, int, int) or None
        Voxel z, y, x; None if several tries found only vessels or what is taken.
    """
    low, high = _depths(site, appearance, random)
    fit = np.flatnonzero((site.depth_mm >= low) & (site.depth_mm <= high))
    if not fit.size:
        return None
    for number in random.choice(fit, TRIES):
        z, y, x = (int(v) for v in site.voxels[number])
        if _is_free((z, y, x), appearance, taken, sites.spacing_mm) and _is_even(
            sites, site.host, (z, y, x)
        ):
            return z, y, x
    return None


def _depths(site: Site, appearance: Appearance, random: Random) -> tuple[float, float]:
    """Return the least and greatest depth of the centre, mm."""
    deepest, half = site.deepest_mm, appearance.radius_mm * min(appearance.axes)
    if site.host.organ in HOLLOW:
        return 0.0, max(5.0, 0.4 * half)
    if appearance.shallow:
        return min(0.1 * half, 0.5 * deepest), max(0.65 * half, min(2.5, deepest))
    return min(0.6 * deepest, random.uniform(0.35, 1.15) * half), np.inf


def _is_free(
    place: Index, appearance: Appearance, taken: Sequence[tuple[Index, float]], spacing_mm: Triple
) -> bool:
    """Tell whether a lesion there keeps its distance from all others."""
    for other, reach in taken:
        away = (np.array(place) - other) * spacing_mm
        if np.linalg.norm(away) < reach + appearance.radius_mm * max(appearance.axes):
            return False
    return True


def _is_even(sites: OrganSites, host: Host, place: Index) -> bool:
    """Tell whether a place looks like its organ, not like a vessel (asked in even organs only)."""
    if host.organ not in EVEN:
        return True
    window = Window.around(place, PROBE_MM, sites.image.shape, sites.spacing_mm)
    own = sites.labels[window.slices] == host.id
    mean = float(sites.image[window.slices][own].mean())
    return abs(mean - host.hu) < max(12.0, 0.9 * host.noise_hu)


def largest_mm(site: Site, kind: str, *, growing_out: bool) -> float:
    """Return the largest diameter that an organ as thin as this one holds, mm."""
    if site.host.organ in HOLLOW or growing_out and KINDS[kind].bulging >= 0.5:
        return np.inf
    return 2 * (1.45 * site.deepest_mm + 2.0)
