"""Contours become the voxels whose centres they enclose."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon2mask

from drawn_files import AXES, STRUCTURES, write_structures
from flare_core.errors import InputError
from flare_core.imaging.checks import orthonormal
from flare_core.imaging.dicom.drawn import is_drawn, paint, read_drawn
from flare_core.imaging.dicom.structures import filled
from flare_core.imaging.geometry import Geometry

pytest.importorskip("pydicom")

SHAPE = (6, 40, 50)


def grid(way: str = "axial") -> Geometry:
    """Return a grid of an orientation."""
    axes = np.array(AXES[way], float).reshape(2, 3)
    rows = orthonormal("test", [np.cross(*axes), axes[1], axes[0]])
    return Geometry(SHAPE, (2.5, 0.8, 0.7), (-17.0, 23.0, -300.0), rows)


def circle(radius: float, z: float, way: str = "axial", middle=(20.0, 25.0), points=60):
    """Return a circle in slice `z`, its radius in voxels, as LPS points."""
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    y, x = middle[0] + radius * np.sin(turn), middle[1] + radius * np.cos(turn)
    return grid(way).voxel_to_lps(np.stack([np.full(points, z), y, x], axis=1))


def disc(radius: float, middle=(20.0, 25.0)) -> np.ndarray:
    y, x = np.indices(SHAPE[1:])
    return (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < radius**2


def painted(tmp_path, regions, way="axial", **facts):
    path = write_structures(tmp_path / "rs.dcm", regions, **facts)
    numbers = [region.number for region in read_drawn(path).regions]
    return paint(path, grid(way), [(n, value) for value, n in enumerate(numbers, 1)])


@pytest.mark.parametrize("way", AXES)
def test_circles_in_every_orientation(tmp_path, way):
    found = painted(tmp_path, {"Liver": [circle(9.5, z, way) for z in (1, 2, 3)]}, way)
    assert [bool(plane.any()) for plane in found.labels] == [False, True, True, True, False, False]
    for z in (1, 2, 3):
        differ = np.count_nonzero((found.labels[z] == 1) != disc(9.5))
        assert differ <= 4  # 60 corners are no circle
    assert found.notes == ()


def test_a_contour_in_a_contour_is_a_hole_and_an_island_in_it_is_not(tmp_path):
    rings = [circle(r, 2) for r in (14, 9, 4)]
    plane = painted(tmp_path, {"Liver": rings}).labels[2]
    wanted = disc(14) & ~disc(9) | disc(4)
    assert np.count_nonzero((plane == 1) != wanted) <= 8
    assert plane[20, 25] == 1 and plane[20, 25 + 6] == 0 and plane[20, 25 + 11] == 1


def test_a_hole_joined_by_a_channel(tmp_path):
    outer, inner = circle(14, 2), circle(6, 2)[::-1]
    keyhole = np.concatenate([outer, outer[:1], inner[-1:], inner])
    plane = painted(tmp_path, {"Liver": [keyhole]}).labels[2]
    assert np.count_nonzero((plane == 1) != (disc(14) & ~disc(6))) <= 6


def test_the_same_contour_twice_is_no_hole(tmp_path):
    found = painted(tmp_path, {"Liver": [circle(9, 2), circle(9, 2)]})
    assert found.labels[2, 20, 25] == 1
    assert found.notes == ("Liver: 1 contours that are there twice counted once",)


def test_what_comes_later_lies_on_top(tmp_path):
    found = painted(tmp_path, {"Liver": [circle(12, 2)], "Tumour": [circle(5, 2)]})
    assert (found.labels[2, 20, 25], found.labels[2, 20, 34]) == (2, 1)


def test_contours_outside_of_the_scan(tmp_path):
    found = painted(tmp_path, {"Liver": [circle(30, 5), circle(9, 6)]})
    inside = disc(30)
    assert np.count_nonzero((found.labels[5] == 1) != inside) <= 8
    assert inside[0].any()  # the circle is cut by the scan's edge
    assert found.notes == ("Liver: 1 contours lie above or below the scan",)


def test_every_second_slice_is_left_out_and_one_gap_is_told(tmp_path):
    some = {
        "Liver": [circle(9, z) for z in (0, 2, 4)],
        "Spleen": [circle(3, z) for z in (0, 1, 3, 4)],
    }
    found = painted(tmp_path, some)
    assert set(np.unique(found.labels)) == {0, 2}
    assert "contoured on some of its slices only" in found.notes[0]
    assert "they stay empty" in found.notes[1]


@pytest.mark.parametrize(
    ("points", "word"),
    [
        (circle(9, 2.5), "between its slices"),
        (grid().voxel_to_lps([[0, 5, 5], [4, 5, 5], [4, 20, 5]]), "across its slices"),
        ([[1.0, 2.0, np.nan]], "no numbers"),
    ],
)
def test_contours_that_are_in_no_slice(tmp_path, points, word):
    with pytest.raises(InputError, match=word):
        painted(tmp_path, {"Liver": [points]})


def test_points_and_lines_are_passed_over(tmp_path):
    found = painted(tmp_path, {"Liver": [circle(9, 2)]}, kind="OPEN_PLANAR")
    assert not found.labels.any()
    assert found.notes == (
        "Liver: 1 points or open lines, which enclose nothing, were passed over",
    )


def test_filled_as_scikit_image_does_it():
    random = np.random.default_rng(5)
    for _ in range(20):
        corners = random.uniform(-3, 33, (9, 2))
        ours, theirs = filled([corners], (30, 30)), polygon2mask((30, 30), corners)
        assert np.array_equal(ours, theirs)


def test_neighbours_share_no_pixel_and_leave_none():
    left = np.array([[2.0, 1.0], [2.0, 6.0], [9.0, 4.0], [9.0, 1.0]])
    right = np.array([[2.0, 6.0], [2.0, 12.0], [9.0, 12.0], [9.0, 4.0]])
    both = filled([left], (12, 14)).astype(int) + filled([right], (12, 14))
    assert both.max() == 1
    assert both.sum() == 7 * 11


def test_what_the_file_says(tmp_path):
    path = write_structures(
        tmp_path / "a" / "rs.dcm", {"Liver": []}, "1.2.9", algorithm="AUTOMATIC"
    )
    drawn = read_drawn(path)
    assert (drawn.series, drawn.patient, drawn.label) == ("1.2.9", "P7", "PLAN")
    assert [(r.number, r.name, r.automatic) for r in drawn.regions] == [(11, "Liver", True)]
    assert is_drawn(path) and STRUCTURES.endswith(".481.3")


def test_contours_that_cross_are_united_and_told(tmp_path):
    left, right = circle(9, 2, middle=(20, 19)), circle(9, 2, middle=(20, 31))
    found = painted(tmp_path, {"Liver": [left, right, circle(9, 3)]})
    wanted = disc(9, (20, 19)) | disc(9, (20, 31))
    assert np.count_nonzero((found.labels[2] == 1) != wanted) <= 8
    (note,) = found.notes
    assert note == "Liver: contours cross or repeat others in 1 slice; there their union was taken"


def test_crossing_holes_stay_holes(tmp_path):
    holes = [circle(4, 2, middle=(20, 22)), circle(4, 2, middle=(20, 28))]
    plane = painted(tmp_path, {"Liver": [circle(14, 2), *holes]}).labels[2]
    wanted = disc(14) & ~disc(4, (20, 22)) & ~disc(4, (20, 28))
    assert np.count_nonzero((plane == 1) != wanted) <= 10


def test_a_hole_drawn_up_to_the_edge_and_a_thin_wall_stay(tmp_path):
    edge = [circle(12, 2), circle(4, 2, middle=(20, 33.3))]  # reaches out by a third of a pixel
    thin = [circle(12, 3), circle(11, 3)]  # a wall of one pixel
    found = painted(tmp_path, {"Gallbladder": [*edge, *thin]})
    assert found.labels[2, 20, 32] == 0 and found.labels[2, 20, 20] == 1
    assert found.labels[3, 20, 25] == 0 and np.count_nonzero(found.labels[3]) > 50
    assert found.notes == ()


def test_a_contour_twice_but_for_rounding_is_no_hole(tmp_path):
    found = painted(tmp_path, {"Liver": [circle(9, 2), circle(9.02, 2, points=58)]})
    assert np.count_nonzero((found.labels[2] == 1) != disc(9)) <= 6
    assert "there their union was taken" in found.notes[0]


def test_exclusive_contours_may_cross(tmp_path):
    pair = [circle(9, 2, middle=(20, 19)), circle(9, 2, middle=(20, 31))]
    found = painted(tmp_path, {"Liver": pair}, kind="CLOSEDPLANAR_XOR")
    assert found.labels[2, 20, 25] == 0 and found.notes == ()
