"""Contours through ``flare cases add`` and ``flare cases import``."""

from __future__ import annotations

import pytest

from drawn_files import write_ct, write_structures
from flare_core import cli
from flare_core.imaging.files import read_volume

pytest.importorskip("pydicom")


@pytest.fixture
def study(tmp_path):
    """A folder with a series and a structure set."""
    series = write_ct(tmp_path / "study" / "ct")
    grid = read_volume(tmp_path / "study" / "ct").geometry
    points = grid.voxel_to_lps([(3, 8, 7), (3, 8, 15), (3, 20, 15), (3, 20, 7)])
    write_structures(
        tmp_path / "study" / "rs.dcm", {"Liver": [points], "PTV": [points]}, series.uid
    )
    return tmp_path / "study"


def test_add_with_contours(study, tmp_path, capsys):
    store = ["--store", str(tmp_path / "store")]
    drawn = ["--labels", str(study / "rs.dcm")]
    assert cli.main(["cases", "add", str(study / "ct"), *drawn, "--absent", "spleen", *store]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == "ct: accepted"
    assert "'PTV' is none of our organs" in err
    assert cli.main(["cases", "history", "ct", *store]) == 0
    assert "liver" in capsys.readouterr().out
    words = ["cases", "add", str(study / "ct"), *drawn, "--organs", "liver", *store]
    assert cli.main(words) == 2
    assert "names its organs itself" in capsys.readouterr().err


def test_contours_that_are_refused_leave_no_scan_behind(study, tmp_path, capsys):
    store = ["--store", str(tmp_path / "store")]
    other = write_ct(tmp_path / "other")
    grid = read_volume(tmp_path / "other").geometry
    points = grid.voxel_to_lps([(3, 8, 7), (3, 8, 15), (3, 20, 15)])
    strange = tmp_path / "strange.dcm"
    write_structures(strange, {"PTV": [points]}, other.uid)
    for words in (["--labels", str(strange)], ["--labels", str(study / "rs.dcm"),
                                               "--absent", "liver"]):  # fmt: skip
        assert cli.main(["cases", "add", str(study / "ct"), *words, *store]) == 2
    capsys.readouterr()
    assert cli.main(["cases", "list", "--json", *store]) == 0
    assert capsys.readouterr().out.strip() == "[]"


def test_import_of_a_study(study, tmp_path, capsys):
    store = ["--store", str(tmp_path / "store"), "--progress", "none"]
    assert cli.main(["cases", "import", str(study), *store]) == 0
    out = capsys.readouterr().out
    assert "1 case added, 0 were there; 1 label map added" in out
    assert "'PTV' is none of our organs" in out
