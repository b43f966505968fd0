"""Spoilt stores, runs, configurations, rankings, FLARE folders, requests to the worker."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from fake_engine import CALLS, FAKE
from flare_core.cases.store import LabelFacts, open_store
from flare_core.datasets.case import cases_of_folder, load_cases, save_cases
from flare_core.datasets.flare.check import check_dataset
from flare_core.datasets.flare.dataset import find_dataset
from flare_core.evaluate.ranking.schemes import SCHEMES, find_scheme
from flare_core.evaluate.ranking.table import read_results
from flare_core.jobs.worker import Worker
from flare_core.report.rounds import rounds_page
from flare_core.segment.settings import Settings
from flare_core.train.config_file import load_config
from flare_core.train.rounds.comparison import Change, Verdict
from flare_core.train.rounds.settings import RoundSettings, load_round_settings
from flare_core.train.rounds.state import RunFolder
from flare_core.train.rounds.status import run_status, view_of_run
from flare_core.train.strategies.candidate import (
    CaseEvidence,
    Decision,
    OrganEvidence,
    read_evidence,
)
from force.children import Reader, complaint
from force.mutations import WORDS, spoil_bytes, spoil_json, spoil_lines
from force.readers_models import Files, files_below, put
from tiny_training import tiny_config, write_config

# --- the case store


@lru_cache
def store() -> Files:
    """A store of two cases, one with two versions of its labels."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        truth = labels(place / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
        with open_store(place / "store", create=True) as made:
            for seed, name in enumerate("ab"):
                made.add_case(scan(place / f"{name}.nii.gz", seed), patient=name.upper())
            for kind in ("pseudo", "corrected"):
                made.add_labels("a", truth, LabelFacts(kind, ("liver", "spleen"), author="x"))
            made.set_status("a", "accepted", reason="seen")
            made.set_scores("a", {"doubt": 0.25})
            made.freeze_hold_out(["B"])
        return files_below(place / "store")


def _store(folder: Path, chance: random.Random) -> Path:
    files = dict(store())
    how = chance.randrange(10)
    catalogue = next(name for name in files if name.endswith(".sqlite"))
    texts = [n for n in files if n.endswith((".json", ".jsonl"))]
    if how <= 4:
        name = chance.choice(texts)
        lines = files[name].splitlines(keepends=True) if name.endswith("l") else [files[name]]
        place = chance.randrange(len(lines))
        lines[place] = spoil_json(json.loads(lines[place]), chance) + b"\n"
        files[name] = b"".join(lines)
    elif how == 5:
        del files[chance.choice(sorted(files))]
    elif how <= 7:
        files[catalogue] = spoil_bytes(files[catalogue], chance, head=4096)
    put(folder / "store", files)
    if how > 7:
        _spoil_catalogue(folder / "store" / catalogue, chance)
    return folder / "store"


