"""What lies in the folders of a data set: scans, label maps, and how many there should be.

Archives unpack in many ways, so a folder may hold its files one or two folders deeper, under its
own name once more or in parts.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flare_core.errors import InputError
from flare_core.imaging.inputs import name_among
from flare_core.wording import many

SUFFIXES = (".nii.gz", ".nii")
"""FLARE's files are NIfTI."""

DEEPER = 3
"""How many folders more than expected an archive may bring along."""

CORRECTIONS = "fix"
"""A folder of corrected label maps has this in its name, as FLARE23's ``20230507-fix``; they
replace those of the same name beside it."""

KINDS = ("missing", "doubled", "unreadable", "off-grid", "mislabelled", "note")
"""What can be wrong with a data set; a note is unusual, not wrong."""

MOST_NAMED = 8
"""A list of names longer than this ends with their number."""

_RANGE = re.compile(r"Case(\d+)-(\d+)$", re.IGNORECASE)
_COUNT = re.compile(r"(?:(?<=[Cc]ase)|(?<=Tr)|(?<!^COVID)-)(\d+)$")


@dataclass(frozen=True)
class Finding:
    """Something wrong or unusual."""

    kind: str
    """One of `KINDS`."""
    where: str
    """Name of the case, or the folder."""
    what: str
    """What it is, in a sentence."""

    @property
    def wrong(self) -> bool:
        """Whether it has to be put right."""
        return self.kind != "note"


def sub_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; hidden ones and macOS's leftovers do not count.

    Raises
    ------
    InputError
        If the folder cannot be looked into.
    """
    return [p for p in _listed(folder) if p.is_dir() and p.name != "__MACOSX"]


def matching(root: Path, path: str) -> list[Path]:
    """Return the folders below `root` on a path of regular expressions (see `flare_layouts`)."""
    return _matching(root, path.split("/"), DEEPER)


def files_of(folder: Path, depth: int = DEEPER) -> list[Path]:
    """Return the NIfTI files of a folder: those in it, or if there are none those one deeper.

    Links that lead nowhere are among them: their case cannot be read, and is named.
    """
    files = [p for p in _listed(folder) if p.name.lower().endswith(SUFFIXES) and not p.is_dir()]
    if files or depth == 0:
        return files
    return [p for below in sub_folders(folder) for p in files_of(below, depth - 1)]


def label_files(folder: Path, cases: Container[str] = ()) -> dict[str, Path]:
    """Return a folder's label maps by case; corrected ones replace the first ones.

    Parameters
    ----------
    cases : container of str
        Names that the scans have.
    """
    found = {name_among(path, cases): path for path in files_of(folder)}
    for below in sub_folders(folder):
        if CORRECTIONS in below.name.lower():
            found.update((name_among(path, cases), path) for path in files_of(below))
    return found


def first_labels(folder: Path) -> list[Path]:
    """Return the label maps of a folder without corrected ones, which are there on purpose."""
    return [
        path
        for path in files_of(folder)
        if not any(CORRECTIONS in part.lower() for part in path.relative_to(folder).parts[:-1])
    ]


def source_of(folder: str) -> str:
    """Return which collection a folder is named after.

    Examples
    --------
    >>> source_of("DeepLesion-1093"), source_of("AMOS-image-Part1-750"), source_of("COVID-19-209")
    ('DeepLesion', 'AMOS', 'COVID-19')
    """
    plain = re.sub(r"(?i)(-image)?(-part\d+)?-\d+$", "", folder)
    return "COVID-19" if plain.upper() == "COVID" else plain


def expected_numbers(folder: str) -> range | None:
    """Return the case numbers that a folder's name promises; None if it promises nothing.

    Examples
    --------
    >>> expected_numbers("FLARE22_UnlabeledCase1001-2000"), expected_numbers("imagesTr2200")
    (range(1001, 2001), range(1, 2201))
    >>> expected_numbers("AMOS-image-Part1-750"), expected_numbers("images")
    (range(1, 751), None)
    """
    if both := _RANGE.search(folder):
        return range(int(both[1]), int(both[2]) + 1)
    count = _COUNT.search(folder)
    return range(1, int(count[1]) + 1) if count else None


def count_findings(folder: str, names: Sequence[str]) -> list[Finding]:
    """Compare the cases found with the number in the name of a folder; name those missing.

    Examples
    --------
    >>> count_findings("LabeledCase3", ["FLARE22_Tr_0001", "FLARE22_Tr_0003"])[0].what
    '2 of 3 scans are there; not: FLARE22_Tr_0002'
    """
    expected = expected_numbers(folder)
    if expected is None or len(names) == len(expected):
        return []
    absent = _absent_names(names, expected)
    told = f"{len(names)} of {many(len(expected), 'scan is there', 'scans are there')}"
    if len(names) > len(expected):
        told = (
            f"{many(len(names), 'scan is', 'scans are')} there, and the name says {len(expected)}"
        )
        return [Finding("doubled", folder, told)]
    return [Finding("missing", folder, f"{told}; not: {listed(absent)}" if absent else told)]


def listed(names: Iterable[str]) -> str:
    """Write names as a list that stays readable.

    Examples
    --------
    >>> listed(["a", "b"]), listed("abcdefghijk")
    ('a, b', 'a, b, c, d, e, f, g, h and 3 more')
    """
    every = list(names)
    rest = len(every) - MOST_NAMED
    return ", ".join(every[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _absent_names(names: Sequence[str], expected: range) -> list[str]:
    """Return the names that complete a numbered series; none if these names are no such series."""
    parts = [re.fullmatch(r"(.*?)(\d+)", name) for name in names]
    if not names or any(part is None for part in parts):
        return []
    starts = {part[1] for part in parts if part}
    numbers = {int(part[2]) for part in parts if part}
    if len(starts) != 1 or not numbers <= set(expected):
        return []
    width = min(len(part[2]) for part in parts if part)
    return [f"{starts.copy().pop()}{n:0{width}d}" for n in expected if n not in numbers]


def _matching(folder: Path, parts: Sequence[str], spare: int) -> list[Path]:
    """Follow the path part by part; a folder that only holds one more may be one too many."""
    if not parts:
        return [folder]
    below = sub_folders(folder)
    found = [p for p in below if re.fullmatch(parts[0], p.name, re.IGNORECASE)]
    if not found and len(below) == 1 and spare:
        return _matching(below[0], parts, spare - 1)
    return [end for p in found for end in _matching(p, parts[1:], spare)]


def _listed(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted; hidden things do not count."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise InputError(
            str(folder),
            f"a folder that cannot be looked into: {error.strerror or error}",
            "a folder that exists and that you may read",
            "Check the path and its permissions.",
        ) from error
