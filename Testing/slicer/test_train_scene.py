"""Cases of the training set in the scene, volumes of the scene in the training set, curves."""

from __future__ import annotations

import doctest
import json
import math

import numpy as np
import pytest
import vtk
from FLARESegLib.correction.corrections import current_labels
from FLARESegLib.correction.submission import submit
from FLARESegLib.scene.results import FACT, remove_result, result_facts, result_of
from FLARESegLib.scene.segment_identity import organ_segment_ids
from FLARESegLib.scene.volumes import finish, ijk_to_ras, node_volume
from FLARETrainLib.cases.adding import addition_steps, store_addition
from FLARETrainLib.cases.opening import read_case, scan_node, show_steps
from FLARETrainLib.run import curve_nodes
from FLARETrainLib.run.curve_nodes import chart_of, draw_dsc, draw_loss
from train_store import ORGANS, make_store

import slicer
from flare_core.anatomy.organs import organ
from flare_core.cases.store import open_store
from flare_core.errors import InputError
from flare_core.imaging.files import read_labels, read_volume
from flare_core.train.rounds.status import Curve, thinned
from scene_nodes import longest_step, show_result


@pytest.fixture
def folder(tmp_path):
    return make_store(tmp_path)


def opened(scene, folder, name):
    return finish(show_steps(scene, read_case(folder, name)))


# --- opening


@pytest.mark.parametrize("name", ["anna", "paul"])
def test_an_opened_case_lies_where_the_file_says_with_its_organs(scene, folder, name):
    volume, segmentation = opened(scene, folder, name)
    with open_store(folder) as store:
        record = store.case(name)
    image = read_volume(record.image)
    shown = node_volume(volume)
    assert np.array_equal(shown.array, image.array)
    assert shown.geometry.same_grid(image.geometry)
    labels = current_labels(segmentation, volume)
    assert np.array_equal(labels.array, read_labels(record.labels).array)
    assert set(organ_segment_ids(segmentation)) == set(ORGANS)
    assert volume.GetDisplayNode().GetWindow() == 400


def test_opening_clears_nothing_and_twice_is_as_once(scene, folder, add_volume):
    mine = add_volume(np.zeros((3, 4, 5), np.int16), name="anna")
    first, segmentation = opened(scene, folder, "anna")
    again, same = opened(scene, folder, "anna")
    assert mine.GetScene() is scene and first.GetName() != "anna"
    assert again.GetID() == first.GetID() and same.GetID() == segmentation.GetID()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    with open_store(folder) as store:
        assert scan_node(scene, store.case("anna").image_sha256).GetID() == first.GetID()


def test_a_newer_label_version_is_shown_beside_the_old_one(scene, folder):
    volume, old = opened(scene, folder, "anna")
    with open_store(folder) as store:
        store.restore("anna", 1, author="Ada")
    again, new = opened(scene, folder, "anna")
    assert again.GetID() == volume.GetID() and new.GetID() != old.GetID()
    assert result_facts(new)["case_version"] == 2


def test_a_correction_of_an_opened_case_is_a_version_of_that_case(scene, folder, draw):
    volume, segmentation = opened(scene, folder, "paul")
    assert result_facts(segmentation)["case"] == "paul"
    before = current_labels(segmentation, volume).array == organ("liver").id
    before[5, 8, 4:9] = False
    draw(segmentation, organ_segment_ids(segmentation)["liver"], before)
    version = submit(folder, segmentation, ["liver"], author="Ada", volumeNode=volume)
    assert (version.case, version.number, version.facts.kind) == ("paul", 2, "corrected")
    assert version.facts.parent == 1 and version.facts.edited_ml["liver"] > 0
    with open_store(folder) as store:
        assert len(store.cases()) == 4 and store.case("paul").status == "corrected"


