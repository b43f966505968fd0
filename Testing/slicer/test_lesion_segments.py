"""Each lesion is a segment of its own, over an organ that contains it."""

from __future__ import annotations

import numpy as np
import pytest
from FLARESegLib.correction.corrections import current_labels
from FLARESegLib.scene.lesion_segments import NUMBER_TAG, lesion_segment_at, made_by_us
from FLARESegLib.scene.results import BINARY
from FLARESegLib.scene.segment_identity import identify, organ_segment_ids, tag_of
from FLARESegLib.scene.volumes import image_voxels, node_volume

import slicer
from flare_core.anatomy.organs import LESION, ORGANS, organ
from flare_core.segment.lesion_list import list_lesions
from scene_nodes import mask_of, show_result

TARGETS = (*ORGANS, LESION)
ORDERS = {
    "canonical": np.array([[-2.0, 0, 0, 40], [0, -2, 0, 50], [0, 0, 5, -30], [0, 0, 0, 1]]),
    "feet first": np.array([[-2.0, 0, 0, 40], [0, -2, 0, 50], [0, 0, -5, 90], [0, 0, 0, 1]]),
    "sagittal": np.array([[0, 0, -2.0, 40], [-2, 0, 0, 50], [0, 5, 0, -30], [0, 0, 0, 1]]),
}


@pytest.fixture(params=list(ORDERS))
def ct(request, add_volume):
    """A liver with two lesions in it and a third beside nothing, whichever way it is stored."""
    labels = np.zeros((24, 40, 44), np.uint8)
    labels[3:20, 5:30, 5:30] = organ("liver").id
    labels[14:17, 10:14, 8:12] = LESION.id
    labels[5:7, 20:28, 20:26] = LESION.id
    labels[20:22, 34:38, 36:40] = LESION.id
    image = np.where(labels == 1, 100, np.where(labels == LESION.id, 40, -100)).astype(np.int16)
    volume = add_volume(image, ORDERS[request.param], name="CT")
    lesions = list_lesions(node_volume(volume), node_volume(volume).with_array(labels))
    return volume, labels, [lesion.to_dict() for lesion in lesions]


def shown(ct, **more):
    volume, labels, lesions = ct
    return show_result(volume, labels, TARGETS, lesions=lesions, **more)


def voxels_of(node, segment_id):
    """Where a segment is, as world points' count and mean height."""
    image = node.GetSegmentation().GetSegment(segment_id).GetRepresentation(BINARY)
    return int(np.count_nonzero(image_voxels(image)))


def test_numbers_are_those_of_the_list(ct):
    node = shown(ct)
    found = made_by_us(node)
    assert sorted(found) == [1, 2, 3]
    segmentation = node.GetSegmentation()
    for row in ct[2]:
        segment = segmentation.GetSegment(found[row["number"]])
        place = f" ({row['organ']})" if row["organ"] else ""
        assert segment.GetName() == f"Lesion {row['number']}{place}"
        ml = voxels_of(node, found[row["number"]]) * 2 * 2 * 5 / 1000
        assert ml == pytest.approx(row["volume_ml"], abs=1e-3)
        assert tag_of(segment, NUMBER_TAG) == str(row["number"])
    assert identify(node).doubts == ()


def test_the_liver_contains_its_lesions_and_the_labels_come_back_as_they_were(ct):
    volume, labels, _ = ct
    node = shown(ct)
    inside = (labels == 1) | (labels == LESION.id)
    inside[20:22, 34:38, 36:40] = False
    assert len(mask_of(node, "liver")) == np.count_nonzero(inside)
    assert np.array_equal(current_labels(node, volume).array, labels)


def test_without_a_list_lesions_lie_in_holes(ct):
    volume, labels, _ = ct
    node = show_result(volume, labels, TARGETS)
    assert len(mask_of(node, "liver")) == np.count_nonzero(labels == 1)
    assert np.array_equal(current_labels(node, volume).array, labels)
    assert len(identify(node).lesions) == 3


def test_another_run_replaces_its_own_lesions_and_leaves_a_persons(ct):
    volume, labels, _ = ct
    node = shown(ct)
    mine = node.GetSegmentation().GetSegment(made_by_us(node)[1])
    mine.RemoveTag(NUMBER_TAG)
    mine.SetName("Metastasis")
    fewer = labels.copy()
    fewer[5:7, 20:28, 20:26] = 1
    lesions = list_lesions(node_volume(volume), node_volume(volume).with_array(fewer))
    rows = [lesion.to_dict() for lesion in lesions]
    again = show_result(volume, fewer, TARGETS, segmentationNode=node, lesions=rows)
    assert sorted(made_by_us(again)) == [1, 2]
    names = [node.GetSegmentation().GetSegment(n).GetName() for n in identify(node).lesions]
    assert "Metastasis" in names and len(names) == 3


def test_a_result_of_an_older_version_has_its_one_segment_replaced(ct):
    volume, labels, _ = ct
    node = show_result(volume, labels, ORGANS)
    old = slicer.vtkSegment()
    old.SetName("Lesion")
    node.GetSegmentation().AddSegment(old, "lesion")
    again = shown(ct, segmentationNode=node)
    names = [again.GetSegmentation().GetSegment(n).GetName() for n in identify(again).lesions]
    assert len(names) == 3 and "Lesion" not in names


def test_organs_alone_leave_lesions_as_they_are(ct):
    volume, labels, _ = ct
    node = shown(ct)
    without = np.where(labels == LESION.id, 1, labels).astype(np.uint8)
    show_result(volume, without, ORGANS, segmentationNode=node)
    assert sorted(made_by_us(node)) == [1, 2, 3]
    assert set(organ_segment_ids(node)) >= {"liver", "lesion"}


def test_a_lesions_segment_is_found_by_its_place_whatever_its_number(ct):
    node, rows = shown(ct), ct[2]
    numbers = made_by_us(node)
    node.GetSegmentation().GetSegment(numbers[1]).RemoveTag(NUMBER_TAG)
    for row in rows:
        x, y, z = row["centre_lps_mm"]
        assert lesion_segment_at(node, (-x, -y, z), 5.0) == numbers[row["number"]]
    assert lesion_segment_at(node, (400.0, 0.0, 0.0), 5.0) == ""
