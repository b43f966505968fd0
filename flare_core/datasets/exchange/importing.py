"""Data sets into a case store: FLARE21 to 24, plain folders, nnU-Net raw data sets.

Every case on its own: one that cannot be read is named and left out, the others come in. Doing it
again adds only what is new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.anatomy.label_schemes import scheme as scheme_of
from flare_core.anatomy.organs import organ
from flare_core.atomic import sha256_of
from flare_core.cases.checks import check_hu, label_file, organs_in
from flare_core.cases.names import safe_name
from flare_core.cases.store import BY_PEOPLE, CaseRecord, CaseStore, LabelFacts, open_store
from flare_core.datasets.case import Case, table_of_cases
from flare_core.datasets.exchange.nnunet import is_raw_dataset, read_raw_dataset
from flare_core.datasets.flare.cases import FlareCase
from flare_core.datasets.flare.dataset import find_dataset, look_into_labels
from flare_core.datasets.flare.folders import Finding
from flare_core.datasets.flare.labels import convert
from flare_core.errors import InputError
from flare_core.imaging.apart import read_geometry, read_labels
from flare_core.imaging.files import write_labels
from flare_core.imaging.label_map import check_same_grid
from flare_core.imaging.volume import Volume
from flare_core.spread.cases import Case as SpreadCase
from flare_core.spread.cases import SpreadCases, WorkerLost
from flare_core.spread.here import in_turn

PSEUDO = "pseudo: "
"""How the source of a case starts whose labels another team predicted."""

OnDone = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportSettings:
    """How a data set comes in."""

    kind: str | None = None
    """Kind of its labels. None: what ``cases.json`` says (a case with ``confidence`` is pseudo),
    else expert; folders of other teams' predictions are pseudo in any case."""
    link: bool = False
    """Leave the scans where they are."""
    author: str = ""
    """Who brings it in."""
    edition: str | None = None
    """Key of `flare_layouts.LAYOUTS`; found out if None."""
    numbers: str | None = None
    """Label scheme, if not the edition's."""
    pseudo: str | None = None
    """Part of the name of a folder of predictions for the unlabelled scans."""
    model: str = ""
    """Model that made the labels, as ``name-version``, if one did."""
    assume_hu: bool = False
    """The values of the scans are HU, however they look."""


@dataclass(frozen=True)
class Imported:
    """What came of it."""

    added: tuple[str, ...]
    """Cases that are new."""
    known: tuple[str, ...]
    """Cases that were there."""
    labelled: tuple[str, ...]
    """Cases that got a label version."""
    findings: tuple[Finding, ...]
    """What was left out, and why; and notes."""


