from __future__ import annotations

import csv
import os
import shutil
import sys
from pathlib import Path

import pytest

from fake_engine import flare, four
from flare_core.imaging import apart
from flare_core.jobs.batch import find_cases


def test_one_file_name_for_two_scans_is_refused(scans, tmp_path, capsys):
    assert flare("segment", scans("a", "b"), "-o", tmp_path / "mine.nii.gz") == 2
    assert "one file name for 2 cases" in capsys.readouterr().err


def test_batch_goes_on_names_the_failed_and_returns_1(scans, tmp_path, capsys):
    folder = scans("a", "bad_b", "crash_c", "d", "empty_e")
    out = tmp_path / "out"
    assert flare("segment", folder, "-o", out) == 1
    assert set(os.listdir(out)) == four("a") | four("d") | {"all_cases.csv"}
    said = capsys.readouterr()
    assert "5 cases: 2 segmented, 0 skipped, 3 failed." in said.out
    assert said.err.strip().splitlines()[-1] == "Failed: bad_b, crash_c, empty_e"
    assert "is truncated" in said.err
    assert "no abdominal organ" in said.err
    log = next(line for line in said.err.splitlines() if "details:" in line).split()[-1]
    assert "the network fell over" in Path(log).read_text()
    Path(log).unlink()


def test_done_cases_are_skipped_and_still_counted(scans, tmp_path, capsys, calls):
    folder = scans("a", "b")
    out = tmp_path / "out"
    flare("segment", folder / "a.nii.gz", "-o", out)
    calls.clear()
    assert flare("segment", folder, "-o", out) == 0
    assert [call for call in calls if call.startswith("read")] == ["read b.nii.gz"]
    assert "1 segmented, 1 skipped" in capsys.readouterr().out
    rows = list(csv.DictReader((out / "all_cases.csv").read_text().splitlines()))
    assert {row["case"] for row in rows} == {"a", "b"}
    assert len([row for row in rows if row["measure"] == "volume"]) == 4


@pytest.mark.parametrize("cluster", [(), ("--cluster", "local:1")])
def test_results_of_another_file_of_the_same_name_are_told(scans, tmp_path, capsys, cluster):
    """Two hospitals' case 1: the second's was skipped, and the first's numbers stood for it."""
    here, there, out = scans("a", "b"), tmp_path / "there", tmp_path / "out"
    assert flare("segment", here, "-o", out) == 0
    told = "Results of another file, or of one that was written anew since, were kept: "
    assert flare("segment", here, "-o", out, *cluster) == 0
    assert told not in capsys.readouterr().err
    there.mkdir()
    shutil.copy2(here / "a.nii.gz", there)
    assert flare("segment", there / "a.nii.gz", "-o", out, *cluster) == 0
    assert f"{told}a (--overwrite" in capsys.readouterr().err
    later = (out / "b_statistics.json").stat().st_mtime + 60
    os.utime(here / "b.nii.gz", (later, later))
    assert flare("segment", here, "-o", out, *cluster) == 0
    assert f"{told}b (--overwrite" in capsys.readouterr().err


def test_a_batch_that_is_later_asked_for_more_says_what_is_missing(scans, tmp_path, capsys):
    folder, out = scans("a", "b"), tmp_path / "out"
    assert flare("segment", folder, "-o", out, "--outputs", "page") == 0
    assert set(os.listdir(out)) == {"a.html", "b.html"}
    capsys.readouterr()
    assert flare("segment", folder, "-o", out, "--outputs", "page,statistics") == 0
    said = capsys.readouterr()
    assert "a: done before without a_statistics.csv, a_statistics.json, skipped" in said.out
    assert said.err.strip().splitlines()[-1].endswith("have no statistics: a, b")
    assert "a_statistics.csv" not in (out / "all_cases.html").read_text()


def test_overwrite_does_them_again(scans, tmp_path, calls):
    scan = scans("a") / "a.nii.gz"
    out = tmp_path / "out"
    flare("segment", scan, "-o", out)
    before = (out / "a.nii.gz").stat().st_ino
    assert flare("segment", scan, "-o", out, "--overwrite") == 0
    assert calls.count("segment") == 2
    assert (out / "a.nii.gz").stat().st_ino != before
    assert set(os.listdir(out)) == four("a")


def test_a_case_without_its_label_map_is_not_done(scans, tmp_path, calls):
    scan = scans("a") / "a.nii.gz"
    out = tmp_path / "out"
    flare("segment", scan, "-o", out)
    (out / "a.nii.gz").unlink()
    flare("segment", scan, "-o", out)
    assert calls.count("segment") == 2


