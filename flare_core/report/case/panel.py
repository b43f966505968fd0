"""One plane of a scan as a picture: grey CT, translucent organs, crisp outlines.

Radiological convention, the way a radiologist reads: on axial and coronal pictures the patient's
right is on the left; axial has anterior on top, coronal and sagittal have superior on top,
sagittal has anterior on the left.  Voxels are made square for the eye only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from flare_core.anatomy.organs import LESION, Organ
from flare_core.imaging.geometry import Geometry, Index
from flare_core.imaging.volume import Volume
from flare_core.report.case.lettering import initials

Pixels = npt.NDArray[np.uint8]
Anything = npt.NDArray[np.generic]

WINDOW_HU = 400.0
LEVEL_HU = 40.0

FILL = 0.26
"""Opacity inside an organ: the grey values must stay readable through it."""
OUTLINE = 0.95
"""Opacity of the line around an organ."""
TAG_PIXELS = 200
"""Area of an organ for each of its initials; on a smaller one they would hide too much."""
FINE = 2
"""Labels are drawn this many times finer and averaged, so that outlines have no stairs."""

AXIAL, CORONAL, SAGITTAL = 0, 1, 2
EDGES = {AXIAL: "RLAP", CORONAL: "RLSI", SAGITTAL: "APSI"}
"""Letters at the left, right, top and bottom of a picture, by the axis it cuts."""
TOWARDS = {AXIAL: "SI", CORONAL: "PA", SAGITTAL: "LR"}
"""Letters of a positive and a negative LPS position along the axis that is cut."""


@dataclass(frozen=True)
class Plane:
    """A flat cut through a canonical volume."""

    axis: int
    """Axis at right angles: 0 axial, 1 coronal, 2 sagittal."""
    index: int
    """Voxel along that axis."""

    @property
    def rows(self) -> int:
        """Axis that runs along the picture's height."""
        return 1 if self.axis == AXIAL else 0

    @property
    def columns(self) -> int:
        """Axis that runs along the picture's width."""
        return 1 if self.axis == SAGITTAL else 2

    def size_mm(self, geometry: Geometry) -> tuple[float, float]:
        """Return height and width of the picture, mm."""
        return geometry.extent_mm[self.rows], geometry.extent_mm[self.columns]

    def of(self, array: Anything) -> Anything:
        """Return the plane of a canonical array (Z, Y, X) as (row, column), a view.

        Towards Posterior and Left is already down and right; Superior has to be turned to the top.
        """
        if self.axis == AXIAL:
            return array[self.index]
        return (array[:, self.index] if self.axis == CORONAL else array[:, :, self.index])[::-1]

    def place(self, geometry: Geometry) -> str:
        """Return where the plane's middle is, as Slicer writes it: a letter and millimetres."""
        middle = [(size - 1) / 2 for size in geometry.shape]
        middle[self.axis] = self.index
        position = float(geometry.voxel_to_lps(middle)[2 - self.axis])
        return f"{TOWARDS[self.axis][position < 0]} {abs(position):.0f} mm"


@dataclass(frozen=True, eq=False)
class Tints:
    """Colour of a pixel by its label value, already multiplied by its opacity."""

    fill: npt.NDArray[np.uint32]
    """Inside, (256,): red, green, blue, opacity in one word."""
    outline: npt.NDArray[np.uint32]
    """On the organ's edge, (256,)."""

    @staticmethod
    def of(organs: Sequence[Organ]) -> Tints:
        """Build the tables; label values of other organs stay invisible."""
        return Tints(_table(organs, FILL), _table(organs, OUTLINE))


@dataclass(frozen=True, eq=False)
class DrawnScan:
    """What the panels show: a canonical scan, its labels, the organs to draw."""

    image: Volume
    """HU, cut to the field of view."""
    labels: Volume
    """Label values on the same grid."""
    organs: tuple[Organ, ...]
    """Organs to draw; other label values stay invisible."""
    tints: Tints
    """Colours of those organs."""
    lesions: Mapping[int, Index] = field(default_factory=dict)
    """Number of a lesion -> the voxel in which its longest diameter has its middle."""

    @staticmethod
    def of(
        image: Volume,
        labels: Volume,
        organs: Sequence[Organ],
        lesions: Mapping[int, Index] | None = None,
    ) -> DrawnScan:
        """Put a scene together."""
        return DrawnScan(image, labels, tuple(organs), Tints.of(organs), lesions or {})

    def picture(self, plane: Plane, size: tuple[int, int]) -> Pixels:
        """Draw one plane in `size` = (height, width) pixels, as (H, W, 3)."""
        grey = _fit(window(plane.of(self.image.array)), size, Image.Resampling.BICUBIC)
        cover = _cover(plane.of(self.labels.array), size, self.tints)
        clear = 255 - cover[..., 3:].astype(np.uint16)
        shade = (grey[..., None] * clear + 127) // 255
        return np.minimum(shade + cover[..., :3], 255).astype(np.uint8)

    def tags(self, plane: Plane, size: tuple[int, int]) -> list[tuple[str, float, float]]:
        """Return what is written on a plane, and where (y, x in pixels).

        That is the initials of the organs big enough for them, and the numbers of the lesions on
        the axial plane in which each is longest.
        """
        marks = plane.of(self.labels.array)
        pixels = TAG_PIXELS * marks.size / (size[0] * size[1])
        least = {each.id: pixels * len(initials(each.name)) for each in self.organs}
        places = middles(marks, least)
        return [
            (initials(each.name), places[each.id][0] * size[0], places[each.id][1] * size[1])
            for each in self.organs
            if each.id in places and (each != LESION or not self.lesions)
        ] + self._numbers(plane, size)

    def _numbers(self, plane: Plane, size: tuple[int, int]) -> list[tuple[str, float, float]]:
        """Return the numbers of the lesions of an axial plane, and where they stand."""
        _, height, width = self.image.geometry.shape
        return [
            (str(number), (y + 0.5) / height * size[0], (x + 0.5) / width * size[1])
            for number, (z, y, x) in self.lesions.items()
            if plane.axis == AXIAL and z == plane.index
        ]


