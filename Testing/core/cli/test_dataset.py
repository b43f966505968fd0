from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from core.datasets.made_dataset import (
    ALL_13,
    VOXEL_ML,
    Maker,
    make_flare21,
    make_flare22,
    make_flare23,
    make_flare24_task1,
    make_flare24_task2,
)
from flare_core import cli
from flare_core.cli import dataset as command
from flare_core.datasets.case import load_cases
from flare_core.datasets.flare.dataset import find_dataset
from flare_core.datasets.summary.summarise import summarise
from flare_core.imaging.files import read_labels
from flare_core.report.dataset import galleries_of


def flare(*words: object) -> int:
    """Run `flare dataset` in this process and in one process."""
    shown = [str(word) for word in words]
    return cli.main(["dataset", *shown, "--workers", "1", "--progress", "none"])


def test_list_tells_parts_and_annotated_organs(tmp_path, capsys):
    make_flare23(tmp_path)
    assert flare("list", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FLARE23")
    assert "training: 4 scans, 4 with labels" in lines
    assert "  1 annotate lesion" in lines
    assert "unlabelled: 1 scan, 0 with labels" in lines


def test_a_list_to_train_from(tmp_path, capsys):
    make_flare22(tmp_path / "set")
    assert flare("list", tmp_path / "set", "-o", tmp_path / "cases.json") == 0
    cases = {case.name: case for case in load_cases(tmp_path / "cases.json")}
    assert len(cases) == 8
    assert cases["FLARE22_Tr_0001"].labels.is_file()
    assert cases["Case_00001"].labels is None


def test_foreign_numbers_are_converted_or_refused(tmp_path, capsys):
    make_flare24_task1(tmp_path / "set")
    words = ("list", tmp_path / "set", "-o", tmp_path / "cases.json")
    assert flare(*words) == 2
    assert "--labels" in capsys.readouterr().err
    assert not (tmp_path / "cases.json").exists()
    assert flare(*words, "--labels", tmp_path / "ours") == 0
    cases = {case.name: case for case in load_cases(tmp_path / "cases.json")}
    assert np.unique(read_labels(cases["covid_1"].labels).array).tolist() == [0, 14]
    assert cases["covid_1"].annotated == ("lesion",)
    healthy = cases["healthy_1"]
    assert (healthy.annotated, read_labels(healthy.labels).array.any()) == (("lesion",), False)
    assert cases["amos_0001"].labels is None


def test_flare21s_list_has_kidneys_with_sides(tmp_path):
    make_flare21(tmp_path / "set")
    done = flare("list", tmp_path / "set", "-o", tmp_path / "c.json", "--labels", tmp_path / "l")
    assert done == 0
    case = next(c for c in load_cases(tmp_path / "c.json") if c.labels)
    assert case.labels.parent == tmp_path / "l"
    assert set(np.unique(read_labels(case.labels).array)) <= {0, 1, 2, 3, 4, 13}


@pytest.mark.parametrize("folder", ["TrainingMask", "TrainingImg", "link"])
def test_converted_label_maps_do_not_replace_the_data_sets_own(tmp_path, capsys, folder):
    """A person's own label maps were overwritten: with other numbers, and without a way back."""
    make_flare21(tmp_path)
    (tmp_path / "link").symlink_to("TrainingMask")
    before = {path: path.read_bytes() for path in tmp_path.glob("Training*/*")}
    done = flare("list", tmp_path, "-o", tmp_path / "c.json", "--labels", tmp_path / folder)
    assert done == 2
    assert "the data set's own train_000" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.glob("Training*/*")} == before
    assert not (tmp_path / "c.json").exists()


def test_a_list_with_pseudo_labels(tmp_path, capsys):
    make_flare24_task2(tmp_path / "set")
    words = ("list", tmp_path / "set", "-o", tmp_path / "cases.json", "--pseudo", "blackbean")
    assert flare(*words) == 0
    case = next(c for c in load_cases(tmp_path / "cases.json") if c.name == "Case_00001")
    assert case.source == "pseudo: blackbean"
    assert "blackbean" in case.labels.parent.name


def test_check_exits_with_0_when_all_is_well(tmp_path, capsys):
    make_flare22(tmp_path)
    assert flare("check", tmp_path) == 0
    assert capsys.readouterr().out == "No problem in 8 scans, 3 with labels (flare22)\n"


def test_check_names_what_is_wrong_and_exits_with_1(tmp_path, capsys):
    make_flare22(tmp_path / "set")
    folder = tmp_path / "set" / "Training" / "FLARE22_LabeledCase2"
    (folder / "labels" / "FLARE22_Tr_0001.nii.gz").unlink()
    Maker(tmp_path / "set").labels("Tuning/labels/FLARETs_0001", {**ALL_13, 77: 2})
    assert flare("check", tmp_path / "set", "-o", tmp_path / "findings.csv") == 1
    out = capsys.readouterr().out
    assert "missing: FLARE22_Tr_0001: no label map for this training scan" in out
    assert "mislabelled: tuning-FLARETs_0001: label value 77 (2 voxels)" in out
    assert out.endswith("2 problems in 8 scans, 2 with labels (flare22)\n")
    rows = list(csv.DictReader((tmp_path / "findings.csv").open(encoding="utf-8")))
    assert [row["kind"] for row in rows] == ["missing", "mislabelled"]


