"""Contours and segmentations as labels in our numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drawn_files import AXES, write_ct, write_frames, write_structures
from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.exchange.drawn_labels import write_drawn_labels
from flare_core.errors import InputError
from flare_core.imaging.files import read_labels, read_volume, write_volume
from flare_core.jobs.outputs import CaseSource, output_paths, write_outputs
from flare_core.segment.lesion_list import list_lesions
from flare_core.segment.pipeline import Segmentation
from flare_core.segment.statistics import organ_statistics

pytest.importorskip("pydicom")

LIVER = organ("liver").id


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A series as the store keeps it: NIfTI."""
    write_ct(tmp_path / "ct")
    write_volume(tmp_path / "ct.nii.gz", read_volume(tmp_path / "ct"))
    return tmp_path / "ct.nii.gz"


def box(scan: Path, z: int, y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
    """Return a rectangle around voxels y, x (from, to) of slice z, as LPS points."""
    low, high = np.array([y[0], x[0]]) - 0.5, np.array([y[1], x[1]]) - 0.5
    corners = [
        (z, low[0], low[1]),
        (z, low[0], high[1]),
        (z, high[0], high[1]),
        (z, high[0], low[1]),
    ]
    return read_volume(scan).geometry.voxel_to_lps(corners)


def test_contours_become_organs_and_the_rest_is_named(tmp_path, scan):
    path = write_structures(
        tmp_path / "rs.dcm",
        {
            "Liver tumour": [box(scan, z, (10, 13), (10, 13)) for z in (2, 3)],
            "LIVER": [box(scan, z, (8, 20), (7, 15)) for z in (1, 2, 3)],
            "PTV": [box(scan, 2, (5, 30), (5, 30))],
            "Spleen": [],
        },
    )
    found = write_drawn_labels(path, scan, tmp_path / "labels.nii.gz")
    wanted = np.zeros(read_volume(scan).array.shape, np.uint8)
    wanted[1:4, 8:20, 7:15] = LIVER
    wanted[2:4, 10:13, 10:13] = LESION.id
    assert np.array_equal(read_labels(tmp_path / "labels.nii.gz").array, wanted)
    assert found.annotated == ("liver", "lesion")
    assert (found.kind, found.label) == ("expert", "PLAN")
    assert "'PTV' is none of our organs: left out" in found.notes
    assert "Spleen: no voxel, so not annotated" in found.notes


def test_what_two_organs_share_is_said_and_what_a_lesion_covers_is_not(tmp_path, scan):
    path = write_structures(
        tmp_path / "rs.dcm",
        {
            "Stomach": [box(scan, 2, (10, 20), (14, 20))],
            "Liver": [box(scan, 2, (8, 20), (7, 15))],
            "liver": [box(scan, 3, (8, 20), (7, 15))],
            "Liver tumour": [box(scan, 2, (10, 13), (8, 11))],
        },
    )
    found = write_drawn_labels(path, scan, tmp_path / "labels.nii.gz")
    assert found.notes == (
        "10 voxels are drawn as Liver and as Stomach: they are Stomach",
        "Liver: 'Liver' and 'liver' together",
    )


def test_segments_that_overlap_are_said(tmp_path, scan):
    place = read_volume(scan).geometry
    one, other = np.zeros((2, *place.shape[1:]), np.uint8)
    one[9:14, 9:20], other[12:16, 15:25] = 1, 1
    frames = [(1, place.voxel_to_lps((5, 0, 0)), one), (2, place.voxel_to_lps((5, 0, 0)), other)]
    path = write_frames(tmp_path / "s.dcm", frames, {1: "liver", 2: "spleen"})
    notes = write_drawn_labels(path, scan, tmp_path / "l.nii.gz").notes
    assert notes == ("10 voxels are drawn as Liver and as Spleen: they are Spleen",)


def test_kidneys_under_one_name_are_told_apart(tmp_path, scan):
    sides = [box(scan, z, (15, 20), x) for z in (3, 4) for x in ((8, 13), (27, 33))]
    path = write_structures(tmp_path / "rs.dcm", {"Kidneys": sides})
    found = write_drawn_labels(path, scan, tmp_path / "labels.nii.gz")
    labels = read_labels(tmp_path / "labels.nii.gz").array
    assert set(found.annotated) == {"left_kidney", "right_kidney"}
    assert np.unique(labels[:, :, :20]).tolist() == [0, organ("right_kidney").id]
    assert np.unique(labels[:, :, 20:]).tolist() == [0, organ("left_kidney").id]


def test_what_a_program_drew_is_no_experts(tmp_path, scan):
    regions = {"Liver": [box(scan, 2, (8, 20), (7, 15))]}
    path = write_structures(tmp_path / "rs.dcm", regions, algorithm="AUTOMATIC")
    assert write_drawn_labels(path, scan, tmp_path / "l.nii.gz").kind == "pseudo"


@pytest.mark.parametrize("regions", [{}, {"PTV": []}, {"Liver": []}])
def test_nothing_of_ours_is_an_error(tmp_path, scan, regions):
    path = write_structures(tmp_path / "rs.dcm", regions)
    with pytest.raises(InputError, match="region"):
        write_drawn_labels(path, scan, tmp_path / "l.nii.gz")


def test_segments_of_another_program_by_their_names(tmp_path, scan):
    place = read_volume(scan).geometry
    pixels = np.zeros(place.shape[1:], np.uint8)
    pixels[9:14, 9:20] = 1
    path = write_frames(
        tmp_path / "s.dcm", [(4, place.voxel_to_lps((5, 0, 0)), pixels)], {4: "liver"}
    )
    assert write_drawn_labels(path, scan, tmp_path / "l.nii.gz").annotated == ("liver",)
    assert np.array_equal(read_labels(tmp_path / "l.nii.gz").array[5], pixels * LIVER)


@pytest.mark.parametrize("way", AXES)
@pytest.mark.parametrize("step_mm", [2.5, -2.5])
def test_our_own_segmentation_comes_back_voxel_by_voxel(tmp_path, way, step_mm):
    pytest.importorskip("highdicom")
    write_ct(tmp_path / "ct", way, step_mm=step_mm)
    image = read_volume(tmp_path / "ct")
    write_volume(tmp_path / "ct.nii.gz", image)
    array = np.random.default_rng(1).integers(0, 14, image.array.shape).astype(np.uint8)
    array[4] = 0
    array[:, 20:23, 20:23] = LESION.id
    array[4, 20:23, 20:23] = 0
    labels = image.with_array(array)
    found = Segmentation(
        labels, organ_statistics(image, labels), {}, {}, (), list_lesions(image, labels)
    )
    paths = output_paths(tmp_path / "out", "x").files(("dicom-seg",))
    (tmp_path / "out").mkdir()
    write_outputs(paths, image, found, CaseSource("x", tmp_path / "ct", {}))
    back = write_drawn_labels(paths["dicom_seg"], tmp_path / "ct.nii.gz", tmp_path / "l.nii.gz")
    again = read_labels(tmp_path / "l.nii.gz")
    assert np.array_equal(again.array, array)
    assert again.geometry.same_grid(image.geometry, tolerance_mm=1e-2)
    assert (len(back.annotated), back.kind, back.notes) == (14, "pseudo", ())
