"""Whole self-training runs on small scans: what is decided, what survives a kill, who wins."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flare_core.cases.store import LabelFacts, open_store
from flare_core.errors import Cancelled, InputError
from flare_core.home import open_home
from flare_core.imaging.files import read_labels, write_labels, write_volume
from flare_core.models.in_use import model_in_use, read_in_use, roll_back
from flare_core.models.package import load_package, read_weights, write_package
from flare_core.train.rounds.run import run_rounds, start_rounds
from flare_core.train.rounds.state import STAGES, RunFolder
from flare_core.train.rounds.status import next_of_run, run_status
from rounds_world import (
    HELD_OUT,
    LABELLED,
    UNLABELLED,
    add_expert,
    make_store,
    scan,
    settings,
    student,
)
from tiny_training import NETWORK, tiny_config

TESTING = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a student's configuration, and a run of two rounds that is done."""
    folder = tmp_path_factory.mktemp("world")
    make_store(folder)
    student(folder)
    start_rounds(folder / "run", settings(folder, students_teach=True))
    events: list[dict[str, Any]] = []
    run_rounds(folder / "run", report=events.append)
    (folder / "events.json").write_text(json.dumps(events), encoding="utf-8")
    return folder


@pytest.fixture
def fresh(world: Path, tmp_path: Path) -> Path:
    """The same store and configuration without a run."""
    for name in ("store", "student.json"):
        source = world / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    return tmp_path


def rounds(folder: Path, number: int = 2) -> Any:
    return RunFolder(folder / "run").round(number)


def test_a_run_without_a_teacher_trains_one_first(world):
    assert RunFolder(world / "run").state.status == "done"
    assert rounds(world, 1).read("candidates") == []
    assert rounds(world, 1).read("verdict")["reason"] == "There was no model before it."
    assert load_package(rounds(world, 1).package).card.stage("organs") is not None


def test_every_unlabelled_scan_is_predicted_once_and_no_other(world):
    found = {row["case"] for row in rounds(world).read("candidates")}
    assert found == set(UNLABELLED)
    assert sorted(p.stem for p in rounds(world).predictions.glob("*.json")) == sorted(UNLABELLED)


def test_every_decision_has_a_reason_on_disk(world):
    decisions = rounds(world).read("decisions")
    assert [row["case"] for row in decisions] == sorted(UNLABELLED)
    assert all(row["reason"] for row in decisions)
    assert any(row["accepted"] for row in decisions)


def test_accepted_labels_are_versions_that_name_run_and_evidence(world):
    run = RunFolder(world / "run").state.run
    for case, row in rounds(world).read("labels").items():
        with open_store(world / "store") as store:
            version = store.version(case, row["version"])
        assert version.facts.kind == "pseudo" and version.facts.model == "tiny-1.0.0"
        assert version.facts.settings["self_training"] == {"run": run, "round": 2}
        assert version.facts.evidence["liver"]["confidence"] > 0.3


def test_students_learn_from_people_and_accepted_labels_but_never_from_the_hold_out(world):
    names = {row["name"] for row in json.loads(
        (rounds(world).path / "training-0.json").read_text("utf-8"))}  # fmt: skip
    accepted = set(rounds(world).read("labels"))
    assert names == {*LABELLED, *accepted}
    assert not names & set(HELD_OUT)
    assert rounds(world).read("hold_out") == sorted(HELD_OUT)


def test_both_models_are_scored_on_the_hold_out_and_judged(world):
    verdict = rounds(world).read("verdict")
    assert {row["organ"] for row in verdict["changes"]} == {"liver", "spleen"}
    assert all(row["cases"] == len(HELD_OUT) for row in verdict["changes"])
    assert 0 < verdict["old"]["dsc"] < 1 and 0 < verdict["new"]["dsc"] < 1


def test_the_store_can_sort_cases_by_doubt(world):
    with open_store(world / "store") as store:
        assert {"doubt", "confidence", "border_entropy"} <= set(store.scores("una"))


def test_progress_is_told_stage_by_stage(world):
    events = json.loads((world / "events.json").read_text("utf-8"))
    begun = [row["stage"] for row in events if row["event"] == "begin"]
    assert begun == [*STAGES, *STAGES]
    assert {"predict", "score", "step", "validation"} <= {row["event"] for row in events}