@dataclass(frozen=True)
class Incoming:
    """One case on its way in."""

    case: Case
    """Image, labels, organs annotated, patient, source."""
    scheme: LabelScheme
    """What the numbers in its label map mean."""
    lesion_free: bool = False
    """Known to show no lesion; there is no label map, it would be empty."""
    kind: str = "expert"
    """Kind of its labels."""
    absent: tuple[str, ...] = ()
    """Organs that ``cases.json`` says are not in the scan: a person's word, also beside a model's
    labels."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """What is known about how sure they are."""


@dataclass(frozen=True)
class Brought:
    """What came of one case."""

    name: str = ""
    """Its name in the store; empty if it did not come in."""
    new: bool = False
    """Whether it was not there before."""
    labelled: tuple[str, ...] = ()
    """Its name, for each label version that it got."""
    findings: tuple[Finding, ...] = ()
    """What was left out, and why; and notes."""


@dataclass(frozen=True)
class Spreading:
    """Who does the cases of an import."""

    reading: SpreadCases = in_turn
    """Looks into partly labelled maps."""
    bringing: SpreadCases | None = None
    """Brings the cases in, in processes that open the store themselves; None: this one, in turn.
    Of two files with the same scan, the store keeps the one that is done first."""


ALONE = Spreading()


def import_dataset(
    store: CaseStore,
    folder: Path,
    settings: ImportSettings,
    on_done: OnDone | None = None,
    spreading: Spreading = ALONE,
) -> Imported:
    """Add the scans and labels of a data set to a store.

    Raises
    ------
    InputError
        If the folder holds no data set, or the store is open for reading.
    """
    store.refuse_if_read_only()
    incoming, findings = incoming_cases(folder, settings, spreading.reading)
    cases = [(each.case.name, each) for each in incoming]
    bring = partial(bring_in, settings=settings)
    findings += [
        Finding("note", each.case.name, "a label map that annotates no organ: added without labels")
        for each in incoming
        if each.case.labels is not None and not each.case.annotated
    ]
    return bring_all(store, bring, cases, findings, on_done, spreading)


def bring_all(
    store: CaseStore,
    bring: Callable[[CaseStore, Any], Brought],
    cases: Sequence[SpreadCase],
    findings: Sequence[Finding],
    on_done: OnDone | None,
    spreading: Spreading,
) -> Imported:
    """Bring all cases in, here or elsewhere; return what came of it in the order of the cases.

    Parameters
    ----------
    bring : callable
        Adds one case to the store.
    findings : sequence of Finding
        What is amiss so far.
    """
    if spreading.bringing is None:
        outcomes = in_turn(partial(bring, store), cases)
    else:
        outcomes = spreading.bringing(partial(_bring_there, store.folder, bring), cases)
    found: dict[str, Brought] = {}
    with closing(outcomes):
        for outcome in outcomes:
            if isinstance(outcome.error, WorkerLost):
                lost = Finding("unreadable", outcome.case, str(outcome.error))
                found[outcome.case] = Brought(findings=(lost,))
            elif outcome.error is not None:
                raise outcome.error
            else:
                found[outcome.case] = outcome.value
            if on_done:
                on_done(len(found), len(cases))
    brought = [found[name] for name, _ in cases]
    return Imported(
        tuple(each.name for each in brought if each.name and each.new),
        tuple(each.name for each in brought if each.name and not each.new),
        tuple(name for each in brought for name in each.labelled),
        (*findings, *(finding for each in brought for finding in each.findings)),
    )


def _bring_there(folder: Path, bring: Callable[[CaseStore, Any], Brought], item: Any) -> Brought:
    """Bring a case in, in another process."""
    with open_store(folder) as store:
        return bring(store, item)


def bring_in(store: CaseStore, each: Incoming, settings: ImportSettings) -> Brought:
    """Add a case; what is wrong with its files is told in the result."""
    found, kind = Brought(), "unreadable"
    try:
        record, new = _add_scan(store, each, settings)
        found, kind = Brought(record.name, new), "mislabelled"
        labelled, findings = _add_labels(store, record, each, settings)
        return replace(found, labelled=(record.name,) if labelled else (), findings=findings)
    except InputError as error:
        finding = Finding(kind, each.case.name, "; ".join(error.parts[1:]))
        return replace(found, findings=(finding,))


def incoming_cases(
    folder: Path, settings: ImportSettings, reading: SpreadCases = in_turn
) -> tuple[list[Incoming], list[Finding]]:
    """Return the cases of a data set, each with its numbers' meaning, and what is amiss.

    Parameters
    ----------
    reading : SpreadCases
        Looks into partly labelled maps.

    Raises
    ------
    InputError
        If the folder holds no data set.
    """
    if settings.edition is None and is_raw_dataset(folder):
        raw = read_raw_dataset(folder)
        notes = [
            Finding("note", raw.name, f"{name!r} is none of our organs: it becomes background")
            for name in raw.unknown
        ]
        numbers = scheme_of(settings.numbers) if settings.numbers else raw.scheme
        rows = _table(folder)
        return [_incoming(each, numbers, rows, settings) for each in raw.cases], notes
    found = find_dataset(
        folder, edition=settings.edition, scheme=settings.numbers, pseudo=settings.pseudo
    )
    dataset = look_into_labels(found, spread=reading)
    rows = _table(dataset.root)
    cases = [_incoming(each, scheme_of(each.scheme), rows, settings) for each in dataset.cases]
    return cases, list(dataset.findings)


def _table(root: Path) -> dict[str, dict[str, Any]]:
    """Return what ``cases.json`` beside the folders says of each case."""
    return table_of_cases(root / "cases.json")


def _incoming(
    case: Case, numbers: LabelScheme, rows: Mapping[str, dict[str, Any]], settings: ImportSettings
) -> Incoming:
    row = rows.get(case.name, {})
    sure = row.get("confidence")
    told = row.get("kind")
    if told is not None and not isinstance(told, str):
        told = json.dumps(told)[:80]  # refused as a kind, case by case
    kind = settings.kind or told or ("pseudo" if sure else "expert")
    if case.source.startswith(PSEUDO):
        kind = "pseudo"
    lesion_free = isinstance(case, FlareCase) and case.lesion_free
    absent = tuple(organ(key).key for key in row.get("absent", ()))
    evidence = {"confidence": sure} if sure else {}
    partly = tuple(organ(key).key for key in row.get("partly", ()))
    case = replace(case, partly=(*case.partly, *(key for key in partly if key not in case.partly)))
    return Incoming(case, numbers, lesion_free, kind, absent, evidence)


def _add_scan(
    store: CaseStore, each: Incoming, settings: ImportSettings
) -> tuple[CaseRecord, bool]:
    source = each.case.source
    return store.put_case(
        each.case.image,
        name=safe_name(each.case.name),
        patient=each.case.patient,
        source="" if source.startswith(PSEUDO) else source,
        link=settings.link,
        author=settings.author,
        check=partial(refuse_what_is_not_hu, store, settings),
    )


def refuse_what_is_not_hu(store: CaseStore, settings: ImportSettings, scan: Path) -> None:
    """Refuse a scan, unless it is in the store, that nothing could be learnt from.

    Raises
    ------
    InputError
        If it is no CT in HU.
    """
    if not store.has_file(scan):
        check_hu(scan, assume_hu=settings.assume_hu)


def _add_labels(
    store: CaseStore, record: CaseRecord, each: Incoming, settings: ImportSettings
) -> tuple[bool, tuple[Finding, ...]]:
    """Add the labels of a case, unless there are none or they are in the store already."""
    if not _looked_for(each) or (each.case.labels is None and not each.lesion_free):
        return False, ()
    with store.scratch() as scratch, _our_labels(each, record.image, scratch) as path:
        digest = sha256_of(path)  # most often it is there: nothing has to be checked
        if any(version.sha256 == digest for version in store.versions(record.name)):
            return False, ()
        annotated, absent = _claims(each, organs_in(path))
        if not annotated:
            what = "a model's labels in which nothing was found: added without labels"
            return False, (Finding("note", each.case.name, what),)
        facts = _facts(each, annotated, absent, settings)
        return store.add_labels_once(record.name, path, facts) is not None, ()


def _looked_for(each: Incoming) -> tuple[str, ...]:
    return ("lesion",) if each.lesion_free else each.case.annotated


def _claims(each: Incoming, there: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the organs that a case's labels annotate, and those of them that are not in the scan.

    A person who annotated an organ and drew none says that it is not there. A model that found none
    says nothing: it may be absent or missed, so the labels do not annotate it.
    """
    looked_for = _looked_for(each)
    missing = tuple(key for key in looked_for if key not in there)
    if each.kind in BY_PEOPLE or each.lesion_free:
        return looked_for, missing
    absent = tuple(key for key in missing if key in each.absent)
    return tuple(key for key in looked_for if key in there or key in absent), absent


