from __future__ import annotations

import numpy as np
import pytest
from FLARESegLib.correction.corrections import (
    changes,
    count_changes,
    current_labels,
    kept_for,
    label_steps,
    volume_of,
)
from FLARESegLib.scene import volumes
from FLARESegLib.scene.kept_output import KEPT_ROLE, forget_output, kept_output
from FLARESegLib.scene.results import BINARY
from FLARESegLib.scene.segment_identity import organ_segment_ids, segment_ids

import slicer
from flare_core.anatomy.organs import LESION, ORGANS, organ
from flare_core.errors import InputError
from flare_core.evaluate.metrics.dsc import dice
from scene_nodes import fill, show_result

PLACE = np.array(
    [[-0.8, 0, 0, 100], [0, -0.9, 0, 120], [0, 0, 2.5, -40], [0, 0, 0, 1]], dtype=float
)
VOXEL_ML = 0.8 * 0.9 * 2.5 / 1000


@pytest.fixture
def result(add_volume, small_ct):
    """A volume, its segmentation, the labels in it."""
    array, labels = small_ct
    volume = add_volume(array, PLACE)
    return volume, show_result(volume, labels, (*ORGANS, LESION)), labels


def test_without_a_correction_nothing_is_changed(result):
    volume, node, labels = result
    assert np.array_equal(current_labels(node, volume).array, labels)
    assert current_labels(node, volume).geometry == volumes.node_geometry(volume)
    assert [(c.organ, c.changed_voxels, c.dsc) for c in changes(node)] == [
        (key, 0, 1.0) for key in ("liver", "right_kidney", "spleen", "left_kidney")
    ]


def test_delete_add_again_reorder_rename_add_and_the_values_stay(result, draw):
    volume, node, labels = result
    segmentation = node.GetSegmentation()
    ids = organ_segment_ids(node)
    segmentation.RemoveSegment(ids["liver"])  # the person starts the liver over
    new_liver = segmentation.AddEmptySegment("", "Liver")
    liver = np.zeros_like(labels)
    liver[2:8, 4:13, 3:12] = 1
    draw(node, new_liver, liver)
    segmentation.ReorderSegments([new_liver, ids["left_kidney"]], ids["right_kidney"])
    segmentation.GetSegment(ids["spleen"]).SetName("Milz")
    gallbladder = segmentation.AddEmptySegment("", "gall bladder")
    mine = np.zeros_like(labels)
    mine[9, 5:8, 5:8] = 1
    draw(node, gallbladder, mine)
    note = segmentation.AddEmptySegment("", "Ask a colleague")
    asked = np.zeros_like(labels)
    asked[1, 2:4, 2:4] = 1
    draw(node, note, asked)
    expected = np.where(labels == 1, 0, labels).astype(np.uint8)
    expected[liver == 1] = 1
    expected[mine == 1] = 9
    assert np.array_equal(current_labels(node, volume).array, expected)


def test_sides_that_were_mixed_up_are_put_right_by_renaming(result):
    volume, node, labels = result
    ids = organ_segment_ids(node)
    segmentation = node.GetSegmentation()
    segmentation.GetSegment(ids["left_kidney"]).SetName("Right kidney")
    segmentation.GetSegment(ids["right_kidney"]).SetName("Left kidney")
    expected = labels.copy()
    expected[labels == 2], expected[labels == 13] = 13, 2
    assert np.array_equal(current_labels(node, volume).array, expected)


def test_separating_collapsing_and_saving_change_no_value(result):
    volume, node, labels = result
    segmentation = node.GetSegmentation()
    for number in segment_ids(node):
        segmentation.SeparateSegmentLabelmap(number)
    values = [segmentation.GetSegment(n).GetLabelValue() for n in segment_ids(node)]
    assert values != [1, 2, 3, 13]  # Slicer has renumbered them
    assert np.array_equal(current_labels(node, volume).array, labels)
    segmentation.CollapseBinaryLabelmaps(True)
    assert np.array_equal(current_labels(node, volume).array, labels)


