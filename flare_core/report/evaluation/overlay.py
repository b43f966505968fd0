"""One case seen twice: reference above, prediction below, and what differs.

Every column is one plane of the scan, the same in all three rows.  Colours are the organs'; in the
last row only what differs is drawn, in three colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from flare_core.anatomy.organs import ORGANS, Organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.report.case.lettering import GREY, WHITE, shortened, write
from flare_core.report.case.panel import AXIAL, CORONAL, EDGES, DrawnScan, Pixels, Plane
from flare_core.report.case.survey import axial_planes, field_of_view, long_planes, survey

Labels = npt.NDArray[np.uint8]

AXIAL_COLUMNS = 4
COLUMN = 380
"""Width of an axial picture, pixels."""
TALLEST = 400
GAP = 6
TITLE = 64
BACKGROUND = (20, 20, 23)
ROWS = ("Reference", "Prediction", "Difference")

_ANY = ORGANS[0]
DIFFERENCES = (
    replace(_ANY, id=1, key="missed", name="Missed", colour=(240, 90, 60)),
    replace(_ANY, id=2, key="added", name="Added", colour=(70, 150, 255)),
    replace(_ANY, id=3, key="confused", name="Another organ", colour=(245, 210, 70)),
)
"""What the last row draws; not organs, but drawn like them."""


@dataclass(frozen=True)
class Comparison:
    """What to draw."""

    reference: Volume
    """Labels as in the organ table (Z, Y, X)."""
    prediction: Volume
    """Likewise, on the same grid."""
    image: Volume | None = None
    """The scan, HU, on the same grid; without it the labels stand on black."""


def comparison_picture(what: Comparison, organs: Sequence[Organ], title: str) -> Pixels:
    """Draw reference, prediction and their difference on the same planes.

    Parameters
    ----------
    what : Comparison
        The case.
    organs : sequence of Organ
        Which labels to draw.
    title : str
        Case and score.

    Returns
    -------
    uint8 (H, W, 3)

    Raises
    ------
    InputError
        If the volumes lie on different grids.
    """
    _check_grids(what)
    true, _ = what.reference.canonical()
    found, _ = what.prediction.canonical()
    ids = [each.id for each in organs]
    wrong = true.with_array(differences(_only(found.array, ids), _only(true.array, ids)))
    planes = _planes(true, wrong)
    scan = _scan(what, true)
    box = _shown(scan, true, found, planes)
    moved = [replace(p, index=p.index - box.start[p.axis]) for p in planes]
    scenes = [
        DrawnScan.of(scan.crop(box), marks.crop(box), drawn)
        for marks, drawn in ((true, organs), (found, organs), (wrong, DIFFERENCES))
    ]
    return _sheet(scenes, moved, title)


def differences(prediction: Labels, reference: Labels) -> Labels:
    """Return 1 where a structure was missed, 2 where one was added, 3 where it is another one.

    Examples
    --------
    >>> differences(np.array([0, 4, 4, 2]), np.array([4, 0, 4, 4])).tolist()
    [1, 2, 0, 3]
    """
    kind = (prediction > 0).astype(np.uint8) * 2 + (reference > 0)
    return np.where(prediction == reference, 0, kind).astype(np.uint8)


def _check_grids(what: Comparison) -> None:
    others = [each for each in (what.prediction, what.image) if each is not None]
    for each in others:
        if each.geometry.shape != what.reference.geometry.shape:
            raise InputError(
                "comparison",
                repr(each),
                f"the grid of the reference, {what.reference!r}",
                "Pass volumes of one case.",
            )


def _only(labels: npt.NDArray[np.generic], ids: Sequence[int]) -> Labels:
    """Return labels without the values that are not drawn."""
    table = np.zeros(256, np.uint8)
    table[list(ids)] = list(ids)
    return table[labels.astype(np.uint8, copy=False)]


def _planes(true: Volume, wrong: Volume) -> list[Plane]:
    """Return slices spread over the organs, the one with most errors among them, and a coronal."""
    counted = survey(true)
    chosen = sorted(axial_planes(counted, AXIAL_COLUMNS), reverse=True)
    errors = np.count_nonzero(wrong.array, axis=(1, 2))
    worst = int(errors.argmax())
    if errors[worst] and worst not in chosen:
        nearest = min(range(len(chosen)), key=lambda k: abs(chosen[k] - worst))
        chosen[nearest] = worst
    coronal = long_planes(counted, CORONAL, (0.5,))
    return [*(Plane(AXIAL, z) for z in chosen), *(Plane(CORONAL, y) for y in coronal)]


def _scan(what: Comparison, true: Volume) -> Volume:
    """Return the scan, or black."""
    if what.image is None:
        return true.with_array(np.full(true.array.shape, -1000, np.int16))
    return what.image.canonical()[0]


def _shown(scan: Volume, true: Volume, found: Volume, planes: Sequence[Plane]) -> Box:
    boxes = [box for each in (true, found) if (box := Box.of_mask(each.array)) is not None]
    whole = Box.of_shape(scan.geometry.shape)
    around = boxes[0].union(boxes[-1]) if boxes else whole
    view = field_of_view(scan, around, [p.index for p in planes if p.axis == AXIAL])
    for plane in planes:  # a slice without organs is still inside the picture
        view = view.union(_point(view, plane))
    return view.intersect(whole)


def _point(view: Box, plane: Plane) -> Box:
    start, stop = list(view.start), list(view.stop)
    start[plane.axis], stop[plane.axis] = plane.index, plane.index + 1
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _sheet(scenes: Sequence[DrawnScan], planes: Sequence[Plane], title: str) -> Pixels:
    sizes = _sizes(scenes[0], planes)
    height = max(h for h, _ in sizes)
    width = sum(w for _, w in sizes) + GAP * (len(sizes) + 1)
    sheet = Image.new("RGB", (width, TITLE + (height + GAP) * len(scenes)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    write(draw, (GAP + 6, 10), shortened(title, width - 20, 22), size=22)
    _legend(draw)
    for row, (scene, name) in enumerate(zip(scenes, ROWS, strict=True)):
        left, top = GAP, TITLE + row * (height + GAP)
        for plane, size in zip(planes, sizes, strict=True):
            sheet.paste(Image.fromarray(scene.picture(plane, size)), (left, top))
            _mark(draw, (left, top), size, plane, scene)
            left += size[1] + GAP
        write(draw, (GAP + 6, top + 4), name, size=15, colour=WHITE, halo=2)
    return np.asarray(sheet)


def _sizes(scene: DrawnScan, planes: Sequence[Plane]) -> list[tuple[int, int]]:
    """Return height and width of each picture in pixels: one scale for the axial, one height."""
    geometry = scene.image.geometry
    high, wide = planes[0].size_mm(geometry)
    scale = min(COLUMN / wide, TALLEST / high)
    height = max(1, round(high * scale))
    return [
        (height, max(1, round(wide * scale)))
        if plane.axis == AXIAL
        else (
            height,
            max(1, round(plane.size_mm(geometry)[1] * height / plane.size_mm(geometry)[0])),
        )
        for plane in planes
    ]


def _mark(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    size: tuple[int, int],
    plane: Plane,
    scene: DrawnScan,
) -> None:
    """Write the sides of the body and the place of the plane."""
    left, top = at
    first, last = EDGES[plane.axis][0], EDGES[plane.axis][1]
    write(draw, (left + 6, top + size[0] // 2), first, size=13, colour=GREY, halo=2)
    write(draw, (left + size[1] - 6, top + size[0] // 2), last, size=13, colour=GREY,
          anchor="ra", halo=2)  # fmt: skip
    write(draw, (left + size[1] - 6, top + size[0] - 6), plane.place(scene.image.geometry),
          size=13, colour=GREY, anchor="rd", halo=2)  # fmt: skip


def _legend(draw: ImageDraw.ImageDraw) -> None:
    left = GAP + 6
    for each in DIFFERENCES:
        draw.rectangle((left, 42, left + 12, 54), fill=each.colour)
        write(draw, (left + 18, 40), each.name, size=14, colour=GREY)
        left += 40 + 8 * len(each.name)
