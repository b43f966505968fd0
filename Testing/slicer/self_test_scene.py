"""What the self-tests in Slicer share: a CT of blocks, a panel with a worker double, patience."""

from __future__ import annotations

import gc
import importlib
import re
import shutil
import sys
import tempfile
import time
import traceback
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import qt

import slicer

HERE = Path(__file__).resolve().parent
PATIENCE_S = 180.0
BLOCKS = {  # label value -> slices (Z, Y, X) of a block of 100 times as many HU
    1: (slice(4, 20), slice(6, 30), slice(4, 26)),
    3: (slice(8, 16), slice(10, 24), slice(34, 44)),
    2: (slice(2, 12), slice(32, 42), slice(8, 16)),
    13: (slice(2, 12), slice(32, 42), slice(30, 38)),
}
SHAPE = (24, 48, 50)
IJK_TO_RAS = np.array([[-2.0, 0, 0, 50], [0, -2.0, 0, 48], [0, 0, 3.0, -30], [0, 0, 0, 1]])


def library(name: str) -> Any:
    """A module of FLARESegLib; the module's folder is added where Slicer has not done so."""
    folder = HERE.parents[1] / "FLARESeg"
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.import_module("FLARESegLib.core_path").make_importable()
    return importlib.import_module(f"FLARESegLib.{name}")


def blocks() -> np.ndarray:
    """HU (Z, Y, X) of tissue in air with blocks that the double takes for organs."""
    array = np.full(SHAPE, -1000, np.int16)
    array[1:23, 3:45, 2:48] = 30
    for number, part in BLOCKS.items():
        array[part] = 100 * number
    return array


def add_ct(array: np.ndarray | None = None, name: str = "CT") -> Any:
    """Put a CT into the application's scene."""
    return slicer.util.addVolumeFromArray(
        blocks() if array is None else array, ijkToRAS=IJK_TO_RAS, name=name
    )


def pump(seconds: float) -> None:
    """Let the application live for a while, and come round once on a computer that is busy."""
    end = time.monotonic() + seconds
    slicer.app.processEvents()
    while time.monotonic() < end:
        qt.QThread.msleep(5)
        slicer.app.processEvents()


def until(condition: Any, what: str = "it") -> None:
    """Let the application live until something is true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} never happened")
        pump(0.02)


def load_ui() -> tuple[Any, Any]:
    """The panel's widgets, as the module's widget loads them: top widget, widgets by name."""
    module = HERE.parents[1] / "FLARESeg"
    if not module.is_dir():
        module = Path(slicer.util.modulePath("FLARESeg")).parent
    top = slicer.util.loadUI(str(module / "Resources" / "UI" / "FLARESeg.ui"))
    top.setMRMLScene(slicer.mrmlScene)
    return top, slicer.util.childWidgetVariables(top)


def unknown_signals(folder: Path, ui: Any) -> list[str]:
    """Signals that a library connects and that Qt does not know: PythonQt only returns False."""
    pattern = re.compile(r'ui\.(\w+)\.connect\(\s*"([^"]+)"')
    found = [hit for file in folder.rglob("*.py") for hit in pattern.findall(file.read_text())]
    assert found, f"nothing is connected in {folder}"
    return [
        f"{name}: {signal}"
        for name, signal in found
        if getattr(ui, name).metaObject().indexOfSignal(signal) < 0
    ]


def double_workplace(folder: Path, *words: str) -> Any:
    """A workplace whose worker is `worker_double.py`, with these options."""
    places, processes = library("run.workplace"), library("run.worker_process")
    children, loops = library("run.child_process"), library("qt.event_loop")
    core = str(library("core_path").core_folder())
    arguments = [str(HERE / "worker_double.py"), core, *words]

    def command() -> tuple[str, list[str]]:
        return places.python_program(), arguments

    loop = loops.default_loop()
    worker = processes.WorkerProcess(command, children.QtChild, loop)
    return places.Workplace(loop, worker, folder)


def leave_modules() -> None:
    """Have the modules' own panels let go of the scene, which an earlier test may have opened.

    They would follow the same parameter node as the panel of a test.
    """
    for name in ("FLARESegWidget", "FLARETrainWidget"):
        widget = getattr(slicer.modules, name, None)
        if widget is not None:
            widget.exit()


class WatchedTestCase(unittest.TestCase):
    """Closes its panel, gives a person's settings back, and fails for errors that nobody saw."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        leave_modules()
        self.keep_settings(self.keys())
        self.unseen: list[str] = []
        hook = mock.patch.object(sys, "excepthook", self.keep_error)
        hook.start()
        self.addCleanup(hook.stop)
        self.panel: Any = None
        self.logic: Any = None

    def keys(self) -> tuple[str, ...]:
        """Settings that are put back: a person's name and folder are theirs."""
        raise NotImplementedError

    def keep_settings(self, keys: tuple[str, ...]) -> None:
        before = {key: qt.QSettings().value(key) for key in keys}

        def restore() -> None:
            for key, value in before.items():
                if value is None:
                    qt.QSettings().remove(key)
                else:
                    qt.QSettings().setValue(key, value)

        self.addCleanup(restore)

    def keep_error(self, kind: type, error: BaseException, where: Any) -> None:
        self.unseen.append("".join(traceback.format_exception(kind, error, where)))

    def tearDown(self) -> None:
        if self.panel is not None:
            self.panel.cleanup()
            self.logic.shutdown()
            self.top.deleteLater()
        self.panel = self.logic = self.top = self.ui = None
        pump(0.1)
        slicer.mrmlScene.Clear()
        gc.collect()
        self.assertEqual(self.unseen, [])


