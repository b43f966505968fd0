"""Segmentations of others: each frame goes where its own position says."""

from __future__ import annotations

import numpy as np
import pytest

from drawn_files import AXES, write_frames
from flare_core.errors import InputError
from flare_core.imaging.checks import orthonormal
from flare_core.imaging.dicom.drawn import paint, read_drawn
from flare_core.imaging.geometry import Geometry

pytest.importorskip("pydicom")

SHAPE = (5, 7, 9)
TRUTH = (np.random.default_rng(3).random(SHAPE) > 0.5).astype(np.uint8)
TRUTH[2] = 0


def grid(way: str = "axial") -> Geometry:
    axes = np.array(AXES[way], float).reshape(2, 3)
    rows = orthonormal("test", [np.cross(*axes), axes[1], axes[0]])
    return Geometry(SHAPE, (2.5, 0.8, 0.7), (-17.0, 23.0, -300.0), rows)


def frames_of(truth: np.ndarray, place: Geometry, number: int = 1):
    """Return a frame for each slice that has a voxel, the last one first."""
    planes = [z for z in range(len(truth)) if truth[z].any()][::-1]
    return [(number, place.voxel_to_lps((z, 0, 0)), truth[z]) for z in planes]


@pytest.mark.parametrize("way", AXES)
def test_slices_in_any_order_and_with_gaps(tmp_path, way):
    frames = frames_of(TRUTH, grid(way))
    path = write_frames(tmp_path / "s.dcm", frames, {1: "Liver"}, axes=AXES[way])
    found = paint(path, grid(way), [(1, 5)])
    assert np.array_equal(found.labels, TRUTH * 5)
    assert found.notes == ()


def test_frames_along_another_axis_the_other_way_round(tmp_path):
    place = grid()  # sagittal frames: rows run down from the head, columns from back to front
    frames = [
        (1, place.voxel_to_lps((SHAPE[0] - 1, SHAPE[1] - 1, x)), TRUTH[::-1, ::-1, x])
        for x in range(SHAPE[2])
    ]
    path = write_frames(
        tmp_path / "s.dcm", frames, {1: "Liver"}, axes=(0, -1, 0, 0, 0, -1), spacing=(2.5, 0.8)
    )
    assert np.array_equal(paint(path, place, [(1, 1)]).labels, TRUTH)


def test_only_the_segments_asked_for_in_the_order_asked(tmp_path):
    whole, part = np.ones(SHAPE, np.uint8), TRUTH
    frames = frames_of(part, grid(), 2) + frames_of(whole, grid(), 1)
    path = write_frames(tmp_path / "s.dcm", frames, {1: "Liver", 2: "Tumour", 3: "Empty"})
    found = paint(path, grid(), [(1, 1), (2, 14), (3, 4)])
    assert np.array_equal(found.labels, np.where(TRUTH, 14, 1))
    assert np.array_equal(paint(path, grid(), [(2, 3)]).labels, TRUTH * 3)


def test_shares_and_label_maps(tmp_path):
    shares = frames_of((TRUTH * 150).astype(np.uint8), grid()) + [
        (1, grid().voxel_to_lps((2, 0, 0)), np.full(SHAPE[1:], 99, np.uint8))
    ]
    path = write_frames(tmp_path / "f.dcm", shares, {1: "Liver"}, kind="FRACTIONAL")
    assert np.array_equal(paint(path, grid(), [(1, 1)]).labels, TRUTH)
    numbers = frames_of(TRUTH * 2 + 1, grid())
    path = write_frames(tmp_path / "l.dcm", numbers, {1: "Liver", 3: "Spleen"}, kind="LABELMAP")
    assert np.array_equal(paint(path, grid(), [(3, 7)]).labels, TRUTH * 7)


