"""Where an nnU-Net model is: a folder of anybody's, or a zip that is unpacked with care."""

from __future__ import annotations

import errno
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from flare_core.alive import scratch
from flare_core.errors import InputError
from flare_core.home import Home, ensure_folder
from flare_core.models.archive import MAX_RATIO, PACKINGS, ZIP_ERRORS
from flare_core.models.nnunet.fields import refusal

MAX_ENTRIES = 2000
"""Files in a zip; a model has a few dozen."""

MAX_BYTES = 16 * 2**30
"""All files of a zip, unpacked. Five folds with their optimisers' state have about 5 GiB."""

WANTED = (".json", ".pkl", ".pth", ".model")
"""What is unpacked; logs and pictures stay in the zip."""

PLANS = ("plans.json", "plans.pkl")
"""Marks the folder of a model: nnU-Net v2, v1."""

WEIGHTS = {
    "plans.json": ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth"),
    "plans.pkl": ("model_final_checkpoint.model", "model_best.model", "model_latest.model"),
}
"""Checkpoints, the one to take first."""

SCRATCH = "nnunet-"
"""Beginning of the names of folders in the cache in which zips are unpacked."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The system's words for a full disk."""

DEEPEST = 5
"""Folders below the one that is given, in which a model is looked for."""


@dataclass(frozen=True)
class Folds:
    """Which folds of a model count."""

    paths: dict[str, Path]
    """Checkpoint by the fold's name: ``0`` to ``4``, ``all``."""
    notes: tuple[str, ...] = ()
    """Which are unfinished and which were left out, for a person."""


@contextmanager
def opened(source: Path, home: Home) -> Iterator[Path]:
    """Yield a folder: `source` itself, or what a zip holds, unpacked for the length of the block.

    Raises
    ------
    InputError
        If there is no such folder or zip, or the zip is not sound.
    """
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise refusal(str(source), "nothing of that name", "a folder or zip of an nnU-Net model")
    with scratch(ensure_folder(home.cache), SCRATCH) as folder:
        unpack(source, folder)
        yield folder


