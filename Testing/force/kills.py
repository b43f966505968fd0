"""The commands that are killed, what they must not lose, and the run that follows."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import killed_rounds
import rounds_world
from constant_model import write_constant_model
from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from fake_engine import four
from file_server import Site, serving
from flare_core import cli
from flare_core.cases.store import LabelFacts, open_store
from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.imaging.files import read_labels, write_volume
from flare_core.models.archive import pack
from flare_core.models.download import download
from flare_core.models.package import load_package, read_weights
from flare_core.models.remote_file import RemoteFile
from flare_core.train.checkpoint import load_checkpoint
from flare_core.train.rounds.run import run_rounds, start_rounds
from flare_core.train.rounds.status import run_status
from force.killing import Scene
from force.readers_imaging import phantom
from nnunet_folders import write_v2
from stub_models import stub_package
from tiny_training import make_cases, tiny_config, write_config


def flare(*words: object, legal: tuple[int, ...] = (0,)) -> None:
    """Run a command in this process; any other exit code is an error."""
    code = cli.main([str(word) for word in words])
    if code not in legal:
        raise RuntimeError(f"flare {' '.join(map(str, words))}: exit {code}")


# --- segment


def _two_scans(folder: Path) -> None:
    """Two scans, a model, and an earlier result of the first scan."""
    write_constant_model(folder / "model")
    for name in ("a", "b"):
        write_volume(folder / f"{name}.nii.gz", phantom().image)
    _segment(folder, "a")


def _segment(folder: Path, name: str, *more: str) -> None:
    flare(
        "segment", folder / f"{name}.nii.gz", "-o", folder / "out", "--model", folder / "model",
        "--device", "cpu", "--threads", 1, "--progress", "none", *more,
    )  # fmt: skip


def _segment_next(folder: Path, chance: random.Random) -> None:
    """The next run does the same again, or only looks, or is of another scan."""
    how = chance.randrange(3)
    if how == 0:
        _segment(folder, "a", "--overwrite")
    elif how == 1:
        flare(
            "segment", folder / "a.nii.gz", "-o", folder / "out", "--model", folder / "model",
            "--device", "cpu", "--threads", 1, "--progress", "none", legal=(0, 2),
        )  # fmt: skip
    _segment(folder, "b", "--overwrite")


def _segment_lost(folder: Path, after: bool) -> str:
    there = {path.name for path in (folder / "out").iterdir()}
    if after and (gone := four("a") - there):
        return f"of the earlier result: {sorted(gone)}"
    for path in (folder / "out").glob("[!.]*.nii.gz"):
        if not read_labels(path).array.any():
            return f"{path.name} is empty"
    for path in (folder / "out").glob("[!.]*.json"):
        json.loads(path.read_text("utf-8"))
    return ""


# --- train and rounds


def _training(folder: Path) -> None:
    data = make_cases(folder / "data")
    config = tiny_config(data, validate_every=4)
    phase = replace(config.phases[0], steps=8)
    write_config(folder / "train.json", replace(config, phases=(phase,)))


def _train(folder: Path) -> None:
    flare("train", folder / "train.json", "-o", folder / "run", "--progress", "none")


def _train_lost(folder: Path, after: bool) -> str:
    """A checkpoint that has its name is whole; the run ends after its last step."""
    found = sorted((folder / "run").rglob("checkpoint*.pt")) if (folder / "run").is_dir() else []
    steps = [load_checkpoint(path)["progress"]["total_steps"] for path in found]
    if after and 8 not in steps:
        return f"ended after {steps} of 8 steps"
    return ""


def _rounds(folder: Path) -> None:
    rounds_world.make_store(folder)
    rounds_world.student(folder)
    settings = rounds_world.settings(folder, rounds=1, steps=6)
    start_rounds(folder / "run", settings)


def _rounds_next(folder: Path, chance: random.Random) -> None:
    """Killed once more at a known moment, then to the end."""
    from force.killing import apart

    stage = chance.choice(("predict", "select", "train", "score", "promote"))
    apart(lambda: killed_rounds.run_until(folder / "run", f"after {stage}"))
    run_rounds(folder / "run")


def _rounds_lost(folder: Path, after: bool) -> str:
    status = run_status(folder / "run")
    if after and status["status"] != "done":
        return f"the run is {status['status']}: {status['message']}"
    with open_store(folder / "store") as store:
        cases = {case.name: case.status for case in store.cases()}
        wrong = [problem for problem in store.verify() if problem.wrong]
    if len(cases) != 7 or sum(status == "accepted" for status in cases.values()) < 4:
        return f"cases of the store: {cases}"
    return f"the store has problems: {wrong[0]}" if wrong else ""


# --- models


def _packed(folder: Path) -> None:
    pack(stub_package(folder / "package"), folder / "stub.zip")
    Home(folder / "home").path.mkdir()
    write_v2(folder / "nnunet")


def _install(folder: Path) -> None:
    flare(
        "models", "install", folder / "stub.zip", "--home", folder / "home", "--yes", legal=(0, 2)
    )


def _import(folder: Path) -> None:
    words = ("import", folder / "nnunet", "--name", "x", "--home", folder / "home")
    flare("models", *words, legal=(0, 2))


def _models_lost(folder: Path, after: bool) -> str:
    """A model that has its name is whole."""
    models = Home(folder / "home").models
    found = [path for path in models.glob("*/[!.]*") if path.is_dir()] if models.is_dir() else []
    for path in found:
        package = load_package(path)
        for stage in package.card.stages:
            for weights in package.weights_paths(stage):
                read_weights(weights)
    return "no model is there" if after and not found else ""


def _installed(folder: Path) -> None:
    _packed(folder)
    _install(folder)
    shutil.copy(folder / "stub.zip", folder / "out.zip")


def _export(folder: Path) -> None:
    (folder / "out.zip").unlink(missing_ok=True)
    flare("models", "export", "stub", "-o", folder / "out.zip", "--home", folder / "home")


def _export_lost(folder: Path, after: bool) -> str:
    path, home = folder / "out.zip", Home(folder / "looked")
    if not path.exists():
        return "no package is there" if after else ""
    from flare_core.models.archive import install

    try:
        install(path, home=home)
    except InputError as error:
        return f"half a package has the name: {error.parts[1]}"
    finally:
        shutil.rmtree(home.path, ignore_errors=True)
    return ""


CONTENT = bytes(range(256)) * 20_000


def _download(folder: Path) -> None:
    """Fetch from a server of this process: what is killed with it is asked again."""
    with serving(Site({"/file": CONTENT})) as site:
        file = RemoteFile(f"{site.url}/file", size_bytes=len(CONTENT))
        download(file, folder / "home" / "file")


def _download_next(folder: Path, chance: random.Random) -> None:
    del chance
    _download(folder)


def _download_lost(folder: Path, after: bool) -> str:
    path = folder / "home" / "file"
    if path.exists() and path.read_bytes() != CONTENT:
        return "the file is not the server's"
    return "no file" if after and not path.exists() else ""


# --- the store's catalogue


def _filled(folder: Path) -> None:
    truth = labels(folder / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
    with open_store(folder / "store", create=True) as store:
        for seed, name in enumerate("abc"):
            store.add_case(scan(folder / f"{name}.nii.gz", seed), patient=name)
            store.add_labels(name, truth, LabelFacts("pseudo", ("liver", "spleen")))
            store.set_scores(name, {"doubt": seed / 4})
        store.set_status("a", "accepted")


def _rebuild(folder: Path) -> None:
    flare("cases", "verify", "--rebuild", "--store", folder / "store")


def _rebuild_lost(folder: Path, after: bool) -> str:
    try:
        with open_store(folder / "store") as store:
            cases = {case.name: case.status for case in store.cases()}
            scores = len(store.score_table())
    except InputError as error:
        return str(error) if after else ""  # it says what to do; never an empty store
    right = {"a": "accepted", "b": "pseudo", "c": "pseudo"}
    return "" if (cases, scores) == (right, 3) else f"cases {cases}, scores of {scores}"


def _prepared_home(folder: Path) -> None:
    (folder / "home").mkdir()


SCENES: dict[str, Scene] = {
    "kill-segment": Scene(
        "cli/worker", _two_scans, lambda f: _segment(f, "a", "--overwrite"), _segment_next,
        _segment_lost,
    ),
    "kill-train": Scene("train/evaluate", _training, _train, lambda f, _: _train(f), _train_lost),
    "kill-rounds": Scene(
        "train/evaluate", _rounds, lambda f: run_rounds(f / "run") and None, _rounds_next,
        _rounds_lost, r"home(/models(/tiny(/[^.].*)?)?)?",
    ),
    "kill-install": Scene("models", _packed, _install, lambda f, _: _install(f), _models_lost),
    "kill-import": Scene("models", _packed, _import, lambda f, _: _import(f), _models_lost),
    "kill-export": Scene("models", _installed, _export, lambda f, _: _export(f), _export_lost),
    "kill-download": Scene(
        "models", _prepared_home, _download, _download_next, _download_lost
    ),
    "kill-rebuild": Scene("store", _filled, _rebuild, lambda f, _: _rebuild(f), _rebuild_lost),
}  # fmt: skip
"""★ Add a command to kill."""
