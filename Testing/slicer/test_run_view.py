"""The words and states a run shows. The widgets are stand-ins that only remember what they got."""

from __future__ import annotations

import pytest
from FLARESegLib.run.facts import RunProgress
from FLARESegLib.run.failures import RunFailed, Stopped
from FLARESegLib.run.view import RunDisplay
from qt_double import Palette


class Widget:
    """Remembers what a setter was given last, and the lines appended."""

    palette = Palette()

    def __init__(self):
        self.got, self.lines = {}, []

    def __getattr__(self, name):
        if name.startswith("set"):
            return lambda value: self.got.__setitem__(name.removeprefix("set"), value)
        raise AttributeError(name)

    def appendPlainText(self, text):  # noqa: N802 - Qt's name
        self.lines.append(text)


class Widgets:
    def __init__(self):
        self.applyButton, self.progressBar = Widget(), Widget()
        self.messageLabel, self.logView = Widget(), Widget()


@pytest.fixture
def widgets():
    return Widgets()


def test_apply_that_cannot_be_pressed_says_why(widgets):
    RunDisplay(widgets).show_ready("Choose a CT volume first.")
    assert widgets.applyButton.got == {
        "Text": "Apply", "Enabled": False, "ToolTip": "Choose a CT volume first.",
    }  # fmt: skip
    assert widgets.progressBar.got["Visible"] is False


def test_a_run_offers_cancel_and_forgets_the_last_message(widgets):
    view = RunDisplay(widgets)
    view.say("old", "bad")
    view.show_started()
    assert widgets.applyButton.got["Text"] == "Cancel" and widgets.applyButton.got["Enabled"]
    assert widgets.progressBar.got == {"Visible": True, "Value": 0}
    assert widgets.messageLabel.got == {"StyleSheet": "", "Text": ""}
    view.show_stopping()
    assert widgets.applyButton.got["Enabled"] is False


def test_progress_moves_the_bar_and_logs_each_stage_once(widgets):
    view = RunDisplay(widgets)
    for fraction in (0.1, 0.2, 0.3):
        view.show_progress(RunProgress("organs", fraction, 8.0))
    view.show_progress(RunProgress("statistics", 0.9))
    assert widgets.progressBar.got["Value"] == 900
    assert widgets.progressBar.got["Format"] == "Measuring the organs - 90 %"
    assert len(widgets.logView.lines) == 2


def test_an_error_is_told_in_words_and_logged_as_it_is(widgets):
    view = RunDisplay(widgets)
    view.show_error(RunFailed("worker_died", "code -11\n last words"))
    assert "ended unexpectedly" in widgets.messageLabel.got["Text"]
    assert widgets.messageLabel.got["StyleSheet"]
    assert "last words" in widgets.logView.lines[-1]


def test_who_pressed_cancel_is_not_told_of_an_error(widgets):
    RunDisplay(widgets).show_error(Stopped())
    assert widgets.messageLabel.got["StyleSheet"] == ""
    assert widgets.messageLabel.got["Text"].startswith("Stopped")


@pytest.mark.parametrize("kind", ["scene_closed", "node_removed", "shutdown"])
def test_whoever_closed_the_scene_is_not_told_of_an_error(widgets, kind):
    RunDisplay(widgets).show_error(Stopped(kind))
    assert widgets.messageLabel.got["StyleSheet"] == ""


def test_notes_about_the_scan_are_not_the_green_headline(widgets):
    RunDisplay(widgets).show_done("4 organs in 3 s.", ("Slices are 7 mm apart: < 5 mm is better.",))
    head, note = widgets.messageLabel.got["Text"].split("<br>")
    assert "color" in head and "4 organs" in head
    assert note == "Slices are 7 mm apart: &lt; 5 mm is better."
    assert widgets.messageLabel.got["StyleSheet"] == ""


def test_a_cancel_that_comes_too_late_promises_nothing(widgets):
    view = RunDisplay(widgets)
    view.show_stopping()
    view.show_too_late()
    assert "Too late" in widgets.messageLabel.got["Text"]
    assert widgets.applyButton.got["Text"] == "Cancel"
    assert widgets.applyButton.got["Enabled"] is False
