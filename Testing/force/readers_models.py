"""Spoilt model packages, nnU-Net folders of both versions, and checkpoints."""

from __future__ import annotations

import io
import json
import pickle
import random
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import nnunet_folders
from flare_core.home import Home
from flare_core.models.archive import install
from flare_core.models.nnunet.convert import import_nnunet
from flare_core.models.nnunet.v1 import read_plans_pickle
from flare_core.models.package import load_package, read_weights
from flare_core.train.checkpoint import load_checkpoint, read_start
from force.children import Reader
from force.mutations import VALUES, spoil_bytes, spoil_json
from stub_models import stub_package

Files = dict[str, bytes]


def files_below(folder: Path) -> Files:
    """Every file of a folder by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def put(folder: Path, files: Files) -> Path:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@lru_cache
def package() -> Files:
    """A package of two stages."""
    with tempfile.TemporaryDirectory() as folder:
        stub_package(Path(folder) / "stub")
        return files_below(Path(folder) / "stub")


@lru_cache
def nnunet_v2() -> Files:
    """A model folder as nnU-Net v2 writes it."""
    with tempfile.TemporaryDirectory() as folder:
        return files_below(nnunet_folders.write_v2(Path(folder)))


@lru_cache
def nnunet_v1() -> Files:
    """A model folder as nnU-Net v1 writes it."""
    spec = nnunet_folders.NETWORK
    with tempfile.TemporaryDirectory() as folder:
        weights = nnunet_folders.generic_unet_weights(spec)
        model = nnunet_folders.write_v1(Path(folder), spec, weights)
        named = {"labels": {"0": "background", "1": "liver", "2": "spleen"}}
        dataset = json.dumps(named).encode()
        return {**files_below(model), "dataset.json": dataset}


@lru_cache
def checkpoint() -> bytes:
    """A checkpoint of ours."""
    import torch

    from flare_core.train.checkpoint import TrainingProgress, save_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        path, one = Path(folder) / "checkpoint.pt", {"weight": torch.ones(3)}
        save_checkpoint(
            path,
            network=one,
            ema=one,
            strategy={},
            optimiser={"state": {}, "param_groups": []},
            progress=TrainingProgress(),
            config="{}",
        )
        return path.read_bytes()


def _spoil_one(files: Files, chance: random.Random, likely: tuple[str, ...]) -> Files:
    """Spoil one file; those whose names end as `likely` says three times out of four."""
    names = sorted(files)
    wanted = [n for n in names if n.endswith(likely)]
    name = chance.choice(wanted if wanted and chance.random() < 0.75 else names)
    data = files[name]
    if name.endswith(".json"):
        return {**files, name: spoil_json(json.loads(data), chance)}
    if name.endswith("plans.pkl") and chance.random() < 0.6:
        return {**files, name: _spoilt_pickle(data, chance)}
    return {**files, name: spoil_bytes(data, chance, head=min(3000, len(data)))}


def _spoilt_pickle(data: bytes, chance: random.Random) -> bytes:
    """Write a pickle of the same fields with one changed; our own bytes, read by us alone."""
    plans: dict[str, Any] = pickle.loads(data)  # noqa: S301 - made by nnunet_folders above
    key = chance.choice(sorted(plans, key=str))
    plans[key] = chance.choice((*VALUES[:-1], {0: plans[key]}, [plans[key]], (plans[key],) * 3))
    if chance.random() < 0.2:
        del plans[key]
    return pickle.dumps(plans, protocol=chance.choice((2, 3, 4, 5)))


def _package(folder: Path, chance: random.Random) -> Path:
    return put(folder / "package", _spoil_one(package(), chance, ("model.json", ".json")))


def _read_package(path: Path) -> None:
    found = load_package(path)
    for stage in found.card.stages:
        for weights in found.weights_paths(stage):
            read_weights(weights)


def _archive(folder: Path, chance: random.Random) -> Path:
    files = package() if chance.random() < 0.3 else _spoil_one(package(), chance, (".json",))
    path = folder / "package.zip"
    with zipfile.ZipFile(path, "w", chance.choice((0, 8))) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
            if chance.random() < 0.05:
                archive.writestr(name, data)
    if chance.random() < 0.6:
        path.write_bytes(spoil_bytes(path.read_bytes(), chance, head=path.stat().st_size))
    return path


def _read_archive(path: Path) -> None:
    home = Home(path.parent / "home")
    _nothing_left_if_refused(home, lambda: install(path, home=home))


def _nothing_left_if_refused(home: Home, work: Any) -> None:
    try:
        work()
    except BaseException:
        rest = [p.name for p in home.path.rglob("*") if p.is_file()] if home.path.is_dir() else []
        if rest:
            raise AssertionError(f"refused, and left {rest[:5]}") from None
        raise


def _v2(folder: Path, chance: random.Random) -> Path:
    likely = ("plans.json", "dataset.json")
    put(folder / "model/A__B__3d_fullres", _spoil_one(nnunet_v2(), chance, likely))
    return folder / "model"


def _v1(folder: Path, chance: random.Random) -> Path:
    return put(folder / "model/T__P", _spoil_one(nnunet_v1(), chance, ("plans.pkl", ".pkl")))


def _read_nnunet(path: Path) -> None:
    home = Home(path.parent / "home")
    _nothing_left_if_refused(home, lambda: import_nnunet(path, home=home, name="x"))
    _read_package(next((home.models / "x").iterdir()))


def _plans_pickle(folder: Path, chance: random.Random) -> Path:
    data = nnunet_v1()["plans.pkl"]
    spoilt = _spoilt_pickle(data, chance) if chance.random() < 0.3 else data
    path = folder / "plans.pkl"
    path.write_bytes(spoil_bytes(spoilt, chance, head=len(spoilt)))
    return path


def _checkpoint(folder: Path, chance: random.Random) -> Path:
    path = folder / "checkpoint.pt"
    if chance.random() < 0.7:
        path.write_bytes(spoil_bytes(checkpoint(), chance, head=3000))
    else:
        _save_spoilt(path, chance)
    return path


def _save_spoilt(path: Path, chance: random.Random) -> None:
    """Write a sound archive in which one part is of another type."""
    import torch

    state = torch.load(io.BytesIO(checkpoint()), weights_only=True)
    part = chance.choice(sorted(state))
    if isinstance(state[part], dict) and state[part] and chance.random() < 0.5:
        state[part][chance.choice(sorted(state[part]))] = chance.choice(VALUES)
    else:
        state[part] = chance.choice(VALUES)
    torch.save(state, path)


def _read_checkpoint(path: Path) -> None:
    load_checkpoint(path)
    read_start(path)


def _zipped(folder: Path, files: Files) -> Path:
    path = folder / "package.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _single(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


READERS: dict[str, Reader] = {
    "package": Reader("models", _package, _read_package, lambda f: put(f / "package", package())),
    "package-zip": Reader("models", _archive, _read_archive, lambda f: _zipped(f, package())),
    "nnunet-v2": Reader(
        "models", _v2, _read_nnunet, lambda f: put(f / "A__B__3d_fullres", nnunet_v2())
    ),
    "nnunet-v1": Reader("models", _v1, _read_nnunet, lambda f: put(f / "T__P", nnunet_v1())),
    "plans-pickle": Reader(
        "models",
        _plans_pickle,
        read_plans_pickle,
        lambda f: _single(f / "plans.pkl", nnunet_v1()["plans.pkl"]),
    ),
    "checkpoint": Reader(
        "train/evaluate",
        _checkpoint,
        _read_checkpoint,
        lambda f: _single(f / "checkpoint.pt", checkpoint()),
    ),
}
"""Fuzzed readers by name."""