def test_summary_prints_and_writes_tables_and_a_page(tmp_path, capsys):
    make_flare22(tmp_path / "set")
    out = tmp_path / "a" / "out"
    assert flare("summary", tmp_path / "set", "-o", out) == 0
    printed = capsys.readouterr().out
    assert printed == (out / "summary.md").read_text("utf-8")
    assert sorted(path.name for path in out.iterdir()) == [
        "cases.csv", "intensity.csv", "labels.csv", "parts.csv", "resolution.csv",
        "summary.html", "summary.md",
    ]  # fmt: skip
    with (out / "labels.csv").open(encoding="utf-8") as stream:
        liver = next(csv.DictReader(stream))
    assert float(liver["Volume max (mL)"]) == pytest.approx(ALL_13[1] * VOXEL_ML)
    page = (out / "summary.html").read_text("utf-8")
    assert page.count("<svg") == 4 + 14 + 13
    assert "Inferior vena cava" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_a_summary_is_written_whole_or_not_at_all(tmp_path, capsys, monkeypatch):
    make_flare22(tmp_path / "set")
    write = Path.write_bytes

    def disk_full(self, data):
        if b"<html" in data:
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    assert flare("summary", tmp_path / "set", "-o", tmp_path / "out") == 2
    assert "nothing was left behind" in capsys.readouterr().err
    left = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert left == set(), "what was measured stays, in a folder of its own, for the next run"


def test_summary_without_a_folder_writes_nothing(tmp_path, capsys):
    make_flare21(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert flare("summary", tmp_path) == 0
    assert "Right kidney + left kidney" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_summary_with_a_bad_case_exits_with_1_and_says_so_on_the_page(tmp_path, capsys):
    make_flare22(tmp_path / "set")
    (tmp_path / "set" / "Tuning" / "labels" / "FLARETs_0001.nii.gz").write_bytes(b"")
    assert flare("summary", tmp_path / "set", "-o", tmp_path / "out") == 1
    assert "left out: tuning-FLARETs_0001: an empty file" in capsys.readouterr().err
    page = (tmp_path / "out" / "summary.html").read_text("utf-8")
    assert "Left out: tuning-FLARETs_0001" in page


def test_histograms_hold_every_voxel_between_the_percentiles(tmp_path):
    make_flare22(tmp_path)
    summary = summarise(find_dataset(tmp_path))
    grids, intensities, volumes = galleries_of(summary)
    assert [len(each.histograms) for each in (grids, intensities, volumes)] == [4, 14, 13]
    total = int(summary.foreground.sum())
    assert 0.97 * total <= sum(intensities.histograms[0].counts) <= total
    assert all(sum(each.counts) == 3 for each in volumes.histograms)
    assert all(each.width >= 1 for each in intensities.histograms)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("check", "NOWHERE"), "cannot be looked into"),
        (("check",), "FOLDER"),
        (("polish", "SET"), "invalid choice"),
        (("summary", "EMPTY"), "looked|flare22: Training"),
        (("summary", "SET", "--edition", "flare20"), "flare24-task1"),
        (("summary", "SET", "--numbers", "mine"), "totalsegmentator"),
        (("list", "SET", "--pseudo", "nobody"), "no folder with that in its name"),
        (("list", "SET", "--labels", "x"), "together with -o"),
    ],
)
def test_bad_arguments_end_with_2(tmp_path, capsys, words, text):
    make_flare24_task2(tmp_path / "SET")
    (tmp_path / "EMPTY").mkdir()
    places = [str(tmp_path / word) if word.isupper() else word for word in words]
    assert cli.main(["dataset", *places]) == 2
    told = capsys.readouterr().err
    assert any(each in told for each in text.split("|"))
    assert all(part in told for part in ("came:", "legal:", "to do:"))


def test_a_negative_number_of_workers(tmp_path, capsys):
    make_flare21(tmp_path)
    assert cli.main(["dataset", "check", str(tmp_path), "--workers", "-1"]) == 2
    assert "--workers" in capsys.readouterr().err


def test_findings_are_json_safe_for_programs(tmp_path):
    """Names with commas and quotes survive the CSV."""
    from flare_core.datasets.flare.folders import Finding

    text = command._findings_csv([Finding("missing", 'a "b", c', "no scan")])
    assert list(csv.reader(text.splitlines()))[1] == ["missing", 'a "b", c', "no scan"]
    assert json.dumps(text)
