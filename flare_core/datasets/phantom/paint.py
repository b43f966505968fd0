"""From parts in body millimetres to tissues, labels and HU on a voxel grid.

Painting goes front to back: a voxel that holds a tissue keeps it.  A body is bent and scaled by
`Bend`, which can be undone exactly; so each piece is only evaluated where it can be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from flare_core.datasets.phantom.body import Body, BodyPart
from flare_core.datasets.phantom.settings import PHASES
from flare_core.datasets.phantom.shapes import Floats, Shape, Solid
from flare_core.imaging.geometry import Geometry, Triple

Bytes = npt.NDArray[np.uint8]
Points = tuple[Floats, Floats, Floats]
Spans = tuple[slice, slice, slice]

TISSUE_HU: dict[str, tuple[float, float, float, float, float]] = {
    "outside": (-1000, -1000, -1000, -1000, 0),
    "skin": (20, 25, 30, 30, 15),
    "fat": (-103, -103, -102, -102, 9),
    "muscle": (55, 58, 64, 64, 11),
    "marrow": (165, 170, 180, 180, 25),
    "cortex": (520, 520, 525, 525, 130),
    "disc": (85, 85, 90, 90, 12),
    "cartilage": (105, 105, 110, 110, 25),
    "cord": (32, 34, 38, 38, 6),
    "lung": (-845, -840, -838, -840, 25),
    "air": (-995, -995, -995, -995, 0),
    "gas": (-960, -960, -960, -960, 15),
    "heart blood": (42, 260, 150, 120, 6),
    "heart muscle": (45, 95, 110, 100, 8),
    "blood": (42, 230, 145, 118, 6),
    "portal vein": (42, 80, 170, 130, 6),
    "gut wall": (38, 70, 80, 70, 10),
    "chyme": (14, 16, 20, 20, 16),
    "meal": (45, 48, 50, 50, 28),
    "stool": (5, 5, 8, 8, 110),
    "bowel contrast": (260, 260, 260, 260, 30),
    "urine": (6, 6, 8, 60, 4),
    "medulla": (30, 85, 160, 165, 8),
    "liver vessel": (42, 75, 158, 125, 6),
    "calcification": (550, 550, 550, 550, 80),
    "foam": (-930, -930, -930, -930, 8),
    "table": (120, 120, 120, 120, 20),
    "lesion": (34, 60, 68, 66, 12),
    "liver": (56, 68, 108, 98, 6),
    "right_kidney": (32, 165, 190, 175, 8),
    "spleen": (47, 125, 122, 105, 6),
    "pancreas": (40, 92, 92, 82, 11),
    "aorta": (41, 290, 155, 122, 6),
    "inferior_vena_cava": (40, 85, 138, 120, 7),
    "right_adrenal_gland": (25, 65, 72, 62, 9),
    "left_adrenal_gland": (25, 65, 72, 62, 9),
    "gallbladder": (10, 10, 12, 12, 5),
    "left_kidney": (32, 165, 190, 175, 8),
}
"""Mean HU in each of `PHASES`, and the texture's standard deviation within a tissue.

