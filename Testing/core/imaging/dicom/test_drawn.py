"""Files that are no structure set, or half of one."""

from __future__ import annotations

import numpy as np
import pytest

from drawn_files import write_ct, write_frames, write_structures
from flare_core.errors import InputError
from flare_core.imaging import apart
from flare_core.imaging.dicom import drawn
from flare_core.imaging.geometry import Geometry

pydicom = pytest.importorskip("pydicom")

GRID = Geometry((2, 4, 4), (1.0, 1.0, 1.0))
READ = "flare_core.imaging.dicom.drawn:read_drawn"


def test_scans_and_other_files_are_not_drawn(tmp_path):
    write_ct(tmp_path / "ct")
    (tmp_path / "a.txt").write_text("no DICOM")
    assert not any(drawn.is_drawn(path) for path in tmp_path.rglob("*"))
    with pytest.raises(InputError, match="RT structure set or a segmentation"):
        drawn.read_drawn(next((tmp_path / "ct").iterdir()))
    with pytest.raises(InputError):
        drawn.read_drawn(tmp_path / "a.txt")


@pytest.mark.parametrize("gone", ["PerFrameFunctionalGroupsSequence", "SegmentationType", "Rows"])
def test_a_segmentation_that_lacks_something(tmp_path, gone):
    frames = [(1, (0, 0, 0), np.ones((4, 4), np.uint8))]
    path = write_frames(tmp_path / "s.dcm", frames, {1: "Liver"}, spacing=(1.0, 1.0))
    assert drawn.paint(path, GRID, [(1, 1)]).labels[0].all()
    made = pydicom.dcmread(path)
    delattr(made, gone)
    made.save_as(path)
    with pytest.raises(InputError):
        drawn.paint(path, GRID, [(1, 1)])


def test_cut_files_are_errors_for_people(tmp_path):
    square = np.array([[0, 0, 0], [3, 0, 0], [3, 3, 0], [0, 3, 0]], float)
    path = write_structures(tmp_path / "r.dcm", {"Liver": [square, square + (0, 0, 1)]})
    whole = path.read_bytes()
    assert drawn.paint(path, GRID, [(11, 1)]).labels.sum() == 18
    for end in range(140, len(whole), 11):
        path.write_bytes(whole[:end])
        try:
            labels = drawn.paint(path, GRID, [(11, 1)]).labels
        except InputError:
            continue
        assert not labels.any()  # a cut between two elements, before the contours: no half of them


def test_too_large_a_file_is_not_opened(tmp_path, monkeypatch):
    path = write_structures(tmp_path / "r.dcm", {"Liver": []})
    monkeypatch.setattr(drawn, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="GiB"):
        drawn.read_drawn(path)


def test_without_pydicom_it_says_what_to_install(tmp_path, monkeypatch):
    path = write_structures(tmp_path / "r.dcm", {"Liver": []})
    monkeypatch.setattr("flare_core.imaging.dicom.extra.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"flareseg\[dicom\]"):
        drawn.read_drawn(path)


def test_in_a_process_of_its_own(tmp_path):
    path = write_structures(tmp_path / "r.dcm", {"Liver": []})
    assert [region.name for region in apart.call(READ, path).regions] == ["Liver"]
