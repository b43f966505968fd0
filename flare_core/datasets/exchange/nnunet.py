"""nnU-Net raw data sets: which cases a folder holds and what its numbers mean.

``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz``, ``imagesTs/`` without or with
``labelsTs/``, and ``dataset.json`` (nnU-Net 2's form, or the older one with ``modality``). Format:
https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.datasets.case import Case, read_list, table_of_cases
from flare_core.datasets.exchange.label_names import organs_called
from flare_core.datasets.flare.cases import patient_of
from flare_core.errors import InputError
from flare_core.imaging.inputs import SUFFIXES, case_name, name_among, suffix_of

TABLE = "dataset.json"

IGNORE = "ignore"
"""nnU-Net's name of what no loss looks at."""

PARTS = (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"))
"""Folders of scans and of their label maps."""


@dataclass(frozen=True)
class RawDataset:
    """An nnU-Net raw data set on disk."""

    name: str
    """As ``dataset.json`` says, else the folder's."""
    root: Path
    """The folder with ``dataset.json``."""
    scheme: LabelScheme
    """What its label values are in our organs."""
    unknown: tuple[str, ...]
    """Labels that are none of our organs: they become background."""
    cases: tuple[Case, ...]
    """Every scan; those with labels annotate all organs of the scheme."""


def is_raw_dataset(folder: Path) -> bool:
    """Whether a folder looks like an nnU-Net raw data set."""
    return (folder / TABLE).is_file() and (folder / "imagesTr").is_dir()


def read_raw_dataset(folder: Path) -> RawDataset:
    """List the cases of an nnU-Net raw data set; opens no image.

    Raises
    ------
    InputError
        If ``dataset.json`` is not legal, the scans are no CT or have several channels, or a label
        is made of regions, or means "ignore" and no ``cases.json`` of our own export says of which
        organs there may be more.
    """
    path = folder / TABLE
    table = read_list(path)
    if not isinstance(table, dict) or not isinstance(table.get("labels"), dict):
        raise _refused(path, "no object with labels", 'at least "labels": {"background": 0, ...}')
    _check_channels(path, table)
    names = _label_names(path, table["labels"], ours=_tells_parts(folder))
    scheme, unknown = scheme_of_names(str(table.get("name") or folder.name), names)
    if not scheme.organs:
        raise _refused(path, f"labels {', '.join(names.values())}", "at least one of our organs")
    found = tuple(_cases(folder, scheme, str(table.get("name") or folder.name)))
    if not found:
        raise _refused(folder / "imagesTr", "no scan", "scans called CASE_0000.nii.gz")
    return RawDataset(str(table.get("name") or folder.name), folder, scheme, unknown, found)


def scheme_of_names(title: str, names: Mapping[int, str]) -> tuple[LabelScheme, tuple[str, ...]]:
    """Return what label values mean by the labels' names, and the names that mean nothing to us.

    Examples
    --------
    >>> found, unknown = scheme_of_names("x", {1: "Liver", 2: "kidney", 3: "heart"})
    >>> found.number_of("left_kidney"), found.highest, unknown
    (2, 3, ('heart',))
    """
    organs = {number: organs_called(name) for number, name in names.items() if number}
    known = tuple((number, keys) for number, keys in sorted(organs.items()) if keys)
    annotated = tuple(dict.fromkeys(key for _, keys in known for key in keys))
    unknown = tuple(names[n] for n, keys in organs.items() if not keys and names[n] != IGNORE)
    return LabelScheme("nnunet", title, known, annotated, max(names, default=0)), unknown


def _tells_parts(folder: Path) -> bool:
    """Whether a table beside the folders says what is labelled in part, as our export's does."""
    return any(row.get("partly") for row in table_of_cases(folder / "cases.json").values())


def _label_names(path: Path, labels: Mapping[str, Any], *, ours: bool) -> dict[int, str]:
    """Return value -> name from nnU-Net 2's name -> value, or the older value -> name.

    With `ours`, "ignore" is a name like that of a structure that is none of our organs.
    """
    names: dict[int, str] = {}
    for key, value in labels.items():
        if isinstance(value, list):
            raise _refused(
                path,
                f"label {ascii(key)[:60]} made of regions {ascii(value)[:60]}",
                "one value for each label",
            )
        number, name = (key, value) if _is_number(key) else (value, key)
        if not _is_number(number) or (str(name).lower() == IGNORE and not ours):
            came = f"label {ascii(key)[:60]}: {ascii(value)[:60]}"
            raise _refused(path, came, "names with whole numbers from 0 to 255, no ignore")
        names[int(number)] = str(name)
    return names


def _is_number(value: object) -> bool:
    """Whether a text or number is a value that a label map can hold."""
    text = str(value) if isinstance(value, (str, int)) else ""
    return text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= 255


def _check_channels(path: Path, table: Mapping[str, Any]) -> None:
    channels = table.get("channel_names", table.get("modality", {"0": "CT"}))
    names = list(channels.values()) if isinstance(channels, dict) else []
    if len(names) != 1 or "ct" not in str(names[0]).lower():
        raise _refused(path, f"channels {ascii(channels)[:100]}", 'one channel, {"0": "CT"}')


def _cases(folder: Path, scheme: LabelScheme, source: str) -> Iterator[Case]:
    every = {images: _image_files(folder / images) for images, _ in PARTS}
    called = [case_name(path) for scans in every.values() for path in scans]
    patients = _patients(folder / "cases.json", called)
    for images, labels in PARTS:
        scans = every[images]
        names = {case_name(path) for path in scans}
        maps = {name_among(path, names): path for path in _image_files(folder / labels)}
        for path in scans:
            name = case_name(path)
            found = maps.get(name)
            patient = patients.get(name) or patient_of(name)
            yield Case(name, path, found, scheme.annotated if found else (), patient, source)


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if suffix_of(p) in SUFFIXES and p.name[0] != ".")


def _patients(path: Path, cases: Sequence[str]) -> dict[str, str]:
    """Return the patients that our own export wrote beside; nnU-Net has no place for them."""
    table = table_of_cases(path, cases)
    return {name: str(row.get("patient", "")) for name, row in table.items()}


def _refused(path: Path, came: str, legal: str) -> InputError:
    return InputError(
        str(path), came, legal, "Correct it, or convert the data set to images/ and labels/."
    )