Adult means on 120 kV scans, checked against the means under the labels of real scans.
"""
TISSUES = tuple(TISSUE_HU)
SAME_TISSUE: dict[str, str] = {
    "left_kidney": "right_kidney",
    "left_adrenal_gland": "right_adrenal_gland",
}
"""Tissues that differ between persons, but not within one."""


@dataclass(frozen=True)
class Wave:
    """A sine along one coordinate."""

    size_mm: float
    """Amplitude, mm."""
    pitch: float
    """Radians per millimetre."""
    phase: float
    """Radians at 0."""

    @staticmethod
    def drawn(most_mm: float, length_mm: float, rng: np.random.Generator) -> Wave:
        """Draw a wave of at most `most_mm` and about `length_mm`."""
        pitch = 2 * np.pi / (length_mm * rng.uniform(0.8, 1.3))
        return Wave(rng.uniform(0.2, 1.0) * most_mm, pitch, rng.uniform(0, 2 * np.pi))

    def __call__(self, along: Floats) -> Floats:
        """Return the shift at these coordinates, mm."""
        place = np.float32(self.pitch) * along + np.float32(self.phase)
        return np.float32(self.size_mm) * np.sin(place)


@dataclass(frozen=True)
class Bend:
    """How one body differs from the upright, average one: scales, then smooth shears.

    Every shear moves one coordinate by a function of the others, so it keeps volumes and can be
    undone by subtracting the same function.
    """

    scale: Triple
    """World millimetres per body millimetre along x, y, z."""
    waves: tuple[Wave, ...]
    """Shifts of x by z and y, of y by z, of z by x and y."""

    @staticmethod
    def drawn(rng: np.random.Generator, scale: Triple) -> Bend:
        """Draw a posture."""
        limits = ((5.0, 260.0), (3.5, 190.0), (7.0, 380.0), (4.5, 220.0), (4.0, 200.0))
        return Bend(scale, tuple(Wave.drawn(most, length, rng) for most, length in limits))

    def to_body(self, x: Floats, y: Floats, z: Floats) -> Points:
        """Map world points to body points, mm (arrays that broadcast stay small where they can)."""
        x_by_z, x_by_y, y_by_z, z_by_x, z_by_y = self.waves
        x, y, z = (v / np.float32(s) for v, s in zip((x, y, z), self.scale, strict=True))
        x = x + (x_by_z(z) + x_by_y(y))
        y = y + y_by_z(z)
        return x, y, (z + z_by_y(y)) + z_by_x(x)

    def to_world(self, x: Floats, y: Floats, z: Floats) -> Points:
        """Undo `to_body`."""
        x_by_z, x_by_y, y_by_z, z_by_x, z_by_y = self.waves
        z = z - z_by_x(x) - z_by_y(y)
        y = y - y_by_z(z)
        x = x - x_by_z(z) - x_by_y(y)
        x, y, z = (v * np.float32(s) for v, s in zip((x, y, z), self.scale, strict=True))
        return x, y, z


class Canvas:
    """A voxel grid being painted."""

    def __init__(self, geometry: Geometry, bend: Bend) -> None:
        """Start empty.

        Parameters
        ----------
        geometry : Geometry
            The grid.
        bend : Bend
            Where body points lie in the world.
        """
        self.geometry = geometry
        self.bend = bend
        self.points = bend.to_body(*_world_axes(geometry))
        self.tissue: Bytes = np.zeros(geometry.shape, np.uint8)
        self.labels: Bytes = np.zeros(geometry.shape, np.uint8)
        steps = np.asarray(geometry.direction) * np.asarray(geometry.spacing_mm)[:, None]
        self._to_voxel = np.linalg.inv(steps)

    def paint(self, part: BodyPart) -> None:
        """Write one part's tissue and label where there is still room (or within its organ)."""
        first, last = self._reach(part.shape)
        for piece, start, stop in zip(part.shape.pieces, first, last, strict=True):
            if np.all(stop > start):
                z, y, x = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
                self._paint_piece(part, piece, (z, y, x))

    def _paint_piece(self, part: BodyPart, piece: Solid, spans: Spans) -> None:
        x, y, z = (p[_fit(p, spans)] for p in self.points)
        tissue, labels = self.tissue[spans], self.labels[spans]
        inside = part.shape.cut(piece.field(x, y, z), x, y, z) < 0
        inside &= (labels == part.within) if part.within else (tissue == 0)
        tissue[inside] = TISSUES.index(part.tissue)
        if part.label:
            labels[inside] = part.label

    def _reach(self, shape: Shape) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return each piece's first voxel and the one behind its last (pieces, z y x)."""
        margin = max(shape.swell_mm + shape.offset_mm, 0.0) + 2.0
        low = np.array([p.low for p in shape.pieces]) - margin
        high = np.array([p.high for p in shape.pieces]) + margin
        # 27 points of each box, because a bent box bulges between its corners.
        steps = np.array(np.meshgrid(*[(0.0, 0.5, 1.0)] * 3)).reshape(3, -1)
        lattice = low[:, :, None] + (high - low)[:, :, None] * steps
        world = np.stack(self.bend.to_world(*np.moveaxis(lattice, 1, 0)), axis=-1)
        voxels = (world - np.asarray(self.geometry.origin_mm)) @ self._to_voxel
        first = np.floor(voxels.min(axis=1)).astype(np.intp)
        last = np.ceil(voxels.max(axis=1)).astype(np.intp) + 1
        return np.maximum(first, 0), np.minimum(last, self.geometry.shape)

    def fill(self, body: Body, *, table: bool) -> None:
        """Fill what is free: skin, fat, muscle, cavity, lungs; around them the table."""
        for start in range(0, self.geometry.shape[0], 4):
            spans = (slice(start, start + 4), slice(None), slice(None))
            slab = self.tissue[spans]
            x, y, z = np.broadcast_arrays(*(p[_fit(p, spans)] for p in self.points))
            depth = body.skin()(x, y, z)
            free = (slab == 0) & (depth < 0)
            slab[free] = _layers(body, depth[free], (x[free], y[free], z[free]))
            if table:
                outside = slab == 0
                slab[outside] = _table(body, x[outside], y[outside])


