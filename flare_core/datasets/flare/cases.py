"""The cases of one part of a data set: scans, their label maps, what is missing or doubled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.datasets.case import Case
from flare_core.datasets.flare.folders import (
    Finding,
    count_findings,
    files_of,
    first_labels,
    label_files,
    listed,
    matching,
    source_of,
)
from flare_core.datasets.flare.layouts import Subset
from flare_core.imaging.inputs import case_name, name_among
from flare_core.wording import many

PATIENTS = (
    re.compile(r"(?:.*DeepLesion_?)?(\d{6})_\d{2}_\d{2}(?:_.*)?"),
    re.compile(r"(?:.*_)?(?:PETCT|fdg|psma)_([0-9a-f]{10,})(?:_.*)?"),
)
"""How collections with several scans of one patient name them: DeepLesion and AutoPET."""


@dataclass(frozen=True)
class FlareCase(Case):
    """A case that knows which numbers its label map uses."""

    scheme: str = "flare22"
    """Key of `anatomy.label_schemes.SCHEMES`. Unless it is ``flare22`` or ``flare23``, the numbers
    in the file are not our organ ids: FLARE21's 2 is both kidneys, without sides."""
    subset: str = ""
    """Part of the data set: ``training``, ``unlabelled``, ``tuning``, ..."""
    lesion_free: bool = False
    """Known to show no lesion: its label map, which does not exist, would be empty."""


def subset_cases(
    root: Path, part: Subset, numbers: LabelScheme, source: str, pseudo: str | None
) -> tuple[list[FlareCase], list[Finding]]:
    """Return the cases of one part, and what is missing or doubled in it."""
    scans = scans_of(root, part)
    there = {case_name(path) for files in scans.values() for path in files}
    labels, twice = _labels(root, part.labels, there)
    sources = _pseudo_labels(root, part, pseudo, there)
    cases: list[FlareCase] = []
    findings: list[Finding] = []
    for folder, files in scans.items():
        names = [case_name(path) for path in files]
        findings += count_findings(_numbered(folder, root), sorted(set(names)))
        findings += _doubled(names, folder)
        origin = source_of(folder.name) if part.collections else source
        for name, path in dict(zip(names, files, strict=True)).items():
            cases.append(_case(path, part, numbers, labels.get(name), origin))
    cases = [_with_pseudo(case, sources, numbers) for case in cases]
    return cases, [*findings, *twice, *_unmatched(cases, labels, part)]


def _case(
    path: Path, part: Subset, numbers: LabelScheme, labels: Path | None, source: str
) -> FlareCase:
    name = case_name(path)
    known = labels is not None and (part.complete or not numbers.partial)
    return FlareCase(
        name,
        path,
        labels,
        numbers.annotated if known else (),
        patient_of(name),
        source,
        partly=numbers.partly if labels is not None and not part.complete else (),
        scheme=numbers.key,
        subset=part.key,
        lesion_free=part.lesion_free,
    )


def _labels(
    root: Path, paths: Sequence[str], cases: Container[str]
) -> tuple[dict[str, Path], list[Finding]]:
    """Return the label maps in all folders on these paths by case, and which cases have several."""
    folders = dict.fromkeys(p for path in paths for p in matching(root, path))
    labels = {name: p for folder in folders for name, p in label_files(folder, cases).items()}
    files: dict[str, list[str]] = {}
    for path in (p for folder in folders for p in first_labels(folder)):
        name = name_among(path, cases)
        files.setdefault(name, []).append(f"{path.parent.name}/{path.name}")
    one, several = "label map has", "label maps have"
    return labels, [
        Finding("doubled", name, f"{many(len(found), one, several)} this name: {listed(found)}")
        for name, found in files.items()
        if len(found) > 1
    ]


def _pseudo_labels(
    root: Path, part: Subset, wanted: str | None, cases: Container[str]
) -> tuple[str, dict[str, Path]]:
    """Return the predictions of the folder whose path has `wanted` in it."""
    folders = [p for path in part.pseudo for p in matching(root, path)] if wanted else []
    for folder in folders:
        place = folder.relative_to(root).as_posix()
        if wanted and wanted.lower() in place.lower():
            return wanted, label_files(folder, cases)
    return "", {}


def _with_pseudo(
    case: FlareCase, sources: tuple[str, dict[str, Path]], numbers: LabelScheme
) -> FlareCase:
    """Give an unlabelled case the predicted labels, and say that they are predicted."""
    team, labels = sources
    if case.labels is not None or case.name not in labels:
        return case
    annotated = tuple(key for key in numbers.annotated if key != "lesion")
    return replace(
        case,
        labels=labels[case.name],
        annotated=annotated,
        source=f"pseudo: {team.lower()}",
        kind="pseudo",
    )


def _numbered(folder: Path, root: Path) -> str:
    """Return the name of the folder, or of the one above it for FLARE22's LabeledCase50/images."""
    above = folder.parent
    return above.name if folder.name.lower() == "images" and above != root else folder.name


def _doubled(names: Sequence[str], folder: Path) -> list[Finding]:
    return [
        Finding("doubled", name, f"{count} files in {folder.name} have this name")
        for name, count in Counter(names).items()
        if count > 1
    ]


def _unmatched(cases: Sequence[FlareCase], labels: dict[str, Path], part: Subset) -> list[Finding]:
    """Name scans without labels where they should have some, and labels without a scan."""
    findings = []
    if part.labels and part.all_labelled:
        bare = [case.name for case in cases if case.labels is None]
        findings = [Finding("missing", n, f"no label map for this {part.key} scan") for n in bare]
    names = {case.name for case in cases}
    return findings + [
        Finding("missing", name, f"no scan for the label map {path.parent.name}/{path.name}")
        for name, path in labels.items()
        if name not in names
    ]


def patient_of(name: str) -> str:
    """Return the patient that a case's name tells, else the name.

    Examples
    --------
    >>> patient_of("001234_02_01_103-115"), patient_of("FLARE22_Tr_0001")
    ('001234', 'FLARE22_Tr_0001')
    """
    found = (pattern.fullmatch(name) for pattern in PATIENTS)
    return next((match[1] for match in found if match), name)


def scans_of(root: Path, part: Subset) -> dict[Path, list[Path]]:
    """Return the scans of a part by their folder."""
    folders = dict.fromkeys(p for path in part.images for p in matching(root, path))
    found = {folder: _named(files_of(folder), part.names) for folder in folders}
    return {folder: files for folder, files in found.items() if files}


def _named(files: Sequence[Path], names: str) -> list[Path]:
    return [p for p in files if re.fullmatch(names, case_name(p), re.IGNORECASE)]
