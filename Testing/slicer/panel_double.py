"""FLARESeg's panel under pytest: real scene and real panel code, doubles of Qt and of runs.

Slicer's application, its binding of parameters and its views are stand-ins that remember what they
were told; `FLARESegPanelTestCase` looks at the same things in Slicer itself.
"""

from __future__ import annotations

import importlib
import time
from collections import namedtuple
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import qt_double

qt_double.install()

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from FLARESegLib.qt.event_loop import PlainLoop  # noqa: E402
from FLARESegLib.qt.signals import Signal  # noqa: E402
from FLARESegLib.run.facts import RunResult  # noqa: E402
from FLARESegLib.scene.volumes import node_volume  # noqa: E402
from modules_for_now import modules_for_now  # noqa: E402

import slicer  # noqa: E402
from flare_core.anatomy.organs import LESION, ORGANS  # noqa: E402
from flare_core.home import Home  # noqa: E402
from flare_core.segment.lesion_list import list_lesions  # noqa: E402
from flare_core.segment.statistics import organ_statistics, rows_to_json  # noqa: E402
from scene_nodes import show_result  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = slicer.vtkMRMLLayoutNode
WITH_3D = (LAYOUTS.SlicerLayoutFourUpView, LAYOUTS.SlicerLayoutConventionalPlotView)
WITH_PLOT = (LAYOUTS.SlicerLayoutFourUpPlotView, LAYOUTS.SlicerLayoutConventionalPlotView)


class LayoutViews:
    """Slicer's layout manager, and its views."""

    plotViewCount = threeDViewCount = 1  # noqa: N815 - Qt's names

    def __init__(self) -> None:
        self.layout = LAYOUTS.SlicerLayoutFourUpView
        self.background: Any = None
        self.charts: list[Any] = []
        self.resets = 0
        self.plot_view = SimpleNamespace()

    def setLayout(self, layout: int) -> None:  # noqa: N802
        self.layout = layout

    def plotWidget(self, number: int) -> Any:  # noqa: N802
        return SimpleNamespace(
            isHidden=lambda: self.layout not in WITH_PLOT,
            plotView=lambda: self.plot_view,
            mrmlPlotViewNode=lambda: None,
        )

    def threeDWidget(self, number: int) -> Any:  # noqa: N802
        return SimpleNamespace(isHidden=lambda: self.layout not in WITH_3D)

    def show_chart(self, chart: Any) -> None:
        """As Slicer's plots logic: without a plot view, the 3D view makes place for one."""
        self.charts.append(chart)
        if self.layout not in WITH_PLOT:
            self.layout = LAYOUTS.SlicerLayoutFourUpPlotView


class Parameters:
    """A parameter node that is bound to the two selectors, as Slicer's wrapper binds them."""

    def __init__(self) -> None:
        self.__dict__.update(
            inputVolume=None, outputSegmentation=None, model="default", organs=[],
            device=SimpleNamespace(value="auto"), fast=False, lesionSensitivity=-5, assumeHu=False,
            ui=None, observers=[],
        )  # fmt: skip

    def __setattr__(self, name: str, value: Any) -> None:
        changed = self.__dict__[name] != value
        self.__dict__[name] = value
        if changed and self.ui is not None:
            self._show()
            for observer in tuple(self.observers):
                observer(self, "ModifiedEvent")

    def _show(self) -> None:
        self.ui.inputSelector.setCurrentNode(self.inputVolume)
        self.ui.outputSelector.setCurrentNode(self.outputSegmentation)

    def connectGui(self, ui: Any) -> int:  # noqa: N802
        self.__dict__["ui"] = ui
        self._show()
        for box, name in (("inputSelector", "inputVolume"),
                          ("outputSelector", "outputSegmentation")):  # fmt: skip

            def chosen(node: Any, name: str = name) -> None:
                if self.ui is not None:
                    setattr(self, name, node)

            getattr(ui, box).connect("currentNodeChanged(vtkMRMLNode*)", chosen)
        return 1

    def disconnectGui(self, tag: int) -> None:  # noqa: N802
        self.__dict__["ui"] = None

    def AddObserver(self, event: int, observer: Any) -> Any:  # noqa: N802
        self.observers.append(observer)
        return observer

    def RemoveObserver(self, observer: Any) -> None:  # noqa: N802
        self.observers.remove(observer)


