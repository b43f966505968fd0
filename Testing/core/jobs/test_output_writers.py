from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fake_engine import CALLS, FAKE
from flare_core.imaging.files import read_labels
from flare_core.jobs import outputs
from flare_core.jobs.outputs import Source, output_paths
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
