from __future__ import annotations

import numpy as np
import pytest
from FLARESegLib.correction.corrections import current_labels
from FLARESegLib.scene import volumes
from FLARESegLib.scene.kept_output import kept_output
from FLARESegLib.scene.results import import_steps, nodes_of

from flare_core.errors import Cancelled
from scene_nodes import show_result

PLACE = np.array(
    [[-0.8, 0, 0, 100], [0, -0.9, 0, 120], [0, 0, 2.5, -40], [0, 0, 0, 1]], dtype=float
)
"""A usual CT: axes towards left, posterior, superior."""


def test_steps_of_any_size_make_the_same_result(add_volume, small_ct, monkeypatch):
    array, labels = small_ct
    monkeypatch.setattr(volumes, "STEP_VOXELS", 500)  # a plane at a time
    volume = add_volume(array, PLACE)
    shares = []
    steps = import_steps(volume, labels)
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as end:
            node = end.value
            break
    assert len(shares) > 20
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1
    assert np.array_equal(current_labels(node, volume).array, labels)
    assert np.array_equal(kept_output(node).whole(), labels)


def steps_of_an_import(small_ct, add_volume):
    """How many steps an import takes."""
    return sum(1 for _ in import_steps(add_volume(small_ct[0], PLACE), small_ct[1]))


def test_stopped_at_any_step_nothing_is_left(add_volume, small_ct, scene):
    array, labels = small_ct
    total = steps_of_an_import(small_ct, add_volume)
    scene.Clear(1)
    volume = add_volume(array, PLACE)
    before = scene.GetNumberOfNodes()
    for stop in range(1, total):
        steps = import_steps(volume, labels)
        for _ in range(stop):
            next(steps)
        steps.close()
        assert nodes_of(scene, "vtkMRMLSegmentationNode") == [], stop
        assert nodes_of(scene, "vtkMRMLSegmentationDisplayNode") == [], stop
        assert nodes_of(scene, "vtkMRMLLabelMapVolumeNode") == [], stop
        assert nodes_of(scene, "vtkMRMLColorTableNode") == [], stop
    hierarchy_only = scene.GetNumberOfNodes() - before
    assert hierarchy_only <= 1  # the subject hierarchy itself


def test_stopped_in_the_middle_of_an_update_the_result_is_whole(add_volume, small_ct):
    array, labels = small_ct
    volume = add_volume(array, PLACE)
    node = show_result(volume, labels)
    other = np.roll(labels, 1, axis=0)
    changed = 0
    for stop in range(1, 12):
        show_result(volume, labels, segmentationNode=node)
        steps = import_steps(volume, other, segmentationNode=node)
        for _ in range(stop):
            next(steps, None)
        steps.close()
        now = current_labels(node, volume).array
        assert np.array_equal(now, kept_output(node).whole()), stop
        changed += np.array_equal(now, other)
        assert np.array_equal(now, other) or np.array_equal(now, labels), stop
    assert 0 < changed < 11  # stopped before and after the segmentation began to change


def test_a_volume_removed_meanwhile_stops_the_import(add_volume, small_ct, scene):
    array, labels = small_ct
    total = steps_of_an_import(small_ct, add_volume)
    for stop in (1, 2, 3, total - 2):
        scene.Clear(1)
        volume = add_volume(array, PLACE)
        steps = import_steps(volume, labels)
        for _ in range(stop):
            next(steps)
        scene.RemoveNode(volume)
        with pytest.raises(Cancelled):
            for _ in steps:
                pass
        assert nodes_of(scene, "vtkMRMLSegmentationNode") == []
        assert nodes_of(scene, "vtkMRMLLabelMapVolumeNode") == []


def test_a_closed_scene_stops_the_import(add_volume, small_ct, scene):
    array, labels = small_ct
    steps = import_steps(add_volume(array, PLACE), labels)
    for _ in range(4):
        next(steps)
    scene.Clear(1)
    with pytest.raises(Cancelled):
        next(steps)
    assert nodes_of(scene, "vtkMRMLSegmentationNode") == []
