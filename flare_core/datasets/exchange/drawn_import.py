"""Folders of a hospital into a case store: CT series with their contours or segmentations.

Any folder below may hold series, structure sets (RTSTRUCT) and segmentations (SEG) side by side;
which belong together, the files themselves say. A case is named after its patient (the scan's; what
was drawn on it may not have been anonymised) and series, so that its name does not depend on what
lies beside.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from flare_core.atomic import sha256_of
from flare_core.cases.names import safe_name
from flare_core.cases.store import CaseRecord, CaseStore, LabelFacts
from flare_core.datasets.exchange.drawn_labels import read_drawn, write_drawn_labels
from flare_core.datasets.exchange.importing import (
    ALONE,
    Brought,
    Imported,
    ImportSettings,
    Spreading,
    bring_all,
    refuse_what_is_not_hu,
)
from flare_core.datasets.flare.folders import Finding
from flare_core.errors import InputError
from flare_core.imaging.apart import read_volume
from flare_core.imaging.dicom.drawn import is_drawn
from flare_core.imaging.dicom.headers import is_dicom, read_header, regular_files
from flare_core.imaging.files import write_volume
from flare_core.imaging.inputs import SUFFIXES
from flare_core.wording import many

OnDone = Callable[[int, int], None]


@dataclass(frozen=True)
class DrawnCase:
    """A CT series with what was drawn on it."""

    name: str
    """Of the case."""
    patient: str
    """ID of who was scanned, "" if no file says it."""
    series: str
    """UID of the series."""
    folder: Path
    """Holds the series' files, at any depth."""
    drawn: tuple[Path, ...]
    """Structure sets and segmentations, in the order of their paths."""


def holds_drawn(folder: Path) -> bool:
    """Whether a folder has structure sets or segmentations, and no image files of other formats."""
    if not folder.is_dir() or any(_is_image_file(path) for path in folder.glob("*/*")):
        return False
    return any(is_drawn(path) for path in regular_files(folder))


def import_drawn(
    store: CaseStore,
    folder: Path,
    settings: ImportSettings,
    on_done: OnDone | None = None,
    spreading: Spreading = ALONE,
) -> Imported:
    """Add the contoured or segmented CT series of a folder to a store.

    Raises
    ------
    InputError
        If the store is open for reading.
    """
    store.refuse_if_read_only()
    cases, findings = drawn_cases(folder)
    named = [(case.name, case) for case in cases]
    bring = partial(bring_drawn, settings=settings)
    return bring_all(store, bring, named, findings, on_done, spreading)


def bring_drawn(store: CaseStore, case: DrawnCase, settings: ImportSettings) -> Brought:
    """Add a case; what is wrong with its files is told in the result."""
    found = Brought()
    try:
        record, new = _add_scan(store, case, settings)
        found = Brought(record.name, new)
        labelled, told = _add_drawn(store, record, case, settings)
        return replace(found, labelled=tuple(labelled), findings=tuple(told))
    except InputError as error:
        finding = Finding("unreadable", case.name, "; ".join(error.parts[1:]))
        return replace(found, findings=(finding,))


def drawn_cases(folder: Path) -> tuple[list[DrawnCase], list[Finding]]:
    """Return the series of a folder on which something was drawn, and what belongs to none."""
    series: dict[str, list[Path]] = {}
    studies: dict[str, set[str]] = {}
    scanned: dict[str, str] = {}
    files = []
    for path in regular_files(folder):
        if is_drawn(path):
            files.append(path)
        elif is_dicom(path) and (header := read_header(path)) is not None:
            uid = header.tags["series"]
            series.setdefault(uid, []).append(path)
            scanned[uid] = scanned.get(uid) or header.tags["patient"].strip()
            studies.setdefault(header.tags["study"], set()).add(uid)
    found: dict[str, DrawnCase] = {}
    findings = []
    for path in files:
        try:
            drawn = read_drawn(path)
        except InputError as error:
            findings.append(Finding("unreadable", path.name, "; ".join(error.parts[1:])))
            continue
        uid = drawn.series or _only(studies.get(drawn.study, set()))
        if uid not in series:
            came = f"drawn on the series {uid or '(not said)'}, which is not in the folder"
            findings.append(Finding("unreadable", path.name, came))
            continue
        place = Path(os.path.commonpath([each.parent for each in series[uid]]))
        earlier = found[uid].drawn if uid in found else ()
        patient = scanned[uid] or (found[uid].patient if uid in found else "") or drawn.patient
        if drawn.patient.strip() not in ("", patient):
            came = "names another patient than the scan it was drawn on; the scan's counts"
            findings.append(Finding("note", path.name, came))
        name = _name_of(patient or place.name, uid)
        found[uid] = DrawnCase(name, patient, uid, place, (*earlier, path))
    left = len(series) - len(found)
    if left:
        undrawn = "series on which nothing was drawn"
        what = many(left, f"{undrawn} was left out", f"{undrawn} were left out")
        findings.append(Finding("note", folder.name, what))
    return list(found.values()), findings


def _only(uids: set[str]) -> str:
    """Return the one series of a study, "" if there are more."""
    return next(iter(uids)) if len(uids) == 1 else ""


def _name_of(patient: str, series: str) -> str:
    return safe_name(f"{patient}_{hashlib.sha256(series.encode()).hexdigest()[:6]}")


def _add_scan(
    store: CaseStore, case: DrawnCase, settings: ImportSettings
) -> tuple[CaseRecord, bool]:
    """Add a case's scan as NIfTI; the series of a folder with others has no file of its own."""
    with store.scratch() as scratch:
        image = scratch / f"{case.name}.nii.gz"
        write_volume(image, read_volume(case.folder, series=case.series))
        return store.put_case(
            image,
            name=case.name,
            patient=store.patient_of(case.patient),
            source=f"DICOM series {case.series}",
            author=settings.author,
            check=partial(refuse_what_is_not_hu, store, settings),
        )


def _add_drawn(
    store: CaseStore, record: CaseRecord, case: DrawnCase, settings: ImportSettings
) -> tuple[list[str], list[Finding]]:
    """Add what was drawn on a case, each file as a label version, unless it is there already."""
    labelled, findings = [], []
    for path in case.drawn:
        try:
            with store.scratch() as scratch:
                target = scratch / "labels.nii.gz"
                drawn = write_drawn_labels(path, record.image, target)
                findings += [Finding("note", f"{case.name}, {path.name}", n) for n in drawn.notes]
                digest = sha256_of(target)
                if any(version.sha256 == digest for version in store.versions(record.name)):
                    continue
                facts = LabelFacts(
                    settings.kind or drawn.kind,
                    drawn.annotated,
                    author=settings.author,
                    model=settings.model,
                    settings={"imported_from": _printable(path)},
                    note=f"imported; DICOM {drawn.label}",
                )
                if store.add_labels_once(record.name, target, facts) is not None:
                    labelled.append(record.name)
        except InputError as error:
            what = "; ".join(error.parts[1:])
            findings.append(Finding("mislabelled", f"{case.name}, {path.name}", what))
    return labelled, findings


def _printable(path: Path) -> str:
    """Return a path as text, also one that is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_image_file(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)
