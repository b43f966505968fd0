"""A module opens in steps; both module files under a Slicer that is a stand-in."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from FLARESegLib.qt import event_loop
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.qt.opening import Opening

import slicer
from search_path import without_tests

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def told(errors):
    """As Slicer's `tryWithErrorDisplay`: what goes wrong is shown, not raised."""
    try:
        yield
    except RuntimeError as error:
        errors.append(str(error))


def test_one_step_comes_each_time_round():
    loop, done = PlainLoop(), []
    opening = Opening(loop, [lambda n=n: done.append(n) for n in range(3)], lambda: told([]))
    opening.start()
    assert done == [] and not opening.done
    loop.pump(0.1)
    assert done == [0, 1, 2] and opening.done


def test_who_cannot_wait_gets_the_rest_now_and_once():
    loop, done = PlainLoop(), []
    opening = Opening(loop, [lambda n=n: done.append(n) for n in range(3)], lambda: told([]))
    opening.start()
    opening.finish()
    assert done == [0, 1, 2]
    loop.pump(0.1)
    assert done == [0, 1, 2]


def test_a_step_may_ask_for_what_is_being_made():
    loop, done = PlainLoop(), []
    steps = [lambda: (done.append("a"), opening.finish()), lambda: done.append("b")]
    opening = Opening(loop, steps, lambda: told([]))
    opening.finish()
    assert done == ["a", "b"]


def test_a_step_that_fails_is_told_and_the_last():
    loop, done, errors = PlainLoop(), [], []

    def fail():
        raise RuntimeError("no library")

    opening = Opening(loop, [fail, lambda: done.append(1)], lambda: told(errors))
    opening.start()
    loop.pump(0.1)
    assert errors == ["no library"] and done == [] and opening.done


def test_nothing_comes_after_it_was_stopped():
    loop, done = PlainLoop(), []
    opening = Opening(loop, [lambda: done.append(1)], lambda: told([]))
    opening.start()
    opening.stop()
    loop.pump(0.1)
    assert done == []


class SlicersWidget:
    """ScriptedLoadableModuleWidget, as far as it is asked."""

    def __init__(self, parent=None):
        self.parent, self.layout = parent, SimpleNamespace(addWidget=lambda widget: None)

    def setup(self):
        pass

    def resourcePath(self, name):  # noqa: N802 - Slicer's name
        return name

    def addObserver(self, scene, event, listener):  # noqa: N802
        self.observed = getattr(self, "observed", 0) + 1

    def removeObservers(self):  # noqa: N802
        self.observed = 0


class Panel:
    """Counts what it is told."""

    def __init__(self, ui, logic):
        self.logic, self.told = logic, []

    def __getattr__(self, name):
        return lambda: self.told.append(name)


@pytest.fixture(params=["FLARESeg", "FLARETrain"])
def widget(request, monkeypatch, scene):
    """The widget of a module, on stand-ins of Slicer's classes and of the library."""
    loop = PlainLoop()
    modules = ModuleType("slicer.ScriptedLoadableModule")
    for name in ("Module", "ModuleTest"):
        setattr(modules, f"ScriptedLoadable{name}", object)
    modules.ScriptedLoadableModuleWidget = SlicersWidget
    words = ModuleType("slicer.i18n")
    words.tr, words.translate = (lambda text: text), (lambda context, text: text)
    monkeypatch.setitem(sys.modules, "slicer.ScriptedLoadableModule", modules)
    monkeypatch.setitem(sys.modules, "slicer.i18n", words)
    monkeypatch.setattr(slicer.util, "VTKObservationMixin", type("Mixin", (), {}), raising=False)
    ui = SimpleNamespace(setMRMLScene=lambda scene: None)
    monkeypatch.setattr(slicer.util, "loadUI", lambda path: ui, raising=False)
    monkeypatch.setattr(slicer.util, "childWidgetVariables", lambda ui: ui, raising=False)
    monkeypatch.setattr(slicer.util, "tryWithErrorDisplay", lambda text: told([]), raising=False)
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.setattr(event_loop, "default_loop", lambda: loop)
    path = ROOT / request.param / f"{request.param}.py"
    spec = importlib.util.spec_from_file_location(f"{request.param}_under_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    logic = SimpleNamespace(shutdown=lambda: None)
    doubles = {
        "logic": SimpleNamespace(**{f"{request.param}Logic": lambda: logic}),
        "panel": SimpleNamespace(Panel=Panel),
        "cases.panel": SimpleNamespace(),  # needs Qt
    }
    known = module.library
    monkeypatch.setattr(module, "library", lambda name: doubles.get(name) or known(name))
    made = getattr(module, f"{request.param}Widget")()
    made.loop = loop
    made.setup()
    return made


def let_open(widget):
    """Let Qt come round until the module is open; libraries may take long on a busy computer."""
    end = time.monotonic() + 120
    while not widget._life.opened:
        assert time.monotonic() < end
        widget.loop.pump(0.02)


def test_a_module_opens_later_and_enters_once(widget):
    widget.enter()  # as Slicer does, right after `setup`
    assert widget._life._panel is None
    let_open(widget)
    assert widget._life._panel.told == ["enter"] and widget.observed == 3
    widget.exit()
    widget.enter()
    assert widget._life._panel.told == ["enter", "exit", "enter"]


def test_a_module_whose_panel_is_asked_for_is_ready(widget):
    assert widget.panel.told == ["enter"]
    assert widget.logic is widget.panel.logic
    widget.loop.pump(0.2)
    assert widget.panel.told == ["enter"]


def test_a_module_that_is_left_before_it_opened_does_not_enter(widget):
    widget.enter()
    widget.exit()
    let_open(widget)
    assert widget._life._panel.told == []
    widget.enter()
    assert widget._life._panel.told == ["enter"]


def test_a_module_that_is_closed_before_it_opened_leaves_nothing(widget):
    life = widget._life
    widget.cleanup()
    widget.loop.pump(0.2)
    assert life._panel is None and widget.observed == 0 and widget.panel is None


def test_a_panel_opens_without_what_only_a_run_needs():
    """scipy alone takes a quarter of a second of Qt's thread."""
    code = f"""
import sys, types
sys.path[:0] = {[str(ROOT), *(str(ROOT / m) for m in ("FLARESeg", "FLARETrain"))]!r}
import slicer
sys.path.insert(0, {str(Path(__file__).parent)!r})
import qt_double
qt_double.install()
for name, key, value in (("parameterNodeWrapper", "parameterNodeWrapper", lambda cls: cls),
                         ("ScriptedLoadableModule", "ScriptedLoadableModuleLogic", object)):
    made = types.ModuleType(name)
    setattr(made, key, value)
    made.WithinRange = lambda minimum, maximum: (minimum, maximum)
    sys.modules["slicer." + name] = made
import FLARESegLib.logic, FLARESegLib.panel, FLARETrainLib.logic, FLARETrainLib.panel
print(sorted(n for n in ("scipy", "skimage", "SimpleITK", "torch") if n in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_children_of_tests_do_not_see_the_tests():
    """slicer-core takes in every folder called "slicer" on its search path, that of these tests."""
    tests = str(Path(__file__).parents[1])
    assert without_tests(os.pathsep.join((tests, str(ROOT), f"{tests}/", "a"))) == os.pathsep.join(
        (str(ROOT), "a")
    )
    assert tests not in os.environ["PYTHONPATH"].split(os.pathsep)
