"""Self-tests of the panel: choices, statistics, correction; without network, torch or dialog."""

from __future__ import annotations

import csv

import qt
from self_test_scene import PanelTestCase, add_ct, library, pump, until

import slicer


class FLARESegPanelTestCase(PanelTestCase):
    """What a person sees and does."""

    # --- choices

    def test_without_a_volume_apply_says_why_it_cannot_be_pressed(self) -> None:
        self.open_panel()
        self.assertFalse(self.ui.applyButton.enabled)
        self.assertIn("CT", self.ui.applyButton.toolTip)
        self.assertIn("SampleData", self.ui.messageLabel.text)
        self.assertIn("not a medical device", self.ui.disclaimerLabel.text)

    def test_the_loaded_volume_is_chosen_and_apply_alone_is_enough(self) -> None:
        volume = add_ct()
        self.open_panel()
        self.assertEqual(self.ui.inputSelector.currentNode(), volume)
        self.assertTrue(self.ui.applyButton.enabled)
        chosen = self.panel.choices.settings
        self.assertEqual((chosen.model, chosen.organs, chosen.device), ("default", None, "auto"))
        self.assertFalse(chosen.fast)
        self.assertIsNone(chosen.lesion_sensitivity)

    def test_a_volume_loaded_later_is_chosen_too(self) -> None:
        self.open_panel()
        volume = add_ct()
        pump(0.1)
        self.assertEqual(self.panel.choices.parameters.inputVolume, volume)
        self.assertTrue(self.ui.applyButton.enabled)

    def test_choices_are_kept_in_the_parameter_node_and_come_back_from_it(self) -> None:
        add_ct()
        self.open_panel()
        self.ui.fastBox.checked = True
        self.ui.deviceBox.setCurrentIndex(1)
        self.ui.sensitivityBox.value = 40
        index = self.ui.organBox.checkableModel().index(0, 0)
        for row in range(1, self.ui.organBox.count):
            self.ui.organBox.setCheckState(
                self.ui.organBox.checkableModel().index(row, 0), qt.Qt.Unchecked
            )
        self.assertEqual(self.ui.organBox.checkState(index), qt.Qt.Checked)
        self.panel.exit()
        parameters = library("parameters").parameter_node()
        self.assertEqual(list(parameters.organs), ["liver"])
        self.assertEqual((parameters.device.value, parameters.fast), ("cpu", True))
        self.assertEqual(parameters.lesionSensitivity, 40)
        parameters.organs = ["spleen", "aorta"]
        parameters.fast = False
        self.panel.enter()
        chosen = self.panel.choices.settings
        self.assertEqual((chosen.organs, chosen.fast), (("spleen", "aorta"), False))
        self.assertFalse(self.ui.fastBox.checked)

    def test_a_choice_that_is_not_legal_says_so_before_anything_starts(self) -> None:
        add_ct()
        self.open_panel()
        library("parameters").parameter_node().organs = ["livr"]
        pump(0.05)
        self.assertFalse(self.ui.applyButton.enabled)
        self.assertIn("liver", self.ui.applyButton.toolTip)

    def test_a_model_shows_its_card(self) -> None:
        self.open_panel()
        tip = self.ui.modelBox.toolTip
        for words in ("Liver", "Licence", " mm", " MB"):
            self.assertIn(words, tip)

    def test_each_volume_has_its_own_result(self) -> None:
        first, second = add_ct(name="first"), add_ct(name="second")
        self.open_panel()
        self.ui.inputSelector.setCurrentNode(first)
        self.apply()
        result = self.ui.outputSelector.currentNode()
        self.ui.inputSelector.setCurrentNode(second)
        self.assertIsNone(self.ui.outputSelector.currentNode())
        until(lambda: self.ui.statisticsTable.rowCount == 0, "the empty table")
        self.assertFalse(result.GetDisplayNode().GetVisibility())
        self.ui.inputSelector.setCurrentNode(first)
        self.assertEqual(self.ui.outputSelector.currentNode(), result)
        until(lambda: self.ui.statisticsTable.rowCount > 0, "the first one's table")
        self.assertTrue(result.GetDisplayNode().GetVisibility())
        for composite in self.nodes("vtkMRMLSliceCompositeNode"):
            self.assertEqual(composite.GetBackgroundVolumeID(), first.GetID())

    def test_a_run_that_ends_while_another_module_is_open_is_there_at_the_return(self) -> None:
        add_ct()
        self.open_panel("--seconds", "1")
        self.ui.applyButton.click()
        self.panel.exit()
        until(lambda: not self.panel.run.busy, "the end of the run")
        self.panel.enter()
        until(lambda: self.ui.chartButton.enabled, "the statistics")
        self.assertEqual(
            [self.ui.outputSelector.currentNode()], self.nodes("vtkMRMLSegmentationNode")
        )
        self.assertEqual(self.ui.statisticsTable.rowCount, 13)
        self.assertTrue(self.ui.show3DButton.enabled and self.ui.editButton.enabled)

    def test_a_ct_that_nobody_windowed_shows_an_abdomen_until_somebody_goes_back(self) -> None:
        display = add_ct().GetDisplayNode()
        display.SetAutoWindowLevel(True)
        self.open_panel()
        until(lambda: not display.GetAutoWindowLevel(), "the window")
        self.assertEqual((display.GetWindow(), display.GetLevel()), (400, 40))
        self.panel._follow_link("window-as-before")
        self.assertTrue(display.GetAutoWindowLevel())

    def test_a_ct_that_is_loaded_while_the_panel_is_open_gets_its_window(self) -> None:
        """Slicer's reader sets the automatic one after the node is in the scene, and chosen."""
        file = str(self.folder / "ct.nrrd")
        slicer.util.saveNode(add_ct(), file)
        slicer.mrmlScene.Clear()
        self.open_panel()
        display = slicer.util.loadVolume(file).GetDisplayNode()
        until(lambda: display.GetWindow() == 400, "the window")
        self.assertFalse(display.GetAutoWindowLevel())

    def test_the_panel_fits_into_a_narrow_dock(self) -> None:
        add_ct()
        self.open_panel()
        for name in ("settingsSection", "statisticsSection", "correctionSection", "logSection"):
            getattr(self.ui, name).collapsed = False
        self.ui.timeChartButton.setVisible(True)
        pump(0.1)
        self.assertLess(self.top.minimumSizeHint.width(), 400)

    def test_spin_boxes_have_the_range_of_their_choice(self) -> None:
        self.open_panel()
        box = self.ui.sensitivityBox
        self.assertEqual((box.minimum, box.maximum), (-5, 100))
        self.assertEqual(box.text, box.specialValueText)

    def test_a_scene_that_is_closed_leaves_an_empty_panel(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        self.panel.scene_closes()
        slicer.mrmlScene.Clear()
        self.panel.enter()
        pump(0.1)
        self.assertIsNone(self.ui.inputSelector.currentNode())
        self.assertFalse(self.ui.applyButton.enabled)
        self.assertEqual(self.ui.statisticsTable.rowCount, 0)
        self.assertEqual(self.ui.reviewTable.rowCount, 0)
        self.assertFalse(self.ui.addButton.enabled)

    # --- statistics

    def shown(self, column: int) -> list[str]:
        table = self.ui.statisticsTable
        return [table.item(row, column).text() for row in range(table.rowCount)]

    def test_statistics_are_shown_sorted_as_numbers_and_marked(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        self.assertEqual(len(self.shown(0)), 13)
        self.assertIn("not found", self.shown(3))
        self.assertIn("smaller than usual", self.shown(3))  # the blocks are small organs
        self.ui.statisticsTable.sortItems(1, qt.Qt.DescendingOrder)
        self.assertEqual(self.shown(0)[:2], ["Liver", "Spleen"])
        row = self.shown(3).index("smaller than usual")
        self.assertNotEqual(
            self.ui.statisticsTable.item(row, 1).background().color().name(), "#000000"
        )

    def test_a_click_jumps_to_the_organ_and_the_others_fade(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        node = self.ui.outputSelector.currentNode()
        display = node.GetDisplayNode()
        ids = library("scene.segment_identity").organ_segment_ids(node)
        before = {key: display.GetSegmentOpacity2DFill(ids[key]) for key in ids}
        if not self.nodes("vtkMRMLSliceNode"):  # an application without views
            slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode").SetLayoutName("Red")
        self.panel.statistics.select("spleen")
        self.assertEqual(display.GetSegmentOpacity2DFill(ids["spleen"]), before["spleen"])
        self.assertLess(display.GetSegmentOpacity2DFill(ids["liver"]), before["liver"])
        centre = library("statistics.nodes").organ_centre(node, "spleen")
        for slice_node in self.nodes("vtkMRMLSliceNode"):
            to_ras = slice_node.GetSliceToRAS()
            normal = [to_ras.GetElement(axis, 2) for axis in range(3)]
            away = sum(n * (c - to_ras.GetElement(a, 3)) for a, (n, c) in
                       enumerate(zip(normal, centre, strict=True)))  # fmt: skip
            self.assertLess(abs(away), 2.0)  # mm: the slice goes through the organ
        self.ui.showAllButton.click()
        self.assertEqual({key: display.GetSegmentOpacity2DFill(ids[key]) for key in ids}, before)

    def test_the_scene_has_the_numbers_as_a_table_once(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        self.apply()
        shown = [node for node in self.nodes("vtkMRMLTableNode") if not node.GetHideFromEditors()]
        self.assertEqual(len(shown), 1)
        self.assertEqual(shown[0].GetNumberOfRows(), 13)

    def test_an_organ_that_was_not_found_can_be_clicked_too(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        self.panel.statistics.select("pancreas")
        self.assertFalse(self.ui.showAllButton.enabled)

    def test_copy_and_csv_hold_the_table(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        self.ui.copyButton.click()
        lines = slicer.app.clipboard().text().splitlines()
        self.assertEqual(len(lines), 14)
        self.assertTrue(lines[0].startswith("Organ\tmL"))
        path = self.folder / "numbers.csv"
        self.panel.statistics.write_csv(path)
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        self.assertEqual({row["organ"] for row in rows if row["measure"] == "volume"},
                         {line.key for line in self.panel.statistics._table.lines})  # fmt: skip
        self.assertIn(str(path), self.ui.statisticsNote.text)
        self.panel.statistics.write_csv(self.folder / "missing" / "x.csv")
        self.assertIn("Not written", self.ui.statisticsNote.text)

    def test_chart_makes_a_plot_and_a_second_click_no_second_one(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        self.ui.chartButton.click()
        until(lambda: self.nodes("vtkMRMLPlotChartNode"), "the chart")
        pump(0.5)
        self.ui.chartButton.click()
        pump(0.5)
        self.assertEqual(len(self.nodes("vtkMRMLPlotChartNode")), 1)

    def test_a_segment_that_is_no_organ_is_offered_as_a_lesion(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        node = self.ui.outputSelector.currentNode()
        number = node.GetSegmentation().AddEmptySegment("", "Metastasis")
        until(lambda: "Metastasis" in self.ui.extrasLabel.text, "the offer")
        self.panel.correction._store_as_lesion(number)
        self.assertIn("lesion", self.panel.correction.review.keys)

    def test_the_tables_fit_into_a_dock(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        self.top.resize(420, 900)
        self.top.show()
        pump(0.1)
        for table in (self.ui.statisticsTable, self.ui.reviewTable):
            self.assertEqual(table.horizontalScrollBar().maximum, 0)

    # --- correction

    def erase_spleen(self) -> None:
        """What the eraser does, without a mouse."""
        node = self.ui.outputSelector.currentNode()
        number = library("scene.segment_identity").organ_segment_ids(node)["spleen"]
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.ClearSegment(node, number)
        node.GetSegmentation().InvokeEvent(
            slicer.vtkSegmentation.SourceRepresentationModified, number
        )

    def test_statistics_follow_a_correction(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        self.erase_spleen()
        row = self.panel.correction.review.keys.index("spleen")

        def changed() -> bool:
            item = self.ui.reviewTable.item(row, 3)
            return item is not None and "erased" in item.text()

        until(changed, "what was changed")
        self.assertIn(str(8 * 14 * 10), self.ui.reviewTable.item(row, 3).toolTip())
        volumes = dict(zip(self.shown(0), self.shown(1), strict=True))
        self.assertEqual(volumes["Spleen"], "0")

    def test_a_reviewed_case_is_added_and_its_history_shown(self) -> None:
        add_ct()
        self.open_panel()
        self.apply()
        self.assertFalse(self.ui.addButton.enabled)
        self.panel.correction.review.tick("liver")
        self.panel.correction.review.tick("pancreas")  # not there, and nobody said why
        self.assertIn("name", self.ui.addButton.toolTip)
        self.ui.authorEdit.text = "Dr. Self-Test"
        self.assertIn("patient", self.ui.addButton.toolTip)
        self.ui.patientEdit.text = "P1"
        self.assertIn("Pancreas", self.ui.addButton.toolTip)
        self.panel.correction.review.say_absent("pancreas")
        self.assertTrue(self.ui.addButton.enabled)
        self.assertIn("Spleen", self.panel.correction.summary())
        for number in (1, 2):
            self.ui.addButton.click()
            until(lambda: "version" in self.ui.correctionMessage.text
                  or "needed" in self.ui.correctionMessage.text, "an answer")  # fmt: skip
            self.assertIn(f"version {number}", self.ui.correctionMessage.text)
            self.ui.correctionMessage.text = ""
        until(lambda: self.ui.historyTable.rowCount == 2, "the history")
        self.assertEqual(self.ui.historyTable.item(0, 2).text(), "Dr. Self-Test")
        library("core_path").make_importable()
        from flare_core.cases.store import open_store

        with open_store(self.panel.correction.folder) as store:
            (case,) = store.cases()
            facts = store.versions(case.name)[-1].facts
        self.assertEqual(set(facts.annotated), {"liver", "pancreas"})
        self.assertEqual(facts.absent, ("pancreas",))
        self.assertEqual(qt.QSettings().value(self.keys()[0]), "Dr. Self-Test")

    def test_another_module_can_ask_for_a_correction(self) -> None:
        volume = add_ct()
        self.open_panel()
        self.apply()
        segmentation = self.ui.outputSelector.currentNode()
        self.ui.inputSelector.setCurrentNode(add_ct(name="other"))
        self.ui.correctionSection.collapsed = True
        self.panel.correct(volume, segmentation, self.folder / "other set", "Dr. Train")
        self.assertEqual(self.panel.correction.folder, self.folder / "other set")
        self.assertEqual(self.ui.authorEdit.text, "Dr. Train")
        self.assertEqual(self.ui.inputSelector.currentNode(), volume)
        self.assertEqual(self.ui.outputSelector.currentNode(), segmentation)
        self.assertFalse(self.ui.correctionSection.collapsed)

    def test_the_editor_opens_on_the_chosen_organ(self) -> None:
        if not hasattr(slicer, "qMRMLSegmentEditorWidget"):
            self.skipTest("this application has no Segment Editor")
        volume = add_ct()
        self.open_panel()
        self.apply()
        self.panel.correction.review.choose("spleen")
        self.ui.editButton.click()
        node = self.ui.outputSelector.currentNode()
        editor = library("correction.editor").editor_node()
        ids = library("scene.segment_identity").organ_segment_ids(node)
        self.assertEqual(editor.GetSegmentationNode(), node)
        self.assertEqual(editor.GetSourceVolumeNode(), volume)
        self.assertEqual(editor.GetSelectedSegmentID(), ids["spleen"])
        self.panel.exit()
        self.assertIsNone(self.panel.correction.editor._widget.activeEffect())