def test_the_status_holds_curves_and_verdicts(world):
    status = run_status(world / "run")
    assert status["status"] == "done" and status["fraction"] == 1
    detail = status["details"][1]
    assert detail["predicted"] == 3 and detail["verdict"]["reason"]
    (curve,) = detail["curves"]
    assert [step for step, _ in curve["loss"]] == [20, 40]
    assert set(curve["dsc"][-1][1]) == {"liver", "spleen"}


def test_a_run_that_is_done_stays_done(world):
    before = {p: p.stat().st_mtime_ns for p in (world / "run").rglob("*.json")}
    before.pop(world / "run" / "state.json")
    run_rounds(world / "run")
    after = {p: p.stat().st_mtime_ns for p in before}
    assert after == before


def test_the_promoted_model_is_in_use_and_the_one_before_is_one_command_away(fresh, world):
    """A teacher that finds nothing is beaten, replaced, and can be come back to."""
    teacher = bad_teacher(world, fresh)
    start_rounds(fresh / "run", settings(fresh, rounds=1, teacher=str(teacher)))
    run_rounds(fresh / "run")
    verdict = RunFolder(fresh / "run").round(1).read("verdict")
    assert verdict["promote"], verdict["reason"]
    home = open_home(fresh / "home")
    assert model_in_use(home, "tiny") == "tiny@1.0.0"
    assert (
        load_package("tiny", home=home).fingerprint
        == load_package(RunFolder(fresh / "run").round(1).package).fingerprint
    )
    assert roll_back(home, "tiny") == str(teacher.resolve())
    assert load_package("tiny", home=home).folder == teacher.resolve()
    assert len(read_in_use(home, "tiny").moves) == 2


def bad_teacher(world: Path, folder: Path) -> Path:
    """Return a model like round 1's whose weights are all 0: it sees background everywhere."""
    package = load_package(rounds(world, 1).package)
    weights = read_weights(package.weights_path("organs"))
    nothing = {name: tensor * 0 for name, tensor in weights.items()}
    write_package(folder / "teacher", replace(package.card, name="bad"), {"organs": nothing})
    return folder / "teacher"


def test_a_worse_student_is_not_promoted_and_ends_the_run(fresh, world):
    student(fresh, phases=(replace(tiny_config(fresh).phases[0], steps=1),))
    teacher = rounds(world, 2).package
    start_rounds(fresh / "run", settings(fresh, rounds=3, teacher=str(teacher)))
    state = run_rounds(fresh / "run")
    assert "not promoted" in state.message and state.round == 1
    assert model_in_use(open_home(fresh / "home"), "tiny") is None
    assert RunFolder(fresh / "run").round(1).read("promotion") is None


def test_people_and_models_together_complete_a_partly_labelled_case(fresh, world):
    with open_store(fresh / "store") as store:
        labels = scan(4)[1]
        mine = labels.with_array(np.where(labels.array == 1, 1, 0).astype(np.uint8))
        path = fresh / "una-liver.nii.gz"
        write_labels(path, mine)
        store.add_labels("una", path, LabelFacts("expert", ("liver",), author="doctor"))
    start_rounds(fresh / "run", settings(fresh, rounds=1, teacher=str(rounds(world, 2).package)))
    run_rounds(fresh / "run")
    labels_ = RunFolder(fresh / "run").round(1).read("labels")
    with open_store(fresh / "store") as store:
        version = store.version("una", labels_["una"]["version"])
    stored = read_labels(version.path).array
    assert np.array_equal(stored == 1, mine.array == 1)


@pytest.fixture
def bare_run(fresh: Path, world: Path) -> Path:
    """A new run of four steps whose strategy learns from bare scans; its student is no good."""
    chosen = {"kind": "mean_teacher", "ramp_steps": 5}
    teacher = str(rounds(world, 2).package)
    start_rounds(
        fresh / "run", settings(fresh, rounds=1, strategy=chosen, teacher=teacher, steps=4)
    )
    return fresh / "run"


def test_strategies_without_pseudo_labels_get_bare_scans(bare_run):
    run_rounds(bare_run)
    folder = RunFolder(bare_run).round(1)
    assert folder.read("decisions") == [] and folder.read("labels") == {}
    bare = json.loads((folder.path / "unlabelled.json").read_text("utf-8"))
    assert {row["name"] for row in bare} == set(UNLABELLED)