def test_a_case_without_labels_waits_for_a_model_and_keeps_its_name(scene, folder):
    volume, empty = opened(scene, folder, "una")
    assert organ_segment_ids(empty) == {} and result_facts(empty)["case"] == "una"
    assert result_of(volume).GetID() == empty.GetID()
    labels = np.zeros(node_volume(volume).array.shape, np.uint8)
    labels[2:6, 4:9, 4:9] = 1
    result = show_result(volume, labels, [organ("liver")], segmentationNode=empty)
    version = submit(folder, result, ["liver"], author="Ada", volumeNode=volume)
    assert (version.case, version.number) == ("una", 1)
    with open_store(folder) as store:
        assert len(store.cases()) == 4


def test_a_case_that_is_gone_or_damaged_says_so(scene, folder):
    with pytest.raises(InputError):
        read_case(folder, "nobody")
    with open_store(folder) as store:
        image = store.case("anna").image
    image.chmod(0o644)
    image.write_bytes(b"no scan")
    with pytest.raises(InputError):
        read_case(folder, "anna")
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_a_removed_segmentation_is_opened_anew(scene, folder):
    volume, segmentation = opened(scene, folder, "anna")
    remove_result(segmentation)
    again, new = opened(scene, folder, "anna")
    assert again.GetID() == volume.GetID() and set(organ_segment_ids(new)) == set(ORGANS)


# --- adding


def added(folder, *args, **options):
    return store_addition(folder, finish(addition_steps(*args, **options)))


@pytest.fixture
def result(scene, add_volume, small_ct):
    array, labels = small_ct
    volume = add_volume(array, np.diag([-2.0, -2.0, 3.0, 1.0]), name="CT of today")
    facts = {"model": "tiny", "model_version": "1.0.0"}
    organs = [organ(key) for key in ("liver", "spleen", "pancreas")]
    return volume, show_result(volume, labels, organs, facts=facts)


def test_a_scan_alone_becomes_an_unlabelled_case(scene, tmp_path, add_volume, small_ct):
    volume = add_volume(small_ct[0], name="CT of today")
    stored = added(tmp_path / "new store", volume, author="Ada", patient="P9")
    assert stored.new and stored.version is None
    with open_store(tmp_path / "new store") as store:
        record = store.case(stored.case)
        assert (record.status, record.patient) == ("unlabelled", "P9")
        assert record.source == "added in 3D Slicer"
        assert np.array_equal(read_volume(record.image).array, small_ct[0])
        assert store.history(stored.case)[0].author == "Ada"


def test_a_scan_of_nobody_is_refused(scene, folder, result):
    for reviewed in (False, True):
        with pytest.raises(InputError, match="patient"):
            added(folder, *result, name="today", author="Ada", reviewed=reviewed)
    with open_store(folder) as store:
        assert len(store.cases()) == 4


def test_labels_that_nobody_reviewed_count_as_the_models(scene, folder, result):
    stored = added(folder, *result, name="today", author="Ada", patient="P9")
    with open_store(folder) as store:
        record, version = store.case("today"), store.version("today", 1)
    assert (stored.case, stored.version) == ("today", 1) and record.status == "pseudo"
    assert version.facts.kind == "pseudo" and version.facts.model == "tiny-1.0.0"
    assert version.facts.annotated == ("liver", "spleen", "pancreas")
    assert version.facts.absent == ("pancreas",)
    assert np.array_equal(read_labels(version.path).array == 1, result_labels(result) == 1)


@pytest.mark.parametrize("reviewed", [False, True])
def test_a_segment_that_was_deleted_says_nothing_about_the_patient(scene, folder, result, reviewed):
    node = result[1]
    node.GetSegmentation().RemoveSegment(organ_segment_ids(node)["spleen"])
    added(folder, *result, name="today", author="Ada", patient="P9", reviewed=reviewed)
    with open_store(folder) as store:
        facts = store.version("today", 1).facts
    assert "spleen" not in (*facts.annotated, *facts.absent)
    assert facts.absent == (() if reviewed else ("pancreas",))  # the model looked for it


