"""The list of lesions in the panel: rows from head to foot, a click goes to the longest slice."""

from __future__ import annotations

import qt_double

qt_double.install()

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from FLARESegLib.scene import views  # noqa: E402
from FLARESegLib.scene.lesion_segments import made_by_us  # noqa: E402
from FLARESegLib.scene.volumes import node_volume  # noqa: E402
from FLARESegLib.statistics.lesion_table import (  # noqa: E402
    ORGAN,
    cells_of,
    column_tips,
    column_titles,
    ras_of,
)

from flare_core.anatomy.organs import LESION, organ  # noqa: E402
from flare_core.segment.lesion_list import EXAMPLE, list_lesions  # noqa: E402

pytest_plugins = ["panel_double"]


def test_cells_have_titles_and_explanations():
    assert len(cells_of(EXAMPLE)) == len(column_titles()) == len(column_tips())
    assert cells_of(EXAMPLE) == (1, "Liver", 4.2, 21.0, 17.5, 63, 62, 108)
    assert column_titles()[ORGAN] == "Organ"
    assert ras_of(EXAMPLE) == (60.0, -12.0, -110.0)


@pytest.fixture
def done(bench, add_volume, small_ct):
    """The panel after a run that found two lesions in the liver."""
    array, labels = small_ct
    liver = np.argwhere(labels == organ("liver").id)
    labels = labels.copy()
    z, y, x = liver[len(liver) // 2]
    labels[z : z + 2, y : y + 3, x : x + 3] = LESION.id
    z, y, x = liver[len(liver) // 5]
    labels[z : z + 1, y : y + 2, x : x + 5] = LESION.id
    volume = add_volume(array, name="CT")
    volume.CreateDefaultDisplayNodes()
    bench.panel.enter()
    node = bench.apply().finish(labels)
    bench.until(lambda: bench.ui.chartButton.enabled)
    bench.settle()
    return bench, node, list_lesions(node_volume(volume), node_volume(volume).with_array(labels))


def test_every_lesion_has_a_row_and_a_click_goes_there(done, monkeypatch):
    bench, node, lesions = done
    assert len(lesions) == 2
    table = bench.ui.lesionTable
    assert table.visible and table.texts(0) == ["1", "2"]
    assert table.least_height <= table.most_height < table.least_height + 30  # no gap
    assert table.texts(1) == ["Liver", "Liver"]
    went = []
    monkeypatch.setattr(views, "jump_slices", went.append)
    table.emit("cellClicked(int,int)", 1, 0)
    assert went == [pytest.approx(ras_of(lesions[1]), abs=0.1)]
    display, numbers = node.GetDisplayNode(), made_by_us(node)
    opacity = [display.GetSegmentOpacity2DFill(numbers[n]) for n in (1, 2)]
    assert opacity[1] > opacity[0] and bench.ui.showAllButton.enabled


def test_columns_are_as_wide_as_their_words(done):
    # Qt's own width hid three of the eight columns in a dock of 420 pixels.
    table = done[0].ui.lesionTable
    for column, title in enumerate(column_titles()):
        longest = max(map(len, [title, *table.texts(column)]))
        if column != ORGAN:  # takes what is left
            assert table.columnWidth(column) <= qt_double.CHARACTER * (2 + longest)


def test_the_list_follows_what_a_person_changes(done):
    bench, node, _ = done
    node.GetSegmentation().RemoveSegment(made_by_us(node)[1])
    bench.until(lambda: bench.ui.lesionTable.rowCount == 1)
    assert bench.ui.lesionTable.texts(0) == ["1"]


def test_without_lesions_there_is_no_table(bench, add_volume, small_ct):
    array, labels = small_ct
    volume = add_volume(array, name="CT")
    volume.CreateDefaultDisplayNodes()
    bench.panel.enter()
    bench.apply().finish(labels)
    bench.until(lambda: bench.ui.chartButton.enabled)
    assert bench.ui.lesionTable.rowCount == 0 and not bench.ui.lesionTable.visible