def unpack(source: Path, folder: Path) -> None:
    """Unpack the plans and weights of a zip that may come from anybody.

    Raises
    ------
    InputError
        If a path leads outside, an entry is a link, encrypted or a bomb, or the zip is damaged.
    """
    entries: list[zipfile.ZipInfo] = []
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check(entries, source)
            for entry in entries:
                if entry.filename.endswith(WANTED):
                    target = folder.joinpath(*PurePosixPath(entry.filename).parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    # zipfile stops at the size the entry states, which was checked
                    with archive.open(entry) as stream, target.open("wb") as sink:
                        shutil.copyfileobj(stream, sink)
    except ZIP_ERRORS as error:
        if isinstance(error, InputError):
            raise
        if isinstance(error, OSError) and error.errno in FULL:
            legal = f"{sum(entry.file_size for entry in entries) / 2**30:.1f} GiB of free space"
            action = "Free space, then import it again; nothing was left behind."
            raise refusal(str(folder), str(error.strerror), legal, action=action) from error
        raise _unsound(source, f"not readable: {error}") from error


def model_folder(folder: Path) -> Path:
    """Return the one folder with plans at or below `folder`.

    Raises
    ------
    InputError
        If there is none, or there are several.
    """
    found = sorted({plans.parent for plans in _plans_below(folder)})
    if not found:
        legal = f"a folder with {' or '.join(PLANS)} and fold_0, fold_1, ..."
        raise refusal(str(folder), "no nnU-Net model in it", legal)
    if len(found) > 1:
        names = [each.relative_to(folder).as_posix() for each in found]
        action = "Name one of these folders."
        raise refusal(str(folder), f"{len(found)} models: {', '.join(names)}", "one", action=action)
    return found[0]


def checkpoints(folder: Path, folds: Sequence[int | str] | None = None) -> Folds:
    """Return the checkpoint of each fold that counts, and what a person should know of the others.

    Unasked, folds are taken as nnU-Net takes them: the numbered ones whose training is finished,
    and ``all``, which has seen every case, only where it is alone. Where no training is finished,
    the best checkpoints so far count; the latest ones only if somebody names their folds.

    Parameters
    ----------
    folds : sequence of int or str, optional
        Folds wanted; None takes those that nnU-Net would take.

    Raises
    ------
    InputError
        If a fold has no checkpoint, or none has.
    """
    names = WEIGHTS[next(name for name in PLANS if (folder / name).is_file())]
    there = {
        each.name.removeprefix("fold_"): next(
            (each / name for name in names if (each / name).is_file()), None
        )
        for each in sorted(folder.iterdir())
        if each.is_dir() and (each.name.startswith("fold_") or each.name == "all")
    }
    found = {fold: path for fold, path in there.items() if path is not None}
    wanted = _unasked(found, names) if folds is None else [str(fold) for fold in folds]
    missing = [fold for fold in wanted if fold not in found]
    if missing or not wanted:
        raise _no_fold(folder, missing, found, names)
    notes = [
        f"Fold {fold} comes from a training that is not finished: {found[fold].name}."
        for fold in wanted
        if found[fold].name != names[0]
    ]
    if folds is None:
        left = [fold for fold in there if fold not in wanted]
        notes += [_left_out(fold, there[fold], names) for fold in left]
    return Folds({fold: found[fold] for fold in wanted}, tuple(notes))


def _unasked(found: Mapping[str, Path], names: Sequence[str]) -> list[str]:
    """Return the folds that nnU-Net would take, else those of the best checkpoints so far."""
    for name in names[:2]:
        having = [fold for fold, path in found.items() if path.name == name]
        numbered = [fold for fold in having if fold.isdecimal()]
        if numbered or "all" in having:
            return numbered or ["all"]
    return []


def _left_out(fold: str, path: Path | None, names: Sequence[str]) -> str:
    if path is None:
        return f"Fold {fold} is left out: there are no weights in it."
    if path.name != names[0]:
        return f"Fold {fold} is left out: its training is not finished (no {names[0]})."
    return f"Fold {fold} is left out, as nnU-Net does beside numbered folds; --folds names others."


def _no_fold(
    folder: Path, missing: Sequence[str], found: Mapping[str, Path], names: Sequence[str]
) -> InputError:
    came = f"no fold {', '.join(missing)}" if missing else "no fold with weights"
    action = "Choose folds that are there, or copy the missing ones."
    if not missing and found:
        came += f" of a finished training: {', '.join(f'{f} ({p.name})' for f, p in found.items())}"
        action = "Finish the training, or name the folds that are to count all the same (--folds)."
    legal = f"{', '.join(found) or 'fold_0, ...'}: folders with {names[0]}"
    return refusal(f"{folder}: folds", came, legal, action=action)


def _plans_below(folder: Path) -> Iterator[Path]:
    for depth in range(DEEPEST + 1):
        for name in PLANS:
            yield from folder.glob("*/" * depth + name)


def _check(entries: Sequence[zipfile.ZipInfo], source: Path) -> None:
    """Refuse a zip from its table of contents, before a byte is unpacked."""
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or size > MAX_BYTES:
        raise _unsound(source, f"{len(entries)} files of {size / 2**30:.1f} GiB together")
    places = [entry.filename for entry in entries]
    if len(set(places)) != len(places):
        raise _unsound(source, "a file that comes twice")
    for entry in entries:
        reason = _fault(entry)
        if reason:
            raise _unsound(source, f"{entry.filename!r}: {reason}")


def _fault(entry: zipfile.ZipInfo) -> str:
    """Why an entry is refused, empty if it is sound."""
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or any(c in entry.filename for c in "\\:\0"):
        return "a path that leads outside"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        return "a link or another special file"
    if entry.flag_bits & 1:
        return "encrypted"
    if entry.compress_type not in PACKINGS:
        return "an unusual compression"
    if entry.file_size > MAX_RATIO * max(entry.compress_size, 1) + 2**20:
        return f"{entry.compress_size} bytes that would unpack to {entry.file_size}"
    return ""


def _unsound(source: Path, came: str) -> InputError:
    legal = f"a zip of a model: plain files, at most {MAX_ENTRIES} and {MAX_BYTES // 2**30} GiB"
    return refusal(str(source), came, legal, action="Fetch it again from where it came.")
