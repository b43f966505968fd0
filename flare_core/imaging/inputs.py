"""What a path holds: which cases, how each is called, and whether a file can be one at all."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from flare_core.errors import InputError
from flare_core.imaging.dicom.headers import is_dicom, is_dicom_start, study_of
from flare_core.paths import usable_path

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Names of files that we read; ``.raw`` and the like belong to a header file."""
CHANNEL = "_0000"
"""nnU-Net's and FLARE's mark of an image's only channel; results go without it."""
TRUTH = "_truth"
"""Our mark of a phantom's label map, ``X_truth.nii.gz`` beside the facts ``X_truth.json``."""
STATISTICS = ("_statistics.json", "_statistics.csv")
"""What our own runs put beside a label map."""


@dataclass(frozen=True)
class CaseInput:
    """One scan to segment."""

    name: str
    """What its results are called."""
    path: Path
    """A file, or a folder with DICOM files."""
    series: str | None = None
    """Which series of a DICOM folder; None if there is only one."""


def case_name(path: str | Path) -> str:
    """Return a file's or folder's name without format suffix and without FLARE's ``_0000``.

    Examples
    --------
    >>> case_name("FLARE22_Tr_0001_0000.nii.gz"), case_name("1.2.840.113"), case_name("a.b.mha")
    ('FLARE22_Tr_0001', '1.2.840.113', 'a.b')
    """
    name = stem_of(path)
    return name.removesuffix(CHANNEL) or name


def stem_of(path: str | Path) -> str:
    """Return a file's or folder's name without format suffix.

    Examples
    --------
    >>> stem_of("a_0000.NII.GZ"), stem_of("1.2.840.113")
    ('a_0000', '1.2.840.113')
    """
    name = Path(path).name or Path(path).resolve().name
    return name[: len(name) - len(suffix_of(name))]


def name_among(path: str | Path, cases: Container[str]) -> str:
    """Return which of some cases a label map belongs to; `case_name` if to none of them.

    A case may itself be number 0000 of its kind: its scan is ``a_0000_0000.nii.gz`` then, its
    label map ``a_0000.nii.gz``, which is no channel of a case ``a``.

    Examples
    --------
    >>> name_among("a_0000.nii.gz", {"a_0000", "a_0001"}), name_among("b_0000.nii.gz", {"b"})
    ('a_0000', 'b')
    """
    stem = stem_of(path)
    return stem if stem in cases else case_name(path)


def is_truth(name: str, beside: Container[str]) -> bool:
    """Whether a file is the label map of a phantom of ours, by the names beside it.

    Examples
    --------
    >>> is_truth("a_truth.nii.gz", {"a_truth.json"}), is_truth("a_truth.nii.gz", set())
    (True, False)
    """
    stem = stem_of(name)
    return stem.endswith(TRUTH) and bool(suffix_of(name)) and f"{stem}.json" in beside


def suffix_of(path: str | Path) -> str:
    """Return the format's suffix in small letters, or "" for no format of ours.

    Examples
    --------
    >>> suffix_of("a.NII.GZ"), suffix_of("a.png")
    ('.nii.gz', '')
    """
    name = Path(path).name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), "")


def find_inputs(path: str | Path, *, series: str | None = None) -> list[CaseInput]:
    """Return the cases that a path holds, sorted by name.

    A file is one case. A folder gives a case for each image file in it, and

    - one case if it holds DICOM files itself, or folders of one DICOM study;
    - one case for each sub-folder with DICOM files (at any depth) otherwise.

    Hidden files and label maps of our own (``X.nii.gz`` beside ``X_statistics.json``, those of
    phantoms) are not inputs. Whether a file can be read shows when it is read: one bad file is one
    failed case.

    Parameters
    ----------
    path : path
        A file or folder.
    series : str, optional
        Names a series; the folder is then one DICOM case.

    Raises
    ------
    InputError
        If the path is absent, the folder holds nothing to segment, or two inputs would get the
        same name.
    """
    place = existing(Path(path))
    if not place.is_dir() or series is not None:
        return [CaseInput(case_name(place), place, series)]
    found = [CaseInput(case_name(p), p) for p in _image_files(place)]
    found += [CaseInput(case_name(p), p) for p in _dicom_cases(place)]
    if not found:
        raise _nothing_in(place)
    _check_names(found)
    return sorted(found, key=lambda case: case.name)


def passed_over(path: Path, cases: Container[Path] = ()) -> list[Path]:
    """Return a folder's sub-folders whose image files are no cases of it, sorted.

    `find_inputs` takes image files of the folder itself only: what lies below belongs to something
    else as often as not (masks, results), which a person should know.

    Parameters
    ----------
    cases : container of Path
        Paths of the cases that `find_inputs` found there; it has looked into those that are folders
        already, and on a network share each listing takes its time.
    """
    if not path.is_dir() or path in cases:
        return []
    below = (p for p in _listed(path) if p not in cases and p.is_dir())
    return [p for p in below if os.access(p, os.R_OK | os.X_OK) and _image_files(p)]


