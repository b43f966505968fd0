"""Self-tests of FLARETrain's panel: cases, adding, training, curves, comparison; no torch."""

from __future__ import annotations

import gc
import importlib
import json
import shutil
import sys
import tempfile
import traceback
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import qt
from self_test_scene import add_ct, pump, until

import slicer

HERE = Path(__file__).resolve().parent
LOG = (
    {"event": "step", "phase": 0, "step": 20, "loss": 0.8, "phase_fraction": 0.5},
    {"event": "validation", "step": 20, "dsc": {"liver": 0.6, "spleen": 0.4}},
    {"event": "step", "phase": 0, "step": 40, "loss": 0.6, "phase_fraction": 1.0},
    {"event": "validation", "step": 40, "dsc": {"liver": 0.8, "spleen": 0.6}},
)
CHANGE = {"organ": "liver", "cases": 1, "old": 0.7, "new": 0.8, "low": 0.0, "high": 0.2}
VERDICT = {
    "promote": True,
    "reason": "Not worse on 1 hold-out cases.",
    "changes": [CHANGE | {"metric": "dsc", "worse": ""}, CHANGE | {"metric": "nsd", "worse": ""}],
    "old": {"dsc": 0.7, "nsd": 0.7},
    "new": {"dsc": 0.8, "nsd": 0.8},
}


def library(name: str) -> Any:
    """A module of FLARETrainLib, through the module as Slicer has loaded it."""
    folder = HERE.parents[1] / "FLARETrain"
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module("FLARETrain").library(name)


def ui_file() -> str:
    folder = HERE.parents[1] / "FLARETrain"
    if not folder.is_dir():
        folder = Path(slicer.util.modulePath("FLARETrain")).parent
    return str(folder / "Resources" / "UI" / "FLARETrain.ui")


