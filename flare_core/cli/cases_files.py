"""Scans, labels and whole data sets in and out of a case store: add, import, export."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.anatomy.organs import parse_organs
from flare_core.errors import InputError
from flare_core.jobs.failure import EXIT_INTERNAL
from flare_core.jobs.on_cluster import spread_of
from flare_core.jobs.outputs import plain
from flare_core.jobs.progress import OnCount, reporting
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.cases.store import CaseRecord, CaseStore, LabelFacts
    from flare_core.datasets.case import Case
    from flare_core.datasets.exchange.exporting import Exported
    from flare_core.datasets.exchange.importing import Imported

TITLE = "case store"
"""What the bar is about."""

FORMATS = ("nnunet", "flare22", "list")
"""What can be exported."""

Told = tuple[int, str, object]
"""Exit code, what a person reads, what a program reads."""


def add(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Add scans, and the labels of one."""
    _check_add(arguments)
    found = []
    for image in arguments.images:
        with store.scratch() as scratch:
            labels = None if arguments.labels is None else _Labels(arguments, scratch)
            record = store.add_case(
                image,
                name=arguments.name,
                patient=arguments.patient,
                source=arguments.source,
                link=arguments.link,
                author=arguments.author,
                check=None if labels is None else labels.check,
            )
            if labels is not None:
                labels.add_to(store, record)
        found.append(store.case(record.name))
    text = "\n".join(f"{record.name}: {record.status}" for record in found)
    return 0, text, [plain(record) for record in found]


