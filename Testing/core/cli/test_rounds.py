"""``flare rounds``: each sub-command on a small run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flare_core.cli import main, rounds
from flare_core.home import open_home
from flare_core.models.in_use import model_in_use
from flare_core.train.checkpoint import load_checkpoint
from flare_core.train.loop import CHECKPOINT
from flare_core.train.rounds.state import RunFolder
from rounds_world import UNLABELLED, make_store, settings, student


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two short rounds, started by the command, that waits for a person to promote."""
    folder = tmp_path_factory.mktemp("world")
    make_store(folder)
    student(folder)
    chosen = settings(folder, steps=20, students_teach=True, promote=False)
    (folder / "rounds.json").write_text(chosen.to_json(), encoding="utf-8")
    words = ["rounds", "start", str(folder / "run"), "--settings", str(folder / "rounds.json")]
    assert main([*words, "--progress", "none"]) == 0
    return folder / "run"


def flare(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["rounds", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_starting_again_is_refused_and_resuming_does_nothing_more(run, capsys):
    place = str(run.parent / "rounds.json")
    code, _, said = flare(capsys, "start", str(run), "--settings", place)
    assert code == 2 and "holds a run" in said
    code, out, _ = flare(capsys, "resume", str(run), "--progress", "json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["status"] == "done"


def test_status_for_people_and_programs(run, capsys):
    code, text, _ = flare(capsys, "status", str(run))
    assert code == 0 and text.startswith("tiny: done, round 2 of 2, 100 %")
    code, text, _ = flare(capsys, "status", str(run), "--json")
    assert code == 0 and json.loads(text)["details"][1]["predicted"] == len(UNLABELLED)


def test_next_lists_every_predicted_case_with_a_reason(run, capsys):
    code, text, _ = flare(capsys, "next", str(run), "--json")
    rows = json.loads(text)
    assert code == 0 and {row["case"] for row in rows} == set(UNLABELLED)
    assert all(row["reason"] for row in rows)
    code, text, _ = flare(capsys, "next", str(run), "--count", "1")
    assert code == 0 and len(text.splitlines()) == 1


def test_the_report_is_one_page(run, capsys, tmp_path):
    code, text, _ = flare(capsys, "report", str(run), "-o", str(tmp_path / "page.html"))
    assert code == 0 and text.strip() == str(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>") and "Round 2: decisions" in page


def test_promoting_and_rolling_back(run, capsys):
    folder = RunFolder(run)
    home = open_home(folder.settings.home)
    assert model_in_use(home, "tiny") is None
    code, text, _ = flare(capsys, "promote", str(run), "--round", "1")
    assert code == 0 and text.strip() == "in use: tiny@1.0.0"
    code, _, said = flare(capsys, "rollback", "tiny", "--home", folder.settings.home)
    assert code == 2 and "Nothing to go back to" in said


def test_a_worse_model_is_promoted_only_if_insisted_upon(run, capsys):
    folder = RunFolder(run).round(1)
    verdict = folder.read("verdict")
    folder.write("verdict", verdict | {"promote": False, "reason": "liver fell"})
    code, _, said = flare(capsys, "promote", str(run), "--round", "1")
    assert code == 2 and "liver fell" in said
    assert flare(capsys, "promote", str(run), "--round", "1", "--anyway")[0] == 0
    folder.write("verdict", verdict)
    code, _, said = flare(capsys, "promote", str(run), "--round", "7")
    assert code == 2 and "1, 2" in said


def test_stopping_what_does_not_run_says_so(run, capsys):
    code, text, _ = flare(capsys, "stop", str(run))
    assert code == 0 and "No process" in text
    with RunFolder(run).owned():
        code, text, _ = flare(capsys, "stop", str(run))
    assert code == 0 and "Asked to stop" in text and (run / "stop").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends a process there")
def test_a_system_that_shuts_down_stops_a_run_as_a_person_would(run, tmp_path, monkeypatch):
    def end(facts: dict[str, Any]) -> None:
        if facts["event"] == "validation":
            os.kill(os.getpid(), signal.SIGTERM)

    for name in ("store", "student.json"):
        source = run.parent / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    chosen = settings(tmp_path, rounds=1, steps=40)
    (tmp_path / "rounds.json").write_text(chosen.to_json(), encoding="utf-8")
    words = ["rounds", "start", str(tmp_path / "run"), "--settings", str(tmp_path / "rounds.json")]
    monkeypatch.setattr(rounds, "round_line", end)
    assert main([*words, "--progress", "none"]) == 130
    folder = RunFolder(tmp_path / "run")
    assert (folder.state.status, folder.state.stage) == ("stopped", "train")
    saved = load_checkpoint(folder.round(1).student(0) / CHECKPOINT)["progress"]
    assert saved["total_steps"] == 20


def test_only_what_computes_loads_torch(run, tmp_path):
    """A panel asks every few seconds how a run is: seconds of imports would be felt."""
    page = str(tmp_path / "page.html")
    asked = [
        ["status", str(run)], ["next", str(run)], ["report", str(run), "-o", page],
        ["promote", str(run), "--round", "1", "--anyway"], ["stop", str(run)],
    ]  # fmt: skip
    code = (
        "import sys\n"
        "from flare_core.cli import main\n"
        f"for words in {asked!r}:\n"
        "    assert main(['rounds', *words]) == 0, words\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(page).exists()


def test_a_folder_without_a_run_is_named(capsys, tmp_path):
    for words in (["status"], ["resume"], ["next"], ["report"], ["stop"], ["promote"]):
        code, _, said = flare(capsys, *words, str(tmp_path))
        assert code == 2 and "flare rounds start" in said
