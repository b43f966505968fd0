from __future__ import annotations

import numpy as np
import pytest

from flare_core.anatomy.organs import organ
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.report.case.panel import (
    AXIAL,
    CORONAL,
    FILL,
    OUTLINE,
    SAGITTAL,
    DrawnScan,
    Plane,
    middles,
    window,
)

SIZES = {AXIAL: (90, 120), CORONAL: (60, 120), SAGITTAL: (60, 90)}
LIVER = organ("liver")


def scene_with_marker(corner: tuple[slice, slice, slice]) -> DrawnScan:
    labels = np.zeros((20, 30, 40), np.uint8)
    labels[corner] = LIVER.id
    geometry = Geometry(labels.shape, (3.0, 3.0, 3.0))
    image = Volume(np.full(labels.shape, 40, np.int16), geometry)
    return DrawnScan.of(image, Volume(labels, geometry), [LIVER])


def coloured(picture: np.ndarray) -> np.ndarray:
    wide = picture.astype(int)
    return wide.max(axis=2) - wide.min(axis=2) > 10


# Canonical axes: z up to Superior, y to Posterior, x to Left. So low x is the patient's right.
@pytest.mark.parametrize(
    ("axis", "corner", "rows", "columns"),
    [
        (AXIAL, np.s_[:, :, :10], (0, 90), (0, 30)),  # right -> left of the picture
        (AXIAL, np.s_[:, :10, :], (0, 30), (0, 120)),  # anterior -> top
        (CORONAL, np.s_[:, :, :10], (0, 60), (0, 30)),  # right -> left of the picture
        (CORONAL, np.s_[10:, :, :], (0, 30), (0, 120)),  # superior -> top
        (SAGITTAL, np.s_[:, :10, :], (0, 60), (0, 30)),  # anterior -> left of the picture
        (SAGITTAL, np.s_[10:, :, :], (0, 30), (0, 90)),  # superior -> top
    ],
)
def test_each_side_is_where_a_radiologist_looks_for_it(axis, corner, rows, columns):
    scene = scene_with_marker(corner)
    picture = scene.picture(Plane(axis, 5 if axis != AXIAL else 12), SIZES[axis])
    expected = np.zeros(SIZES[axis], bool)
    expected[slice(*rows), slice(*columns)] = True
    assert np.array_equal(coloured(picture), expected)


def test_inside_is_translucent_and_the_edge_is_nearly_solid_in_the_organs_colour():
    scene = scene_with_marker(np.s_[:, 5:25, 5:25])
    picture = scene.picture(Plane(AXIAL, 3), SIZES[AXIAL]).astype(int)
    grey = 127
    inside = np.multiply(LIVER.colour, FILL) + grey * (1 - FILL)
    edge = np.multiply(LIVER.colour, OUTLINE) + grey * (1 - OUTLINE)
    assert np.abs(picture[45, 45] - inside).max() <= 2
    assert np.abs(picture[15, 45] - edge).max() <= 2
    assert picture[5, 100].tolist() == [grey] * 3


def test_the_outline_is_one_pixel_wide_and_outside_the_organ_nothing_is_tinted():
    scene = scene_with_marker(np.s_[:, 5:25, 5:25])
    row = scene.picture(Plane(AXIAL, 3), SIZES[AXIAL])[45].astype(int)
    strength = (row.max(axis=1) - row.min(axis=1)) / np.ptp(LIVER.colour)
    assert np.flatnonzero(strength > 0.6).tolist() == [15, 74]
    assert not (strength[:15] > 0).any()
    assert not (strength[75:] > 0).any()


def test_labels_of_organs_that_were_not_asked_for_stay_invisible():
    scene = scene_with_marker(np.s_[:, 5:25, 5:25])
    other = DrawnScan.of(scene.image, scene.labels, [organ("spleen")])
    assert not coloured(other.picture(Plane(AXIAL, 3), SIZES[AXIAL])).any()


def test_a_missing_number_is_black_and_not_a_warning():
    assert window(np.array([[np.nan, 40.0, np.inf]])).tolist() == [[102, 127, 255]]


def test_places_are_named_as_slicer_does():
    geometry = Geometry((11, 11, 11), (2.0, 2.0, 2.0), (-10.0, -10.0, -50.0))
    assert Plane(AXIAL, 0).place(geometry) == "I 50 mm"
    assert Plane(CORONAL, 10).place(geometry) == "P 10 mm"
    assert Plane(SAGITTAL, 0).place(geometry) == "R 10 mm"
    assert Plane(SAGITTAL, 10).place(geometry) == "L 10 mm"


def test_initials_stand_inside_a_bent_organ():
    ring = np.zeros((60, 60), np.uint8)
    ring[5:55, 5:55] = 4
    ring[15:45, 15:60] = 0
    y, x = middles(ring, {4: 1})[4]
    assert ring[int(y * 60), int(x * 60)] == 4


def test_an_organ_too_small_for_its_initials_gets_none():
    small = scene_with_marker(np.s_[:, 5:7, 5:7])
    large = scene_with_marker(np.s_[:, 5:25, 5:25])
    assert small.tags(Plane(AXIAL, 3), SIZES[AXIAL]) == []
    assert large.tags(Plane(AXIAL, 3), SIZES[AXIAL]) == [("Li", pytest.approx(43.5), 45.0)]


def test_lesions_are_numbered_where_they_are_longest():
    labels = np.zeros((6, 40, 40), np.uint8)
    labels[2:5, 10:30, 10:30] = 14
    grid = Geometry(labels.shape, (5.0, 2.0, 2.0))
    volume = Volume(labels, grid)
    image = volume.with_array(labels.astype(np.int16))
    scene = DrawnScan.of(image, volume, [organ("lesion")], {7: (3, 19, 9)})
    assert scene.tags(Plane(AXIAL, 3), (200, 400)) == [("7", 97.5, 95.0)]
    assert scene.tags(Plane(AXIAL, 2), (200, 400)) == []  # nor its initials
    assert scene.tags(Plane(CORONAL, 19), (200, 400)) == []
    plain = DrawnScan.of(image, volume, [organ("lesion")])
    assert [text for text, _, _ in plain.tags(Plane(AXIAL, 3), (200, 400))] == ["Le"]