class RunDouble:
    """A run that ends when a test says so."""

    def __init__(self, volume: Any, segmentation: Any, told: dict[str, Any]) -> None:
        self.volume, self.segmentation, self.told = volume, segmentation, told
        self.result: RunResult | None = None
        self.too_late = False

    def cancel(self, reason: str = "cancelled") -> bool:
        if self.too_late:
            return False
        self.fail(SimpleNamespace())
        return True

    def finish(self, labels: np.ndarray, notes: tuple[str, ...] = ()) -> Any:
        """Bring labels into the scene, as a worker's answer would."""
        image = node_volume(self.volume)
        found = image.with_array(labels)
        lesions = tuple(each.to_dict() for each in list_lesions(image, found))
        organs = (*ORGANS, LESION) if lesions else ORGANS
        node = show_result(
            self.volume, labels, organs, segmentationNode=self.segmentation,
            facts={"model": "double", "model_version": "1.0.0"}, lesions=lesions,
        )  # fmt: skip
        rows = organ_statistics(image, found, organs)
        self.result = RunResult(tuple(rows_to_json(rows)), notes, {}, {}, lesions)
        self.told["onFinished"](node)
        return node

    def fail(self, error: Any) -> None:
        """End it with an error."""
        self.told["onFailed"](error)


class Logic:
    """FLARESegLogic whose worker is a test."""

    def __init__(self) -> None:
        self.workplace = SimpleNamespace(
            loop=PlainLoop(), worker=SimpleNamespace(on_log=Signal()), temporary=None
        )
        self.runs: list[RunDouble] = []

    def installDependencies(self, ask: Any) -> None:  # noqa: N802
        """Nothing is missing."""

    def segmentAsync(  # noqa: N802
        self, volume: Any, segmentation: Any, settings: Any = None, **told: Any
    ) -> RunDouble:
        self.runs.append(RunDouble(volume, segmentation, told))
        return self.runs[-1]


class Bench:
    """A panel on a scene, and all that it talks to."""

    def __init__(self, scene: Any, folder: Path, held: ExitStack) -> None:
        self.scene, self.folder, self._held = scene, folder, held
        self.manager = LayoutViews()
        self.parameters = Parameters()
        self._stand_in()
        from FLARESegLib.models.installer import ModelTools

        panels = importlib.import_module("FLARESegLib.panel")
        held.enter_context(mock.patch.object(panels, "parameter_node", lambda: self.parameters))
        self.ui = qt_double.Ui(ROOT / "FLARESeg" / "Resources" / "UI" / "FLARESeg.ui")
        self.logic = Logic()
        self.loop = self.logic.workplace.loop
        nobody = lambda *_: False  # noqa: E731
        tools = ModelTools(
            home=Home(folder / "home"), catalogue={}, loop=self.loop, new_child=nobody,
            command=nobody, size_of=nobody, agree=nobody, choose_file=nobody, choose_folder=nobody,
            ensure=nobody,
        )  # fmt: skip
        self.panel = panels.Panel(self.ui, self.logic, tools)
        self.ui.storeEdit.currentPath = str(folder / "training set")
        held.callback(self.panel.cleanup)

    def _stand_in(self) -> None:
        """Give the scene's Slicer an application, as far as panels ask for one."""
        wrapper, modules = ModuleType("wrapper"), ModuleType("modules")
        wrapper.parameterNodeWrapper = lambda cls: cls
        wrapper.WithinRange = namedtuple("WithinRange", "minimum maximum")
        modules.ScriptedLoadableModuleLogic = object
        names = {
            "slicer.parameterNodeWrapper": wrapper, "slicer.ScriptedLoadableModule": modules,
        }  # fmt: skip
        app = SimpleNamespace(layoutManager=lambda: self.manager, testingEnabled=lambda: True)
        plots = SimpleNamespace(
            logic=lambda: SimpleNamespace(ShowChartInLayout=self.manager.show_chart)
        )
        hold = self._held.enter_context
        qt_double.QSettings.kept.clear()
        hold(modules_for_now(names))
        hold(mock.patch.object(slicer, "mrmlScene", self.scene, create=True))
        hold(mock.patch.object(slicer, "app", app, create=True))
        hold(mock.patch.object(slicer, "modules", SimpleNamespace(plots=plots), create=True))
        hold(mock.patch.object(slicer.util, "mainWindow", lambda: None))
        hold(mock.patch.object(slicer.util, "setSliceViewerLayers", self._set_layers))
        hold(mock.patch.object(slicer.util, "resetThreeDViews", self._reset))

    def _set_layers(self, background: Any = None, fit: bool = False) -> None:
        self.manager.background = background
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            node.SetBackgroundVolumeID(background.GetID())

    def _reset(self) -> None:
        self.manager.resets += 1

    def settle(self) -> None:
        """Let everything happen that is due."""
        self.loop.pump(0.3)

    def until(self, condition: Any) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            self.loop.pump(0.02)

    def apply(self) -> RunDouble:
        """Press Apply; the run goes on until it is told to end."""
        self.ui.applyButton.click()
        return self.logic.runs[-1]


@pytest.fixture
def bench(scene, tmp_path):
    """A panel that is not entered yet."""
    with ExitStack() as held:
        scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode").SetLayoutName("Red")
        yield Bench(scene, tmp_path, held)
