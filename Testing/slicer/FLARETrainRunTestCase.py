"""Self-tests of FLARETrain's panel: training, curves, comparison. No torch, no dialog."""

from __future__ import annotations

import json

import qt
from self_test_scene import until
from train_self_test import TrainPanelTestCase, library

import slicer


class FLARETrainRunTestCase(TrainPanelTestCase):
    """What a person sees and does with runs."""

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
        from flare_core.models.in_use import put_in_use

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
