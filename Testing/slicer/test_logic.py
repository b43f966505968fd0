from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import subprocess
import sys
import textwrap
import threading

import pytest
from FLARESegLib import dependencies
from FLARESegLib.core_path import core_folder, flare_arguments, make_importable
from FLARESegLib.logic import FLARESegLogic
from FLARESegLib.qt.signals import Signal
from FLARESegLib.run.failures import RunFailed
from FLARESegLib.scene.segment_identity import organ_segment_ids
from process_double import ROOT, until

from flare_core.errors import Cancelled, InputError
from flare_core.segment.settings import Settings

pytest_plugins = ["process_fixtures"]


def quiet(progress):
    """Take no notice."""
    del progress


def test_segment_waits_and_tells_the_console(logic, ct, stub_model, capsys):
    node = logic.segment(ct, settings=Settings(model=stub_model))
    assert set(organ_segment_ids(node)) == {"liver", "spleen"}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "  0 %  starting"
    assert lines[-1] == "100 %  done"
    assert any("organs" in line for line in lines)


def test_statistics_follow_the_segments_as_they_are_now(logic, ct, stub_model):
    run = logic.segmentAsync(ct, settings=Settings(model=stub_model))
    logic.waitFor(run)
    rows = logic.statistics(run.segmentationNode)
    said = [row for row in run.result.rows if row["measure"] != "confidence"]  # the model's own
    assert [row for row in rows if row["measure"] != "confidence"] == said
    segmentation = run.segmentationNode.GetSegmentation()
    segmentation.RemoveSegment(organ_segment_ids(run.segmentationNode)["spleen"])
    after = {(r["organ"], r["measure"]): r["value"] for r in logic.statistics(run.segmentationNode)}
    assert after["spleen", "volume"] == 0
    assert after["liver", "volume"] == next(r["value"] for r in rows if r["measure"] == "volume")


def test_statistics_of_something_else_say_so(logic, scene):
    with pytest.raises(InputError):
        logic.statistics(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))


def test_a_result_can_go_into_a_given_segmentation(logic, scene, ct, stub_model):
    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    chosen = Settings(model=stub_model, organs=("spleen",), device="cpu")
    assert logic.segment(ct, mine, chosen, onProgress=quiet) is mine
    assert set(organ_segment_ids(mine)) == {"spleen"}


def test_two_runs_at_a_time_take_turns(logic, place, scene, ct, stub_scan, stub_model):
    from process_double import node_of

    other = node_of(scene, stub_scan[0], "other")
    runs = [logic.segmentAsync(node, settings=Settings(model=stub_model)) for node in (ct, other)]
    until(place.loop, lambda: all(run.over for run in runs))
    assert [run.error for run in runs] == [None, None]
    assert runs[0].segmentationNode is not runs[1].segmentationNode


def test_ctrl_c_while_waiting_cancels(logic, place, ct, stub_model):
    run = logic.segmentAsync(ct, settings=Settings(model=stub_model))
    pump = place.loop.pump

    def interrupted(seconds):
        if run.state == "running":
            raise KeyboardInterrupt
        pump(0.001)

    class Loop:
        def pump(self, seconds):
            if run.active:
                interrupted(seconds)
            else:
                pump(seconds)

    from FLARESegLib.run.workplace import Workplace

    waiting = FLARESegLogic(workplace=Workplace(Loop(), place.worker, place.temporary))
    with pytest.raises(KeyboardInterrupt):
        waiting.waitFor(run)
    assert run.state == "cancelled"


def test_cancel_stops_all_runs_of_a_logic(logic, place, ct, stub_model):
    run = logic.segmentAsync(ct, settings=Settings(model=stub_model))
    until(place.loop, lambda: run.state == "running")
    logic.cancel()
    logic.waitFor(run)
    assert isinstance(run.error, Cancelled)


def test_preload_warms_the_worker(logic, place, stub_model):
    logic.preload(Settings(model=stub_model, device="cpu"))
    until(place.loop, lambda: not place.worker.works_for_others)
    assert place.worker.running


def test_a_new_logic_works_after_a_shutdown(logic, place, ct, stub_model):
    logic.segment(ct, settings=Settings(model=stub_model), onProgress=quiet)
    logic.shutdown()
    assert not place.worker.running
    logic.shutdown()
    node = FLARESegLogic(workplace=place).segment(
        ct, settings=Settings(model=stub_model), onProgress=quiet
    )
    assert organ_segment_ids(node)