def test_where_no_teacher_labelled_scans_the_student_says_what_to_look_at_next(bare_run):
    """Stopped in between, it labels each scan once; a student that is refused has its list, too."""
    run, told = RunFolder(bare_run), list[dict[str, Any]]()

    def stop_at_the_first(facts: dict[str, Any]) -> None:
        told.append(facts)
        if facts["event"] == "review" and facts["done"]:
            run.ask_to_stop()

    with pytest.raises(Cancelled):
        run_rounds(bare_run, report=stop_at_the_first)
    assert told[-1] == {"event": "review", "done": 1, "total": 3} and run.state.stage == "review"
    first = run.round(1).evidence_of(min(UNLABELLED))
    made = first.stat().st_mtime_ns
    run_rounds(bare_run)
    assert first.stat().st_mtime_ns == made
    assert not run.round(1).read("verdict")["promote"]
    rows = next_of_run(bare_run)
    assert {row.case for row in rows} == set(UNLABELLED) and all(row.reason for row in rows)
    assert {row["model"] for row in run.round(1).read("candidates")} == {"tiny-1.0.0"}
    with open_store(run.settings.store) as store:
        assert all(store.scores(case)["doubt"] >= 0 for case in UNLABELLED)


def test_without_a_teacher_the_last_student_says_what_to_look_at_next(fresh):
    start_rounds(fresh / "run", settings(fresh, rounds=1, steps=4))
    run_rounds(fresh / "run")
    assert {row.case for row in next_of_run(fresh / "run")} == set(UNLABELLED)


def test_soft_labels_keep_the_teachers_doubt(fresh, world):
    chosen = {"kind": "soft_labels"}
    teacher = str(rounds(world, 2).package)
    start_rounds(
        fresh / "run", settings(fresh, rounds=1, strategy=chosen, teacher=teacher, steps=4)
    )
    run_rounds(fresh / "run")
    folder = RunFolder(fresh / "run").round(1)
    rows = json.loads((folder.path / "training-0.json").read_text("utf-8"))
    soft = [row for row in rows if row["kind"] == "soft"]
    assert {row["name"] for row in soft} == set(folder.read("labels"))
    files = {row["name"]: (folder.path / row["soft"]).resolve() for row in soft}
    assert files and files == {name: folder.soft_of(name).resolve() for name in files}
    assert all(file.is_file() for file in files.values())


def test_folds_become_one_model_and_their_agreement_is_measured(fresh):
    start_rounds(
        fresh / "run",
        settings(fresh, rounds=2, folds=2, steps=10, strategy={"kind": "agreement",
                 "least_mean": 0.0, "least_organ": 0.0}, students_teach=True),
    )  # fmt: skip
    run_rounds(fresh / "run")
    card = load_package(RunFolder(fresh / "run").round(1).package).card
    assert len(card.stage("organs").folds) == 1
    rows = RunFolder(fresh / "run").round(2).read("candidates")
    known = [o["fold_agreement"] for row in rows for o in row["organs"].values()]
    assert known and all(value is None or 0 <= value <= 1 for value in known)
    assert any(value is not None for value in known)
    lists = [
        {row["name"] for row in json.loads(
            (RunFolder(fresh / "run").round(1).path / f"training-{k}.json").read_text("utf-8"))}
        for k in (0, 1)
    ]  # fmt: skip
    assert sorted(map(len, lists)) == [1, 1] and lists[0] | lists[1] == set(LABELLED)


@pytest.mark.parametrize(
    ("chosen", "fits"),
    [
        ({"rounds": 1, "folds": 2}, False),  # the teacher, one network, labels for both
        ({"rounds": 2, "folds": 1}, False),
        ({"rounds": 2, "folds": 2}, True),
    ],
)
def test_agreement_of_one_network_with_nobody_is_refused_at_once(fresh, world, chosen, fits):
    """All scans were labelled and no label accepted: the student learnt from people's alone."""
    mine = settings(
        fresh, strategy={"kind": "agreement"}, teacher=str(rounds(world, 2).package), **chosen
    )
    refused = pytest.raises(InputError, match="labels of the last round are those of one network")
    with nullcontext() if fits else refused:
        start_rounds(fresh / "run", mine)
    assert (fresh / "run").exists() == fits


