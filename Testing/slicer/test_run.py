from __future__ import annotations

import os
import stat
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from FLARESegLib import temporary_folder, worker_process
from FLARESegLib.event_loop import PlainLoop
from FLARESegLib.exchange import read_raw_labels, write_raw
from FLARESegLib.failures import RunFailed, Stopped
from FLARESegLib.logic import FLARESegLogic
from FLARESegLib.run_facts import SceneCode
from FLARESegLib.segment_identity import organ_segment_ids
from FLARESegLib.workplace import Workplace
from process_double import alive, bad_command, node_of, stub_command, until, worker_of

from flare_core.errors import Cancelled, InputError, NothingFound
from flare_core.imaging.files import read_volume, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

pytest_plugins = ["process_fixtures"]


@pytest.fixture
def logic(place):
    return FLARESegLogic(workplace=place)


@pytest.fixture
def follow(logic, place):
    """A function that starts a run and keeps what it tells."""

    def start(node, **options):
        told = {"progress": [], "finished": [], "failed": []}
        run = logic.segmentAsync(
            node,
            onProgress=told["progress"].append,
            onFinished=told["finished"].append,
            onFailed=told["failed"].append,
            **options,
        )
        return run, told

    return start


def kinds(scene) -> list[str]:
    """Classes of all nodes of a scene, sorted."""
    return sorted(scene.GetNthNode(n).GetClassName() for n in range(scene.GetNumberOfNodes()))


def observers_of(scene) -> tuple[bool, bool]:
    return (
        bool(scene.HasObserver(scene.StartCloseEvent)),
        bool(scene.HasObserver(scene.NodeAboutToBeRemovedEvent)),
    )


def in_state(place, run, *states):
    until(place.loop, lambda: run.state in states or run.over)
    assert run.state in states


def test_the_labels_are_those_of_the_scan_and_everything_is_told(
    follow, place, ct, stub_model, stub_scan
):
    from FLARESegLib.corrections import current_labels

    run, told = follow(ct, model=stub_model)
    assert run.state == "starting"
    until(place.loop, lambda: run.over)
    assert run.error is None, run.error
    (node,) = told["finished"]
    assert told["failed"] == []
    found = current_labels(node, ct)
    truth = stub_scan[1].array
    for number in (1, 3):
        a, b = found.array == number, truth == number
        assert 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)) > 0.95
    fractions = [each.fraction for each in told["progress"]]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    stages = [each.stage for each in told["progress"]]
    assert stages[0] == "starting"
    assert {"exporting", "running", "organs", "importing", "done"} <= set(stages)
    volumes = {r["organ"]: r["value"] for r in run.result.rows if r["measure"] == "volume"}
    assert set(volumes) == {"liver", "spleen"}
    assert {"export", "import", "case"} <= set(run.result.timings_s)


def test_running_again_updates_and_a_subset_leaves_the_rest(follow, place, ct, stub_model):
    first, _ = follow(ct, model=stub_model)
    until(place.loop, lambda: first.over)
    before = kinds(ct.GetScene())
    again, _ = follow(ct, model=stub_model, organs=["liver"])
    until(place.loop, lambda: again.over)
    assert again.segmentationNode is first.segmentationNode
    assert kinds(ct.GetScene()) == before
    assert set(organ_segment_ids(again.segmentationNode)) == {"liver", "spleen"}
    assert {row["organ"] for row in again.result.rows} == {"liver"}


STAGES = ("starting", "exporting", "running", "importing")


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
    run, told = follow(ct, segmentationNode=segmentation, model=stub_model)
    in_state(place, run, "running")
    scene.RemoveNode(segmentation)
    until(place.loop, lambda: run.over)
    assert told["failed"][0].kind == "node_removed"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": "/no/such/model"}, InputError, "/no/such/model"),
        ({"organs": ["livr"]}, InputError, "liver"),
    ],
)
def test_what_cannot_be_done_is_an_input_error(logic, follow, place, ct, options, error, words):
    run, told = follow(ct, **options)
    until(place.loop, lambda: run.over)
    assert run.state == "failed"
    assert isinstance(told["failed"][0], error)
    assert words in str(told["failed"][0])
    with pytest.raises(error):
        logic.segment(ct, onProgress=lambda progress: None, **options)