def _spoil_catalogue(path: Path, chance: random.Random) -> None:
    """Change the catalogue by SQL: what other programs, or older ones, may have done."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        table = chance.choice([name for name in tables if not name.startswith("sqlite_")])
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        column = chance.choice(columns)
        words = (None, -1, 2**62, "", "x", "\0", "../../x", "{}", "[]", "[" * 2000, b"\xff", 1e308)
        value = chance.choice(words)
        for command, given in (
            (f"PRAGMA user_version = {chance.choice((-1, 0, 1, 2, 3, 2**31 - 1))}", ()),
            (f"ALTER TABLE {table} DROP COLUMN {column}", ()),
            (f"DROP TABLE {table}", ()),
            (f"DELETE FROM {table}", ()),
            *((f"UPDATE {table} SET {column} = ?", (value,)),) * 6,
        )[chance.randrange(10) :][:1]:
            try:
                db.execute(command, given)
                db.commit()
            except sqlite3.Error:  # the catalogue's own rules refuse it: nothing is spoilt
                db.rollback()


def _read_store(path: Path) -> None:
    """Do what `flare cases` does: verify, list, history, then build it anew."""
    from flare_core.cases.rebuild import rebuild

    first: Exception | None = None
    for work in (_verified, _listed, rebuild, _listed):
        try:
            work(path)
        except Exception as error:
            first = first or error
            if type(error).__name__ != "InputError":
                raise
    if first:
        raise first


def _verified(path: Path) -> None:
    with open_store(path) as opened:
        for problem in opened.verify():
            action = problem.action if problem.wrong else "none"
            kind, why = complaint(("case", problem.kind, str(problem.what), str(action)))
            assert kind == "clear", why


def _listed(path: Path) -> None:
    with open_store(path) as opened:
        for case in opened.cases():
            opened.versions(case.name)
        opened.history()
        opened.score_table()
        opened.hold_out()


# --- runs, configurations, lists of cases


@lru_cache
def run_files() -> Files:
    """A run of rounds in its first round."""
    state = {
        "run": "r1", "created": "2026-01-01T00:00:00+00:00", "status": "stopped", "round": 1,
        "step": "train", "done": {"1": {"predict": "2026-01-01T00:00:00+00:00"}},
    }  # fmt: skip
    settings = RoundSettings("tiny", "/store", "/student.json", rounds=2)
    evidence = CaseEvidence(
        "a", "tiny@1", {"liver": OrganEvidence(1500.0, 0.9)}, 0.1, {}, {"x": 1.0}
    )
    decision = Decision("a", True, ("liver",), 0.5, "sure", {"spleen": "not found"})
    change = Change("liver", "dsc", 3, 0.8, 0.9, 0.0, 0.2)
    verdict = Verdict(True, "more", (change,), {"dsc": 0.8}, {"dsc": 0.9})
    log = [{"event": "step", "step": 1, "loss": 0.5, "phase_fraction": 0.5,
            "run_seconds_left": 9.0},
           {"event": "validation", "step": 1, "dsc": {"liver": 0.5}}]  # fmt: skip
    values = {
        "state.json": state, "settings.json": json.loads(settings.to_json()),
        "round-01/candidates.json": [asdict(evidence)],
        "round-01/decisions.json": [asdict(decision)], "round-01/verdict.json": asdict(verdict),
        "round-01/predictions/a.json": asdict(evidence), "round-01/hold_out.json": ["b"],
    }  # fmt: skip
    found = {name: json.dumps(value).encode() for name, value in values.items()}
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in log)
    return {**found, "round-01/student-0/log.jsonl": lines}


def _run(folder: Path, chance: random.Random) -> Path:
    files = dict(run_files())
    name = chance.choice(sorted(files))
    if name.endswith(".json"):
        files[name] = spoil_json(json.loads(files[name]), chance)
    else:
        first, rest = files[name].split(b"\n", 1)
        files[name] = spoil_json(json.loads(first), chance) + b"\n" + rest
    return put(folder / "run", files)


def _read_run(path: Path) -> None:
    """Do what the panel, the page and the next step do."""
    run_status(path)
    rounds_page(view_of_run(path))
    RunFolder(path).round(1).read("hold_out")
    read_evidence(path / "round-01/predictions/a.json")


@lru_cache
def written() -> dict[str, Any]:
    """JSON files of a person: a training, rounds, a scheme, a list of cases."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        train = json.loads(write_config(place / "t.json", tiny_config(place)).read_text("utf-8"))
        labels(place / "labels/a.nii.gz", {LIVER: 20})
        scan(place / "ct/a.nii.gz")
        save_cases(place / "cases.json", cases_of_folder(place))
        cases = json.loads((place / "cases.json").read_text("utf-8"))
    rounds = json.loads(RoundSettings("tiny", "store", "student.json").to_json())
    scheme = json.loads(json.dumps(SCHEMES["flare21"].record()))
    return {"train": train, "rounds": rounds, "scheme": scheme, "cases": cases}


PEOPLE: dict[str, Callable[[Path], Any]] = {
    "train": load_config,
    "rounds": load_round_settings,
    "scheme": lambda path: find_scheme(str(path)),
    "cases": load_cases,
}


def _json_file(folder: Path, chance: random.Random) -> Path:
    kind = chance.choice(sorted(PEOPLE))
    path = folder / f"{kind}.json"
    path.write_bytes(spoil_json(written()[kind], chance))
    return path


# --- rankings


def _teams(folder: Path) -> Path:
    """Three teams' tables."""
    head = "case,organ_dsc,organ_nsd,runtime_s,gpu_stable_max_mib"
    for team in ("a", "b", "c"):
        rows = [
            f"case{i},{0.5 + i / 10:.2f},{0.4 + i / 10:.2f},{10 + i},{1000 + i}" for i in range(4)
        ]
        (folder / f"{team}.csv").write_text("\n".join([head, *rows, ""]), encoding="utf-8")
    return folder


def _ranking(folder: Path, chance: random.Random) -> Path:
    path = _teams(folder) / chance.choice(("a.csv", "b.csv"))
    text = path.read_text("utf-8")
    how = chance.randrange(10)
    if how <= 4:
        data = spoil_lines(text, chance, ",").encode("utf-8", "surrogatepass")
    elif how <= 6:
        data = _cell_changed(text, chance).encode("utf-8", "surrogatepass")
    elif how == 7:
        data = text.encode(chance.choice(("utf-16", "utf-8-sig", "utf-32", "cp500")))
    else:
        data = spoil_bytes(text.encode(), chance, head=len(text))
    path.write_bytes(data)
    return folder


def _cell_changed(text: str, chance: random.Random) -> str:
    lines = [line.split(",") for line in text.split("\n") if line]
    row = chance.choice(lines)
    row[chance.randrange(len(row))] = chance.choice((*WORDS, "97.1", "1.7", "-1", "mean", "std"))
    return "\n".join(map(",".join, lines)) + "\n"


def _read_ranking(path: Path) -> None:
    import numpy as np

    table = read_results(path, SCHEMES["flare21"])
    for rule, values in zip(table.scheme.metrics, table.raw, strict=True):
        known = values[np.isfinite(values)]
        assert (known >= 0).all(), f"{rule.key} below 0"
        assert "dsc" not in rule.key or (known <= 1).all(), f"{rule.key} above 1"
    assert not {"mean", "std"} & set(table.cases), "a mean counts as a case"