def test_a_stop_is_obeyed_and_the_run_goes_on(fresh, world):
    def stop_while_training(facts: dict[str, Any]) -> None:
        if facts["event"] == "step":
            run.ask_to_stop()

    student(fresh, checkpoint_minutes=60.0, validate_every=7)
    teacher = str(rounds(world, 1).package)
    start_rounds(fresh / "run", settings(fresh, rounds=1, teacher=teacher, steps=25))
    run, told = RunFolder(fresh / "run"), list[dict[str, Any]]()
    with pytest.raises(Cancelled):
        run_rounds(fresh / "run", report=stop_while_training)
    assert run_status(fresh / "run")["status"] == "stopped"
    assert run_rounds(fresh / "run", report=told.append).status == "done"
    (resumed,) = [row["step"] for row in told if row["event"] == "resume"]
    assert resumed == 20, "no step is taken twice"


def test_whoever_adds_scans_or_corrects_labels_meanwhile_breaks_no_run(fresh, world):
    """While a round labels for hours, people go on working in the store."""
    teacher = str(rounds(world, 1).package)
    start_rounds(fresh / "run", settings(fresh, rounds=1, teacher=teacher, steps=4))

    def meanwhile(facts: dict[str, Any]) -> None:
        if facts["event"] == "begin" and facts["stage"] in ("evidence", "promote"):
            held_out = facts["stage"] == "promote"
            number = 8 if held_out else 7
            image, labels = scan(number)
            write_volume(fresh / f"new{number}.nii.gz", image)
            with open_store(fresh / "store") as store:
                patient = HELD_OUT[0] if held_out else "late"
                name = store.add_case(fresh / f"new{number}.nii.gz", patient=patient).name
                if held_out:
                    add_expert(store, name, labels, fresh)

    assert run_rounds(fresh / "run", report=meanwhile).status == "done"
    folder = RunFolder(fresh / "run").round(1)
    assert {row["case"] for row in folder.read("candidates")} == set(UNLABELLED)
    assert folder.read("verdict") is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork and no kill -9 here")
def test_a_run_killed_in_every_stage_ends_as_if_nothing_had_happened(fresh, world):
    """One run, struck at each stage in turn; each time it goes on and loses and doubles nothing."""
    teacher = str(rounds(world, 1).package)
    start_rounds(fresh / "run", settings(fresh, rounds=1, teacher=teacher, steps=4))
    moments = ["inside predict", *(f"after {stage}" for stage in STAGES)]
    environment = os.environ | {"PYTHONPATH": f"{TESTING.parent}{os.pathsep}{TESTING}"}
    killed = subprocess.run(
        [sys.executable, "-m", "killed_rounds", str(fresh / "run"), *moments],
        env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert killed.returncode == 0, killed.stderr.decode()
    ends = [json.loads(line) for line in killed.stdout.decode().splitlines()]
    assert ends == [[moment, "SIGKILL", "interrupted"] for moment in moments]
    assert run_rounds(fresh / "run").status == "done"
    folder = RunFolder(fresh / "run").round(1)
    assert {p.stem for p in folder.predictions.glob("*.json")} == set(UNLABELLED)
    with open_store(fresh / "store") as store:
        assert not [each for each in store.verify() if each.wrong]
        mine = {"run": RunFolder(fresh / "run").state.run, "round": 1}
        for case in folder.read("labels"):
            origins = [v.facts.settings.get("self_training") for v in store.versions(case)]
            assert origins.count(mine) == 1


def test_two_processes_cannot_own_a_run(fresh):
    start_rounds(fresh / "run", settings(fresh, rounds=1))
    run = RunFolder(fresh / "run")
    with run.owned(), pytest.raises(InputError, match="runs it"), RunFolder(fresh / "run").owned():
        pass
    assert not run.is_running()


def test_a_store_without_a_hold_out_is_refused_before_anything_is_made(tmp_path):
    student(tmp_path)
    with open_store(tmp_path / "store", create=True):
        pass
    with pytest.raises(InputError, match="hold-out of the case store") as refused:
        start_rounds(tmp_path / "run", settings(tmp_path))
    assert len(refused.value.parts) == 4 and not (tmp_path / "run").exists()


def test_an_unknown_strategy_or_teacher_is_refused_at_once(fresh):
    with pytest.raises(InputError, match="strategy"):
        start_rounds(fresh / "run", settings(fresh, strategy={"kind": "guess"}))
    student(fresh, network=replace(NETWORK, kind="phtrans"))
    with pytest.raises(InputError, match="cross_pseudo for a network phtrans"):
        start_rounds(fresh / "run", settings(fresh, strategy={"kind": "cross_pseudo"}))
    with pytest.raises(InputError, match="model"):
        start_rounds(fresh / "run", settings(fresh, teacher="nobody"))
    assert not (fresh / "run" / "state.json").exists()
