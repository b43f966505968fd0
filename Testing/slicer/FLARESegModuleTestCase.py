"""Self-tests of the module as Slicer sees it: discovery, the widget's life, reload."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

from self_test_scene import PanelTestCase, add_ct, library, pump, unknown_signals

import slicer


@unittest.skipUnless(hasattr(slicer.modules, "flareseg"), "the module path is not known to Slicer")
class FLARESegModuleTestCase(PanelTestCase):
    """The module in Slicer's own hands."""

    def widget(self) -> object:
        widget = slicer.util.getModuleWidget("FLARESeg")
        self.assertIsNotNone(widget.panel)  # made ready, if it was still opening
        return widget

    def test_the_module_says_what_it_is(self) -> None:
        module = slicer.modules.flareseg
        self.assertEqual(module.title, "FLARESeg")
        self.assertIn("Segmentation", module.categories)
        self.assertIn("not a medical device", module.helpText)
        self.assertIn("FLARE", module.acknowledgementText)

    def test_the_widget_opens_and_its_logic_can_be_imported(self) -> None:
        volume = add_ct()
        widget = self.widget()
        widget.enter()
        self.assertEqual(widget.ui.inputSelector.currentNode(), volume)
        self.assertTrue(widget.ui.applyButton.enabled)
        widget.exit()
        from FLARESeg import FLARESegLogic

        self.assertIs(FLARESegLogic, library("logic").FLARESegLogic)

    def test_qt_knows_every_signal_that_the_panel_listens_to(self) -> None:
        folder = Path(library("core_path").__file__).parent
        self.assertEqual(unknown_signals(folder, self.widget().ui), [])

    def test_closing_the_scene_is_noticed(self) -> None:
        add_ct()
        widget = self.widget()
        widget.enter()
        slicer.mrmlScene.Clear()
        pump(0.1)
        self.assertIsNone(widget.ui.inputSelector.currentNode())
        volume = add_ct(name="next")
        widget.enter()
        self.assertEqual(widget.panel.choices.parameters.inputVolume, volume)

    def test_reload_reads_the_library_again_and_leaves_a_working_panel(self) -> None:
        before = self.widget()
        module = library("run.panel")
        before.onReload()
        pump(0.1)
        after = self.widget()
        self.assertIsNot(after, before)
        self.assertIsNone(before.panel)
        self.assertIsNot(sys.modules["FLARESegLib.run.panel"], module)
        volume = add_ct()
        after.enter()
        self.assertEqual(after.panel.choices.parameters.inputVolume, volume)
        self.assertTrue(after.ui.applyButton.enabled)
