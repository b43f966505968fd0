"""START HERE for pictures: the montage by which a clinician can judge a segmentation.

Steps: turn the scan to canonical axes (a view), count the labels, choose the planes (among them
those in which the largest lesions are longest), cut the field of view to the body, draw.  Only the
planes that are shown are read from the scan; nothing of the scan's size is copied or converted.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from flare_core import atomic
from flare_core.anatomy.organs import Organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import COMPARED_TOLERANCE_MM, Box, Geometry, Index
from flare_core.imaging.volume import Volume
from flare_core.report.case.legend import legend_lines
from flare_core.report.case.panel import AXIAL, CORONAL, SAGITTAL, DrawnScan, Pixels, Plane
from flare_core.report.case.sheet import Heading, draw_sheet
from flare_core.report.case.survey import (
    Survey,
    axial_planes,
    field_of_view,
    findings,
    long_planes,
    survey,
)
from flare_core.segment.lesion_list import Lesion

AXIAL_PANELS = 12
MOST_LESIONS_SHOWN = 4
"""Lesions, the longest first, whose own slices are shown for certain."""
CORONAL_SHARES = (0.15, 0.5, 0.85)
SAGITTAL_SHARES = (0.2, 0.75)
"""Share of the organs in front of a coronal, to the right of a sagittal plane."""

PNG_LEVEL = 1
"""Higher levels cost several times the time and save a few percent of a noisy picture."""


def overlay_montage(
    image: Volume,
    labels: Volume,
    organs: Sequence[Organ],
    *,
    case: str = "",
    notes: Sequence[str] = (),
    lesions: Sequence[Lesion] = (),
) -> Pixels:
    """Draw axial, coronal and sagittal planes of a scan with its organs, and a legend.

    Parameters
    ----------
    image : Volume (Z, Y, X), HU
        Any geometry; left as it is.
    labels : Volume (Z, Y, X), uint8
        Label values as in the organ table, on the image's grid.
    organs : sequence of Organ
        What was looked for: organs without a voxel are listed as not found, label values of other
        organs are not drawn.
    case : str
        The title.
    notes : sequence of str
        Remarks to print beside the pictures.
    lesions : sequence of Lesion
        To be numbered on the pictures and listed; the organs they are part of contain them.

    Returns
    -------
    uint8 (H, W, 3)
        1960 pixels wide; the same input gives the same pixels.

    Raises
    ------
    InputError
        If image and labels are not on one grid.
    """
    if not image.geometry.same_grid(labels.geometry, tolerance_mm=COMPARED_TOLERANCE_MM):
        raise InputError(
            "labels",
            repr(labels),
            f"the grid of the image, {image!r}",
            "Pass the labels that belong to this image.",
        )
    scan, _ = image.canonical()
    marks, _ = labels.canonical()
    counted = survey(marks)
    middles = {each.number: _voxel(each, scan.geometry) for each in lesions}
    largest = sorted(lesions, key=lambda each: -each.long_axis_mm)[:MOST_LESIONS_SHOWN]
    planes = _choose(counted, [middles[each.number][0] for each in largest])
    shown = field_of_view(scan, counted.box, [p.index for p in planes if p.axis == AXIAL])
    places = {number: _inside(middle, shown) for number, middle in middles.items()}
    found = findings(counted, organs, image.geometry.voxel_ml, lesions)
    return draw_sheet(
        DrawnScan.of(scan.crop(shown), marks.crop(shown), organs, places),
        [_moved(plane, shown) for plane in planes],
        legend_lines(found, notes, lesions),
        Heading(case or "CT scan", _description(image.geometry)),
    )


def png_bytes(pixels: Pixels) -> bytes:
    """Encode uint8 (H, W, 3) or (H, W) as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=PNG_LEVEL)
    return stream.getvalue()


def write_png(path: str | os.PathLike[str], pixels: Pixels) -> None:
    """Write uint8 (H, W, 3) or (H, W) as a PNG file, whole or not at all.

    Raises
    ------
    InputError
        If the folder does not exist or cannot be written, or the disk is full.
    """
    atomic.write_bytes(path, png_bytes(pixels))


def _choose(counted: Survey, wanted: Sequence[int]) -> list[Plane]:
    """Return the planes to show, in reading order; axial ones of `wanted` are among them."""
    return [
        *(Plane(AXIAL, z) for z in axial_planes(counted, AXIAL_PANELS, wanted)),
        *(Plane(CORONAL, y) for y in long_planes(counted, CORONAL, CORONAL_SHARES)),
        *(Plane(SAGITTAL, x) for x in long_planes(counted, SAGITTAL, SAGITTAL_SHARES)),
    ]


def _voxel(lesion: Lesion, geometry: Geometry) -> Index:
    """Return the voxel in which a lesion's longest diameter has its middle."""
    there = zip(geometry.lps_to_voxel(lesion.centre_lps_mm), geometry.shape, strict=True)
    z, y, x = (min(max(0, round(float(at))), n - 1) for at, n in there)
    return z, y, x


def _inside(voxel: Index, shown: Box) -> Index:
    z, y, x = (at - start for at, start in zip(voxel, shown.start, strict=True))
    return z, y, x


def _moved(plane: Plane, shown: Box) -> Plane:
    return replace(plane, index=plane.index - shown.start[plane.axis])


def _description(geometry: Geometry) -> str:
    """Return size and spacing in the order people say them: x, y, z."""
    size = " x ".join(str(n) for n in geometry.shape[::-1])
    spacing = " x ".join(f"{mm:.2f}" for mm in geometry.spacing_mm[::-1])
    return f"{size} voxels of {spacing} mm"
