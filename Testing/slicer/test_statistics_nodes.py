from __future__ import annotations

import math

import numpy as np
import pytest
from FLARESegLib.correction.corrections import current_labels
from FLARESegLib.scene import volumes
from FLARESegLib.scene.results import nodes_of
from FLARESegLib.scene.segment_identity import organ_segment_ids
from FLARESegLib.statistics.nodes import organ_centre, statistics_table, table_node

from flare_core.anatomy.organs import ORGANS, organ
from flare_core.segment.statistics import organ_statistics
from scene_nodes import show_result

PLACE = np.array(
    [[-0.8, 0, 0, 100], [0, -0.9, 0, 120], [0, 0, 2.5, -40], [0, 0, 0, 1]], dtype=float
)


@pytest.fixture
def result(add_volume, small_ct):
    array, labels = small_ct
    volume = add_volume(array, PLACE)
    return volume, show_result(volume, labels), labels


def rows_of(volume, node):
    return organ_statistics(volumes.node_volume(volume), current_labels(node, volume), ORGANS)


def column(table, title):
    """A column's values."""
    array = table.GetTable().GetColumnByName(title)
    return [array.GetValue(n) for n in range(array.GetNumberOfTuples())]


def test_one_line_per_organ_in_the_tables_order(result):
    volume, node, labels = result
    table = statistics_table(node, rows_of(volume, node))
    assert column(table, "Organ") == [target.name for target in ORGANS]
    volumes_ml = dict(zip(column(table, "Organ"), column(table, "Volume [mL]"), strict=True))
    voxel_ml = 0.8 * 0.9 * 2.5 / 1000
    assert volumes_ml["Liver"] == pytest.approx((labels == 1).sum() * voxel_ml, abs=1e-3)
    assert volumes_ml["Pancreas"] == 0
    means = dict(zip(column(table, "Organ"), column(table, "Mean [HU]"), strict=True))
    assert means["Spleen"] == 90
    assert math.isnan(means["Pancreas"])
    remarks = dict(zip(column(table, "Organ"), column(table, "Remark"), strict=True))
    assert remarks["Pancreas"] == "not found"
    assert remarks["Liver"] == "smaller than usual"


def test_numbers_are_numbers_with_units(result):
    volume, node, _ = result
    table = statistics_table(node, rows_of(volume, node))
    for title, unit in (
        ("Volume [mL]", "mL"),
        ("Mean [HU]", "[hnsf'U]"),
        ("Surface [cm2]", "cm2"),
        ("Usual from [mL]", "mL"),
    ):
        assert table.GetTable().GetColumnByName(title).IsNumeric()
        assert table.GetColumnUnitLabel(title) == unit
    assert table.GetTable().GetColumnByName("Pieces").IsNumeric()
    low = dict(zip(column(table, "Organ"), column(table, "Usual from [mL]"), strict=True))
    assert low["Liver"] == organ("liver").volume_range_ml[0]
    assert math.isnan(low["Aorta"])


def test_measuring_again_updates_the_same_table(result, scene, draw):
    volume, node, labels = result
    table = statistics_table(node, rows_of(volume, node))
    draw(node, organ_segment_ids(node)["spleen"], (labels == 1).astype(np.uint8))
    again = statistics_table(node, rows_of(volume, node))
    assert again is table is table_node(node)
    assert len(nodes_of(scene, "vtkMRMLTableNode")) == 1
    volumes_ml = dict(zip(column(table, "Organ"), column(table, "Volume [mL]"), strict=True))
    assert volumes_ml["Liver"] == 0
    voxel_ml = 0.8 * 0.9 * 2.5 / 1000
    assert volumes_ml["Spleen"] == pytest.approx((labels == 1).sum() * voxel_ml, abs=1e-3)


def test_the_place_to_jump_to_lies_in_the_organ(result, add_transform, draw):
    volume, node, labels = result
    bent = np.zeros_like(labels)  # a ring: its centre of gravity is outside
    bent[3:6, 4:15, 4:15] = 1
    bent[3:6, 6:13, 6:13] = 0
    bent[8, 9, 9] = 1
    draw(node, organ_segment_ids(node)["spleen"], bent)
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]], float)
    add_transform(volume, turn)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    point = organ_centre(node, "spleen")
    lps = np.array(point) * (-1, -1, 1)
    index = np.round(volumes.node_geometry(volume).lps_to_voxel(lps)).astype(int)
    assert bent[tuple(index)] == 1
    assert index[0] in (3, 4, 5)


def test_an_absent_or_emptied_organ_has_no_place(result, draw):
    _, node, labels = result
    assert organ_centre(node, "pancreas") is None
    draw(node, organ_segment_ids(node)["liver"], labels == 3)
    assert organ_centre(node, "spleen") is None
    assert organ_centre(node, "liver") is not None