def import_folder(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Bring a data set in; exit code 1 if something of it could not be."""
    from flare_core.datasets.exchange.drawn_import import holds_drawn, import_drawn
    from flare_core.datasets.exchange.importing import ImportSettings, Spreading, import_dataset
    from flare_core.segment.runtime import available_cores
    from flare_core.spread.here import in_processes

    settings = ImportSettings(
        kind=arguments.kind,
        link=arguments.link,
        author=arguments.author,
        edition=arguments.edition,
        numbers=arguments.numbers,
        pseudo=arguments.pseudo,
        model=arguments.model,
        assume_hu=arguments.assume_hu,
    )
    folder = arguments.folder.absolute() if arguments.cluster else arguments.folder
    with (
        reporting(arguments.progress, TITLE) as report,
        spread_of(arguments, report, results=store.folder, inputs=[folder]) as spread,
    ):
        count = report.counter("importing")
        bring = import_drawn if holds_drawn(folder) else import_dataset
        spreading = Spreading(spread or in_processes(available_cores()), spread)
        found = bring(store, folder, settings, count, spreading)
    wrong = any(finding.wrong for finding in found.findings)
    return EXIT_INTERNAL if wrong else 0, _imported_text(found), plain(found)


def export(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Write cases in another program's folders."""
    from flare_core.datasets.case import save_cases
    from flare_core.datasets.exchange.exporting import export_flare22, export_nnunet

    if arguments.format != "nnunet":
        _refuse_without(arguments, "the format nnunet", ("organs",))
    training = _chosen(store, arguments, held_out=False)
    testing = _chosen(store, arguments, held_out=True) if arguments.with_hold_out else ()
    target: Path = arguments.output
    if arguments.format == "list":
        cases = (*training, *testing)
        save_cases(target, cases)
        names = [case.name for case in cases]
        return 0, f"{many(len(cases), 'case')}: {target}", {"list": str(target), "names": names}
    with reporting(arguments.progress, TITLE) as report:
        done = _OneMore(report.counter("writing"), len(training) + len(testing))
        if arguments.format == "nnunet":
            organs = (
                [each.key for each in parse_organs(arguments.organs)] if arguments.organs else []
            )
            found = export_nnunet(target, training, testing, organs=organs, on_done=done)
        else:
            found = export_flare22(target, training, testing, on_done=done)
    return 0, _exported_text(found), plain(found)


class _OneMore:
    """Counts one case more each time it is called."""

    def __init__(self, on_count: OnCount, of: int) -> None:
        self._on_count = on_count
        self._of = of
        self._done = 0

    def __call__(self) -> None:
        self._done = min(self._of, self._done + 1)
        self._on_count(self._done, self._of)


def _chosen(store: CaseStore, arguments: argparse.Namespace, *, held_out: bool) -> tuple[Case, ...]:
    """Return the cases to export: all that have labels to learn from, or the statuses asked for."""
    from flare_core.datasets.stored import LEARNT_FROM, cases_of_store

    statuses = tuple(arguments.status or LEARNT_FROM)
    if arguments.unlabelled:
        statuses = (*statuses, "unlabelled")
    return cases_of_store(store, statuses=statuses, held_out=held_out)


def _check_add(arguments: argparse.Namespace) -> None:
    several = len(arguments.images) > 1
    if several and (arguments.name or arguments.labels):
        raise InputError(
            "--name and --labels",
            f"for {many(len(arguments.images), 'scan')}",
            "one scan",
            "Add the scans one by one, or `flare cases import FOLDER`.",
        )
    if not arguments.labels:
        _refuse_without(arguments, "--labels FILE", ("organs", "absent", "kind", "model", "note"))
    if arguments.labels and _is_drawn(arguments):
        if arguments.organs:
            raise InputError(
                "--organs", f"{arguments.organs} for {arguments.labels.name}",
                "nothing: a structure set or segmentation names its organs itself",
                "Leave the option out.",
            )  # fmt: skip
    elif arguments.labels and not arguments.organs:
        raise InputError(
            "--organs", "nothing", "the organs that the label map annotates, by comma",
            "For example --organs liver,spleen; where the map is 0, these are not.",
        )  # fmt: skip


def _refuse_without(arguments: argparse.Namespace, needed: str, names: Sequence[str]) -> None:
    """Refuse options that would be taken without a word and without use."""
    for name in names:
        if getattr(arguments, name):
            raise InputError(
                f"--{name}", f"--{name} without {needed}", "nothing, then",
                f"Add {needed}, or leave --{name} out.",
            )  # fmt: skip


def _is_drawn(arguments: argparse.Namespace) -> bool:
    """Whether the labels are contours or a segmentation of DICOM, which name their organs."""
    from flare_core.imaging.dicom.drawn import is_drawn

    return is_drawn(arguments.labels)


class _Labels:
    """The labels of a scan that is added: refused before the scan is kept, added behind it."""

    def __init__(self, arguments: argparse.Namespace, scratch: Path) -> None:
        self._arguments, self._scratch = arguments, scratch
        self._file: Path = arguments.labels
        self._facts = _facts(arguments, _keys(arguments.organs)) if arguments.organs else None

    def check(self, scan: Path) -> None:
        """Refuse labels that are not the scan's, or not what they claim."""
        from flare_core.cases.checks import check_labels

        if self._facts is None:
            self._facts = self._drawn(scan)
        check_labels(self._file, scan, self._facts)

    def add_to(self, store: CaseStore, record: CaseRecord) -> None:
        """Add them; what was corrected was made from the version that counts now."""
        facts = self._facts
        assert facts is not None
        parent = record.chosen if facts.kind == "corrected" else None
        store.add_labels(record.name, self._file, replace(facts, parent=parent))

    def _drawn(self, scan: Path) -> LabelFacts:
        """Write the contours or the segmentation of a DICOM file; say what was left out."""
        from flare_core.datasets.exchange.drawn_labels import write_drawn_labels

        arguments, self._file = self._arguments, self._scratch / "labels.nii.gz"
        drawn = write_drawn_labels(arguments.labels, scan, self._file)
        for note in drawn.notes:
            print(f"{arguments.labels.name}: {note}", file=sys.stderr)
        facts = _facts(arguments, (*drawn.annotated, *_keys(arguments.absent)), drawn.kind)
        return replace(facts, note=arguments.note or f"imported; DICOM {drawn.label}")


def _facts(
    arguments: argparse.Namespace, annotated: tuple[str, ...], kind: str = "expert"
) -> LabelFacts:
    """Return what a person says of labels."""
    from flare_core.cases.store import LabelFacts

    return LabelFacts(
        arguments.kind or kind,
        annotated,
        author=arguments.author,
        model=arguments.model,
        note=arguments.note,
        absent=_keys(arguments.absent),
    )


def _keys(organs: str | None) -> tuple[str, ...]:
    """Return the organs that an option names."""
    return tuple(each.key for each in parse_organs(organs)) if organs else ()


def _imported_text(found: Imported) -> str:
    lines = [f"{finding.kind}: {finding.where}: {finding.what}" for finding in found.findings]
    told = f"{many(len(found.added), 'case')} added, {len(found.known)} were there"
    return "\n".join([*lines, f"{told}; {many(len(found.labelled), 'label map')} added"])


def _exported_text(found: Exported) -> str:
    for finding in found.findings:
        print(f"{finding.where}: {finding.what}", file=sys.stderr)
    cases, organs = many(len(found.names), "case"), many(len(found.organs), "organ")
    return f"{cases} with {organs}: {found.folder}"
