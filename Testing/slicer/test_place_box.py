"""Where a CT is segmented: nothing leaves before somebody has agreed."""

from __future__ import annotations

import qt_double

qt_double.install()

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from FLARESegLib.qt import dialogs  # noqa: E402

import slicer  # noqa: E402

pytest_plugins = ["panel_double"]
THERE = {"address": "gpu.hospital.org:8765", "token": "secret of these tests, long enough"}
UI = Path(__file__).resolve().parents[2] / "FLARESeg" / "Resources" / "UI" / "FLARESeg.ui"


@pytest.fixture
def asked(monkeypatch):
    """The questions that were asked; the answer is `asked.answer`."""

    class Asked(list):
        answer = True

    questions = Asked()

    def agree(text):
        questions.append(text)
        return questions.answer

    monkeypatch.setattr(dialogs, "agree", agree)
    return questions


@pytest.fixture
def ct(add_volume, small_ct):
    volume = add_volume(small_ct[0], name="CT")
    volume.CreateDefaultDisplayNodes()
    return volume


def choose(ui, **facts):
    ui.placeBox.setCurrentIndex(1)
    ui.addressEdit.setText(facts.get("address", THERE["address"]))
    ui.tokenEdit.setText(facts.get("token", THERE["token"]))


def apply(bench):
    """Press Apply; return the run, if one began."""
    before = len(bench.logic.runs)
    bench.ui.applyButton.click()
    return bench.logic.runs[-1] if len(bench.logic.runs) > before else None


def test_this_computer_is_the_default_and_asks_nothing(bench, ct, asked):
    bench.panel.enter()
    assert not bench.ui.addressEdit.visible and not bench.ui.placeNote.visible
    assert apply(bench).told["on"] is None
    assert asked == []


def test_a_ct_leaves_only_after_a_sentence_that_is_confirmed(bench, ct, asked):
    bench.panel.enter()
    choose(bench.ui)
    assert bench.ui.addressEdit.visible and bench.ui.placeNote.visible
    asked.answer = False
    assert apply(bench) is None
    assert "nothing has left" in bench.ui.messageLabel.text
    assert "gpu.hospital.org:8765" in asked[0] and "(encrypted)" in asked[0]
    asked.answer = True
    run = apply(bench)
    assert run.told["on"] == {**THERE, "certificate": None}
    run.cancel()
    assert apply(bench) is not None
    assert len(asked) == 2  # once for each server
    bench.logic.runs[-1].cancel()
    bench.ui.addressEdit.setText("127.0.0.1:9")
    assert apply(bench) is not None
    assert "(not encrypted)" in asked[2]


@pytest.mark.parametrize(("facts", "words"), [
    ({"address": ""}, "fill in"), ({"token": " "}, "fill in"),
    ({"address": "gpu"}, "HOST:PORT"), ({"token": "short"}, "no token"),
])  # fmt: skip
def test_what_is_missing_is_said_on_the_button(bench, ct, facts, words):
    bench.panel.enter()
    choose(bench.ui, **facts)
    assert not bench.ui.applyButton.enabled
    assert words in bench.ui.applyButton.toolTip
    assert "short" not in bench.ui.applyButton.toolTip
    bench.ui.placeBox.setCurrentIndex(0)
    assert bench.ui.applyButton.enabled


def test_is_kept_with_the_person_and_not_in_the_scene(bench, ct):
    from FLARESegLib.run.place_box import PlaceBox

    bench.panel.enter()
    choose(bench.ui)
    bench.ui.certificateEdit.currentPath = "/c.pem"
    assert THERE["token"] not in repr(vars(bench.parameters))
    assert PlaceBox(qt_double.Ui(UI)).on == {**THERE, "certificate": "/c.pem"}
    bench.ui.placeBox.setCurrentIndex(0)
    again = qt_double.Ui(UI)
    assert PlaceBox(again).on is None
    assert again.tokenEdit.text == THERE["token"]


def test_nobody_there_to_ask_means_no(bench, ct):
    bench.panel.enter()
    choose(bench.ui)
    assert slicer.util.mainWindow() is None
    assert apply(bench) is None


def test_all_time_points_go_to_the_same_place(bench, ct, asked, monkeypatch):
    from FLARESegLib.run import all_times
    from FLARESegLib.run.all_times import AllTimes, Listeners

    class Series:
        segmentation = None

        def __init__(self, volume, times):
            del volume, times

    class Times:
        values, shown = (0, 1), 0

        def show(self, number):
            del number

    monkeypatch.setattr(all_times, "Series", Series)
    told = Listeners(print, print, print)
    AllTimes(bench.logic, ct, Times(), None, told, on=THERE)
    assert bench.logic.runs[-1].told["on"] == THERE
