"""Files appear whole or not at all: write beside, flush to disk, rename.

A killed process leaves hidden files at most, never half of a result under its name:

``.MARK.part.NAME``   is becoming NAME, alone
``.MARK.new.NAME``    is becoming NAME, together with others
``.MARK.old.NAME``    was NAME
``.MARK.none.NAME``   there was no NAME

The last two exist while several files that belong together replace older ones. They hold all that
is needed to put the older ones back, and `restore` does so before files are written there again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flare_core.alive import locked
from flare_core.errors import InputError

HIDDEN = re.compile(r"\.([0-9a-f]{8})\.(part|new|old|none)(?=\.|$)")

LOCK_S = 5.0
"""How long a write waits for somebody who tidies up its folder, which takes milliseconds."""

STALE_S = 3600.0
"""Where folders cannot be locked: age from which an unfinished file counts as left behind."""

SHORTEST_LIMIT = 140
"""Bytes; a hidden name is never longer than this, or than the name it stands for. File systems
that encrypt names take 143."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    The temporary name ends like `path` does, because writers choose the format by the suffix.

    Raises
    ------
    InputError
        If the folder does not exist or cannot be written, or the disk is full.
    """
    target = Path(path)
    part = hidden(target, new_mark(), "part")
    try:
        yield part
        flush_to_disk(part)
        os.replace(part, target)
    except OSError as error:
        raise InputError(
            str(target),
            f"writing failed: {reason(error)}",
            "a folder that exists, may be written and has free space",
            "Free space or choose another output folder, then run again; nothing was left behind.",
        ) from error
    except InputError as error:
        raise of_target(error, part, target) from error
    finally:
        with suppress(OSError):  # a disk that has become read-only keeps it
            part.unlink(missing_ok=True)


@contextmanager
def written_together(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield a temporary path beside each target; rename all of them if the block succeeds.

    The targets lie in one folder. The last one is the sign that all are there: it is taken away
    first and put in place last.

    Raises
    ------
    InputError
        If writing or renaming fails. New files are then removed and old ones stay.
    """
    restore(targets)
    mark = new_mark()
    parts = [hidden(target, mark, "new") for target in targets]
    with locked(targets[-1].parent, shared=True, waiting=_patience()):
        try:
            yield parts
            for part in parts:
                flush_to_disk(part)
            _swap(parts, targets, mark)
        except OSError as error:
            raise InputError(
                "output",
                f"{targets[-1].parent}: writing failed: {reason(error)}",
                "a folder that may be written and has free space, its files not open elsewhere",
                "Free space, close the files or choose another folder; nothing was left behind.",
            ) from error
        except InputError as error:
            told = error
            for part, target in zip(parts, targets, strict=True):
                told = of_target(told, part, target)
            raise told from error
        finally:
            if not any(_is_there(hidden(target, mark, "old")) for target in targets):
                _remove(parts)  # else the next run needs them to see that this one did not end


