"""A case: one scan, perhaps its labels, and which organs those labels really annotate."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.alive import sweep_files
from flare_core.anatomy.label_schemes import scheme
from flare_core.anatomy.organs import ORGANS, organ
from flare_core.cases.names import is_text
from flare_core.cases.records import KINDS
from flare_core.errors import InputError, shown
from flare_core.json_fields import WORDS, read_json_file

ALL_ORGANS = tuple(o.key for o in ORGANS)
"""The 13 organs, in the order of their label values."""

IMAGE_FOLDERS = ("ct", "images", "imagesTr")
"""Where a folder of cases may keep its scans."""

PARTIAL_REACH_MM = 40.0
"""Farther than this from what is labelled of `Case.partly`, a 0 says nothing."""

SUFFIX = ".nii.gz"

LARGEST_LIST = 64 * 2**20
"""Bytes of a list of cases that is read: a hundred thousand cases."""


@dataclass(frozen=True)
class Case:
    """One scan to learn from or to be scored on."""

    name: str
    """Unique in its list; the file name without ``_0000`` and suffix."""
    image: Path
    """The CT."""
    labels: Path | None = None
    """The label map on the same grid, organ ids of `anatomy.organs`; None if unlabelled."""
    annotated: tuple[str, ...] = ALL_ORGANS
    """Organ keys that the label map annotates (synonyms become keys). A voxel of any other organ
    is labelled 0 in it, so 0 means "background or one of the others"."""
    patient: str = ""
    """Whoever was scanned; splits never part one patient's scans. Empty: the case's name."""
    source: str = ""
    """Collection or method that the labels come from."""
    weight: float = 1.0
    """How often the case is drawn, relative to the others; at least 0."""
    kind: str = "expert"
    """Who made the labels: ``expert``, ``corrected``, ``pseudo`` or ``soft`` (`cases.store`)."""
    before: Path | None = None
    """The label map that a person corrected; where `labels` differ from it was edited."""
    soft: Path | None = None
    """Second most likely organ of each voxel and its share (see `datasets.soft_map`)."""
    absent: tuple[str, ...] = ()
    """Organs among `annotated` that are known not to be in the scan."""
    partly: tuple[str, ...] = ()
    """Organs among `annotated` of which the scan may show more than is labelled (FLARE24's task 1:
    one lesion of several). Far from what is labelled, 0 means "who knows"."""
    reviewed: tuple[str, ...] = ()
    """Organs among `annotated` that the person looked at who corrected `before`; a model has filled
    in the others since. Empty: all of them."""

    def __post_init__(self) -> None:
        """Check weight and organ names, and fill in the patient."""
        for name in ("annotated", "absent", "partly", "reviewed"):
            object.__setattr__(self, name, tuple(organ(key).key for key in getattr(self, name)))
        if not self.patient:
            object.__setattr__(self, "patient", self.name)
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise InputError(
                f"case {self.name}: weight",
                str(self.weight),
                "a finite number, 0 or more",
                "0 leaves the case out, 1 is usual, 2 draws it twice as often.",
            )
        if self.kind not in KINDS:
            raise InputError(
                f"case {self.name}: kind",
                repr(self.kind),
                ", ".join(KINDS),
                "Say who made the labels.",
            )


def cases_of_folder(folder: str | Path, *, source: str = "") -> tuple[Case, ...]:
    """Return the cases of a folder with ``ct/`` or ``images/`` beside ``labels/``.

    A ``cases.json`` there may give each case's ``patient``, ``annotated``, ``absent``, ``partly``,
    ``kind`` and ``weight``.

    Raises
    ------
    InputError
        If there is no such folder or no scan in it, or ``cases.json`` is not legal.
    """
    root = Path(folder)
    images = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
    scans = sorted(images.glob(f"*{SUFFIX}")) if images else []
    if not scans:
        raise InputError(
            "folder of cases",
            str(root),
            f"a folder with scans (*{SUFFIX}) in one of {', '.join(IMAGE_FOLDERS)}",
            "Check the path; labels belong into labels/ beside it, under the same names.",
        )
    table = table_of_cases(root / "cases.json", [_name_of(scan) for scan in scans])
    return tuple(_case_of_file(scan, root, table, source or root.name) for scan in scans)


def save_cases(path: str | Path, cases: Sequence[Case]) -> None:
    """Write a list of cases as JSON; files below the list's folder are named relative to it."""
    base = Path(path).resolve().parent
    rows = [asdict(case) for case in cases]
    for row in rows:
        row["image"] = _name_from(base, row["image"])
        for name in ("labels", "before", "soft"):
            row[name] = row[name] and _name_from(base, row[name])
    sweep_files(Path(path))
    atomic.write_json(path, rows)


def load_cases(path: str | Path) -> tuple[Case, ...]:
    """Read a list of cases; paths are relative to the list's folder.

    Raises
    ------
    InputError
        If the file is missing or no such list, or a case in it is not legal or has label maps in
        other numbers than ours.
    """
    file = Path(path)
    rows = read_list(file) if file.is_file() else None
    if not isinstance(rows, list) or not all(_names_a_scan(row) for row in rows):
        raise InputError(
            str(file),
            "no such list" if file.is_file() else "no such file",
            'a JSON list of objects with at least "name" and "image"',
            "Check the path; `save_cases` writes such lists.",
        )
    return tuple(_case_of_row(row, file.parent) for row in rows)


