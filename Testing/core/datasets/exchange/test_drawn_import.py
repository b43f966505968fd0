"""A hospital's folders into a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drawn_files import write_ct, write_structures
from flare_core.cases.names import pseudonym
from flare_core.cases.store import open_store
from flare_core.datasets.exchange.drawn_import import drawn_cases, holds_drawn, import_drawn
from flare_core.datasets.exchange.importing import ImportSettings
from flare_core.imaging.files import read_volume

NOISE = ImportSettings(assume_hu=True)
"""The series of these tests hold numbers, no body."""

pytest.importorskip("pydicom")


def contour(folder: Path, uid: str, y: int = 8) -> np.ndarray:
    grid = read_volume(folder, series=uid).geometry
    return grid.voxel_to_lps([(3, y, 7), (3, y, 15), (3, 20, 15), (3, 20, 7)])


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Two series in one folder, one of them contoured; another patient's; a plan without scan."""
    place = tmp_path / "hospital"
    one = write_ct(place / "a" / "scans" / "1", noise=1)
    write_ct(place / "a" / "scans" / "2", number=2, noise=2)
    three = write_ct(place / "b", number=3, noise=3)
    scans = place / "a" / "scans"
    write_structures(
        place / "a" / "rs.dcm", {"Liver": [contour(scans, one.uid)], "PTV": []}, one.uid
    )
    write_structures(
        place / "b" / "rs.dcm", {"Spleen": [contour(place / "b", three.uid)]}, three.uid
    )
    write_structures(place / "lost.dcm", {"Liver": []}, "1.2.3.4")
    return place


def test_series_and_contours_find_each_other(tmp_path, hospital):
    assert holds_drawn(hospital) and not holds_drawn(hospital / "a" / "scans")
    with open_store(tmp_path / "store", create=True) as store:
        found = import_drawn(store, hospital, ImportSettings(author="Ada", assume_hu=True))
        assert len(found.added) == 2 and found.labelled == found.added
        told = {finding.what for finding in found.findings}
        assert "1 series on which nothing was drawn was left out" in told
        assert "'PTV' is none of our organs: left out" in told
        wrong = [finding for finding in found.findings if finding.wrong]
        assert [each.where for each in wrong] == ["lost.dcm"]
        assert "1.2.3.4, which is not in the folder" in wrong[0].what
        versions = [store.versions(name)[0] for name in found.added]
        assert sorted(v.facts.annotated for v in versions) == [("liver",), ("spleen",)]
        assert {v.facts.kind for v in versions} == {"expert"}
        assert {record.patient for record in store.cases()} == {pseudonym("phantom")}

        again = import_drawn(store, hospital, NOISE)
        assert (again.added, again.labelled) == ((), ())
        assert set(again.known) == set(found.added)


def test_a_scan_is_of_its_own_patient_whomever_the_contours_name(tmp_path, hospital):
    """An anonymised scan got the name in its structure set, and was another patient's elsewhere."""
    cases, findings = drawn_cases(hospital)
    assert [case.patient for case in cases] == ["phantom", "phantom"]
    assert all(case.name.startswith("phantom_") for case in cases)
    other = "names another patient than the scan it was drawn on; the scan's counts"
    assert [each.where for each in findings if each.what == other] == ["rs.dcm", "rs.dcm"]


def test_names_do_not_depend_on_what_lies_beside(tmp_path, hospital):
    with open_store(tmp_path / "one", create=True) as store:
        alone = import_drawn(store, hospital / "b", NOISE).added
    with open_store(tmp_path / "two", create=True) as store:
        assert set(alone) < set(import_drawn(store, hospital, NOISE).added)


def test_a_changed_contour_is_a_new_version(tmp_path, hospital):
    uid = "1.2.826.0.1.3680043.10.999.1.3"
    with open_store(tmp_path / "store", create=True) as store:
        (name,) = import_drawn(store, hospital / "b", NOISE).added
        write_structures(
            hospital / "b" / "rs.dcm", {"Spleen": [contour(hospital / "b", uid, 10)]}, uid
        )
        assert import_drawn(store, hospital / "b", NOISE).labelled == (name,)
        assert len(store.versions(name)) == 2


def test_folders_with_image_files_are_the_other_imports(tmp_path, hospital):
    (hospital / "images").mkdir()
    (hospital / "images" / "a_0000.nii.gz").write_bytes(b"")
    assert not holds_drawn(hospital)
    assert not holds_drawn(tmp_path / "absent")
