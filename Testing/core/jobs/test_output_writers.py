from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fake_engine import CALLS, FAKE
from flare_core.imaging.files import read_labels
from flare_core.jobs import batch, outputs
from flare_core.jobs.one_case import Job
from flare_core.jobs.outputs import Source, output_paths
from flare_core.segment.lesion_list import EXAMPLE
from flare_core.segment.settings import Settings


@pytest.fixture
def found():
    """An image and its fake segmentation."""
    image = FAKE.read(Path("x.nii.gz"), None)
    CALLS.append("read x")
    settings = Settings(organs=("liver",))
    return image, FAKE.segment(image, settings, lambda step: None, lambda: False)


@pytest.mark.parametrize(
    ("scheme", "numbers"),
    [("flare23", [1, 2, 13, 14]), ("flare21", [1, 2, 2, 0]), ("flare24_task1", [0, 0, 0, 1])],
)
def test_label_maps_take_the_numbers_of_an_edition(tmp_path, found, scheme, numbers):
    image, segmentation = found
    array = np.zeros(image.geometry.shape, np.uint8)
    array[0, 0, :4] = [1, 2, 13, 14]
    segmentation = replace(segmentation, labels=image.with_array(array))
    paths = output_paths(tmp_path, "x").files(("labels",))
    source = Source("x", Path("/a/x.nrrd"), {"input": "/a/x.nrrd"}, scheme)
    outputs.write_outputs(paths, image, segmentation, source)
    assert read_labels(paths["labels"]).array[0, 0, :4].tolist() == numbers
    assert os.listdir(tmp_path) == ["x.nii.gz"]


def test_the_page_is_one_file_with_everything(tmp_path, found):
    image, segmentation = found
    paths = output_paths(tmp_path, "x").files(("statistics", "png", "page"))
    outputs.write_outputs(paths, image, segmentation, Source("x", Path("/a/x.nrrd"), {}))
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
    outputs.write_outputs(paths, image, segmentation, Source("x", job.input, {}))
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
        outputs.write_outputs(paths, image, case, Source("x", Path("/a/x.nrrd"), {}))
        assert json.loads(paths["statistics_json"].read_text("utf-8"))["lesions"] == kept
