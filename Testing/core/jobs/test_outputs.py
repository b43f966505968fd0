from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fake_engine import CALLS, FAKE
from flare_core.errors import InputError
from flare_core.imaging.files import read_labels
from flare_core.jobs import batch, outputs
from flare_core.jobs.one_case import Job
from flare_core.jobs.outputs import CaseSource, output_paths, plain, written_together
from flare_core.report.case import overlay
from flare_core.segment.lesion_list import EXAMPLE
from flare_core.segment.settings import Settings


@pytest.fixture
def found():
    """An image and its fake segmentation."""
    image = FAKE.read(Path("x.nii.gz"), None)
    CALLS.append("read x")
    settings = Settings(organs=("liver",))
    return image, FAKE.segment(image, settings, lambda step: None, lambda: False)


def write(folder: Path, found, target: str = "") -> dict[str, Path]:
    """Write all outputs of case `x`."""
    paths = output_paths(folder / target, "x").files()
    source = CaseSource("x", Path("/a/x.nrrd"), {"input": "/a/x.nrrd"})
    outputs.write_outputs(paths, *found, source)
    return paths


def test_four_files_and_nothing_else(tmp_path, found):
    paths = write(tmp_path, found)
    names = {"x.nii.gz", "x_statistics.csv", "x_statistics.json", "x.png"}
    assert set(os.listdir(tmp_path)) == names
    assert list(paths)[-1] == "labels"


@pytest.mark.parametrize("target", ["", "x.nii", "x.nrrd", "x.mha"])
def test_labels_come_back_on_the_input_grid(tmp_path, found, target):
    image, segmentation = found
    labels = read_labels(write(tmp_path, found, target)["labels"])
    assert labels.array.dtype == np.uint8
    assert np.array_equal(labels.array, segmentation.labels.array)
    assert labels.geometry.same_grid(image.geometry)


def test_json_is_strict_and_holds_rows_and_provenance(tmp_path, found):
    path = write(tmp_path, found)["statistics_json"]
    record = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert record["case"] == "x"
    assert "not a medical device" in record["intended_use"]
    liver, *_ = record["rows"]
    assert (liver["organ"], liver["measure"], liver["value"]) == ("liver", "volume", 1.35)
    assert liver["code"]["scheme"] == "SCT"
    missing = {row["measure"]: row["value"] for row in record["rows"] if row["organ"] == "spleen"}
    assert (missing["volume"], missing["hu_mean"]) == (0, None)
    assert record["provenance"]["input"] == "/a/x.nrrd"
    assert record["provenance"]["threads"] == 2
    assert record["notes"] == ["a note"]
    assert record["timings_s"]["organs"] == 0.2


def test_csv_has_one_line_per_organ_and_measure(tmp_path, found):
    text = write(tmp_path, found)["statistics_csv"].read_bytes().decode("utf-8")
    assert "\r" not in text
    rows = {(row["organ"], row["measure"]): row for row in csv.DictReader(text.splitlines())}
    assert float(rows["liver", "volume"]["value"]) == 1.35
    assert rows["liver", "volume"]["unit"] == "mL"
    assert float(rows["liver", "hu_mean"]["value"]) == 40
    assert rows["spleen", "hu_mean"]["value"] == ""
    assert rows["spleen", "volume"]["note"] == "not found"


def test_a_failing_writer_leaves_nothing(tmp_path, found, monkeypatch):
    def fall_over(path, *_):
        path.write_bytes(b"half")
        raise RuntimeError("no picture")

    monkeypatch.setattr(overlay, "write_png", fall_over)
    with pytest.raises(RuntimeError):
        write(tmp_path, found)
    assert os.listdir(tmp_path) == []


def test_a_failing_writer_leaves_earlier_results_alone(tmp_path, found, monkeypatch):
    before = {path: path.read_bytes() for path in write(tmp_path, found).values()}
    image, segmentation = found
    changed = image, replace(segmentation, notes=("other",))

    def disk_full(path, *_):
        raise OSError(28, "disk full")

    monkeypatch.setattr(overlay, "write_png", disk_full)
    with pytest.raises(InputError, match="disk full"):
        write(tmp_path, changed)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("broken", ["a", "b"])
def test_a_rename_that_fails_puts_everything_back(tmp_path, monkeypatch, broken):
    targets = [tmp_path / "a", tmp_path / "b"]
    for target in targets:
        target.write_text("old")
    rename = os.replace

    def replace_but(source, target):
        if Path(target).name == broken and ".new." in str(source):
            raise PermissionError(13, "open in another program")
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace_but)
    refused = pytest.raises(InputError, match="open in another program")
    with refused, written_together(targets) as parts:
        for part in parts:
            part.write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old", "b": "old"}


def test_the_last_target_is_taken_first_and_placed_last(tmp_path, monkeypatch):
    targets = [tmp_path / "numbers", tmp_path / "labels"]
    for target in targets:
        target.write_text("old")
    order = []
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append((a.name, b.name)), rename(a, b)))
    with written_together(targets) as parts:
        for part in parts:
            part.write_text("new")
    assert order[0][0] == "labels"
    assert order[-1][1] == "labels"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "numbers": "new",
        "labels": "new",
    }


def test_a_part_nobody_wrote_is_a_failure(tmp_path):
    with pytest.raises(InputError), written_together([tmp_path / "a", tmp_path / "b"]) as parts:
        parts[0].write_text("only one")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_file_name_gives_names_beside_it(tmp_path, ending):
    paths = output_paths(tmp_path / f"my.scan{ending}", "ignored")
    assert paths.labels.name == f"my.scan{ending}"
    assert paths.statistics_json.name == "my.scan_statistics.json"
    assert paths.png.name == "my.scan.png"