def test_bad_nodes_fail_through_the_callback_too(follow, place, scene, add_volume):
    for node in (None, scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode"),
                 scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")):  # fmt: skip
        run, told = follow(node)
        until(place.loop, lambda run=run: run.over)
        assert isinstance(told["failed"][0], InputError)
    run, told = follow(add_volume(np.full((20, 30, 30), -1000, np.int16)))
    until(place.loop, lambda: run.over)
    assert isinstance(told["failed"][0], InputError)


def test_a_scan_without_abdomen(follow, place, scene, stub_scan, stub_model):
    image = stub_scan[0]
    noise = np.random.default_rng(0).integers(-90, 90, image.array.shape).astype(np.int16)
    run, told = follow(node_of(scene, image.with_array(noise)), model=stub_model)
    until(place.loop, lambda: run.over)
    assert isinstance(told["failed"][0], NothingFound)


def test_a_defect_of_ours_ends_the_run_and_is_not_hidden(place, ct, monkeypatch):
    from FLARESegLib import logic as logic_module

    def broken(node):
        yield 0.1
        raise KeyError("oh")

    monkeypatch.setattr(
        logic_module, "load_scene_code", lambda: SceneCode(broken, lambda *_: iter(()))
    )
    logic = FLARESegLogic(workplace=place)
    run = logic.segmentAsync(ct)
    with pytest.raises(KeyError):
        until(place.loop, lambda: run.over)
    assert run.state == "failed"
    assert run.error.kind == "internal"
    assert observers_of(ct.GetScene()) == (False, False)


def test_a_full_disk_is_told(follow, place, ct, stub_model, monkeypatch):
    def full(**options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(temporary_folder.tempfile, "mkdtemp", full)
    run, told = follow(ct, model=stub_model)
    until(place.loop, lambda: run.over)
    assert "No space left" in str(told["failed"][0])


@pytest.fixture
def bad_place(tmp_path):
    """A function that makes a workplace whose worker misbehaves."""
    loop = PlainLoop()
    made = []

    def make(kind):
        folder = tmp_path / kind
        folder.mkdir()
        made.append(Workplace(loop, worker_of(bad_command(kind), loop), folder))
        return made[-1]

    yield make
    for place in made:
        place.worker.kill()
        until(loop, lambda place=place: not place.worker.running)


def test_a_crash_is_told_and_the_next_run_starts_a_new_worker(bad_place, ct):
    place = bad_place("dies")
    logic = FLARESegLogic(workplace=place)
    for _ in range(2):
        with pytest.raises(RunFailed, match="Segmentation fault") as caught:
            logic.segment(ct, onProgress=lambda progress: None)
        assert caught.value.kind == "worker_died"
        assert list(place.temporary.iterdir()) == []
        assert not place.worker.running


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
    run = logic.segmentAsync(ct, model=stub_model, onProgress=broken)
    in_state(place, run, "running")
    with pytest.raises(ValueError, match="widget"):
        run.cancel()
    until(place.loop, lambda: run.over)
    assert run.state == "cancelled"
    run = logic.segmentAsync(ct, model=stub_model, onProgress=broken)
    with pytest.raises(ValueError, match="widget"):
        until(place.loop, lambda: run.over)
    assert run.state == "done"


def test_no_step_holds_the_main_thread(place, scene, stub_scan, stub_model):
    """Every call from the event loop is timed while a larger volume goes through."""
    image, _ = stub_scan
    big = Volume(
        np.ascontiguousarray(image.array.repeat(2, 0).repeat(3, 1).repeat(3, 2)),
        Geometry((100, 180, 240), (2.0, 1.0, 1.0), image.geometry.origin_mm),
    )
    longest = []

    class Timed(PlainLoop):
        def call_later(self, delay_s, call):
            def timed():
                start = time.thread_time()  # a busy machine may take the processor away meanwhile
                call()
                longest.append(time.thread_time() - start)

            super().call_later(delay_s, timed)

    loop = Timed()
    worker = worker_of(stub_command(), loop)
    logic = FLARESegLogic(workplace=Workplace(loop, worker, place.temporary))
    run = logic.segmentAsync(node_of(scene, big), model=stub_model)
    until(loop, lambda: run.over)
    worker.close()
    assert run.error is None, run.error
    assert max(longest) < 0.1


def test_the_temporary_folder_is_private_and_old_ones_are_swept(tmp_path):
    old = temporary_folder.make_folder(tmp_path)
    (old / "volume.nrrd").write_bytes(b"x")
    long_ago = time.time() - 2 * temporary_folder.STALE_S
    os.utime(old, (long_ago, long_ago))
    new = temporary_folder.make_folder(tmp_path)
    assert not old.exists()
    assert stat.S_IMODE(new.stat().st_mode) == 0o700
    newer = temporary_folder.make_folder(tmp_path)
    assert new.exists()
    assert newer != new


def test_a_folder_in_use_is_removed_later(tmp_path, monkeypatch):
    loop = PlainLoop()
    folder = temporary_folder.make_folder(tmp_path)
    tries = []
    remove = temporary_folder.shutil.rmtree

    def busy(path, **options):
        tries.append(path)
        if len(tries) > 1:
            remove(path, **options)

    monkeypatch.setattr(temporary_folder.shutil, "rmtree", busy)
    temporary_folder.remove_folder(folder, loop)
    assert folder.exists()
    until(loop, lambda: not folder.exists())
    assert len(tries) == 2


@pytest.mark.parametrize(
    "parent", ["with spaces", "日本語 ü", "long/" + "x" * 100 + "/" + "y" * 120]
)
def test_paths_of_every_kind(warm_place, tmp_path, ct, stub_model, parent):
    folder = tmp_path / parent
    folder.mkdir(parents=True)
    place = replace(warm_place, temporary=folder)
    node = FLARESegLogic(workplace=place).segment(
        ct, model=stub_model, onProgress=lambda progress: None
    )
    assert set(organ_segment_ids(node)) == {"liver", "spleen"}
    assert list(folder.iterdir()) == []


OBLIQUE = ((0.0, -0.6, 0.8), (0.0, 0.8, 0.6), (-1.0, 0.0, 0.0))


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32", "float64"]
)
def test_what_we_write_itk_reads(tmp_path, dtype):
    geometry = Geometry((3, 4, 5), (2.5, 0.7, 1 / 3), (-12.5, 1e-3, 700.25), OBLIQUE)
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    write_raw(tmp_path / "a.nrrd", array, geometry, threading.Event())
    back = read_volume(tmp_path / "a.nrrd")
    assert np.array_equal(back.array, array)
    assert back.geometry.same_grid(geometry)
    assert np.allclose(back.geometry.origin_mm, geometry.origin_mm, atol=1e-9)


def test_a_64_bit_volume_in_the_other_byte_order(tmp_path):
    geometry = Geometry((3, 4, 5), (1.0, 1.0, 1.0))
    array = np.arange(60).reshape(3, 4, 5).astype(">i8")
    write_raw(tmp_path / "a.nrrd", array, geometry, threading.Event())
    assert np.array_equal(read_volume(tmp_path / "a.nrrd").array, array)


def test_writing_stops_when_asked(tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        write_raw(tmp_path / "a.nrrd", np.zeros((2, 2, 2)), Geometry((2, 2, 2), (1.0,) * 3), stop)


def test_what_itk_writes_we_read(tmp_path):
    geometry = Geometry((3, 4, 5), (2.5, 0.7, 0.5), (1.0, 2.0, 3.0), OBLIQUE)
    labels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    write_volume(tmp_path / "labels.nrrd", Volume(labels, geometry), compressed=False)
    assert np.array_equal(read_raw_labels(tmp_path / "labels.nrrd", (3, 4, 5)), labels)
    with pytest.raises(InputError, match="5 4 4"):
        read_raw_labels(tmp_path / "labels.nrrd", (4, 4, 5))
    write_volume(tmp_path / "packed.nrrd", Volume(labels, geometry), compressed=True)
    with pytest.raises(InputError, match="gz"):
        read_raw_labels(tmp_path / "packed.nrrd", (3, 4, 5))
    whole = (tmp_path / "labels.nrrd").read_bytes()
    (tmp_path / "cut.nrrd").write_bytes(whole[:-1])
    with pytest.raises(InputError):
        read_raw_labels(tmp_path / "cut.nrrd", (3, 4, 5))
