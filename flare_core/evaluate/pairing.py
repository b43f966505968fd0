"""Which predicted label file belongs to which reference."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core.anatomy.organs import organ
from flare_core.datasets.case import check_row
from flare_core.errors import InputError
from flare_core.imaging.inputs import (
    CHANNEL,
    SUFFIXES,
    TRUTH,
    case_name,
    existing,
    is_truth,
    stem_of,
    suffix_of,
)
from flare_core.json_fields import read_json

TABLE = "cases.json"
"""May say, beside the labels or one folder up, which organs a case annotates."""


@dataclass(frozen=True)
class CasePair:
    """One case to score."""

    name: str
    """The case."""
    reference: Path
    """Its reference label map."""
    prediction: Path | None = None
    """Its prediction; None if there is none."""
    annotated: tuple[str, ...] | None = None
    """Organ keys that the reference annotates; None: all of the edition."""
    note: str = ""
    """What is odd about where that is said."""


@dataclass(frozen=True)
class Pairing:
    """All cases of two folders."""

    cases: tuple[CasePair, ...]
    """One for every reference, by name."""
    extra: tuple[str, ...] = ()
    """Predictions without a reference; they are not scored."""


def pair_cases(prediction: str | Path, reference: str | Path) -> Pairing:
    """Match predictions to references by name; the format's suffix and ``_0000`` do not count.

    ``X_truth`` is the reference of case X where `flare phantom` has put its facts beside it (its
    scan ``X_0000`` is no label file then), or where nothing else can be: the predictions have an X
    and no X_truth, the references no X.

    Parameters
    ----------
    prediction, reference : path
        Two folders with a label file for each case, or two files of one case.

    Raises
    ------
    InputError
        If a path is absent, one is a file and the other a folder, a folder holds no label file or
        two of one case, or no prediction has the name of a reference.
    """
    predicted, true = existing(Path(prediction)), existing(Path(reference))
    if predicted.is_dir() != true.is_dir():
        raise InputError(
            "PRED and REF",
            f"a {_kind(predicted)} and a {_kind(true)}",
            "two folders, or two files",
            "Name the folders, or the two files of one case.",
        )
    if not true.is_dir():
        return Pairing((CasePair(case_name(true), true, predicted, *_annotated(true)),))
    return _pair_folders(
        _label_files(predicted, "PRED"), _label_files(true, "REF"), (predicted, true)
    )


def _pair_folders(
    found: dict[str, Path], wanted: dict[str, Path], folders: tuple[Path, Path]
) -> Pairing:
    named = {_truth_of(name, found, wanted): path for name, path in wanted.items()}
    wanted = dict(sorted(named.items()))
    if not found.keys() & wanted.keys():
        raise InputError(
            "PRED",
            f"{folders[0]}, in which no file has the name of a reference "
            f"({next(iter(found))}, but {next(iter(wanted))})",
            f"a folder with predictions for the cases in {folders[1]}",
            "Correct the path, or rename the files: a prediction is called like its reference.",
        )
    cases = tuple(
        CasePair(name, path, found.get(name), *_annotated(path)) for name, path in wanted.items()
    )
    return Pairing(cases, tuple(name for name in found if name not in wanted))


def _truth_of(name: str, found: dict[str, Path], wanted: dict[str, Path]) -> str:
    """Return the case that a reference is of: X for X_truth, if it can be no other."""
    case = name.removesuffix(TRUTH)
    return case if name not in found and case in found and case not in wanted else name


def _label_files(folder: Path, argument: str) -> dict[str, Path]:
    """Return the image files of a folder by case, sorted; hidden ones do not count.

    Letters with accents count as one, however macOS has written them.
    """
    beside = {p.name for p in folder.iterdir() if not p.name.startswith(".")}
    truths = {stem_of(n).removesuffix(TRUTH) for n in beside if is_truth(n, beside)}
    files: dict[str, Path] = {}
    for path in sorted(folder / n for n in beside if suffix_of(n)):
        name = case_name(path)
        if name in truths and stem_of(path).endswith(CHANNEL):
            continue  # a phantom's scan
        name = name.removesuffix(TRUTH) if is_truth(path.name, beside) else name
        name = unicodedata.normalize("NFC", name)
        if name in files:
            raise InputError(
                argument,
                f"{files[name].name} and {path.name} in {folder}, both of case {name}",
                "one label file for each case",
                "Keep the scans in another folder than the labels.",
            )
        files[name] = path
    if not files:
        raise _empty(folder, argument)
    return dict(sorted(files.items()))


def _empty(folder: Path, argument: str) -> InputError:
    below = sorted(p.name for p in folder.iterdir() if p.is_dir() and _holds_images(p))
    return InputError(
        argument,
        f"{folder}, a folder without label files",
        f"a folder with {', '.join(SUFFIXES)}",
        f"Its sub-folder {below[0]} has some." if below else "Correct the path.",
    )


def _holds_images(folder: Path) -> bool:
    return any(suffix_of(p) for p in folder.iterdir())


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "file"


def _annotated(reference: Path) -> tuple[tuple[str, ...] | None, str]:
    """Return which organs a reference annotates, if a table of its folder says so; and a note.

    Raises
    ------
    InputError
        If there is a table that cannot be read or used.
    """
    for folder in (reference.parent, reference.parent.parent):
        table = folder / TABLE
        if table.is_file():
            row = _row(table, reference)
            note = "" if row else f"{table} says nothing of it: all organs count as annotated"
            return _keys(table, case_name(reference), row or {}), note
    return None, ""


def _row(table: Path, reference: Path) -> dict[str, Any] | None:
    """Return what a table says of a reference, by its name, or in a list by its label file."""
    names = {text for name in (stem_of(reference), case_name(reference)) for text in _forms(name)}
    rows = _rows(table)
    if isinstance(rows, dict):
        found = [row for name, row in rows.items() if name in names]
        if found and not isinstance(found[0], dict):
            legal = "a JSON object: case name -> object with annotated"
            raise InputError(str(table), f"{case_name(reference)}: no object", legal, "Correct it.")
        return found[0] if found else None
    rows = [row for row in rows if isinstance(row, dict)]
    own = [row for row in rows if _is_file(table.parent, row.get("labels"), reference)]
    return next(iter(own or [row for row in rows if row.get("name") in names]), None)


def _forms(name: str) -> tuple[str, str]:
    """Return a name as most write its accents, and as macOS does."""
    return unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)


def _is_file(folder: Path, name: object, path: Path) -> bool:
    """Whether a row's label file is this one; links are followed for files of its name only."""
    alike = isinstance(name, str) and "\0" not in name and Path(name).name == path.name
    return alike and (folder / str(name)).resolve() == path.resolve()


def _rows(table: Path) -> dict[str, Any] | list[Any]:
    """Return a table: an object by case, or a list as `datasets.case.save_cases` writes it."""
    try:
        rows = read_json(table.read_text("utf-8"), str(table))
    except (OSError, ValueError) as error:
        raise InputError(
            str(table),
            f"a table of cases that cannot be read: {_why(error)}",
            "a JSON object with an entry for each case",
            "Repair it, or move it away: then all organs count as annotated.",
        ) from error
    if not isinstance(rows, (dict, list)):
        legal = "a JSON object: case name -> object with annotated"
        raise InputError(str(table), "no table of cases", legal, "Correct it, or move it away.")
    return rows


def _why(error: Exception) -> str:
    return error.parts[1] if isinstance(error, InputError) else str(error)


def _keys(table: Path, case: str, row: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the organ keys of a row; None where it does not say any."""
    try:
        check_row(case, row)
        return tuple(organ(key).key for key in row["annotated"]) if "annotated" in row else None
    except InputError as error:
        _, came, legal, action = error.parts
        raise InputError(f"{table}: {case}: annotated", came, legal, action) from error