@pytest.mark.parametrize(
    ("shift", "spacing", "axes"),
    [
        ((0.5, 0, 0), (0.8, 0.7), AXES["axial"]),
        ((0, 0, 0), (0.9, 0.7), AXES["axial"]),
        ((0, 0, 0), (0.8, 0.7), AXES["oblique"]),
        ((0, 0, 0), (0.8, 0.7), (1, 0, 0, 1, 0, 0)),
    ],
)
def test_another_grid_is_refused(tmp_path, shift, spacing, axes):
    frames = [(1, grid().voxel_to_lps(shift), TRUTH[0])]
    path = write_frames(tmp_path / "s.dcm", frames, {1: "Liver"}, axes=axes, spacing=spacing)
    with pytest.raises(InputError, match="another grid than the scan"):
        paint(path, grid(), [(1, 1)])


@pytest.mark.parametrize("way", [(0, 1, 0), (0, -0.6, 0.8)])
def test_frames_of_slices_that_lie_beside_one_another_are_those_slices(tmp_path, way):
    """As `flare segment --outputs dicom-seg` writes them for such a series."""
    frames = [
        (1, grid().voxel_to_lps((z, 0, 0)) + np.array(way)[[2, 1, 0]] * 0.24 * z, TRUTH[z])
        for z in (0, 1, 3, 4)
    ]
    found = paint(write_frames(tmp_path / "s.dcm", frames, {1: "Liver"}), grid(), [(1, 5)])
    assert np.array_equal(found.labels, TRUTH * 5)
    (note,) = found.notes
    assert "0.96 mm beside the scan's grid" in note


@pytest.mark.parametrize("what", ["all alike", "too far", "a part"])
def test_other_frames_beside_the_grid_are_refused(tmp_path, what):
    frames = frames_of(TRUTH, grid())
    step = {"all alike": 0.0, "too far": 0.3, "a part": 0.2}[what]
    frames = [(n, np.add(at, (0.35 + step * z, 0, 0)), p) for z, (n, at, p) in enumerate(frames)]
    if what == "a part":
        frames = [(n, at, pixels[:-1]) for n, at, pixels in frames]
    with pytest.raises(InputError, match="another grid than the scan"):
        paint(write_frames(tmp_path / "s.dcm", frames, {1: "Liver"}), grid(), [(1, 5)])


def test_what_lies_outside_is_counted(tmp_path):
    far = [
        (1, grid().voxel_to_lps((-1, 0, 0)), TRUTH[0]),
        (1, grid().voxel_to_lps((1, 2, 0)), TRUTH[1]),
    ]
    found = paint(write_frames(tmp_path / "s.dcm", far, {1: "Liver"}), grid(), [(1, 1)])
    assert np.array_equal(found.labels[1, 2:], TRUTH[1, :-2])
    lost = int(TRUTH[0].sum() + TRUTH[1, -2:].sum())
    assert found.notes == (f"{lost} voxels lie outside of the scan",)


def test_what_the_file_says(tmp_path):
    path = write_frames(tmp_path / "s.dcm", frames_of(TRUTH, grid()), {1: "Liver"}, series="1.2.9")
    drawn = read_drawn(path)
    assert (drawn.series, drawn.patient) == ("1.2.9", "P7")
    assert [(r.number, r.name, r.automatic) for r in drawn.regions] == [(1, "Liver", False)]


def test_an_orientation_of_two_decimals_is_still_the_scans(tmp_path):
    turn = np.radians(4.0)
    exact = np.array([np.cos(turn), np.sin(turn), 0, -np.sin(turn), np.cos(turn), 0])
    rows = orthonormal("test", [[0, 0, 1], exact[3:], exact[:3]])
    place = Geometry((2, 64, 64), (2.5, 0.8, 0.8), (0.0, 0.0, 0.0), rows)
    pixels = np.random.default_rng(1).integers(0, 2, (64, 64)).astype(np.uint8)
    frames = [(1, (0, 0, 2.5), pixels)]
    path = write_frames(
        tmp_path / "s.dcm", frames, {1: "Liver"}, axes=np.round(exact, 2), spacing=(0.8, 0.8)
    )
    assert np.array_equal(paint(path, place, [(1, 1)]).labels[1], pixels)