def _facts(
    each: Incoming, annotated: tuple[str, ...], absent: tuple[str, ...], settings: ImportSettings
) -> LabelFacts:
    source = each.case.source
    predicted = source.startswith(PSEUDO)
    return LabelFacts(
        each.kind,
        annotated,
        author=settings.author,
        model=settings.model or (source.removeprefix(PSEUDO) if predicted else ""),
        settings={"imported_from": _printable(each.case.labels or each.case.image)},
        evidence=each.evidence,
        note=f"imported; numbers of {each.scheme.title}",
        absent=absent,
        partly=tuple(key for key in each.case.partly if key in annotated and key not in absent),
    )


def _printable(path: Path) -> str:
    """Return a path as text, also one that is not UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def _our_labels(each: Incoming, image: Path, scratch: Path) -> Iterator[Path]:
    """Yield the label map in our numbers as ``.nii.gz``: the file itself if it is that."""
    labels = each.case.labels
    only_ours = len(each.scheme.organs) == each.scheme.highest  # else a number is none of ours
    if labels is not None and each.scheme.has_our_ids and only_ours:
        with label_file(labels, image, scratch) as path:
            yield path
        return
    path = scratch / "labels.nii.gz"
    grid = read_geometry(image)
    write_labels(path, Volume(_converted(each, image).array, grid), like=image)
    yield path


def _converted(each: Incoming, image: Path) -> Volume:
    if each.case.labels is None:
        grid = read_geometry(image)
        return Volume(np.zeros(grid.shape, np.uint8), grid)
    labels = read_labels(each.case.labels)
    check_same_grid(each.case.labels, labels, image)
    return convert(labels, each.scheme, image)
