"""Commands on a cluster: numbers of one process; processes that end; what cannot be used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from core.datasets.made_dataset import make_flare22, make_flare23
from core.evaluate.label_folders import labels, write_case
from flare_core.cases.store import open_store
from flare_core.cli import main
from flare_core.datasets.exchange.importing import ImportSettings, Spreading, import_dataset
from flare_core.datasets.flare.check import check_dataset
from flare_core.datasets.flare.dataset import find_dataset
from flare_core.evaluate.evaluate import evaluate_folders
from flare_core.evaluate.protocols import edition
from flare_core.evaluate.scoring import ScoringRules
from flare_core.jobs import on_cluster as module
from flare_core.spread import shared as shared_module
from flare_core.spread.here import in_processes
from flare_core.spread.on_dask import Terms, spread
from spread_cases import ending

RULES = ScoringRules(edition("flare22"))
CASES = [f"case{k}" for k in range(6)]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """References and predictions of six cases, the last one without a prediction."""
    for k, name in enumerate(CASES):
        write_case(tmp_path / "ref", name, labels(v1=(0, 5, 2, 8), v5=(1, 4, 0, 2)))
        if name != CASES[-1]:
            write_case(tmp_path / "pred", name, labels(v1=(0, 1 + k, 2, 8), v5=(0, 4, 0, 2)))
    return tmp_path


@pytest.fixture
def where(workers) -> str:
    """The address of the scheduler."""
    return workers.scheduler.address


def flare(*words: object) -> int:
    return main([str(word) for word in words])


def test_scores_are_those_of_one_process(folders, where, capsys):
    words = ("evaluate", folders / "pred", folders / "ref", "--progress", "json")
    assert flare(*words, "--workers", 1, "-o", folders / "one") == 0
    capsys.readouterr()
    assert flare(*words, "--cluster", where, "-o", folders / "other") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] == {"event": "waiting", "cluster": where}
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["fraction"] == 1.0
    assert last["per_minute"] > 0
    assert last["seconds_left"] == 0
    for file in ("scores.csv", "per_case.csv", "per_organ.csv", "summary.json"):
        assert (folders / "one" / file).read_bytes() == (folders / "other" / file).read_bytes()


@pytest.mark.parametrize("maker", [make_flare22, make_flare23])
def test_check_and_summary_of_a_data_set_too(maker, tmp_path, where, capsys):
    maker(tmp_path / "set")
    said = {}
    for action in ("check", "summary"):
        for name, words in (("one", ("--workers", 1)), ("other", ("--cluster", where))):
            out = tmp_path / f"{action}_{name}"
            flare("dataset", action, tmp_path / "set", "-o", out, *words)
            said[action, name] = capsys.readouterr().out
        assert said[action, "one"].strip()
        assert said[action, "one"] == said[action, "other"]
    one, other = tmp_path / "summary_one", tmp_path / "summary_other"
    files = sorted(path.name for path in one.iterdir())
    assert files == sorted(path.name for path in other.iterdir())
    assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


def test_what_comes_into_a_store_is_the_same(tmp_path, where, capsys):
    make_flare23(tmp_path / "set")
    told = {}
    for name, words in (("one", ()), ("other", ("--cluster", where))):
        store = tmp_path / name
        flare("cases", "import", tmp_path / "set", "--store", store, "--json", *words)
        told[name] = json.loads(capsys.readouterr().out)
        assert flare("cases", "verify", "--store", store) == 0
        capsys.readouterr()
    assert told["one"]["added"]
    assert told["one"]["labelled"]
    assert told["one"] == told["other"]
    with open_store(tmp_path / "one") as one, open_store(tmp_path / "other") as other:
        for record, twin in zip(one.cases(), other.cases(), strict=True):
            assert (record.name, record.organs, record.status) == (
                twin.name, twin.organs, twin.status,
            )  # fmt: skip
            assert record.image.read_bytes() == twin.image.read_bytes()
            versions = [
                [version.sha256 for version in store.versions(record.name)]
                for store in (one, other)
            ]
            assert versions[0] == versions[1]


def _evaluated_with_ends(folders, spread_cases):
    names = {"case1": 2, "case2": 1}
    dying = ending(spread_cases, names, folders / "tried")
    found = evaluate_folders(folders / "pred", folders / "ref", RULES, spread=dying)
    whole = evaluate_folders(folders / "pred", folders / "ref", RULES)
    assert [case.case for case in found.left_out] == ["case1"]
    assert "2 times" in found.left_out[0].problem
    assert repr(found.cases) == repr(tuple(c for c in whole.cases if c.case != "case1"))
    assert (folders / "tried" / "tried_case1").read_text() == "xx"


def _checked_with_ends(tmp_path, spread_cases):
    make_flare22(tmp_path / "set")
    dataset = find_dataset(tmp_path / "set")
    first, second = (case.name for case in dataset.cases[:2])
    dying = ending(spread_cases, {first: 2, second: 1}, tmp_path / "tried")
    found = check_dataset(dataset, spread=dying)
    alone = check_dataset(dataset)
    (lost,) = (each for each in found if each not in alone)
    assert (lost.kind, lost.where) == ("unreadable", first)
    assert "2 times" in lost.what
    assert {each for each in alone if each.where != first} <= set(found)


def _imported_with_ends(tmp_path, spread_cases):
    make_flare22(tmp_path / "set")
    first = find_dataset(tmp_path / "set").cases[0].name
    dying = ending(spread_cases, {first: 2}, tmp_path / "tried")
    with open_store(tmp_path / "store", create=True) as store:
        spreading = Spreading(bringing=dying)
        found = import_dataset(store, tmp_path / "set", ImportSettings(), spreading=spreading)
        assert first not in found.added
        assert [f.where for f in found.findings if "2 times" in f.what] == [first]
        again = import_dataset(store, tmp_path / "set", ImportSettings())
        assert again.added == (first,)
        assert set(again.known) == set(found.added)


ENDS = [_evaluated_with_ends, _checked_with_ends, _imported_with_ends]


@pytest.mark.parametrize("check", ENDS)
def test_a_case_that_ends_its_process_is_named_and_the_rest_is_done(check, folders):
    check(folders, in_processes(2))


def test_a_case_that_ends_its_worker_is_named_and_the_rest_is_done(mortal_workers, folders, proof):
    _evaluated_with_ends(folders, partial(spread, mortal_workers, terms=Terms(proof)))


def test_a_worker_that_sees_another_folder_is_told(folders, where, capsys, monkeypatch):
    looked = shared_module.size_of
    monkeypatch.setattr(shared_module, "size_of", lambda path: looked(path) + 1)
    assert flare("evaluate", folders / "pred", folders / "ref", "--cluster", where) == 2
    said = capsys.readouterr().err
    assert "--cluster: not usable" in said
    assert f"does not see {folders / 'pred'}" in said
    assert "file system that all computers share" in said


def test_workers_beside_a_cluster_are_refused(folders, where, capsys):
    words = ("evaluate", folders / "pred", folders / "ref", "--workers", 2, "--cluster", where)
    assert flare(*words) == 2
    assert "--workers" in capsys.readouterr().err


def test_without_dask_local_processes_are_those_of_the_standard_library(
    folders, monkeypatch, capsys
):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "connected", None)
    words = ("evaluate", folders / "pred", folders / "ref", "-o", folders / "out")
    assert flare(*words, "--cluster", "local:2") == 0
    assert (folders / "out" / "scores.csv").exists()


PROGRAM = "import sys; from flare_core.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize("how", ["processes", "cluster"])
def test_ctrl_c_ends_an_evaluation_cleanly(how, tmp_path, where, workers):
    for k in range(300):
        for folder in ("pred", "ref"):
            write_case(tmp_path / folder, f"case{k:03d}", labels(v1=(0, 5, 2, 8)))
    choice = ["--workers", "2"] if how == "processes" else ["--cluster", where]
    words = ["evaluate", "pred", "ref", "-o", "out", "--progress", "json", *choice]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    end = time.monotonic() + 30
    while any(workers.processing().values()):
        assert time.monotonic() < end, "the workers go on"
        time.sleep(0.05)
