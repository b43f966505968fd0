"""What FLARETrain's self-tests share: a small training set, a panel on it, a run's folder."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from self_test_scene import WatchedTestCase, until

import slicer

HERE = Path(__file__).resolve().parent
LOG = (
    {"event": "step", "phase": 0, "step": 20, "loss": 0.8, "phase_fraction": 0.5,
     "run_seconds_left": 9.0},
    {"event": "validation", "step": 20, "dsc": {"liver": 0.6, "spleen": 0.4}},
    {"event": "step", "phase": 0, "step": 40, "loss": 0.6, "phase_fraction": 1.0,
     "run_seconds_left": 0.0},
    {"event": "validation", "step": 40, "dsc": {"liver": 0.8, "spleen": 0.6}},
)  # fmt: skip
CHANGE = {"organ": "liver", "cases": 1, "old": 0.7, "new": 0.8, "low": 0.0, "high": 0.2}
VERDICT = {
    "promote": True,
    "reason": "Not worse on 2 hold-out cases.",
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


class TrainPanelTestCase(WatchedTestCase):
    """Has a training set of four cases, and makes panels whose commands are doubles."""

    def setUp(self) -> None:
        super().setUp()
        library("logic")
        from train_store import make_store

        self.folder = Path(tempfile.mkdtemp(prefix="FLARETrain self-test ü "))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.store = make_store(self.folder)
        self.commands: list[list[str]] = []

    def keys(self) -> tuple[str, ...]:
        return "FLARESeg/Author", "FLARESeg/TrainingSet", "FLARETrain/Student"

    def command(self, words: Any) -> list[str]:
        """What is run instead of ``flare``: a Python that prints what `next` would."""
        self.commands.append([str(word) for word in words])
        rows = [{"case": "una", "reason": "liver: 80 % sure"}]
        code = f"print({json.dumps(json.dumps(rows))})"
        return [shutil.which("PythonSlicer") or sys.executable, "-c", code]

    def open_panel(self) -> Any:
        """A panel as Slicer would show it, on this test's own store and home."""
        from flare_core.home import open_home

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
        facts = {
            "name": "mine",
            "rounds": 1,
            "strategy": {"kind": "confident"},
            "student": "s.json",
        }
        steps = dict.fromkeys(("predict", "evidence", "select", "labels", "train"), "now")
        begun = {"run": name, "created": "2026-11-29T12:00:00+00:00"}
        state = {**begun, "status": status, "round": 1, "step": "promote", "done": {"1": steps}}
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