def check_names(paths: Iterable[Path]) -> None:
    """Refuse, before anything is computed, names that the file system would not take.

    Raises
    ------
    InputError
        If a name or a path is too long.
    """
    for path in paths:
        folder = path.parent
        while not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent  # where a folder is missing, the system looks at no name in it
        try:
            os.lstat(folder / path.name)
            os.lstat(path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InputError(
                    "output",
                    f"{path}, a name of {len(os.fsencode(path.name))} bytes",
                    "names that this file system takes, mostly up to 255 bytes",
                    "Rename the scan, or choose a short name with -o FILE.nii.gz.",
                ) from error


def restore(targets: Sequence[Path]) -> None:
    """Tidy up what killed runs left: put old files back, remove the unfinished.

    Of files that are written together all is tidied that lies in the folder: who has its lock alone
    knows that nobody writes. Of files that are written alone, what bears these names.

    Nothing happens while another process writes into the folder, or if that cannot be known.

    Parameters
    ----------
    targets : sequence of path
        Files of one folder that are written together, the last one last.
    """
    folder = targets[-1].parent
    with suppress(OSError):  # it is not there, or cannot be written: making the files will say so
        left = [name for name in os.listdir(folder) if HIDDEN.match(name)]
        if left:
            with locked(folder) as alone:
                if alone is None:
                    left = [name for name in left if _is_stale(folder, name, left)]
                if alone is not False:
                    _tidy(folder, left, targets)


def restore_all(groups: Iterable[Sequence[Path]]) -> None:
    """Do the same for several groups of files that are written together."""
    tidy: set[Path] = set()
    for targets in groups:
        folder = targets[-1].parent
        if folder not in tidy:
            restore(targets)
        with suppress(OSError):
            if not any(HIDDEN.match(name) for name in os.listdir(folder)):
                tidy.add(folder)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends to `path`, whole or not at all."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return `value` as indented JSON with a line end."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def new_mark() -> str:
    """Return what tells the hidden files of one write from those of others."""
    return uuid.uuid4().hex[:8]


def hidden(target: Path, mark: str, kind: str) -> Path:
    """Return the hidden name, beside a file, of what stands for it for a while.

    Where names of this length may not be allowed, the beginning of the file's name is left out.

    Examples
    --------
    >>> hidden(Path("out/a.nii.gz"), "0123abcd", "part").as_posix()
    'out/.0123abcd.part.a.nii.gz'
    """
    name, start = target.name, f".{mark}.{kind}."
    room = max(SHORTEST_LIMIT, len(os.fsencode(name))) - len(start)
    while len(os.fsencode(name)) > room:
        name = name[1:]
    return target.with_name(start + name)


def reason(error: OSError) -> str:
    """Return what the system says about an error, in words that are never empty."""
    return error.strerror or str(error) or type(error).__name__


def of_target(error: InputError, part: Path, target: Path) -> InputError:
    """Return an error about the file that is being made, where it names the hidden one."""
    parts = [
        text.replace(str(part), str(target)).replace(part.name, target.name) for text in error.parts
    ]
    return error if tuple(parts) == error.parts else InputError(*parts)


def flush_to_disk(path: Path) -> None:
    """Make the renamed file survive a power cut (its bytes are on disk before its name is)."""
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def _swap(parts: Sequence[Path], targets: Sequence[Path], mark: str) -> None:
    """Put the parts in place of the targets; whatever stops it, put everything back."""
    try:
        for target in reversed(targets):
            if _is_there(target):
                os.replace(target, hidden(target, mark, "old"))
            else:
                hidden(target, mark, "none").touch()
        for part, target in zip(parts, targets, strict=True):
            os.replace(part, target)
    finally:
        if any(map(_is_there, parts)):  # Ctrl-C too: the old files must come back
            _put_back(targets, mark)
        else:
            _remove(hidden(target, mark, kind) for target in targets for kind in ("old", "none"))


def _put_back(targets: Sequence[Path], mark: str) -> None:
    """Undo a swap that did not end; what is on disk tells how far it came."""
    for target in targets:  # in order: the last one says that all are there
        old, none = (hidden(target, mark, kind) for kind in ("old", "none"))
        if _is_there(old):
            os.replace(old, target)
        elif _is_there(none):
            target.unlink(missing_ok=True)
            none.unlink(missing_ok=True)


def _tidy(folder: Path, left: Sequence[str], targets: Sequence[Path]) -> None:
    """Undo the swaps that did not end, finish those that did, remove the rest."""
    for mark in sorted({found[0] for name in left for found in HIDDEN.findall(name)}):
        parts = tuple(hidden(t, mark, kind).name for t in targets for kind in ("new", "part"))
        olds = tuple(hidden(t, mark, kind).name for t in targets for kind in ("old", "none"))
        ours = any(name.endswith((*parts, *olds)) for name in left)
        group = targets if ours else _group(folder, left, mark)
        if group is None:
            continue
        # A writer of ours may itself write beside its part: the name then ends with that part's.
        # A name without an end is what tried whether the folder can be written.
        unfinished = [
            name
            for name in left
            if name.endswith(parts) or f".{mark}.new." in name or name == f".{mark}.part"
        ]
        if unfinished:
            _put_back(group, mark)
        else:
            _remove(hidden(target, mark, kind) for target in group for kind in ("old", "none"))
        _remove(folder / name for name in unfinished)


def _group(folder: Path, left: Sequence[str], mark: str) -> list[Path] | None:
    """Return the files that the hidden ones of somebody else's swap stand for.

    Labels come last, as where they are made. None if a name may have been cut (`hidden`): only the
    next run of these files knows it.
    """
    heads = tuple(f".{mark}.{kind}." for kind in ("old", "none"))
    there = [name for name in left if name.startswith(heads)]
    if any(len(os.fsencode(name)) >= SHORTEST_LIMIT for name in there):
        return None
    names = {n[len(head) :] for n in there for head in heads if n.startswith(head)}
    return [folder / name for name in sorted(names, key=lambda n: (n.endswith(".nii.gz"), n))]


def _is_stale(folder: Path, name: str, left: Sequence[str]) -> bool:
    """Whether the unfinished files of this one's write are old, or there are none."""
    same = [n for n in left if n[1:9] == name[1:9] and (".part" in n or ".new." in n)]
    return all(time.time() - (folder / n).stat().st_mtime > STALE_S for n in same)


def _is_there(path: Path) -> bool:
    return os.path.exists(path)  # which, unlike the method, raises nothing


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # a disk that has become read-only keeps it
            path.unlink(missing_ok=True)


def _patience() -> Callable[[], bool]:
    """Return what waits a little for somebody who tidies up; False when that takes too long."""
    end = time.monotonic() + LOCK_S

    def wait() -> bool:
        time.sleep(0.01)
        return time.monotonic() < end

    return wait


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
