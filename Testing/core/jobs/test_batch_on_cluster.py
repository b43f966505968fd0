from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fake_engine import flare, four

HERE = Path(__file__).parents[2]
PROGRAM = "import fake_engine, sys; sys.exit(fake_engine.flare(*sys.argv[1:]))"


@pytest.fixture
def where(workers):
    """Return the address of the scheduler."""
    return workers.scheduler.address


def test_results_are_those_of_one_process(scans, tmp_path, where, capsys):
    folder = scans("a", "b", "c", "d", "e")
    here, there = tmp_path / "here", tmp_path / "there"
    assert flare("segment", folder, "-o", here) == 0
    capsys.readouterr()
    assert flare("segment", folder, "-o", there, "--cluster", where) == 0
    said = capsys.readouterr()
    assert "5 cases: 5 segmented, 0 skipped, 0 failed." in said.out
    assert "5 of 5 cases" in said.err
    assert "a minute" in said.err
    assert set(os.listdir(there)) == set(os.listdir(here))
    for name in sorted(os.listdir(here)):
        if name.endswith((".nii.gz", ".png", ".csv")):
            assert (there / name).read_bytes() == (here / name).read_bytes(), name
    for case in "abcde":
        one, other = (
            json.loads((place / f"{case}_statistics.json").read_text("utf-8"))
            for place in (here, there)
        )
        assert one["rows"] == other["rows"]
        one["provenance"].pop("created"), other["provenance"].pop("created")
        assert one["provenance"] == other["provenance"]


def test_what_fails_or_kills_its_worker_is_named_and_the_rest_is_done(
    scans, tmp_path, mortal_workers, capsys
):
    where = mortal_workers.scheduler.address
    names = [f"case{n}" for n in range(6)]
    folder = scans("bad_x", "crash_y", "lost_z", "once_w", *names)
    out = tmp_path / "out"
    assert flare("segment", folder, "-o", out, "--cluster", where) == 1
    said = capsys.readouterr()
    assert "10 cases: 7 segmented, 0 skipped, 3 failed." in said.out, said.err
    last = said.err.strip().splitlines()[-1]
    assert set(last.removeprefix("Failed: ").split(", ")) == {"bad_x", "crash_y", "lost_z"}
    assert "is truncated" in said.err
    assert "ended 2 times" in said.err
    log = next(line for line in said.err.splitlines() if "details:" in line).split()[-1]
    assert "fake_engine.py" in Path(log).read_text()
    done = set().union(*(four(name) for name in ("once_w", *names)))
    assert set(os.listdir(out)) == done | {"all_cases.csv"}
    rows = list(csv.DictReader((out / "all_cases.csv").read_text().splitlines()))
    assert {row["case"] for row in rows} == {"once_w", *names}


def test_done_cases_are_skipped_and_programs_get_json(scans, tmp_path, where, capsys):
    folder, out = scans("a", "b", "c"), tmp_path / "out"
    flare("segment", folder / "a.nii.gz", "-o", out)
    capsys.readouterr()
    words = ("segment", folder, "-o", out, "--cluster", where, "--progress", "json")
    assert flare(*words) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] == {"event": "waiting", "cluster": where}
    assert {e["case"] for e in events if e["event"] == "result"} == {"b", "c"}
    assert [e["case"] for e in events if e["event"] == "skipped"] == ["a"]
    last = [e for e in events if e["event"] == "progress"][-1]
    assert last["fraction"] == 1.0
    assert "2 of 2 cases" in last["stage"]
    assert events[-1]["event"] == "done"
    assert events[-1]["skipped"] == ["a"]


def test_a_model_in_the_current_folder_is_found_there_too(scans, tmp_path, where, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scans("a", "b")
    (tmp_path / "package").mkdir()
    words = ("segment", "scans", "-o", "out", "--cluster", where, "--model", "package")
    assert flare(*words) == 0
    said = json.loads((tmp_path / "out" / "a_statistics.json").read_text("utf-8"))
    assert str(tmp_path / "package") in json.dumps(said)


def test_a_graphics_card_that_no_worker_offers_is_refused(scans, tmp_path, where, capsys):
    words = ("segment", scans("a"), "-o", tmp_path / "out", "--device", "cuda")
    assert flare(*words, "--cluster", where) == 2
    assert "GPU=1" in capsys.readouterr().err


def test_ctrl_c_ends_cleanly_and_frees_the_workers(scans, tmp_path, where, workers):
    folder, out = scans("a", "slow_1", "slow_2", "slow_3"), tmp_path / "out"
    words = [str(word) for word in ("segment", folder, "-o", out, "--cluster", where)]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    end = time.monotonic() + 60
    while not (out / "a.nii.gz").exists():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped" in said
    assert "Traceback" not in said
    assert set(os.listdir(out)) == four("a")
    end = time.monotonic() + 10
    while any(workers.processing().values()):
        assert time.monotonic() < end, "the workers go on"
        time.sleep(0.05)
