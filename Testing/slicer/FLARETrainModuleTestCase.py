"""Self-tests of the module as Slicer loads it: registration, logic by name, life cycle."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

from modules_for_now import modules_for_now
from self_test_scene import leave_modules, unknown_signals

import slicer


class FLARETrainModuleTestCase(unittest.TestCase):
    """What Slicer itself does with the module."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        leave_modules()

    def test_module_is_registered_with_title_category_icon_and_disclaimer(self) -> None:
        module = slicer.modules.flaretrain
        self.assertEqual(module.title, "FLARETrain")
        self.assertEqual(list(module.categories), ["Segmentation"])
        self.assertIn("not a medical device", module.helpText)
        self.assertFalse(module.icon.isNull())

    def test_logic_is_importable_where_there_is_no_torch(self) -> None:
        """Whatever ran before in this Slicer: the library is read again, and torch cannot be."""
        import FLARETrain

        with modules_for_now({"torch": None}, anew=("FLARETrainLib", "flare_core")):
            logic = FLARETrain.FLARETrainLogic()
            self.assertTrue(callable(logic.startRun))
            logic.shutdown()

    def test_qt_knows_every_signal_that_the_panel_listens_to(self) -> None:
        slicer.modules.flaretrain.widgetRepresentation()
        widget = slicer.modules.FLARETrainWidget
        self.assertIsNotNone(widget.panel)
        folder = Path(sys.modules["FLARETrainLib.panel"].__file__).parent
        self.assertEqual(unknown_signals(folder, widget.ui), [])

    def test_leaving_entering_and_closing_the_scene_keep_the_panel_alive(self) -> None:
        slicer.modules.flaretrain.widgetRepresentation()
        widget = slicer.modules.FLARETrainWidget
        self.assertIsNotNone(widget.panel)
        self.assertIn("not a medical device", widget.ui.disclaimerLabel.text)
        widget.exit()
        slicer.mrmlScene.Clear()
        widget.enter()
        slicer.app.processEvents()
        self.assertIsNotNone(widget.panel.training.choices.parameters)