def test_overlapping_segments_lesion_on_top_else_the_later_one(result, draw):
    volume, node, labels = result
    segmentation = node.GetSegmentation()
    lesion = segmentation.AddEmptySegment("", "Tumour")
    segmentation.ReorderSegments([lesion], organ_segment_ids(node)["liver"])  # it is first now
    mass = np.zeros_like(labels)
    mass[4:6, 6:9, 5:8] = 1
    draw(node, lesion, mass, over=[])
    colon = segmentation.AddEmptySegment("", "Duodenum")
    bowel = np.zeros_like(labels)
    bowel[3:5, 5:8, 14:17] = 1
    draw(node, colon, bowel, over=[])
    expected = labels.copy()
    expected[bowel == 1] = 12
    expected[mass == 1] = 14
    assert np.array_equal(current_labels(node, volume).array, expected)


def test_an_emptied_segment_has_no_voxel(result):
    volume, node, labels = result
    number = organ_segment_ids(node)["spleen"]
    slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(node, number)
    assert np.array_equal(current_labels(node, volume).array, np.where(labels == 3, 0, labels))
    node.GetSegmentation().RemoveAllSegments()
    assert not current_labels(node, volume).array.any()


def test_segments_on_a_finer_grid_come_back_on_the_volumes(result):
    volume, node, labels = result
    segmentation = node.GetSegmentation()
    fine = np.repeat(np.repeat(np.repeat(labels == 3, 2, 0), 2, 1), 2, 2).astype(np.uint8)
    half = np.eye(4)
    half[:3, :3] *= 0.5
    half[:3, 3] = -0.25  # half a voxel is cut into two
    image = slicer.vtkOrientedImageData()
    image.SetGeometryFromImageToWorldMatrix(volumes.as_vtk(PLACE @ half))
    image.SetExtent(0, fine.shape[2] - 1, 0, fine.shape[1] - 1, 0, fine.shape[0] - 1)
    image.AllocateScalars(3, 1)
    volumes.image_voxels(image)[:] = fine * 3
    segmentation.GetSegment(organ_segment_ids(node)["spleen"]).AddRepresentation(BINARY, image)
    assert np.array_equal(current_labels(node, volume).array, labels)


def test_segments_under_another_transform_are_where_they_are_seen(result, add_transform):
    volume, node, labels = result
    quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
    add_transform(node, quarter)
    assert not np.array_equal(current_labels(node, volume).array, labels)
    add_transform(volume, quarter)  # its own transform, the same place
    assert np.array_equal(current_labels(node, volume).array, labels)


def test_a_turned_segmentation_is_sampled_at_the_nearest_voxel(result, add_transform):
    volume, node, labels = result
    cos, sin = np.cos(0.2), np.sin(0.2)
    turn = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]])
    middle = (PLACE @ (12, 10, 6, 1))[:3]
    turn[:3, 3] += middle - turn[:3, :3] @ middle
    add_transform(node, turn)
    found = current_labels(node, volume).array
    index_to_index = np.linalg.inv(PLACE) @ np.linalg.inv(turn) @ PLACE
    expected = np.zeros_like(labels)
    for z, y, x in np.ndindex(labels.shape):
        i, j, k = np.floor((index_to_index @ (x, y, z, 1))[:3] + 0.5).astype(int)
        if 0 <= k < labels.shape[0] and 0 <= j < labels.shape[1] and 0 <= i < labels.shape[2]:
            expected[z, y, x] = labels[k, j, i]
    assert np.count_nonzero(expected) > 100
    assert np.array_equal(found, expected)


def test_segments_that_reach_out_of_the_volume_are_cut(result, draw):
    volume, node, labels = result
    array = volumes.voxels(volume)
    fill(volume, array[2:-2, 3:, :-4].copy(), PLACE @ moved_index(0, 3, 2))
    found = current_labels(node, volume).array
    assert np.array_equal(found, labels[2:-2, 3:, :-4])


def moved_index(x, y, z):
    shift = np.eye(4)
    shift[:3, 3] = x, y, z
    return shift


