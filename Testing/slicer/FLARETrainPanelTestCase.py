"""Self-tests of FLARETrain's panel: the training set. No torch, no network, no dialog."""

from __future__ import annotations

from pathlib import Path

from self_test_scene import add_ct, pump, until
from train_self_test import TrainPanelTestCase, library

import slicer


class FLARETrainPanelTestCase(TrainPanelTestCase):
    """What a person sees and does with cases."""

    # --- cases

    def test_cases_are_shown_with_counts_pictures_and_facts(self) -> None:
        self.open_panel()
        self.assertEqual(sorted(self.shown()), ["anna", "hans", "paul", "una"])
        self.assertIn("4 cases", self.ui.countLabel.text)
        self.assertIn("not a medical device", self.ui.disclaimerLabel.text)
        until(lambda: len(list((self.folder / "home").rglob("*-axial.png"))) == 4, "the pictures")
        pump(0.1)
        self.assertIn("<img", self.ui.caseTable.item(0, 0).toolTip())
        self.assertFalse(self.ui.nextButton.visible)

    def test_search_filter_and_sort(self) -> None:
        self.open_panel()
        self.ui.searchEdit.text = "an"
        self.assertEqual(sorted(self.shown()), ["anna", "hans"])
        self.ui.searchEdit.text = ""
        self.ui.statusBox.setCurrentText("pseudo labels")
        self.assertEqual(self.shown(), ["paul"])
        self.ui.statusBox.setCurrentIndex(0)
        self.ui.caseTable.horizontalHeader().sectionClicked(0)
        self.assertEqual(self.shown(), ["anna", "hans", "paul", "una"])
        self.ui.caseTable.horizontalHeader().sectionClicked(0)
        self.assertEqual(self.shown(), ["una", "paul", "hans", "anna"])

    def test_buttons_offer_what_fits_the_selection(self) -> None:
        self.open_panel()
        self.assertFalse(self.ui.openButton.enabled or self.ui.acceptButton.enabled)
        self.choose("paul")
        self.assertTrue(self.ui.openButton.enabled and self.ui.rejectButton.enabled)
        self.choose("paul", "anna")
        self.assertTrue(self.ui.acceptButton.enabled and not self.ui.openButton.enabled)
        self.choose("una")
        self.assertTrue(self.ui.openButton.enabled and not self.ui.acceptButton.enabled)
        self.assertFalse(self.ui.keepAsideButton.enabled)  # the hold-out is chosen once

    def test_a_rejected_case_says_who_and_why(self) -> None:
        from flare_core.cases.store import open_store

        self.open_panel()
        self.choose("paul")
        self.ui.authorEdit.text = ""
        self.ui.rejectButton.click()
        self.assertIn("name", self.ui.caseMessage.text)
        self.ui.authorEdit.text, self.ui.reasonEdit.text = "Ada", "leaks"
        self.ui.rejectButton.click()
        until(lambda: "rejected" in self.ui.countLabel.text, "the rejection")
        with open_store(self.store) as store:
            self.assertEqual(store.history("paul")[-1].author, "Ada")
            self.assertIn("leaks", store.history("paul")[-1].detail)

    def test_opening_clears_nothing_and_shows_the_organs(self) -> None:
        mine = add_ct(name="mine")
        self.open_panel()
        self.choose("paul")
        self.ui.openButton.click()
        until(lambda: "in the scene" in self.ui.caseMessage.text, "the case")
        self.assertIsNotNone(mine.GetScene())
        segmentation = slicer.util.getNode("paul organs")
        names = [
            segmentation.GetSegmentation().GetNthSegment(n).GetName()
            for n in range(segmentation.GetSegmentation().GetNumberOfSegments())
        ]
        self.assertEqual(names, ["Liver", "Spleen"])
        self.assertTrue(segmentation.GetDisplayNode().GetVisibility())

    def test_correcting_goes_to_flareseg_with_the_same_folder(self) -> None:
        self.open_panel()
        self.choose("paul")
        self.ui.correctButton.click()
        until(lambda: "in the scene" in self.ui.caseMessage.text, "the case")
        seg = slicer.util.getModuleWidget("FLARESeg")
        until(lambda: seg.ui.historyTable.rowCount > 0, "the case's versions")
        self.assertEqual(Path(seg.ui.storeEdit.currentPath), self.store)
        self.assertEqual(seg.ui.outputSelector.currentNode().GetName(), "paul organs")
        self.assertEqual(seg.ui.reviewTable.rowCount, 2)
        self.assertEqual(seg.ui.historyTable.rowCount, 1)

    def test_a_folder_without_a_store_says_what_to_do(self) -> None:
        self.open_panel()
        self.ui.storeEdit.currentPath = str(self.folder / "nothing here")
        until(lambda: not self.panel.cases.listing.rows, "the empty listing")
        self.assertIn("Add a case", self.ui.countLabel.text)
        self.assertFalse((self.folder / "nothing here").exists())
        self.assertFalse(self.ui.startButton.enabled)

    def test_a_scene_that_is_closed_leaves_the_training_set(self) -> None:
        self.open_panel()
        self.panel.open("paul")
        until(lambda: "in the scene" in self.ui.caseMessage.text, "the case")
        self.panel.scene_closes()
        slicer.mrmlScene.Clear()
        self.panel.enter()
        pump(0.2)
        self.assertEqual(len(self.shown()), 4)

    def test_ten_thousand_cases_stay_in_pages(self) -> None:
        from dataclasses import replace

        rows = library("cases.rows")
        self.open_panel()
        known = self.panel.cases.listing.rows[0]
        many = tuple(
            replace(known, record=replace(known.record, name=f"case{n:05d}")) for n in range(10_000)
        )
        self.panel.cases.listing = rows.Listing(many)
        self.panel.cases.refill()
        self.assertEqual(self.ui.caseTable.rowCount, rows.PAGE)
        self.assertEqual(self.ui.pageLabel.text, f"Page 1 of {10_000 // rows.PAGE}")
        self.ui.nextButton.click()
        self.assertEqual(self.shown()[0], f"case{rows.PAGE:05d}")
        self.ui.searchEdit.text = "case09999"
        self.assertEqual(self.shown(), ["case09999"])

    # --- adding

    def test_a_loaded_volume_becomes_a_case(self) -> None:
        volume = add_ct(name="CT of today")
        self.open_panel()
        self.assertFalse(self.ui.addButton.enabled)
        self.assertIn("Choose", self.ui.addButton.toolTip)
        self.ui.volumeSelector.setCurrentNode(volume)
        self.assertIn("patient", self.ui.addButton.toolTip)
        self.ui.patientEdit.text = "P9"
        self.ui.nameEdit.text = "today"
        self.ui.addButton.click()
        until(lambda: "today" in self.shown(), "the new case")
        self.assertIn("Added", self.ui.addMessage.text)
        self.ui.nameEdit.text = "tomorrow"
        self.ui.addButton.click()
        until(lambda: "already" in self.ui.addMessage.text, "the answer")
        self.assertIn("case today already", self.ui.addMessage.text)
        self.assertNotIn("tomorrow", self.shown())
