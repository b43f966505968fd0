"""A case: one scan, perhaps its labels, and which organs those labels really annotate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from flare_core import atomic
from flare_core.anatomy.organs import ORGANS, organ
from flare_core.errors import InputError

ALL_ORGANS = tuple(o.key for o in ORGANS)
"""The 13 organs, in the order of their label values."""

IMAGE_FOLDERS = ("ct", "images", "imagesTr")
"""Where a folder of cases may keep its scans."""

SUFFIX = ".nii.gz"


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
    """Organ keys that the label map annotates. A voxel of any other organ is labelled 0 in it, so
    0 means "background or one of the others"."""
    patient: str = ""
    """Whoever was scanned; splits never part one patient's scans. Empty: the case's name."""
    source: str = ""
    """Collection or method that the labels come from."""
    weight: float = 1.0
    """How often the case is drawn, relative to the others; at least 0."""

    def __post_init__(self) -> None:
        """Check the organ names and fill in the patient."""
        for key in self.annotated:
            organ(key)
        if not self.patient:
            object.__setattr__(self, "patient", self.name)


def cases_of_folder(folder: str | Path, *, source: str = "") -> tuple[Case, ...]:
    """Return the cases of a folder with ``ct/`` or ``images/`` beside ``labels/``.

    A ``cases.json`` there may give each case's ``patient`` and ``annotated``.

    Raises
    ------
    InputError
        If there is no such folder or no scan in it.
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
    table = _read_table(root / "cases.json")
    return tuple(_case_of_file(scan, root, table, source or root.name) for scan in scans)


def save_cases(path: str | Path, cases: Sequence[Case]) -> None:
    """Write a list of cases as JSON."""
    rows = [{**asdict(c), "image": str(c.image), "labels": c.labels and str(c.labels)} for c in cases]
    atomic.write_json(path, rows)


def load_cases(path: str | Path) -> tuple[Case, ...]:
    """Read a list of cases; paths are relative to the list's folder."""
    base = Path(path).parent
    rows = json.loads(Path(path).read_text("utf-8"))
    return tuple(
        Case(
            row["name"],
            base / row["image"],
            base / row["labels"] if row.get("labels") else None,
            tuple(row.get("annotated", ALL_ORGANS)),
            row.get("patient", ""),
            row.get("source", ""),
            float(row.get("weight", 1.0)),
        )
        for row in rows
    )


def _read_table(path: Path) -> dict[str, dict[str, object]]:
    """Return the optional table of patients and annotated organs."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _case_of_file(scan: Path, root: Path, table: dict[str, dict], source: str) -> Case:
    """Return the case of one scan file."""
    name = scan.name[: -len(SUFFIX)].removesuffix("_0000")
    row = table.get(name, {})
    labels = root / "labels" / f"{name}{SUFFIX}"
    return Case(
        name,
        scan,
        labels if labels.is_file() else None,
        tuple(row.get("annotated", ALL_ORGANS)),
        str(row.get("patient", name)),
        source,
    )
