from __future__ import annotations

import math

import numpy as np
import pytest
from FLARESegLib.statistics.lines import (
    FEW,
    NUMBERS,
    cells_of,
    column_tips,
    column_titles,
    lines_of,
    rows_of,
    tab_separated,
)

from flare_core.anatomy.organs import organ, parse_organs
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.statistics import organ_statistics, rows_to_json


@pytest.fixture
def rows():
    """A liver that is too small, a right kidney cut by the edge, a huge spleen, no pancreas."""
    labels = np.zeros((30, 60, 60), np.uint8)
    labels[5:15, 10:40, 10:40] = organ("liver").id
    labels[0:8, 45:55, 10:20] = organ("right_kidney").id
    labels[16:28, 5:45, 5:55] = organ("spleen").id
    image = Volume(labels.astype(np.int16) * 10, Geometry(labels.shape, (5.0, 2.0, 2.0)))
    wanted = parse_organs("liver,right_kidney,spleen,pancreas,aorta")
    return organ_statistics(image, image.with_array(labels), wanted)


def line(rows, key):
    return next(each for each in lines_of(rows) if each.key == key)


def test_each_organ_is_one_line_with_a_cell_for_each_column(rows):
    lines = lines_of(rows)
    assert [each.key for each in lines] == ["liver", "right_kidney", "spleen", "pancreas", "aorta"]
    assert {len(cells_of(each)) for each in lines} == {len(column_titles())}
    assert len(column_tips()) == len(column_titles())
    assert cells_of(line(rows, "liver"))[:3] == ("Liver", 180.0, "825 - 2010")
    assert cells_of(line(rows, "liver"))[FEW - 1] == "smaller than usual"
    assert line(rows, "liver").numbers[NUMBERS.index("volume")] == 180.0
    assert line(rows, "liver").usual == "825 - 2010"
    assert line(rows, "aorta").usual == ""


def test_marks_and_words_say_the_same(rows):
    assert (line(rows, "liver").mark, line(rows, "liver").remark) == ("low", "smaller than usual")
    assert (line(rows, "spleen").mark, line(rows, "spleen").remark) == ("high", "larger than usual")
    assert (line(rows, "right_kidney").mark, line(rows, "right_kidney").remark) == (
        "cut",
        "cut by scan edge",
    )
    assert (line(rows, "pancreas").mark, line(rows, "pancreas").remark) == ("absent", "not found")


def test_an_organ_too_large_although_cut_says_both():
    labels = np.full((30, 60, 60), organ("spleen").id, np.uint8)
    image = Volume(labels.astype(np.int16), Geometry(labels.shape, (5.0, 2.0, 2.0)))
    (found,) = lines_of(organ_statistics(image, image.with_array(labels), [organ("spleen")]))
    assert found.mark == "high"
    assert found.remark == "larger than usual, cut by scan edge"


def test_what_is_not_there_has_no_made_up_numbers(rows):
    numbers = dict(zip(NUMBERS, line(rows, "pancreas").numbers, strict=True))
    assert numbers["volume"] == 0.0 and numbers["hu_mean"] is None


def test_rows_survive_the_way_through_the_worker(rows):
    back = rows_of(rows_to_json(rows))
    for before, after in zip(rows, back, strict=True):
        assert (before.organ, before.measure, before.unit, before.code, before.note) == (
            after.organ, after.measure, after.unit, after.code, after.note,
        )  # fmt: skip
        assert math.isnan(before.value) == math.isnan(after.value)
        if not math.isnan(before.value):
            assert after.value == pytest.approx(before.value, abs=0.01)


def test_the_clipboard_gets_a_rectangle(rows):
    text = tab_separated(lines_of(rows))
    table = [each.split("\t") for each in text.splitlines()]
    assert len(table) == 6 and {len(row) for row in table} == {len(column_titles())}
    assert table[1][:2] == ["Liver", "180"]
    assert "None" not in tab_separated(lines_of(rows)) and "nan" not in tab_separated(
        lines_of(rows)
    )