class FLARETrainPanelTestCase(unittest.TestCase):
    """What a person sees and does."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        library("logic")
        from train_store import make_store

        self.folder = Path(tempfile.mkdtemp(prefix="FLARETrain self-test ü "))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.store = make_store(self.folder)
        self.keep_settings()
        self.commands: list[list[str]] = []
        self.unseen: list[str] = []
        hook = mock.patch.object(sys, "excepthook", self.keep_error)
        hook.start()
        self.addCleanup(hook.stop)
        self.panel: Any = None

    def keep_settings(self) -> None:
        """A person's name and folder are theirs."""
        keys = ("FLARESeg/Author", "FLARESeg/TrainingSet", "FLARETrain/Student")
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

    def command(self, words: Any) -> list[str]:
        """What is run instead of ``flare``: a Python that prints what `next` would."""
        self.commands.append([str(word) for word in words])
        rows = [{"case": "una", "reason": "liver: 80 % sure"}]
        code = f"print({json.dumps(json.dumps(rows))})"
        return [shutil.which("PythonSlicer") or sys.executable, "-c", code]

    def open_panel(self) -> Any:
        """A panel as Slicer would show it, on this test's own store and home."""
        from flare_core.store.home import open_home

        self.top = slicer.util.loadUI(ui_file())
        self.top.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.top)
        home = open_home(self.folder / "home")
        self.logic = library("logic").FLARETrainLogic(home, command=self.command)
        self.panel = library("panel").Panel(self.ui, self.logic)
        self.ui.storeEdit.currentPath = str(self.store)
        self.ui.authorEdit.text = "Ada"
        self.panel.enter()
        until(lambda: len(self.panel.cases.listing.rows) == 4, "the listing")
        return self.panel

    def make_run(self, name: str = "mine-1", status: str = "done") -> Path:
        """A run's folder as the rounds leave it."""
        run = self.folder / "home" / "runs" / name
        student = run / "round-01" / "student-0"
        student.mkdir(parents=True)
        facts = {"name": "mine", "rounds": 1, "strategy": {"kind": "confident"}}
        steps = dict.fromkeys(("predict", "evidence", "select", "labels", "train"), "now")
        state = {"status": status, "round": 1, "step": "promote", "done": {"1": steps}}
        (run / "settings.json").write_text(json.dumps({**facts, "store": str(self.store)}))
        (run / "state.json").write_text(json.dumps({**state, "message": "All rounds."}))
        (run / "round-01" / "verdict.json").write_text(json.dumps(VERDICT))
        (student / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LOG))
        return run

    def shown(self) -> list[str]:
        table = self.ui.caseTable
        return [table.item(row, 0).text() for row in range(table.rowCount)]

    def choose(self, *names: str) -> None:
        self.panel.cases.table.select(set(names))

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
        from flare_core.store.cases import open_store

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
        pump(0.2)
        seg = slicer.util.getModuleWidget("FLARESeg")
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

        rows = library("case_rows")
        self.open_panel()
        known = self.panel.cases.listing.rows[0]
        many = tuple(
            replace(known, record=replace(known.record, name=f"case{n:05d}")) for n in range(10_000)
        )
        self.panel.cases.listing = rows.Listing(many)
        self.panel.cases.refill()
        self.assertEqual(self.ui.caseTable.rowCount, rows.PAGE)
        self.assertEqual(self.ui.pageLabel.text, "Page 1 of 100")
        self.ui.nextButton.click()
        self.assertEqual(self.shown()[0], "case00100")
        self.ui.searchEdit.text = "case09999"
        self.assertEqual(self.shown(), ["case09999"])

    # --- adding

    def test_a_loaded_volume_becomes_a_case(self) -> None:
        volume = add_ct(name="CT of today")
        self.open_panel()
        self.assertFalse(self.ui.addButton.enabled)
        self.assertIn("Choose", self.ui.addButton.toolTip)
        self.ui.volumeSelector.setCurrentNode(volume)
        self.ui.nameEdit.text = "today"
        self.ui.addButton.click()
        until(lambda: "today" in self.shown(), "the new case")
        self.assertIn("Added", self.ui.addMessage.text)
        self.ui.nameEdit.text = "tomorrow"
        self.ui.addButton.click()
        until(lambda: self.ui.addButton.enabled, "the refusal")
        self.assertIn("today", self.ui.addMessage.text)

    # --- training

    def test_start_writes_the_request_and_starts_a_process_of_its_own(self) -> None:
        self.open_panel()
        self.ui.minutesBox.value = 12
        self.ui.modelNameEdit.text = "ours"
        self.ui.strategyBox.setCurrentIndex(1)
        self.assertTrue(self.ui.startButton.enabled, self.ui.startMessage.text)
        self.ui.startButton.click()
        run = next((self.folder / "home" / "runs").iterdir())
        request = json.loads((run / "request.json").read_text("utf-8"))
        self.assertEqual((request["name"], request["minutes"]), ("ours", 12))
        self.assertEqual(request["strategy"], {"kind": "confident"})
        self.assertEqual(self.commands[0][:2], ["rounds", "start"])
        self.assertEqual(self.ui.runBox.currentText, run.name)
        until(lambda: "Failed" in self.ui.runLabel.text, "the end of the double")
        self.assertTrue(self.ui.resumeButton.enabled)

    def test_a_name_that_cannot_be_is_said_in_words(self) -> None:
        self.open_panel()
        self.ui.modelNameEdit.text = "Our Model"
        self.ui.startButton.click()
        self.assertIn("name", self.ui.startMessage.text)
        self.assertEqual(self.commands, [])

    def test_without_patients_kept_aside_it_says_what_to_do(self) -> None:
        from dataclasses import replace

        self.open_panel()
        self.panel.training.show_listing(replace(self.panel.cases.listing, hold_out=()))
        self.assertFalse(self.ui.startButton.enabled)
        self.assertIn("Keep aside", self.ui.startMessage.text)

    # --- the run

    def test_a_run_shows_numbers_curves_comparison_and_what_comes_next(self) -> None:
        self.make_run()
        self.open_panel()
        until(lambda: self.ui.comparisonTable.rowCount == 2, "the comparison")
        self.assertIn("loss 0.600", self.ui.numbersLabel.text)
        self.assertIn("All rounds", self.ui.runLabel.text)
        self.assertEqual(self.ui.progressBar.value, 1000)
        self.assertEqual(self.ui.comparisonTable.item(1, 3).text(), "+0.100")
        self.ui.lossButton.click()
        self.ui.dscButton.click()
        charts = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
        self.assertEqual([c.GetNumberOfPlotSeriesNodes() for c in charts], [1, 3])
        until(lambda: self.shown()[0] == "una", "the list of what to look at next")
        self.assertIn("80 % sure", self.ui.caseTable.item(0, 9).text())

    def test_stop_resume_and_promote_ask_the_right_commands(self) -> None:
        run = self.make_run(status="stopped")
        self.open_panel()
        until(lambda: self.ui.resumeButton.enabled, "the run")
        self.assertFalse(self.ui.stopButton.enabled)
        self.ui.promoteButton.click()
        until(lambda: "Promoted" in self.ui.comparisonMessage.text, "the promotion")
        self.assertIn(["rounds", "promote", str(run), "--round", "1"], self.commands)
        self.ui.resumeButton.click()
        self.assertEqual(self.commands[-1][:3], ["rounds", "resume", str(run)])

    def test_rolling_back_tells_which_model_is_used_again(self) -> None:
        from flare_core.store.in_use import put_in_use

        self.make_run()
        self.open_panel()
        for model in ("mine@1.0.0", "mine@1.1.0"):
            put_in_use(self.logic.home, "mine", model)
        until(lambda: self.ui.rollBackButton.enabled, "the run")
        self.ui.rollBackButton.click()
        self.assertIn("mine@1.0.0", self.ui.comparisonMessage.text)
        self.assertFalse(self.ui.rollBackButton.enabled)

    def test_choices_are_kept_with_the_scene(self) -> None:
        self.open_panel()
        self.ui.minutesBox.value = 7
        self.ui.strategyBox.setCurrentIndex(2)
        self.panel.exit()
        parameters = library("parameters").parameter_node()
        self.assertEqual((parameters.minutes, parameters.strategy), (7, "agreement"))
        self.panel.enter()
        self.assertEqual(self.ui.strategyBox.currentIndex, 2)
        self.assertEqual(qt.QSettings().value("FLARESeg/TrainingSet"), str(self.store))
