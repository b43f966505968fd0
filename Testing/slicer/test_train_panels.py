"""The sections of FLARETrain's panel, each by itself; Qt and the logic are doubles."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import qt_double

qt_double.install()

from FLARESegLib.qt.event_loop import PlainLoop  # noqa: E402
from FLARETrainLib.cases.add_panel import AddPanel  # noqa: E402
from FLARETrainLib.cases.panel import CasesPanel, cases_text, patients_text  # noqa: E402
from FLARETrainLib.comparison.panel import ComparisonPanel  # noqa: E402
from FLARETrainLib.run.panel import RunPanel  # noqa: E402
from train_store import make_store  # noqa: E402

import slicer  # noqa: E402
from flare_core.cases.store import open_store  # noqa: E402
from flare_core.home import Home  # noqa: E402

UI = Path(__file__).resolve().parents[2] / "FLARETrain" / "Resources" / "UI" / "FLARETrain.ui"
CHANGE = {"organ": "liver", "cases": 1, "old": 0.0, "new": 0.0, "low": 0.0, "high": 0.0}


def until(loop, condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        loop.pump(0.02)


@pytest.fixture
def ui():
    return qt_double.Ui(UI)


@pytest.fixture
def logic(tmp_path):
    return SimpleNamespace(loop=PlainLoop(), home=Home(tmp_path / "home"))


@pytest.fixture
def nobody_asked(monkeypatch):
    """Without an application nobody is asked, and everything is agreed to."""
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None)


@pytest.fixture
def cases(ui, logic, tmp_path, nobody_asked):
    """The section on a training set in which nobody was kept aside yet."""
    folder = make_store(tmp_path)
    fresh = tmp_path / "fresh"
    with open_store(fresh, create=True) as store, open_store(folder) as old:
        for name in ("anna", "paul", "una"):
            store.add_case(tmp_path / f"{name}.nii.gz", patient=f"patient-{name}")
            if name != "una":
                version = old.version(name, 1)
                store.add_labels(name, version.path, version.facts)
    panel = CasesPanel(ui, logic, lambda: fresh)
    panel.reload()
    until(logic.loop, lambda: len(panel.listing.rows) == 3)
    yield panel
    panel.cleanup()


def choose(panel, *names):
    panel.table.select(set(names))


def test_counts_add_up_and_say_what_is_held_out(cases, ui, logic):
    assert ui.countLabel.text == "3 cases: 1 unlabelled, 1 pseudo labels, 1 accepted"
    choose(cases, "anna")
    ui.keepAsideButton.click()
    until(logic.loop, lambda: "held out" in ui.countLabel.text)
    assert ui.countLabel.text.endswith("1 accepted; 1 of them held out")
    assert ui.caseMessage.text == "Kept aside: 1 patient."


def test_only_labelled_patients_can_be_kept_aside(cases, ui):
    choose(cases, "anna")
    assert ui.keepAsideButton.enabled
    for names in (("una",), ("paul",), ("anna", "una")):
        choose(cases, *names)
        assert not ui.keepAsideButton.enabled
        assert f"patient-{names[-1]}" in ui.keepAsideButton.toolTip


def test_one_is_one():
    assert (cases_text(1, 1), patients_text(1)) == ("1 case", "1 patient")
    assert (cases_text(2, 2), patients_text(2)) == ("2 cases", "2 patients")


# --- adding


def test_adding_asks_for_the_patient_and_says_what_became_of_it(
    ui, logic, tmp_path, add_volume, small_ct
):
    added = []
    panel = AddPanel(ui, logic.loop, lambda: tmp_path / "store")
    panel.added.connect(added.append)
    ui.volumeSelector.setCurrentNode(add_volume(small_ct[0], name="today"))
    assert "patient" in ui.addButton.toolTip and not ui.addButton.enabled
    ui.patientEdit.text = "P1"
    for text in ("Added as case today.", "already; nothing was added"):
        assert ui.addButton.enabled
        ui.addButton.click()
        until(logic.loop, lambda text=text: text in ui.addMessage.text)
        ui.nameEdit.text = "another name"
    assert added == ["today", "today"]


def test_segments_that_are_no_organ_are_told(ui, logic, tmp_path, add_volume, small_ct):
    from scene_nodes import show_result

    volume = add_volume(small_ct[0], name="today")
    node = show_result(volume, small_ct[1])
    node.GetSegmentation().AddEmptySegment("", "Metastasis")
    AddPanel(ui, logic.loop, lambda: tmp_path / "store")
    ui.volumeSelector.setCurrentNode(volume)
    ui.patientEdit.text = "P1"
    assert ui.segmentationSelector.currentNode() is node
    ui.addButton.click()
    until(logic.loop, lambda: "Added" in ui.addMessage.text)
    assert ui.addMessage.text.endswith("not stored: Metastasis.")


def test_a_dicom_scan_brings_its_pseudonym(ui, logic, tmp_path, add_volume, small_ct):
    AddPanel(ui, logic.loop, lambda: tmp_path / "store")
    volume = add_volume(small_ct[0], name="DOE JANE")
    volume.SetAttribute("DICOM.PatientID", "MRN-4711")
    ui.volumeSelector.setCurrentNode(volume)
    assert ui.patientEdit.text.startswith("patient-") and ui.addButton.enabled


# --- old against new


class Models:
    """A logic that has one model in use, by a folder."""

    def __init__(self, path):
        self.path = path

    def in_use(self, name):
        return self.path

    def can_roll_back(self, name):
        return True

    def roll_back(self, name):
        return self.path


def view_of(old, new, promote):
    changes = [CHANGE | {"metric": "dsc", "worse": "", "old": old, "new": new}]
    verdict = {"promote": promote, "reason": "r", "changes": changes,
               "old": {"dsc": old}, "new": {"dsc": new}}  # fmt: skip
    return SimpleNamespace(
        folder=Path("run"), state=SimpleNamespace(name="mine"),
        verdicts=((1, verdict),), promotions=(),
    )  # fmt: skip


def test_a_model_that_finds_nothing_is_not_offered(ui):
    panel = ComparisonPanel(ui, Models(""))
    panel.show(view_of(0.0, 0.0, promote=True))  # as verdicts of before said
    assert not ui.promoteButton.enabled and "finds nothing" in ui.promoteButton.toolTip
    panel.clear()
    panel.show(view_of(0.0, 0.5, promote=True))
    assert ui.promoteButton.enabled


def test_a_model_that_is_a_folder_has_a_name(ui):
    from flare_core.models.package import load_package

    package = load_package("default")
    panel = ComparisonPanel(ui, Models(str(package.folder)))
    panel.show(view_of(0.4, 0.5, promote=True))
    named = f"{package.card.name} {package.card.version}"
    assert ui.inUseLabel.text == f"In use as mine: {named}"
    ui.rollBackButton.click()
    assert ui.comparisonMessage.text == f"In use again: {named}"


def test_the_comparison_fits_into_a_dock(ui):
    ComparisonPanel(ui, Models("")).show(view_of(0.4, 0.5, promote=True))
    table = ui.comparisonTable
    assert table.width_needed() < 420 - 60
    assert "NSD" in table.item(1, 0).toolTip()


# --- the runs


def test_the_run_that_was_looked_at_is_there_at_the_return(ui, logic, tmp_path, scene, monkeypatch):
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    runs = tuple(tmp_path / name for name in ("newest", "older"))
    logic.runs, logic.reap = lambda: runs, lambda: None
    panel = RunPanel(ui, logic)
    panel.fill()
    assert panel.watch.folder == runs[0]
    ui.runBox.currentIndex = 1
    assert panel.watch.folder == runs[1]
    panel.leave()
    assert panel.watch.folder is None
    panel.fill()
    assert panel.watch.folder == runs[1] and ui.runBox.currentText == "older"
    panel.cleanup()