def _case_of_row(row: dict[str, Any], base: Path) -> Case:
    """Return one case of a list."""
    check_row(row["name"], row)
    _check_numbers(row)
    return Case(
        row["name"],
        base / row["image"],
        base / row["labels"] if row.get("labels") else None,
        tuple(row.get("annotated", ALL_ORGANS)),
        str(row.get("patient", "")),
        str(row.get("source", "")),
        float(row.get("weight", 1.0)),
        str(row.get("kind", "expert")),
        base / row["before"] if row.get("before") else None,
        base / row["soft"] if row.get("soft") else None,
        tuple(row.get("absent", ())),
        tuple(row.get("partly", ())),
        tuple(row.get("reviewed", ())),
    )


FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,), "image": (str,), "labels": (str, type(None)), "before": (str, type(None)),
    "soft": (str, type(None)), "patient": (str, int, float), "source": (str, int, float),
    "kind": (str,), "weight": (int, float), "annotated": (list,), "absent": (list,),
    "partly": (list,), "reviewed": (list,), "scheme": (str,),
}  # fmt: skip
"""What may stand in a row of a list or table of cases; other fields are passed over."""


def check_row(case: str, row: Mapping[str, Any]) -> None:
    """Refuse a field of a case, from a list or a table, that is of another type.

    Raises
    ------
    InputError
        If one is.
    """
    for name, types in FIELDS.items():
        value = row.get(name, "") if name in row else None
        fits = name not in row or type(value) in types
        if fits and isinstance(value, str):
            fits = is_text(value)
        if fits and isinstance(value, list):
            fits = all(is_text(each) for each in value)
        if not fits:
            words = " or ".join(WORDS[each] for each in types if each in WORDS)
            raise InputError(
                f"case {ascii(case[:80])[1:-1]}: {name}",
                ascii(value)[:80],
                "a list of organs" if list in types else words,
                "Correct it in the file, or leave it out.",
            )


def _check_numbers(row: dict[str, Any]) -> None:
    """Refuse label maps whose numbers mean something else: FLARE21's 2 is both kidneys."""
    numbers = row.get("scheme")  # written for cases of FLARE's own folders
    if numbers and row.get("labels") and not scheme(str(numbers)).has_our_ids:
        raise InputError(
            f"case {row['name']}: labels",
            f"{row['labels']}, in the numbers of {numbers}",
            "label maps with this project's organ ids (those of flare22 and flare23)",
            "Convert them: `flare dataset list FOLDER -o cases.json --labels CONVERTED`, or"
            " `flare cases import FOLDER`.",
        )


def _names_a_scan(row: object) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(k), str) for k in ("name", "image"))


def _name_from(folder: Path, file: str | os.PathLike[str]) -> str:
    """Return a path from `folder` to a file in it, else the absolute path."""
    whole = Path(file).resolve()
    return whole.relative_to(folder).as_posix() if folder in whole.parents else str(whole)


def read_list(path: Path) -> Any:
    """Return what a JSON file says that lists cases.

    Raises
    ------
    InputError
        If it cannot be read, is absurdly large, or is not JSON.
    """
    if path.stat().st_size > LARGEST_LIST:
        raise InputError(
            str(path), f"{path.stat().st_size >> 20} MiB", f"at most {LARGEST_LIST >> 20} MiB",
            "This is no list of cases; check the path.",
        )  # fmt: skip
    return read_json_file(
        path,
        argument="list of cases",
        legal="a JSON file, in UTF-8, that this user can read",
        action="Check the file and its permissions.",
    )


def table_of_cases(path: Path, names: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Return the optional table beside a data set: case -> patient, organs annotated, kind.

    Parameters
    ----------
    names : iterable of str
        The data set's cases.

    Raises
    ------
    InputError
        If there is one that is not legal, or names none of these cases: patients that are not known
        would be parted.
    """
    table = read_list(path) if path.is_file() else {}
    if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
        raise InputError(
            str(path),
            "a file that is no table of cases",
            '{"CASE": {"patient": "...", "annotated": ["liver", ...]}, ...}',
            "Correct it, or move it away: each scan is then a patient with all organs labelled.",
        )
    for case, row in table.items():
        check_row(case, row)
    known = set(names)
    if known and table and known.isdisjoint(table):
        raise InputError(
            str(path),
            f"a table of {shown(next(iter(table)))} and others, none of which is a scan beside it "
            f"({shown(min(known))} and others)",
            "the names of the scans, without format and _0000",
            "Correct the names, or move it away: each scan is then a patient with all organs"
            " labelled.",
        )
    return table


def _name_of(scan: Path) -> str:
    return scan.name[: -len(SUFFIX)].removesuffix("_0000")


def _case_of_file(scan: Path, root: Path, table: dict[str, dict[str, Any]], source: str) -> Case:
    """Return the case of one scan file."""
    name = _name_of(scan)
    row = table.get(name, {})
    labels = root / "labels" / f"{name}{SUFFIX}"
    return Case(
        name,
        scan,
        labels if labels.is_file() else None,
        tuple(row.get("annotated", ALL_ORGANS)),
        str(row.get("patient", name)),
        source,
        float(row.get("weight", 1.0)),
        kind=str(row.get("kind", "expert")),
        absent=tuple(row.get("absent", ())),
        partly=tuple(row.get("partly", ())),
    )
