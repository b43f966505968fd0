"""Where an nnU-Net model is: a folder of anybody's, or a zip that is unpacked with care."""

from __future__ import annotations

import errno
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from flare_core.errors import InputError
from flare_core.store.archive import MAX_RATIO
from flare_core.store.home import Home, ensure_folder
from flare_core.store.integrity import sweep
from flare_core.store.nnunet_fields import refusal

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

_ZIP_ERRORS = (
    OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, ValueError,
)  # fmt: skip


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
    sweep(ensure_folder(home.cache), f"{SCRATCH}*")
    with tempfile.TemporaryDirectory(dir=home.cache, prefix=SCRATCH) as folder:
        unpack(source, Path(folder))
        yield Path(folder)


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
    except _ZIP_ERRORS as error:
        if isinstance(error, InputError):
            raise
        if isinstance(error, OSError) and error.errno in FULL:
            legal = f"{sum(entry.file_size for entry in entries) / 2**30:.1f} GiB of free space"
            action = "Free space, then import it again; nothing was left behind."
            raise refusal(str(folder), error.strerror, legal, action=action) from error
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


def checkpoints(folder: Path, folds: Sequence[int | str] | None = None) -> dict[str, Path]:
    """Return the checkpoint of each fold, by the fold's name (``0`` to ``4``, ``all``).

    Parameters
    ----------
    folds : sequence of int or str, optional
        Folds wanted; None takes those that are there.

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
    wanted = list(found) if folds is None else [str(fold) for fold in folds]
    missing = [fold for fold in wanted if fold not in found]
    if missing or not wanted:
        came = f"no fold {', '.join(missing)}" if missing else "no fold with weights"
        legal = f"{', '.join(found) or 'fold_0, ...'}: folders with {names[0]}"
        action = "Choose folds that are there, or copy the missing ones."
        raise refusal(f"{folder}: folds", came, legal, action=action)
    return {fold: found[fold] for fold in wanted}


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
    if entry.file_size > MAX_RATIO * max(entry.compress_size, 1) + 2**20:
        return f"{entry.compress_size} bytes that would unpack to {entry.file_size}"
    return ""


def _unsound(source: Path, came: str) -> InputError:
    legal = f"a zip of a model: plain files, at most {MAX_ENTRIES} and {MAX_BYTES // 2**30} GiB"
    return refusal(str(source), came, legal, action="Fetch it again from where it came.")