class PanelTestCase(WatchedTestCase):
    """Has a scene with a CT, and makes panels whose worker is a double."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(tempfile.mkdtemp(prefix="FLARESeg self-test ü "))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        nothing_missing = mock.patch.object(library("dependencies"), "missing", return_value=())
        nothing_missing.start()
        self.addCleanup(nothing_missing.stop)
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir()

    def keys(self) -> tuple[str, ...]:
        remembered = library("correction.remembered")
        return remembered.AUTHOR, remembered.FOLDER

    def open_panel(self, *words: str) -> Any:
        """A panel as Slicer would show it; `words` are options of the double."""
        self.top, self.ui = load_ui()
        self.logic = library("logic").FLARESegLogic(
            workplace=double_workplace(self.temporary, *words)
        )
        self.panel = library("panel").Panel(self.ui, self.logic)
        self.ui.storeEdit.currentPath = str(self.folder / "training set")
        self.ui.authorEdit.text = ""
        self.panel.enter()
        pump(0.05)
        return self.panel

    def apply(self, seconds: float | None = None) -> None:
        """Press Apply; wait for the end of the run, or only for a while."""
        self.ui.applyButton.click()
        if seconds is not None:
            pump(seconds)
            return
        until(lambda: not self.panel.run.busy, "the end of the run")
        pump(0.4)
        until(self.result_shown, "what the run brought")  # in steps; a busy computer takes longer

    def result_shown(self) -> bool:
        """Whether the panel has nothing left to show of a result."""
        measured = self.panel.correction._measured
        return self.panel._segmentation is None or bool(measured.rows or measured.problem)

    def nodes(self, kind: str) -> list[Any]:
        return list(slicer.util.getNodesByClass(kind))

    def assert_nothing_is_left(self) -> None:
        """After a run that did not finish: no file, no node, no wait cursor."""
        until(lambda: not any(self.temporary.iterdir()), "the removal of the temporary folder")
        self.assertEqual(self.nodes("vtkMRMLSegmentationNode"), [])
        self.assertEqual(self.nodes("vtkMRMLLabelMapVolumeNode"), [])
        self.assertIsNone(qt.QApplication.overrideCursor())