def existing(path: Path) -> Path:
    """Return `path` if it is there; otherwise name its nearest neighbours.

    Pipes and devices are refused unopened: opening one may wait for ever.

    Raises
    ------
    InputError
        If there is no such path, it is no file or folder, it may not be looked at, or its name is
        no text.
    """
    usable_path(path)
    try:
        if path.exists():
            return _file_or_folder(path)
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else None
    except OSError as error:
        raise _closed(path, error) from error
    if path.is_symlink():
        raise _leads_nowhere(path)
    near = difflib.get_close_matches(path.name, names or [], n=3)
    if names is None:
        action = f"The folder {path.parent} does not exist either; correct the path."
    else:
        action = f"Did you mean {' or '.join(near)}?" if near else f"Look into {path.parent}."
    raise InputError(str(path), "a path that does not exist", _legal(), action)


def _leads_nowhere(link: Path) -> InputError:
    """Return the error for a link without its file; its own name would be the nearest to it."""
    came = f"a link to {os.readlink(link)}, which is not there"
    action = "Mount the disk or copy the file that it leads to, or remove the link."
    return InputError(str(link), came, _legal(), action)


def _file_or_folder(path: Path) -> Path:
    """Return `path` if it is a plain file or a folder."""
    kind = path.stat().st_mode
    if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
        return path
    named = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    came = f"{named.get(stat.S_IFMT(kind), 'a special file')}, no file"
    raise InputError(str(path), came, _legal(), "Save the image as a file first.")


def check_file(path: Path) -> None:
    """Refuse files of other formats, files that may not be read, empty files, single slices.

    Raises
    ------
    InputError
        If the file cannot be an image of ours, by its name and first bytes.
    """
    try:
        with open(path, "rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise _closed(path, error) from error
    if is_dicom_start(start):
        action = f"Give the folder that holds the whole series: {path.parent}"
        raise InputError(str(path), "a single DICOM file", _legal(), action)
    if suffix_of(path) not in SUFFIXES:
        came = f"a file of an unknown kind ({path.suffix or 'no suffix'})"
        action = "Convert it with dcm2niix or 3D Slicer; pictures (PNG, JPEG) are no CT."
        raise InputError(str(path), came, _legal(), action)
    if not start:
        action = "Copy, download or export the file again."
        raise InputError(str(path), "an empty file", _legal(), action)


def _closed(path: Path, error: OSError) -> InputError:
    """Return the error for what the system does not open."""
    return InputError(
        str(path),
        f"a path that cannot be opened: {error.strerror or error}",
        "a file or folder that you may read",
        "Change its permissions, or copy it to a place you may read.",
    )


def _listed(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted; hidden things do not count."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise _closed(folder, error) from error


def _image_files(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, without our own results and phantoms' truth.

    Links that lead nowhere and pipes are among them: their case fails by name.
    """
    there = _listed(folder)
    names = {p.name for p in there}
    return [
        p
        for p in there
        if suffix_of(p)
        and not p.is_dir()
        and not is_truth(p.name, names)
        and not names.intersection(p.name.removesuffix(".nii.gz") + end for end in STATISTICS)
    ]


def _dicom_cases(folder: Path) -> list[Path]:
    """Return the folders that are one DICOM case each: this one, or those below it."""
    if any(p.is_file() and is_dicom(p) for p in _listed(folder)):
        return [folder]
    studies = {
        child: study for child in _listed(folder) if child.is_dir() and (study := study_of(child))
    }
    if len(studies) == 1:
        (child,) = studies
        below = _dicom_cases(child)
        # A lone chain of folders is named by its top, which is where the case's name tends to be.
        return [folder] if below == [child] else below
    if studies and len(set(studies.values())) == 1:
        return [folder]
    return list(studies)


def _check_names(cases: list[CaseInput]) -> None:
    """Refuse inputs whose results would overwrite one another."""
    seen: dict[str, Path] = {}
    for case in cases:
        key = case.name.casefold()  # some file systems do not tell A from a
        if key in seen:
            raise InputError(
                str(case.path.parent),
                f"{seen[key].name} and {case.path.name}, whose results would both be called "
                f"{case.name}",
                "inputs with different names (suffix and _0000 do not count)",
                "Rename one of them, or keep them in different folders.",
            )
        seen[key] = case.path


def _nothing_in(folder: Path) -> InputError:
    """Return the error for a folder without images; point to sub-folders that have some."""
    below = [p for p in _listed(folder) if p.is_dir() and _image_files(p)]
    hint = f"Its sub-folder {below[0].name} has images: give {below[0]}" if below else ""
    return InputError(
        str(folder),
        "a folder without images",
        f"a folder with image files ({', '.join(SUFFIXES)}) or DICOM series",
        hint or "Check the path; unpack archives first.",
    )


def _legal() -> str:
    """Return what can be read, for errors."""
    return f"a file ({', '.join(SUFFIXES)}) or a folder with a DICOM CT series"
