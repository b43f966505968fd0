from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from flare_core.anatomy.organs import ORGANS, organ
from flare_core.report.case.page import CohortEntry, case_page, cohort_page, thumbnail
from flare_core.segment.lesion_list import EXAMPLE, Lesion
from flare_core.segment.statistics import PROBABLY_WRONG, StatisticsRow

MONTAGE = np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype=np.uint8)
NASTY = "<script>alert('x')</script> & \"co\""


def rows(liver_ml: float) -> tuple[StatisticsRow, ...]:
    return (
        StatisticsRow("liver", "volume", liver_ml, "mL", None, NASTY),
        StatisticsRow("liver", "hu_mean", 98.44, "[hnsf'U]", None),
        StatisticsRow("liver", "outside_range", 1.0, "1", None),
        StatisticsRow("spleen", "volume", 0.0, "mL", None, "not found"),
        StatisticsRow("spleen", "hu_mean", math.nan, "[hnsf'U]", None),
        StatisticsRow("spleen", "outside_range", math.nan, "1", None),
    )


def segmentation(lesions: tuple[Lesion, ...] | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        rows=rows(2413.1),
        notes=(NASTY,),
        timings={"organs": 3.21},
        provenance={"model": {"name": NASTY, "hash": "ab12"}, "organs": ["liver", "spleen"]},
        lesions=lesions,
    )


class Reader(HTMLParser):
    """Collects what a browser would see: open tags, cells, text, addresses."""

    VOID = {"meta", "img", "br", "link"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack, self.tags, self.addresses, self.cells = [], [], [], [[]]
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href", "action", "data")]
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.stack):
            self.cells[-1][-1] += data


@pytest.fixture(scope="module")
def page() -> str:
    return case_page(NASTY, segmentation(), MONTAGE, ORGANS)


def test_a_page_is_well_formed_and_shows_hostile_text_as_text(page):
    seen = Reader(page)
    assert seen.stack == []
    assert "script" not in seen.tags
    assert seen.text.count("<script>") == 5  # title, heading, note, row's note, provenance
    assert "Research use only, not a medical device" in seen.text


def test_a_page_loads_nothing_and_says_so(page):
    assert all(address.startswith("data:image/") for address in Reader(page).addresses)
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page


def test_the_montage_is_inside_pixel_by_pixel(page):
    encoded = re.search(r"data:image/png;base64,([^\"]+)", page)[1]
    inside = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert np.array_equal(inside, MONTAGE)


def test_statistics_are_a_table_of_organs_by_measures(page):
    table = {cells[0]: cells[1:] for cells in Reader(page).cells if cells}
    assert table["Organ"] == ["volume, mL", "mean, HU", "outside range", "Note"]
    assert table["Liver"] == ["2413", "98.4", "yes", NASTY]
    assert table["Spleen"] == ["0", "-", "-", "not found"]
    assert table["model / hash"] == ["ab12"]
    assert table["organs"] == ["liver, spleen"]


def test_a_cohort_has_a_row_for_each_case_also_for_one_that_failed():
    small = thumbnail(MONTAGE)
    cases = [
        CohortEntry("one", rows(1500.0), small, {"labels": "a b/one.nii.gz"}),
        CohortEntry("two", rows(math.nan)),
        CohortEntry("three", links={"x": "javascript:alert(1)"}, error=NASTY),
    ]
    page = cohort_page("All", cases, [organ("liver"), organ("spleen")])
    seen = Reader(page)
    table = {cells[0]: cells[2:] for cells in seen.cells[1:] if cells}
    assert "3 cases, 1 without a result" in seen.text
    assert "a%20b/one.nii.gz" in seen.addresses
    assert not any(address.startswith("javascript:") for address in seen.addresses)
    assert table == {
        "Case": ["Liver", "Spleen"],
        "onelabels": ["1500", "0"],
        "two": ["-", "0"],
        "threex": [NASTY],
    }


def test_a_thumbnail_keeps_the_shape():
    small = Image.open(io.BytesIO(thumbnail(MONTAGE, 45)))
    assert small.size == (45, 30)
    assert small.format == "JPEG"


def test_lesions_are_a_table_from_head_to_foot():
    second = replace(EXAMPLE, number=2, organ="", within=False, organ_hu=math.nan)
    text = case_page("a", segmentation((EXAMPLE, second)), MONTAGE, [organ("liver")])
    part = text[text.index("<h2>Lesions</h2>") : text.index("<h2>Statistics</h2>")]
    lines = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in part.split("<tr>")[2:]]
    first = ["1", "Liver", "4.20", "21", "17.5", "63", "62", "108", "0.93"]
    assert lines[0] == first
    assert lines[1] == ["2", "Body", *first[2:7], "-", "0.93"]


@pytest.mark.parametrize("lesions", [None, ()])
def test_without_lesions_there_is_no_such_section(lesions):
    text = case_page("a", segmentation(lesions), MONTAGE, [organ("liver")])
    assert "<h2>Lesions</h2>" not in text


def test_what_is_probably_wrong_stands_out():
    found = segmentation()
    doubt = StatisticsRow("liver", "confidence", 0.31, "1", None, PROBABLY_WRONG)
    found.rows = (*found.rows, doubt)
    text = case_page("a", found, MONTAGE, [organ("liver")])
    assert '<td class="alert">0.31</td>' in text and PROBABLY_WRONG in text