def window(plane_hu: Anything) -> Pixels:
    """Map HU to grey, 0 to 255, with the soft-tissue window.

    Examples
    --------
    >>> window(np.array([[-3024, -160, 40, 240, 3000]]))
    array([[  0,   0, 127, 255, 255]], dtype=uint8)
    """
    grey = np.nan_to_num(plane_hu.astype(np.float32), copy=False)
    grey -= np.float32(LEVEL_HU - WINDOW_HU / 2)
    grey *= np.float32(255.0 / WINDOW_HU)
    return np.clip(grey, 0, 255, out=grey).astype(np.uint8)


def middles(plane: Anything, least: Mapping[int, float]) -> dict[int, tuple[float, float]]:
    """Return a point well inside each label of a plane, as shares (0 to 1) of height and width.

    Labels with fewer pixels than `least` says, or of which it says nothing, are left out. The
    point is the middle of the longest run in the label's middle row: unlike the mean position it
    is inside a bent organ too.

    Examples
    --------
    >>> middles(np.array([[3, 3, 3, 3], [3, 0, 0, 5], [3, 3, 3, 3]]), {3: 2, 5: 2})
    {3: (0.5, 0.125)}
    """
    found = {}
    counts = np.bincount(plane.ravel(), minlength=256)
    for value in (each for each, pixels in least.items() if counts[each] >= max(1, pixels)):
        mask = plane == value
        row = int(np.searchsorted(np.cumsum(mask.sum(axis=1)), counts[value] / 2))
        ends = np.flatnonzero(np.diff(mask[row].astype(np.int8), prepend=0, append=0))
        longest = int(np.argmax(ends[1::2] - ends[::2]))
        column = (ends[2 * longest] + ends[2 * longest + 1]) / 2
        found[value] = ((row + 0.5) / plane.shape[0], float(column) / plane.shape[1])
    return found


def _cover(plane: Anything, size: tuple[int, int], tints: Tints) -> Pixels:
    """Return the organs of a plane as colour and opacity, (H, W, 4)."""
    fine = _fit(plane.astype(np.uint8), (size[0] * FINE, size[1] * FINE), Image.Resampling.NEAREST)
    words = np.where(_rim(fine), tints.outline[fine], tints.fill[fine])
    height, width = fine.shape
    # "RGBX", not "RGBA": Pillow must not weigh colours by opacity, they are weighed already.
    drawn = Image.frombuffer("RGBX", (width, height), words.tobytes(), "raw", "RGBX", 0, 1)
    return np.asarray(drawn.reduce(FINE))


def _rim(labels: Pixels) -> npt.NDArray[np.bool_]:
    """Return the pixels within `FINE` rows or columns of another label: a line of one pixel."""
    rim = np.zeros(labels.shape, bool)
    for step in range(1, FINE + 1):
        down = labels[step:] != labels[:-step]
        right = labels[:, step:] != labels[:, :-step]
        rim[step:] |= down
        rim[:-step] |= down
        rim[:, step:] |= right
        rim[:, :-step] |= right
    return rim


def _fit(plane: Pixels, size: tuple[int, int], method: Image.Resampling) -> Pixels:
    """Resize a plane to (height, width) pixels; Pillow averages where it shrinks."""
    source = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(source.resize((size[1], size[0]), method))


def _table(organs: Sequence[Organ], opacity: float) -> npt.NDArray[np.uint32]:
    table = np.zeros((256, 4), np.uint8)
    for each in organs:
        table[each.id, :3] = np.round(np.multiply(each.colour, opacity))
        table[each.id, 3] = round(255 * opacity)
    return table.view(np.uint32)[:, 0]
