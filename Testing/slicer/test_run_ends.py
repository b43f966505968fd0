from __future__ import annotations

import time

import pytest
from FLARESegLib.logic import FLARESegLogic
from FLARESegLib.run import worker_process
from FLARESegLib.run.failures import Stopped
from FLARESegLib.scene.segment_identity import organ_segment_ids
from process_double import STAGES, alive, in_state, kinds, node_of, observers_of, until

from flare_core.segment.settings import Settings

pytest_plugins = ["process_fixtures"]


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_at_every_stage_leaves_nothing(follow, place, ct, stub_model, stage):
    before = kinds(ct.GetScene())
    run, told = follow(ct, model=stub_model)
    in_state(place, run, stage)
    assert run.cancel()
    assert run.state == "stopping"
    assert not run.cancel()
    start = time.monotonic()
    until(place.loop, lambda: run.over)
    assert time.monotonic() - start < worker_process.RELEASE_S + 20
    assert run.state == "cancelled"
    assert isinstance(told["failed"][0], Stopped)
    assert told["failed"][0].kind == "cancelled"
    assert told["finished"] == []
    place.loop.pump(0.3)
    assert kinds(ct.GetScene()) == before
    assert observers_of(ct.GetScene()) == (False, False)
    assert list(place.temporary.iterdir()) == []


def test_cancelling_the_update_of_a_segmentation_leaves_it_whole(follow, place, ct, stub_model):
    first, _ = follow(ct, model=stub_model)
    until(place.loop, lambda: first.over)
    before = organ_segment_ids(first.segmentationNode)
    again, _ = follow(ct, model=stub_model)
    in_state(place, again, "importing")
    again.cancel()
    until(place.loop, lambda: again.over)
    assert again.state in ("cancelled", "done")
    assert organ_segment_ids(first.segmentationNode) == before


@pytest.mark.parametrize("stage", STAGES)
def test_closing_the_scene_stops_the_run(follow, place, ct, stub_model, stage):
    scene = ct.GetScene()
    run, told = follow(ct, model=stub_model)
    in_state(place, run, stage)
    if stage == "starting":  # its first step watches the scene
        place.loop.pump(0.005)
    scene.Clear(0)
    until(place.loop, lambda: run.over)
    assert [error.kind for error in told["failed"]] == ["scene_closed"]
    place.loop.pump(0.3)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLLabelMapVolumeNode") == 0
    assert list(place.temporary.iterdir()) == []


@pytest.mark.parametrize("stage", ["exporting", "running", "importing"])
def test_deleting_the_volume_stops_the_run(follow, place, scene, ct, stub_scan, stub_model, stage):
    other = node_of(scene, stub_scan[0], "another CT")
    run, told = follow(ct, model=stub_model)
    in_state(place, run, stage)
    scene.RemoveNode(other)  # is none of its business
    assert run.active
    scene.RemoveNode(ct)
    until(place.loop, lambda: run.over)
    assert [error.kind for error in told["failed"]] == ["node_removed"]
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert observers_of(scene) == (False, False)


def test_deleting_the_segmentation_to_update_stops_the_run(follow, place, scene, ct, stub_model):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    run, told = follow(ct, segmentation, model=stub_model)
    in_state(place, run, "running")
    scene.RemoveNode(segmentation)
    until(place.loop, lambda: run.over)
    assert told["failed"][0].kind == "node_removed"


@pytest.mark.parametrize("kind", ["deaf", "mute"])
def test_a_worker_that_does_not_stop_is_ended(bad_place, ct, monkeypatch, kind):
    monkeypatch.setattr(worker_process, "RELEASE_S", 0.5)
    place = bad_place(kind)
    run = FLARESegLogic(workplace=place).segmentAsync(ct)
    until(place.loop, lambda: run.state == "running" and place.worker.ready)
    place.loop.pump(0.2)
    pid = place.worker.pid
    run.cancel()
    until(place.loop, lambda: run.over)
    assert run.state == "cancelled"
    assert not alive(pid)
    assert list(place.temporary.iterdir()) == []


def test_shutdown_in_the_middle_of_a_run_leaves_nothing(bad_place, ct):
    place = bad_place("mute")
    logic = FLARESegLogic(workplace=place)
    failed = []
    run = logic.segmentAsync(ct, onFailed=failed.append)
    until(place.loop, lambda: run.state == "running" and place.worker.ready)
    pid = place.worker.pid
    logic.shutdown()
    assert run.state == "cancelled"
    assert [error.kind for error in failed] == ["shutdown"]
    assert not alive(pid)
    assert list(place.temporary.iterdir()) == []
    assert observers_of(ct.GetScene()) == (False, False)


def test_the_end_of_the_process_ends_runs_at_any_stage(bad_place, ct):
    place = bad_place("mute")
    for stage in STAGES[:3]:
        run = FLARESegLogic(workplace=place).segmentAsync(ct)
        until(place.loop, lambda run=run, stage=stage: run.state == stage)
        place.close()
        assert run.state == "cancelled"
        assert list(place.temporary.iterdir()) == []


def test_a_listener_that_fails_does_not_stop_the_cleaning_up(place, ct, stub_model):
    def broken(progress):
        if progress.stage in ("stopping", "done"):
            raise ValueError("a widget is gone")

    logic = FLARESegLogic(workplace=place)
    run = logic.segmentAsync(ct, settings=Settings(model=stub_model), onProgress=broken)
    in_state(place, run, "running")
    with pytest.raises(ValueError, match="widget"):
        run.cancel()
    until(place.loop, lambda: run.over)
    assert run.state == "cancelled"
    run = logic.segmentAsync(ct, settings=Settings(model=stub_model), onProgress=broken)
    with pytest.raises(ValueError, match="widget"):
        until(place.loop, lambda: run.over)
    assert run.state == "done"
