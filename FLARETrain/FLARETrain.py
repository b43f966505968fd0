"""FLARETrain: self-training for FLARESeg, in 3D Slicer. The module as Slicer sees it.

Everything else is in FLARETrainLib, and in FLARESegLib what the two modules share; both are
imported when they are first used, so that this file loads whatever state the installation is in.
From Slicer's Python console::

    from FLARETrain import FLARETrainLogic
    run = FLARETrainLogic().startRun(name="mine", store="/data/cases", minutes=60)
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

import slicer

LIBRARY, SHARED = "FLARETrainLib", "FLARESegLib"
TESTS = ("FLARETrainModuleTestCase", "FLARETrainPanelTestCase", "FLARETrainRunTestCase")
"""The self-tests, in Testing/slicer."""


def shared(name: str) -> Any:
    """Import a module of FLARESegLib, with flare_core in reach.

    An installed extension has the libraries side by side; in a checkout FLARESeg's folder is beside
    ours.
    """
    beside = Path(__file__).resolve().parent.parent / "FLARESeg"
    if (beside / SHARED).is_dir() and str(beside) not in sys.path:
        sys.path.append(str(beside))
    importlib.import_module(f"{SHARED}.core_path").make_importable()
    return importlib.import_module(f"{SHARED}.{name}")


def library(name: str) -> Any:
    """Import a module of FLARETrainLib, with FLARESegLib and flare_core in reach."""
    shared("core_path")
    return importlib.import_module(f"{LIBRARY}.{name}")


def forget_library() -> None:
    """Have the modules of FLARETrainLib read again at their next import."""
    for name in [each for each in sys.modules if each.partition(".")[0] == LIBRARY]:
        del sys.modules[name]


def __getattr__(name: str) -> Any:
    """Provide `FLARETrainLogic` without importing the library when Slicer looks for modules."""
    if name == "FLARETrainLogic":
        return library("logic").FLARETrainLogic
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class FLARETrain(ScriptedLoadableModule):
    """Tells Slicer what this module is."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("FLARETrain")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["FLARESeg", "Plots"]
        self.parent.contributors = ["The FLARESeg contributors"]
        self.parent.helpText = _(
            "Makes a better model of FLARESeg from your corrections and from scans that nobody has "
            "labelled: look through the training set, start a training that goes on when Slicer "
            "is closed, compare the new model with the old one on patients that were kept aside, "
            "promote it or go back.<br>For research use; not a medical device."
        )
        self.parent.acknowledgementText = _(
            "After the MICCAI FLARE challenges (Ma et al., The Lancet Digital Health 2024) and the "
            "self-training of their winners. To cite FLARESeg, see the file CITATION.cff. Licence: "
            "Apache-2.0."
        )


class FLARETrainWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Connects Slicer's events with the panel of FLARETrainLib."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._life: Any = None

    @property
    def panel(self) -> Any:
        """The panel; if it is still opening, it is made ready now."""
        return self._life and self._life.panel

    @property
    def logic(self) -> Any:
        """The logic; if the panel is still opening, it is made ready now."""
        return self._life and self._life.logic

    def setup(self) -> None:
        """Build the panel; called when the module is first shown, and after a reload."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/FLARETrain.ui"))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self._open()

    def _open(self) -> None:
        """Make the panel in steps, each short enough that Slicer stays usable."""
        with slicer.util.tryWithErrorDisplay(_("FLARETrain could not be started.")):
            self._life = shared("qt.opening").ModuleLife(
                shared("qt.event_loop").default_loop(),
                lambda: slicer.util.tryWithErrorDisplay(_("FLARETrain could not be started.")),
                to_logic=(
                    lambda: shared("scene.results"),
                    lambda: shared("logic"),
                    lambda: importlib.import_module("flare_core.cases.store"),
                    lambda: library("logic"),
                    lambda: library("logic").FLARETrainLogic(),
                ),
                to_panel=(
                    lambda: library("cases.panel"),
                    lambda: library("panel"),
                    lambda: library("panel").Panel(self.ui, self.logic),
                ),
                observe=self._observe,
            )

    def _observe(self) -> None:
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)

    def enter(self) -> None:
        """Take the panel up again when the module is shown."""
        if self._life:
            self._life.enter()

    def exit(self) -> None:
        """Leave the scene to the next module; a training goes on."""
        if self._life:
            self._life.exit()

    def onSceneStartClose(self, caller: Any = None, event: Any = None) -> None:
        """Let go of the nodes that are about to vanish."""
        if self._life:
            self._life.scene_closes()

    def onSceneEndClose(self, caller: Any = None, event: Any = None) -> None:
        """Begin anew with the scene that is there now."""
        if self._life and getattr(self.parent, "isEntered", True):
            self._life.scene_closed()

    def cleanup(self) -> None:
        """End every observation and short command; called on reload and when Slicer ends."""
        self.removeObservers()
        life, self._life = self._life, None
        if life:
            life.end()

    def onReload(self) -> None:
        """Reload the library as well: Slicer reloads this file only."""
        self.cleanup()
        forget_library()
        ScriptedLoadableModuleWidget.onReload(self)


class FLARETrainTest(ScriptedLoadableModuleTest):
    """Runs the self-tests, from the panel's "Reload and Test" or from ctest."""

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every self-test that this installation has."""
        self.setUp()
        self.test_FLARETrain()

    def test_FLARETrain(self) -> None:
        """Load the test cases of Testing/slicer and have them all pass."""
        import unittest

        folder = Path(__file__).resolve().parent.parent / "Testing" / "slicer"
        if not folder.is_dir():
            self.skipTest("the self-tests come with the sources, not with the installed extension")
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        suite = unittest.TestLoader().loadTestsFromNames(TESTS)
        result = unittest.TextTestRunner(verbosity=2).run(suite)
        self.assertTrue(result.wasSuccessful(), "see the Python console for what failed")
