from __future__ import annotations

import time

import numpy as np
import pytest
from FLARESegLib.logic import FLARESegLogic
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.run import temporary_folder
from FLARESegLib.run.facts import SceneCode
from FLARESegLib.run.failures import RunFailed
from FLARESegLib.run.workplace import Workplace
from FLARESegLib.scene.segment_identity import organ_segment_ids
from process_double import kinds, node_of, observers_of, stub_command, until, worker_of

from flare_core.errors import InputError, NothingFound
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.settings import Settings

pytest_plugins = ["process_fixtures"]


def test_the_labels_are_those_of_the_scan_and_everything_is_told(
    follow, place, ct, stub_model, stub_scan
):
    from FLARESegLib.correction.corrections import current_labels

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


def test_another_computer_segments_through_the_same_worker(logic, place, ct, stub_scan):
    import served

    stages = []
    with served.serving() as access:
        on = {"address": access.address, "token": access.token}
        run = logic.segmentAsync(ct, on=on, onProgress=lambda step: stages.append(step.stage))
        until(place.loop, lambda: run.over)
        assert run.error is None, run.error
        assert "liver" in organ_segment_ids(run.segmentationNode)
        assert run.result.provenance["computed_on"] == access.address
        assert "sending the scan" in stages
    run = logic.segmentAsync(ct, on=on)
    until(place.loop, lambda: run.over)
    assert run.state == "failed"
    assert run.error.parts[0] == f"server {access.address}"
    assert access.token not in "".join(place.worker.log)


def test_running_again_updates_and_a_subset_leaves_the_rest(follow, place, ct, stub_model):
    first, _ = follow(ct, model=stub_model)
    until(place.loop, lambda: first.over)
    before = kinds(ct.GetScene())
    again, _ = follow(ct, model=stub_model, organs=("liver",))
    until(place.loop, lambda: again.over)
    assert again.segmentationNode is first.segmentationNode
    assert kinds(ct.GetScene()) == before
    assert set(organ_segment_ids(again.segmentationNode)) == {"liver", "spleen"}
    assert {row["organ"] for row in again.result.rows} == {"liver"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": "/no/such/model"}, InputError, "/no/such/model"),
        ({"organs": ("livr",)}, InputError, "liver"),
    ],
)
def test_what_cannot_be_done_is_an_input_error(logic, follow, place, ct, options, error, words):
    run, told = follow(ct, **options)
    until(place.loop, lambda: run.over)
    assert run.state == "failed"
    assert isinstance(told["failed"][0], error)
    assert words in str(told["failed"][0])
    with pytest.raises(error):
        logic.segment(ct, settings=Settings(**options), onProgress=lambda progress: None)


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
    noise = np.random.default_rng(0).integers(-140, 90, image.array.shape).astype(np.int16)
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


def test_a_crash_is_told_and_the_next_run_starts_a_new_worker(bad_place, ct):
    place = bad_place("dies")
    logic = FLARESegLogic(workplace=place)
    for _ in range(2):
        with pytest.raises(RunFailed, match="Segmentation fault") as caught:
            logic.segment(ct, onProgress=lambda progress: None)
        assert caught.value.kind == "worker_died"
        assert list(place.temporary.iterdir()) == []
        assert not place.worker.running


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
    run = logic.segmentAsync(node_of(scene, big), settings=Settings(model=stub_model))
    until(loop, lambda: run.over)
    worker.close()
    assert run.error is None, run.error
    assert max(longest) < 0.1
