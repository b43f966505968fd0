"""Pictures of scans: right way up, true proportions, made once, never in the way."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from FLARESegLib.qt.event_loop import PlainLoop
from FLARETrainLib.cases.thumbnails import SIZE, Thumbnails, make_pictures, picture, wide_path

from flare_core.imaging.files import write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

SHA = "ab" * 32


def test_a_picture_has_the_proportions_of_the_patient():
    plane = np.full((20, 40), 240, np.int16)  # 100 mm x 40 mm
    shown = picture(plane, (5.0, 1.0)) > 0
    rows, columns = shown.any(axis=1).sum(), shown.any(axis=0).sum()
    assert rows == SIZE and columns == pytest.approx(0.4 * SIZE, abs=1)


def test_grey_values_follow_the_window():
    plane = np.array([[-1000, -160], [40, 3000]], np.int16)
    shown = picture(plane, (1.0, 1.0))
    quarter = SIZE // 4
    values = [shown[y, x] for y in (quarter, 3 * quarter) for x in (quarter, 3 * quarter)]
    assert values[0] == values[1] == 0 and values[2] == 128 and values[3] == 255


@pytest.mark.parametrize("flipped", [False, True])
def test_pictures_are_the_same_however_the_scan_is_stored(tmp_path, flipped):
    array = np.full((12, 12, 12), -1000, np.int16)
    array[6:, :7, 6:] = 100  # up, front, left
    direction = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    if flipped:
        array = array[::-1, ::-1, ::-1]
        direction = tuple(tuple(-v for v in row) for row in direction)
    geometry = Geometry(array.shape, (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), direction)
    write_volume(tmp_path / "ct.nii.gz", Volume(np.ascontiguousarray(array), geometry))
    make_pictures(tmp_path / "ct.nii.gz", tmp_path / "pictures", SHA)
    wide = sitk.GetArrayFromImage(sitk.ReadImage(str(wide_path(tmp_path / "pictures", SHA))))
    assert wide.shape == (SIZE, 3 * SIZE)
    axial, coronal, sagittal = (part > 0 for part in np.hsplit(wide, 3))
    low, high = SIZE // 4, 3 * SIZE // 4
    assert axial[low, high] and not axial[low, low] and not axial[high, high]  # front is up
    assert coronal[low, high] and not coronal[low, low] and not coronal[high, high]  # head is up
    assert sagittal[low, low] and not sagittal[low, high] and not sagittal[high, low]


def test_wishes_are_fulfilled_one_by_one_and_a_bad_scan_is_left_out(tmp_path):
    geometry = Geometry((4, 6, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    write_volume(tmp_path / "ct.nii.gz", Volume(np.zeros((4, 6, 8), np.int16), geometry))
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    loop, made = PlainLoop(), []
    thumbnails = Thumbnails(loop, tmp_path / "pictures")
    thumbnails.made.connect(made.append)
    other = "cd" * 32
    thumbnails.want([(other, tmp_path / "bad.nii.gz"), (SHA, tmp_path / "ct.nii.gz")])
    for _ in range(500):
        loop.pump(0.02)
        if made:
            break
    assert made == [SHA]
    assert thumbnails.small(SHA) and thumbnails.wide(SHA) and thumbnails.small(other) is None
    thumbnails.want([(other, tmp_path / "bad.nii.gz"), (SHA, tmp_path / "ct.nii.gz")])
    loop.pump(0.1)
    assert made == [SHA]