def test_what_a_person_said_is_absent_goes_along_and_comes_back(scene, folder, result):
    node = result[1]
    node.SetAttribute(FACT + "absent", json.dumps(["pancreas"]))
    added(folder, *result, name="today", author="Ada", patient="P9", reviewed=True)
    with open_store(folder) as store:
        assert store.version("today", 1).facts.absent == ("pancreas",)
    _, again = opened(scene, folder, "today")
    assert result_facts(again)["absent"] == ["pancreas"]


def test_what_became_of_reviewed_labels_is_told_as_it_is(scene, folder, result, draw):
    volume, node = result
    erased = np.zeros(node_volume(volume).array.shape, np.uint8)
    erased[3:5, 6:8, 15:17] = 1
    draw(node, organ_segment_ids(node)["spleen"], erased)
    stored = added(folder, *result, name="today", author="Ada", patient="P9", reviewed=True)
    assert (stored.new, stored.version) == (True, 2)  # after what the model said
    alone = opened(scene, folder, "una")[0]  # is there, without a label
    labels = np.zeros(node_volume(alone).array.shape, np.uint8)
    labels[2:6, 4:9, 4:9] = 1
    copy = show_result(alone, labels, [organ("liver")])
    again = added(folder, alone, copy, author="Ada", patient="P1", reviewed=True)
    assert (again.case, again.new) == ("una", False)