# --- FLARE folders


@lru_cache
def flare_files() -> Files:
    """FLARE22's folders with three small scans."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "Training/FLARE22_LabeledCase50"
        for seed in range(3):
            name = f"FLARE22_Tr_{seed:04d}"
            scan(place / f"images/{name}_0000.nii.gz", seed)
            labels(place / f"labels/{name}.nii.gz", {LIVER: 20, SPLEEN: 5})
        return files_below(Path(folder))


def _flare(folder: Path, chance: random.Random) -> Path:
    files = dict(flare_files())
    for _ in range(chance.choice((1, 1, 2))):
        name = chance.choice(sorted(files))
        how = chance.randrange(7)
        if how == 0:
            del files[name]
        elif how == 1:
            files[name.replace("_0000", chance.choice(("", "_0001", "_0000_0000", " ")))] = files[
                name
            ]
        elif how == 2:
            files[name + chance.choice((".nii.gz", "/x.nii.gz", "\n", "\u00e9"))] = files.pop(name)
        elif how == 3:
            files[name.replace("Training", chance.choice(("training", "Tuning", "x/Training")))] = (
                b""
            )
        else:
            files[name] = spoil_bytes(files[name], chance, head=64)
    return put(folder / "data", {n: d for n, d in files.items() if n + "/x.nii.gz" not in files})


def _read_flare(path: Path) -> None:
    for finding in check_dataset(find_dataset(path)):
        assert finding.kind and str(finding.what).strip(), f"an empty finding: {finding}"


# --- the worker


def _lines(folder: Path, chance: random.Random) -> Path:
    """A conversation: spoilt requests, each behind a ping that must be answered."""
    place = folder / "scan.nii.gz"
    scan(place)
    requests = [
        {"id": 1, "command": "segment", "input": str(place), "output": str(folder / "out"),
         "settings": {"organs": ["liver"], "threads": 1}, "outputs": ["labels"]},
        {"id": 2, "command": "preload", "settings": {"model": "x"}},
        {"id": 3, "command": "cancel", "target": 1},
        {"id": 4, "command": "ping"},
    ]  # fmt: skip
    lines = []
    for number in range(10):
        request: dict[str, Any] = dict(chance.choice(requests))
        if request["command"] == "segment" and chance.random() < 0.4:
            odd = (
                "\0",
                "\ud800",
                "a" * 300,
                str(folder),
                "/dev/zero",
                "x\ny",
                "/proc/self/mem",
                "~root",
            )
            request[chance.choice(("input", "output"))] = chance.choice(odd)
            lines.append(json.dumps(request).encode())
        else:
            lines.append(spoil_json(request, chance).replace(b"\n", b" "))
        lines.append(json.dumps({"id": f"ping{number}", "command": "ping"}).encode())
    path = folder / "requests.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def _serve_lines(path: Path) -> None:
    """Every line that names itself has exactly one last answer, and the pings are all answered."""
    import os

    os.chdir(path.parent)  # a relative output lands where it is swept
    sent, stream = path.read_bytes().decode("utf-8", "replace").split("\n"), io.StringIO()
    CALLS.clear()

    def gone() -> None:
        raise AssertionError("the worker did not end by itself")

    worker = Worker(FAKE, Settings(), stream, leave=gone)
    code = worker.run([line for line in sent if not _ends(line)])
    answers = [json.loads(line) for line in stream.getvalue().splitlines()]
    last = [a for a in answers if a["event"] not in ("progress", "ready")]
    wanted = sum(1 for line in sent if line.strip() and not _ends(line))
    assert code == 0, f"exit {code}"
    assert len(last) == wanted, f"{len(last)} answers to {wanted} requests"
    ours = [f"ping{i}" for i in range(10)]
    pings = [a["id"] for a in last if a["event"] == "pong" and a["id"] in ours]
    assert pings == ours, f"pings answered: {pings}"
    for answer in last:
        if answer["event"] == "error" and answer["kind"] == "internal":
            raise AssertionError(f"internal: {answer['came']}")


def _ends(line: str) -> bool:
    """Whether a spoilt line happens to be a request to end."""
    return '"shutdown"' in line


def _read_any(path: Path) -> None:
    PEOPLE[path.stem](path)


def _plain_json(folder: Path) -> Path:
    path = folder / "train.json"
    path.write_text(json.dumps(written()["train"]), "utf-8")
    return path


READERS: dict[str, Reader] = {
    "store": Reader("store", _store, _read_store, lambda f: put(f / "store", store())),
    "run": Reader("train/evaluate", _run, _read_run, lambda f: put(f / "run", run_files())),
    "json": Reader("train/evaluate", _json_file, _read_any, _plain_json),
    "ranking": Reader("train/evaluate", _ranking, _read_ranking, _teams),
    "flare": Reader(
        "train/evaluate", _flare, _read_flare, lambda f: put(f / "data", flare_files())
    ),
    "worker": Reader("cli/worker", _lines, _serve_lines),
}
"""Fuzzed readers by name."""
