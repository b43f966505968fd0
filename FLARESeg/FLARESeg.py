"""FLARESeg: abdominal organs on CT, in 3D Slicer. The module as Slicer sees it.

Everything else is in FLARESegLib and is imported when it is first used, so that this file loads
whatever state the installation is in. From Slicer's Python console::

    from FLARESeg import FLARESegLogic
    segmentationNode = FLARESegLogic().segment(volumeNode)
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

LIBRARY = "FLARESegLib"
TESTS = (
    "FLARESegModuleTestCase",
    "FLARESegPanelTestCase",
    "FLARESegModelTestCase",
    "FLARESegRunTestCase",
    "FLARESegResultTestCase",
)
"""The self-tests, in Testing/slicer."""


def library(name: str) -> Any:
    """Import a module of FLARESegLib, with flare_core in reach."""
    importlib.import_module(f"{LIBRARY}.core_path").make_importable()
    return importlib.import_module(f"{LIBRARY}.{name}")


def forget_library() -> None:
    """Have the modules of FLARESegLib read again at their next import."""
    for name in [each for each in sys.modules if each.partition(".")[0] == LIBRARY]:
        del sys.modules[name]


def remove_left_behind() -> None:
    """Remove a patient's scan that a killed Slicer has left in its temporary folder."""
    library("run.temporary_folder").sweep_in_background()


def __getattr__(name: str) -> Any:
    """Provide `FLARESegLogic` without importing the library when Slicer looks for modules."""
    if name == "FLARESegLogic":
        return library("logic").FLARESegLogic
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class FLARESeg(ScriptedLoadableModule):
    """Tells Slicer what this module is."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("FLARESeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy"]
        self.parent.contributors = ["The FLARESeg contributors"]
        self.parent.helpText = _(
            "Segments the abdominal organs of a CT (liver, kidneys, spleen, pancreas, aorta, "
            "inferior vena cava, adrenal glands, gallbladder, esophagus, stomach, duodenum), "
            "measures each of them, and hands your corrections on for training.<br>"
            "Load a CT and press Apply. For research use; not a medical device."
        )
        self.parent.acknowledgementText = _(
            "After the MICCAI FLARE challenges (Ma et al., The Lancet Digital Health 2024). The "
            "data each model learned from are named in its card: rest the pointer on the model. "
            "To cite FLARESeg, see the file CITATION.cff. Licence: Apache-2.0."
        )
        slicer.app.connect("startupCompleted()", remove_left_behind)


class FLARESegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Connects Slicer's events with the panel of FLARESegLib."""

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
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/FLARESeg.ui"))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self._open()

    def _open(self) -> None:
        """Make the panel in steps, each short enough that Slicer stays usable."""
        with slicer.util.tryWithErrorDisplay(_("FLARESeg could not be started.")):
            self._life = library("qt.opening").ModuleLife(
                library("qt.event_loop").default_loop(),
                lambda: slicer.util.tryWithErrorDisplay(_("FLARESeg could not be started.")),
                to_logic=(
                    lambda: library("logic"),
                    lambda: library("logic").FLARESegLogic(),
                ),
                to_panel=(
                    lambda: library("scene.results"),
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
        """Leave the scene to the next module; a run goes on."""
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
        """End the worker and every observation; called on reload and when Slicer ends."""
        self.removeObservers()
        life, self._life = self._life, None
        if life:
            life.end()

    def onReload(self) -> None:
        """Reload the library as well: Slicer reloads this file only."""
        self.cleanup()
        forget_library()
        ScriptedLoadableModuleWidget.onReload(self)


class FLARESegTest(ScriptedLoadableModuleTest):
    """Runs the self-tests, from the panel's "Reload and Test" or from ctest."""

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every self-test that this installation has."""
        self.setUp()
        self.test_FLARESeg()

    def test_FLARESeg(self) -> None:
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