def test_no_step_of_adding_looks_at_a_whole_scan(scene, add_volume):
    shape = (120, 512, 512)
    labels = np.zeros(shape, np.uint8)
    labels[40:60, 200:260, 200:260] = 1
    volume = add_volume(np.zeros(shape, np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    steps = addition_steps(volume, show_result(volume, labels), name="a", patient="P1")
    assert longest_step(steps) < 0.08  # 0.2 s to look for all label values at once


def test_reviewed_labels_count_as_a_persons(scene, folder, result):
    added(folder, *result, name="today", author="Ada", patient="P9", reviewed=True)
    with open_store(folder) as store:
        assert store.case("today").status == "corrected"
        assert store.version("today", 1).facts.author == "Ada"


def test_one_scan_is_one_case_whatever_its_type_and_name(scene, folder, tmp_path, add_volume):
    """FLARESeg submits a file (int16), FLARETrain a copy from the scene (int32): one patient."""
    volume, segmentation = opened(scene, folder, "una")
    labels = np.zeros(node_volume(volume).array.shape, np.uint8)
    labels[2:6, 4:9, 4:9] = 1
    mine = show_result(volume, labels, [organ("liver")], segmentationNode=segmentation)
    submit(folder, mine, ["liver"], author="Ada", volumeNode=volume)
    array = node_volume(volume).array.astype(np.int32)
    copy = add_volume(array, ijk_to_ras(volume), name="scan (copy)")
    alone = added(folder, copy, name="tomorrow", patient="somebody else")
    assert (alone.case, alone.new, alone.version) == ("una", False, None)
    theirs = show_result(copy, labels, [organ("liver")])
    again = added(folder, copy, theirs, author="Bea", patient="somebody else", reviewed=True)
    assert (again.case, again.new, again.version) == ("una", False, 2)
    with open_store(folder) as store:
        assert len(store.cases()) == 4 and store.case("una").patient == "patient-una"


def test_a_segmentation_without_organs_is_refused(scene, folder, result):
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawing")
    with pytest.raises(InputError, match="drawing"):
        added(folder, result[0], empty, name="today")
    with open_store(folder) as store:
        assert len(store.cases()) == 4


def result_labels(result) -> np.ndarray:
    return current_labels(result[1], result[0]).array


# --- curves


def column(table, title) -> list[float]:
    values = table.GetTable().GetColumnByName(title)
    return [values.GetValue(n) for n in range(values.GetNumberOfTuples())]


def curve(round_number: int = 1, points: int = 3) -> Curve:
    steps = [20.0 * (n + 1) for n in range(points)]
    dsc = [(s, {"liver": 0.5 + s / 1000, "spleen": 0.1}) for s in steps]
    return Curve(round_number, 0, [(s, 1 / s) for s in steps], dsc)


def test_curves_become_a_table_and_a_chart(scene):
    assert draw_loss(scene, "run", []) is None and chart_of(scene, "run", "loss") is None
    chart = draw_loss(scene, "run", [curve()])
    table = chart.GetNodeReference("FLARETrain.data")
    assert column(table, "Step") == [20, 40, 60]
    assert column(table, "Network 1") == pytest.approx([1 / 20, 1 / 40, 1 / 60])
    assert chart.GetNumberOfPlotSeriesNodes() == 1
    assert chart.GetNthPlotSeriesNode(0).GetTableNodeID() == table.GetID()


def test_dsc_has_a_line_of_its_own_for_every_organ_and_their_mean(scene):
    chart = draw_dsc(scene, "run", [curve()])
    names = [
        chart.GetNthPlotSeriesNode(n).GetYColumnName()
        for n in range(chart.GetNumberOfPlotSeriesNodes())
    ]
    assert names == ["Mean", "Liver", "Spleen"]
    table = chart.GetNodeReference("FLARETrain.data")
    assert column(table, "Mean")[0] == pytest.approx((0.52 + 0.1) / 2)


def test_charts_grow_in_place_and_show_the_newest_round(scene):
    chart = draw_loss(scene, "run", [curve(points=2)])
    nodes = scene.GetNumberOfNodes()
    same = draw_loss(scene, "run", [curve(points=5)])
    assert same.GetID() == chart.GetID() and scene.GetNumberOfNodes() == nodes
    assert len(column(chart.GetNodeReference("FLARETrain.data"), "Step")) == 5
    draw_loss(scene, "run", [curve(points=5), curve(round_number=2, points=1)])
    assert "round 2" in chart.GetTitle()
    assert len(column(chart.GetNodeReference("FLARETrain.data"), "Step")) == 1
    assert draw_loss(scene, "another", [curve()]).GetID() != chart.GetID()


def test_an_organ_that_comes_later_is_nan_before(scene):
    late = Curve(1, 0, [], [(20.0, {"liver": 0.5}), (40.0, {"liver": 0.6, "spleen": 0.2})])
    chart = draw_dsc(scene, "run", [late])
    assert math.isnan(column(chart.GetNodeReference("FLARETrain.data"), "Spleen")[0])


def test_examples_in_the_documentation_of_curves_are_true(scene):
    result = doctest.testmod(curve_nodes)
    assert result.attempted and not result.failed


def test_long_curves_are_thinned_and_keep_their_end():
    points = [(float(n), 0.0) for n in range(100_001)]
    assert len(thinned(points)) <= 400 and thinned(points)[-1] == points[-1]
    assert thinned(points[:3]) == points[:3]


def test_facts_of_a_case_are_kept_in_the_scene(scene, folder):
    segmentation = opened(scene, folder, "paul")[1]
    assert json.loads(segmentation.GetAttribute(f"{FACT}model")) == "tiny-1.0.0"
    assert isinstance(segmentation.GetDisplayNode(), vtk.vtkObject)


def test_a_curve_of_one_point_can_be_seen(scene):
    kind = slicer.vtkMRMLPlotSeriesNode
    chart = draw_loss(scene, "short", [curve(points=1)])
    assert chart.GetNthPlotSeriesNode(0).GetMarkerStyle() == kind.MarkerStyleCircle
    again = draw_loss(scene, "short", [curve(points=100)])
    assert again is chart
    assert chart.GetNthPlotSeriesNode(0).GetMarkerStyle() == kind.MarkerStyleNone