def test_missing_packages_are_told_before_anything_starts(logic, place, ct, monkeypatch):
    lacking = (dependencies.Requirement("torch", "2.4"),)
    monkeypatch.setattr(dependencies, "missing", lambda: lacking)
    with pytest.raises(RunFailed, match="torch>=2.4") as caught:
        logic.segment(ct, onProgress=quiet)
    assert caught.value.kind == "missing"
    assert logic.missingDependencies() == ["torch>=2.4"]


def test_the_logics_of_a_process_share_one_worker():
    from FLARESegLib.run.workplace import shared_workplace

    assert FLARESegLogic().workplace is FLARESegLogic().workplace is shared_workplace()
    assert not shared_workplace().worker.running


def example_of(thing) -> str:
    """Return the code of a docstring's examples, the lines behind ``::``."""
    text = inspect.getdoc(thing)
    lines = text[text.index("Examples") :].splitlines()
    return textwrap.dedent("\n".join(line for line in lines if line.startswith("    ")))


def test_the_examples_in_the_documentation_run(place, scene, ct, stub_model, monkeypatch):
    """As printed, but for the names of the node and of the model, and the shared worker."""
    module = type(sys)("FLARESeg")
    module.FLARESegLogic = lambda: FLARESegLogic(workplace=place)
    monkeypatch.setitem(sys.modules, "FLARESeg", module)
    monkeypatch.setattr(Settings, "__init__", with_model(stub_model))
    code = example_of(FLARESegLogic).replace("CTACardio", "CT")
    printed = io.StringIO()
    names = {"slicer": Console(scene)}
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "example", "exec"), names)  # noqa: S102 - the documentation's own words
    until(place.loop, lambda: names["run"].over)
    assert "liver volume" in printed.getvalue()
    assert names["run"].state == "cancelled"
    assert set(organ_segment_ids(names["segmentationNode"])) == {"liver", "spleen"}


def with_model(model):
    """The constructor of `Settings` with another default model."""
    original = Settings.__init__

    def init(self, **choices):
        original(self, **{"model": model, **choices})

    return init


class Console:
    """``slicer`` as the example needs it."""

    def __init__(self, scene) -> None:
        self.util = self
        self._scene = scene

    def getNode(self, name):  # noqa: N802 - Slicer's name
        return self._scene.GetFirstNodeByName(name)


MODULES = (
    "core_path", "dependencies", "qt.signals", "run.console", "run.exchange", "run.failures",
    "run.worker_failures", "run.worker_process",
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_small_examples(name):
    result = doctest.testmod(importlib.import_module(f"FLARESegLib.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_nothing_heavy_is_imported_with_the_logic():
    """Slicer imports the modules of every extension at its start."""
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'FLARESeg')!r}, {str(ROOT)!r}]\n"
        "import FLARESegLib.logic, FLARESegLib.dependencies, FLARESegLib.installer\n"
        "print([m for m in ('torch', 'SimpleITK', 'scipy', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_nothing_runs_in_a_thread_after_all_this():
    names = [t.name for t in threading.enumerate() if "ThreadPoolExecutor" in t.name]
    assert names == []


def test_core_is_found_in_a_checkout_and_in_an_installed_extension(tmp_path, monkeypatch):
    assert core_folder() == ROOT
    installed = tmp_path / "qt-scripted-modules"
    library, core = installed / "FLARESegLib", installed / "flare_core"
    library.mkdir(parents=True)
    with pytest.raises(ModuleNotFoundError, match="Install the extension"):
        core_folder(library)
    core.mkdir()
    (core / "__init__.py").write_text("")
    assert core_folder(library) == installed
    monkeypatch.setattr(sys, "path", list(sys.path))
    make_importable(installed)
    make_importable(installed)
    assert sys.path.count(str(installed)) == 1
    assert sys.path[0] == str(installed)


def test_flare_starts_from_any_folder_even_with_a_strange_name(tmp_path):
    folder = tmp_path / "Ordner mit ü und 'Zeichen'"
    (folder / "flare_core").mkdir(parents=True)
    (folder / "flare_core" / "__init__.py").write_text("")
    (folder / "flare_core" / "cli.py").write_text(
        "import sys\ndef main():\n    print(sys.argv[1:])\n    return 5\n"
    )
    done = subprocess.run(
        [sys.executable, *flare_arguments(["a b", "--c"], folder)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (5, "['a b', '--c']")


def test_a_listener_may_leave_while_it_is_called():
    signal, seen = Signal(), []

    def once(value):
        signal.disconnect(once)
        seen.append(value)

    signal.connect(once)
    signal.connect(seen.append)
    signal.emit(1)
    signal.emit(2)
    signal.clear()
    signal.emit(3)
    assert seen == [1, 1, 2]