def test_doubtful_segments_are_refused_in_words(result):
    volume, node, _ = result
    node.GetSegmentation().AddEmptySegment("", "Liver")
    ids = organ_segment_ids(node)
    node.GetSegmentation().GetSegment(ids["liver"]).SetName("Old liver")
    again = node.GetSegmentation().AddEmptySegment("", "LIVER")
    node.GetSegmentation().GetSegment(again).SetName("Liver")
    node.GetSegmentation().GetSegment(ids["liver"]).SetName("Liver")
    with pytest.raises(InputError, match="3 segments are the liver"):
        current_labels(node, volume)


def test_a_segmentation_of_surfaces_is_refused_in_words(result):
    volume, node, _ = result
    node.CreateClosedSurfaceRepresentation()
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    node.GetSegmentation().SetSourceRepresentationName(surface)
    with pytest.raises(InputError, match="Closed surface"):
        current_labels(node, volume)


def test_changes_are_counted_organ_by_organ(result, draw):
    volume, node, labels = result
    grown = ((labels == 3) | (np.roll(labels, 1, axis=2) == 3)).astype(np.uint8)
    draw(node, organ_segment_ids(node)["spleen"], grown)
    by_organ = {change.organ: change for change in changes(node, volume)}
    added = int(grown.sum() - (labels == 3).sum())
    spleen = by_organ["spleen"]
    assert (spleen.added_voxels, spleen.removed_voxels) == (added, 0)
    assert spleen.changed_ml == pytest.approx(added * VOXEL_ML)
    assert spleen.before_ml == pytest.approx((labels == 3).sum() * VOXEL_ML)
    assert spleen.after_ml == pytest.approx(grown.sum() * VOXEL_ML)
    assert spleen.dsc == pytest.approx(
        2 * (labels == 3).sum() / (grown.sum() + (labels == 3).sum())
    )
    assert by_organ["liver"].changed_voxels == 0


def test_a_deleted_and_a_new_organ_are_changes_too(result, draw):
    _, node, labels = result
    segmentation = node.GetSegmentation()
    segmentation.RemoveSegment(organ_segment_ids(node)["liver"])
    new = segmentation.AddEmptySegment("", "Stomach")
    draw(node, new, (np.indices(labels.shape)[0] == 0).astype(np.uint8))
    by_organ = {change.organ: change for change in changes(node)}
    assert by_organ["liver"].removed_voxels == (labels == 1).sum()
    assert by_organ["liver"].dsc == 0
    assert by_organ["stomach"].added_voxels == 20 * 24
    assert by_organ["stomach"].before_ml == 0


def test_counts_agree_with_the_librarys_dice():
    rng = np.random.default_rng(3)
    before, after = rng.integers(0, 15, (2, 9, 8, 7)).astype(np.uint8)
    scores = dice(before, after, range(1, 15))
    for change in count_changes(before, after, 2.0):
        number = organ(change.organ).id
        assert change.dsc == pytest.approx(scores[number])
        differs = (before == number) != (after == number)
        assert change.changed_voxels == differs.sum()
        assert change.changed_ml == pytest.approx(2.0 * differs.sum())


def test_without_the_models_output_or_with_another_volume_it_is_told(result, add_volume, small_ct):
    _, node, _ = result
    with pytest.raises(InputError, match="another|result of this module"):
        changes(node, add_volume(small_ct[0][:-1], PLACE))
    forget_output(node)
    assert kept_output(node) is None
    with pytest.raises(InputError, match="no model output"):
        kept_for(node, small_ct[0].shape)


def test_a_kept_output_whose_voxels_were_not_saved_counts_as_none(result):
    _, node, _ = result
    node.GetNodeReference(KEPT_ROLE).SetAndObserveImageData(None)
    assert kept_output(node) is None
    with pytest.raises(InputError, match="no model output"):
        changes(node)


def test_a_segmentation_without_its_volume_is_told(result, scene):
    volume, node, _ = result
    scene.RemoveNode(volume)
    with pytest.raises(InputError, match="without the volume"):
        volume_of(node)


def test_reading_in_steps_of_any_size_is_the_same(result, monkeypatch):
    volume, node, labels = result
    monkeypatch.setattr(volumes, "STEP_VOXELS", 100)
    steps = label_steps(node, volume)
    shares = []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as end:
            assert np.array_equal(end.value.array, labels)
            break
    assert len(shares) > 5
    assert shares == sorted(shares)