def test_results_beside_the_scans_do_not_become_scans(scans, calls):
    folder = scans("a_0000", "b_0000")
    assert flare("segment", folder, "-o", folder) == 0
    assert flare("segment", folder, "-o", folder, "--overwrite") == 0
    assert calls.count("segment") == 4


def test_writing_over_the_scan_is_refused(scans, capsys):
    folder = scans("a")
    before = (folder / "a.nii.gz").read_bytes()
    assert flare("segment", folder / "a.nii.gz", "-o", folder, "--overwrite") == 2
    assert "would replace an input" in capsys.readouterr().err
    assert (folder / "a.nii.gz").read_bytes() == before


def test_same_names_get_their_folders_name(scans, tmp_path):
    one, two = scans("ct", folder="p1"), scans("ct", folder="p2")
    assert flare("segment", one / "ct.nii.gz", two / "ct.nii.gz", "-o", tmp_path / "out") == 0
    assert set(os.listdir(tmp_path / "out")) == four("p1_ct") | four("p2_ct") | {"all_cases.csv"}


def test_the_same_scan_twice_is_refused(scans, tmp_path, capsys):
    scan = scans("ct") / "ct.nii.gz"
    assert flare("segment", scan, scan, "-o", tmp_path / "out") == 2
    assert "2 cases would have the name" in capsys.readouterr().err


def test_a_scan_that_crashes_its_reader_costs_one_case(scans, tmp_path, capsys):
    folder = scans("a", "segv_b", "c")
    assert flare("segment", folder, "-o", tmp_path / "out") == 1
    assert set(os.listdir(tmp_path / "out")) == four("a") | four("c") | {"all_cases.csv"}
    said = capsys.readouterr().err
    assert "segv_b.nii.gz: not usable." in said
    assert "a file on which its reader crashed (SIGSEGV)" in said
    assert flare("segment", folder / "segv_b.nii.gz", "-o", tmp_path / "out") == 2


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are text")
def test_a_name_that_is_no_text_costs_one_case(scans, tmp_path, capsys):
    folder = scans("a", "b")
    os.rename(folder / "b.nii.gz", os.fsencode(folder) + b"/b\xff.nii.gz")
    assert flare("segment", folder, "-o", tmp_path / "out") == 1
    assert four("a") <= set(os.listdir(tmp_path / "out"))
    said = capsys.readouterr().err
    assert "Failed: b\\udcff" in said
    assert "Choose another name" in said
    assert "Traceback" not in said


def test_a_folder_whose_dicom_crashes_who_looks_is_done_one_by_one(scans, tmp_path, monkeypatch):
    folder = scans("a", "b")
    for name in ("study", ".hidden"):
        (folder / name).mkdir()

    def crashed(path, *, series=None):
        raise apart.ReaderEnded(str(path), "it crashed", "c", "d")

    monkeypatch.setattr(apart, "find_inputs", crashed)
    assert [case.name for case in find_cases([folder], None)] == ["a", "b", "study"]


@pytest.mark.parametrize("letters", [235, 240, 247])
def test_a_name_too_long_is_refused_before_anything_is_computed(
    scans, tmp_path, capsys, calls, letters
):
    scan = scans("a") / "a.nii.gz"
    long = scan.with_name("x" * letters + ".nii.gz")
    scan.rename(long)
    code = flare("segment", long, "-o", tmp_path / "out")
    fits = letters + len("_statistics.json") <= 255
    assert code == (0 if fits else 2)
    if not fits:
        assert calls == []
        assert not (tmp_path / "out").exists()
        assert "a name of 2" in capsys.readouterr().err
    assert flare("segment", long, "-o", tmp_path / "short.nii.gz") == 0


def test_what_a_killed_overwrite_hid_comes_back(scans, tmp_path, capsys, calls):
    folder, out = scans("a", "b"), tmp_path / "out"
    flare("segment", folder, "-o", out)
    before = {name: (out / name).read_bytes() for name in os.listdir(out)}
    for name in ("a.nii.gz", "a.png"):  # killed when the new table was in its place
        (out / name).rename(out / f".0123abcd.old.{name}")
    for name in ("a.nii.gz", "a.png", "all_cases.csv"):
        (out / f".0123abcd.part.{name}").write_text("new")
    calls.clear()
    assert flare("segment", folder, "-o", out) == 0
    assert "2 skipped" in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in os.listdir(out)} == before