def _layers(body: Body, depth: Floats, points: Points) -> Bytes:
    """Return the tissue of body points (N) that no part covers, `depth` (< 0) in the skin."""
    x, y, z = points
    tissue = np.where(depth > -2.0, TISSUES.index("skin"), TISSUES.index("fat")).astype(np.uint8)
    wall = body.wall()(x, y, z)
    tissue[wall < 0] = TISSUES.index("muscle")
    # Fat planes between the three flat muscles of the flank.
    plane = (np.abs(wall + 5.0) < 0.5) | (np.abs(wall + 10.0) < 0.5)
    tissue[plane & (np.abs(x) > 55) & (y < 20) & (np.abs(z + 30) < 90)] = TISSUES.index("fat")
    cavity = body.cavity()(x, y, z) < 0
    tissue[cavity] = TISSUES.index("fat")
    above = body.below_dome()(x, y, z)
    tissue[cavity & (above > -2.0)] = TISSUES.index("muscle")
    tissue[cavity & (above > 0.0)] = TISSUES.index("lung")
    return tissue


def _table(body: Body, x: Floats, y: Floats) -> Bytes:
    """Return table or air for points (N) outside the body: a curved shell around foam."""
    below = y - np.float32(78.0 + body.fat_mm) + np.float32(0.0011) * x * x
    tissue = np.zeros(x.shape, np.uint8)
    across = np.abs(x) < 195
    tissue[across & (np.abs(below - 24) < 24.0)] = TISSUES.index("foam")
    shell = (np.abs(below) < 1.3) | (np.abs(below - 48) < 1.3)
    tissue[across & shell] = TISSUES.index("table")
    return tissue


def _world_axes(geometry: Geometry) -> Points:
    """Return world x, y, z of every voxel, with length 1 along axes that do not change them, mm."""
    steps = np.asarray(geometry.direction) * np.asarray(geometry.spacing_mm)[:, None]
    index = np.meshgrid(
        *(np.arange(n, dtype=np.float64) for n in geometry.shape), indexing="ij", sparse=True
    )
    x, y, z = (
        sum(
            (i * s for i, s in zip(index, steps[:, c], strict=True) if abs(s) > 1e-9),
            start=np.full((1, 1, 1), geometry.origin_mm[c]),
        ).astype(np.float32)
        for c in range(3)
    )
    return x, y, z


def _fit(array: Floats, spans: Spans) -> Spans:
    """Return `spans`, but everything along axes the array does not have."""
    z, y, x = (s if n > 1 else slice(None) for s, n in zip(spans, array.shape, strict=True))
    return z, y, x


def hounsfield(
    tissue: Bytes, geometry: Geometry, phase: str, noise_hu: float, seed: int
) -> npt.NDArray[np.int16]:
    """Turn tissues (Z, Y, X) into a CT image.

    Parameters
    ----------
    tissue : array of uint8 (Z, Y, X)
        Indices into `TISSUES`.
    geometry : Geometry
        The grid, for blur and noise in millimetres.
    phase : str
        One of `PHASES`.
    noise_hu : float
        Standard deviation of the noise, HU.
    seed : int
        The person, whose tissues differ a little from the mean, and the noise.

    Returns
    -------
    array of int16 (Z, Y, X)
        HU.
    """
    rng = np.random.default_rng([seed, 7])
    spread = np.array([row[4] for row in TISSUE_HU.values()], np.float32)
    image = spread[tissue]
    image *= smooth_noise(rng, geometry, (3.0, 2.2, 2.2))
    image += tissue_means(phase, seed)[tissue]
    # A scanner's point spread: .7 mm across, part of a slice along z.
    for axis, sigma in enumerate((0.4, *(0.7 / s for s in geometry.spacing_mm[1:]))):
        image = gaussian_filter1d(image, sigma, axis=axis, truncate=3.0)
    if noise_hu > 0:
        image += np.float32(noise_hu) * smooth_noise(rng, geometry, (0.1, 0.6, 0.6))
    np.rint(image, out=image)
    return np.clip(image, -1024, 3071).astype(np.int16)


def tissue_means(phase: str, seed: int) -> Floats:
    """Return the mean HU of each tissue for one person: 5 % off the table's, vessels alike."""
    rng = np.random.default_rng([seed, 6])
    column = PHASES.index(phase)
    factors = {name: float(np.clip(1 + rng.normal(0, 0.05), 0.88, 1.12)) for name in TISSUES}
    rows = {name: TISSUE_HU[SAME_TISSUE.get(name, name)][column] for name in TISSUES}
    means = [v * factors[SAME_TISSUE.get(n, n)] if v > 0 else v for n, v in rows.items()]
    return np.array(means, np.float32)


def smooth_noise(rng: np.random.Generator, geometry: Geometry, sigma_mm: Triple) -> Floats:
    """Return noise (Z, Y, X) of standard deviation 1, correlated over `sigma_mm` (z, y, x)."""
    noise = rng.standard_normal(geometry.shape, dtype=np.float32)
    for axis, (sigma, step) in enumerate(zip(sigma_mm, geometry.spacing_mm, strict=True)):
        if sigma / step > 0.2:
            noise = gaussian_filter1d(noise, sigma / step, axis=axis, truncate=2.5)
    noise /= noise.std()
    return noise
