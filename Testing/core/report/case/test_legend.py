from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from flare_core.anatomy.organs import organ
from flare_core.report.case.legend import MOST_LESIONS, WIDTH, draw_legend, legend_lines
from flare_core.report.case.survey import OrganFinding
from flare_core.segment.lesion_list import EXAMPLE

FOUND = [
    OrganFinding(organ("liver"), 1447.2, cut=False),
    OrganFinding(organ("spleen"), 512.0, cut=False),
    OrganFinding(organ("aorta"), 80.0, cut=True),
    OrganFinding(organ("stomach"), 0.0, cut=False),
]


def test_organs_found_come_with_volume_and_absent_ones_are_named_as_absent():
    lines = legend_lines(FOUND, ["Only a part of the abdomen."])
    volumes = {line.text: line.right for line in lines if line.swatch}
    assert volumes == {"Liver": "1447 mL", "Spleen": "512 mL", "Aorta": "80 mL"}
    texts = [line.text for line in lines]
    assert "larger than usual (81-374 mL)" in texts
    assert "cut by the scan's edge" in texts
    assert "Not found: Stomach" in texts
    assert "Only a part of the abdomen." in texts


def test_nothing_found_is_one_plain_sentence():
    texts = [line.text for line in legend_lines(FOUND[3:], [])]
    assert "No organ found" in texts
    assert not any("Stomach" in text for text in texts)


def test_swatches_have_the_tables_colours_and_nothing_leaves_the_column():
    lines = legend_lines(FOUND, ["word " * 60])
    height = sum(line.height for line in lines)
    image = Image.new("RGB", (WIDTH + 40, height + 40))
    draw_legend(ImageDraw.Draw(image), (20, 20), lines)
    pixels = np.asarray(image)
    for each in FOUND[:3]:
        assert (pixels == each.organ.colour).all(axis=2).any()
    assert not pixels[:, :20].any()
    assert not pixels[:, WIDTH + 22 :].any()
    assert not pixels[height + 20 :].any()


def test_lesions_are_listed_with_their_diameters_and_the_rest_is_counted():
    many = [replace(EXAMPLE, number=n) for n in range(1, MOST_LESIONS + 4)]
    lines = legend_lines([OrganFinding(organ("liver"), 1500.0, cut=False)], (), many)
    texts = [line.text for line in lines]
    assert texts.index("Lesions") < texts.index("1  Liver")
    assert ("1  Liver", "21 x 18") in [(line.text, line.right) for line in lines]
    assert f"{MOST_LESIONS}  Liver" in texts and f"{MOST_LESIONS + 1}  Liver" not in texts
    assert texts[-1] == "and 3 more"
    assert "Lesions" not in [line.text for line in legend_lines([], ())]