def test_an_output_folder_that_is_a_file_is_told_in_four_parts(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError) as caught:
        outputs.make_folder(tmp_path / "taken" / "deeper")
    assert len(caught.value.parts) == 4
    assert "taken" in caught.value.parts[1]


def test_plain_has_only_what_json_has():
    value = {
        1: np.float32(0.5),
        "a": [np.int64(3), float("inf")],
        "b": np.arange(2),
        "c": Path("x"),
    }
    assert plain(value) == {"1": 0.5, "a": [3, None], "b": [0, 1], "c": "x"}
    assert plain("ab\udcff") == "ab?"


@pytest.mark.parametrize(
    ("scheme", "numbers"),
    [("flare23", [1, 2, 13, 14]), ("flare21", [1, 2, 2, 0]), ("flare24_task1", [0, 0, 0, 1])],
)
def test_label_maps_take_the_numbers_of_an_edition(tmp_path, found, scheme, numbers):
    image, segmentation = found
    array = np.zeros(image.geometry.shape, np.uint8)
    array[0, 0, [0, 1, 2, 4]] = [1, 2, 13, 14]
    segmentation = replace(segmentation, labels=image.with_array(array))
    paths = output_paths(tmp_path, "x").files(("labels",))
    source = CaseSource("x", Path("/a/x.nrrd"), {"input": "/a/x.nrrd"}, scheme)
    outputs.write_outputs(paths, image, segmentation, source)
    assert read_labels(paths["labels"]).array[0, 0, [0, 1, 2, 4]].tolist() == numbers
    assert os.listdir(tmp_path) == ["x.nii.gz"]


@pytest.mark.parametrize(("scheme", "number"), [("flare22", 1), ("flare21", 1), ("flare23", 14)])
def test_a_lesion_without_a_number_is_its_organ(tmp_path, found, scheme, number):
    """It was background: a hole in the liver of every label map in FLARE22's numbers."""
    image, segmentation = found
    array = np.zeros(image.geometry.shape, np.uint8)
    array[:3, :3, :3], array[1, 1, 1] = 1, 14
    segmentation = replace(segmentation, labels=image.with_array(array), lesions=(EXAMPLE,))
    paths = output_paths(tmp_path, "x").files(("labels",))
    outputs.write_outputs(paths, image, segmentation, CaseSource("x", Path("x.nrrd"), {}, scheme))
    assert read_labels(paths["labels"]).array[1, 1, 1] == number
    said = outputs.scheme_notes(scheme, None, segmentation)
    assert bool(said) == (number == 1) and all("no number for lesions" in note for note in said)


def test_a_scheme_without_what_is_asked_for_is_refused_or_noted(found):
    for scheme, organs in (("flare22", ("lesion",)), ("flare24_task1", ("liver", "spleen"))):
        with pytest.raises(InputError, match="has no number for"):
            outputs.check_scheme(scheme, organs)
    outputs.check_scheme("flare24_task1", None)
    outputs.check_scheme("flare21", ("liver", "aorta"))
    (note,) = outputs.scheme_notes("flare21", ("liver", "aorta"), found[1])
    assert note == "flare21 has no number for aorta: not in the label map."


def test_the_page_is_one_file_with_everything(tmp_path, found):
    image, segmentation = found
    paths = output_paths(tmp_path, "x").files(("statistics", "png", "page"))
    outputs.write_outputs(paths, image, segmentation, CaseSource("x", Path("/a/x.nrrd"), {}))
    assert set(os.listdir(tmp_path)) == {"x_statistics.csv", "x_statistics.json", "x.png", "x.html"}
    page = paths["page"].read_text("utf-8")
    assert "1.35" in page and "a note" in page and "data:image/png;base64," in page
    assert "not a medical device" in page.lower() and "http://" not in page.replace(
        "http://www.w3.org", ""
    )


def test_lesions_are_in_json_csv_page_and_in_the_table_of_all_cases(tmp_path, found):
    image, segmentation = found
    second = replace(EXAMPLE, number=2, organ="", within=False)
    segmentation = replace(segmentation, lesions=(EXAMPLE, second))
    job = Job("x", Path("/a/x.nrrd"), output_paths(tmp_path, "x"))
    paths = job.paths.files(("statistics", "page"))
    outputs.write_outputs(paths, image, segmentation, CaseSource("x", job.input, {}))
    record = json.loads(paths["statistics_json"].read_text("utf-8"))
    assert [row["number"] for row in record["lesions"]] == [1, 2]
    assert record["lesions"][0]["organ"] == "liver" and record["lesions"][0]["slice_index"] == 63
    with paths["statistics_csv"].open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["organ"].startswith("lesion_")]
    longest = [(row["organ"], row["value"], row["unit"], row["note"]) for row in rows
               if row["measure"] == "long_axis"]  # fmt: skip
    assert longest == [("lesion_1", "21.0", "mm", "Liver"), ("lesion_2", "21.0", "mm", "Body")]
    assert "<h2>Lesions</h2>" in paths["page"].read_text("utf-8")
    gathered = [row for row in batch._rows_on_disk(job) if row["organ"] == "lesion_2"]
    assert {row["case"] for row in gathered} == {"x"} and len(gathered) == len(rows) / 2


def test_that_nobody_looked_for_lesions_is_not_that_there_are_none(tmp_path, found):
    image, segmentation = found
    for lesions, kept in ((None, None), ((), [])):
        paths = output_paths(tmp_path, "x").files(("statistics",))
        case = replace(segmentation, lesions=lesions)
        outputs.write_outputs(paths, image, case, CaseSource("x", Path("/a/x.nrrd"), {}))
        assert json.loads(paths["statistics_json"].read_text("utf-8"))["lesions"] == kept
