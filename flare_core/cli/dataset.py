"""``flare dataset``: what is in a FLARE data set, whether it is sound, and its tables.

    flare dataset list FOLDER [-o cases.json --labels LABELS]
    flare dataset check FOLDER [-o findings.csv]
    flare dataset summary FOLDER [-o OUT]

FOLDER is where the archives of FLARE21, 22, 23, 24 task 1 or 24 task 2 were unpacked, or a plain
folder of images/ and labels/. Results go to standard output, progress to standard error. Exit
codes: 0 all well, 1 `check` found something wrong or cases could not be read, 2 the arguments or
the folder cannot be used, 130 stopped by Ctrl-C (`summary -o` then goes on with the rest).
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core import atomic
from flare_core.cli.actions import Action, Options, add_actions
from flare_core.errors import InputError
from flare_core.jobs.failure import EXIT_INTERNAL
from flare_core.jobs.on_cluster import CLUSTER, spread_of
from flare_core.jobs.outputs import make_folder
from flare_core.jobs.progress import Reporter, reporting
from flare_core.spread.cases import SpreadCases
from flare_core.spread.here import in_processes
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.datasets.flare.dataset import FlareCase, FlareDataset
    from flare_core.datasets.flare.folders import Finding

NAME = "dataset"
HELP = "list, check or summarise the scans of a FLARE data set"

PARTS = "parts_of_an_unfinished_run"
"""Folder beside a summary that is being made; gone when it is done."""

TITLE = "data set"
"""What the bar is about."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the three sub-commands and their options."""
    add_actions(parser, ACTIONS, EVERYWHERE)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit code.

    Raises
    ------
    InputError
        If the folder holds no data set or an argument cannot be used.
    """
    if arguments.workers < 0:
        raise InputError("--workers", str(arguments.workers), "0 or more", "Leave it out.")
    do: Callable[[argparse.Namespace], int] = arguments.do
    return do(arguments)


def list_cases(arguments: argparse.Namespace) -> int:
    """Print the parts of a data set; write the list of its cases if asked for."""
    from flare_core.datasets.flare.dataset import look_into_labels

    dataset = _dataset(arguments, arguments.pseudo)
    if arguments.labels is not None and arguments.output is None:
        raise InputError(
            "--labels", str(arguments.labels), "together with -o cases.json", "Add -o cases.json."
        )
    with (
        reporting(arguments.progress, TITLE) as report,
        _spread(arguments, dataset, report) as spread,
    ):
        count = report.counter("reading labels")
        dataset = look_into_labels(dataset, spread=spread, on_done=count)
    _print_parts(dataset)
    for finding in dataset.findings:
        print(f"{finding.kind}: {finding.where}: {finding.what}")
    if arguments.output is not None:
        _write_list(dataset, arguments)
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Print everything that is wrong with a data set; return 1 if there is any."""
    from flare_core.datasets.flare.check import check_dataset

    dataset = _dataset(arguments)
    with (
        reporting(arguments.progress, TITLE) as report,
        _spread(arguments, dataset, report) as spread,
    ):
        count = report.counter("checking")
        findings = check_dataset(dataset, spread=spread, on_done=count)
    for finding in findings:
        print(f"{finding.kind}: {finding.where}: {finding.what}")
    if arguments.output is not None:
        atomic.write_text(arguments.output, _findings_csv(findings))
    wrong = [finding for finding in findings if finding.wrong]
    labelled = f"{len(dataset.labelled)} with labels ({dataset.edition})"
    scans = f"{many(len(dataset.cases), 'scan')}, {labelled}"
    print(f"{many(len(wrong), 'problem')} in {scans}" if wrong else f"No problem in {scans}")
    return EXIT_INTERNAL if wrong else 0


def summary(arguments: argparse.Namespace) -> int:
    """Print the tables of a data set; write them and a page if asked for."""
    from flare_core.datasets.summary.summarise import summarise
    from flare_core.datasets.summary.tables import tables_of, to_markdown
    from flare_core.jobs.result_files import write_summary

    dataset = _dataset(arguments)
    parts = None
    if arguments.output is not None:
        make_folder(arguments.output)
        parts = arguments.output / PARTS
    with (
        reporting(arguments.progress, TITLE) as report,
        _spread(arguments, dataset, report) as spread,
    ):
        count = report.counter("measuring")
        found = summarise(dataset, spread=spread, keep_in=parts, on_done=count)
    tables = tables_of(found)
    print(to_markdown(found.title, tables), end="")
    for finding in found.left_out:
        print(f"left out: {finding.where}: {finding.what}", file=sys.stderr)
    if parts is not None:
        print(f"written: {write_summary(arguments.output, found, tables)}", file=sys.stderr)
        shutil.rmtree(parts, ignore_errors=True)
    return EXIT_INTERNAL if found.left_out else 0


def _dataset(arguments: argparse.Namespace, pseudo: str | None = None) -> FlareDataset:
    from flare_core.datasets.flare.dataset import find_dataset

    # workers of a cluster are in another folder
    folder = arguments.folder.absolute() if arguments.cluster else arguments.folder
    return find_dataset(folder, edition=arguments.edition, scheme=arguments.numbers, pseudo=pseudo)


@contextmanager
def _spread(
    arguments: argparse.Namespace, dataset: FlareDataset, report: Reporter
) -> Iterator[SpreadCases]:
    """Yield what does the cases: workers of a cluster, or processes, one for each core."""
    from flare_core.segment.runtime import available_cores

    inputs = (path for case in dataset.cases for path in (case.image, case.labels) if path)
    with spread_of(arguments, report, inputs=inputs) as elsewhere:
        count = min(arguments.workers or available_cores(), len(dataset.cases))
        yield elsewhere or in_processes(count)


def _print_parts(dataset: FlareDataset) -> None:
    print(f"{dataset.title} in {dataset.root}")
    for part in dict.fromkeys(case.subset for case in dataset.cases):
        cases = [case for case in dataset.cases if case.subset == part]
        labelled = sum(case.labels is not None for case in cases)
        print(f"{part}: {many(len(cases), 'scan')}, {labelled} with labels")
        kinds: dict[tuple[str, ...], int] = {}
        for case in cases:
            if case.labels is not None:
                kinds[case.annotated] = kinds.get(case.annotated, 0) + 1
        for organs, count in kinds.items():
            print(f"  {count} annotate {', '.join(organs) if organs else 'nothing'}")


def _write_list(dataset: FlareDataset, arguments: argparse.Namespace) -> None:
    """Write cases as `datasets.case.load_cases` reads them: labels in this project's numbers."""
    from flare_core.datasets.case import save_cases

    foreign = [c for c in dataset.cases if _needs_conversion(c)]
    if foreign and arguments.labels is None:
        raise InputError(
            "--labels",
            "nothing",
            "a folder for label maps in this project's numbers",
            f"Add --labels FOLDER: {dataset.edition} uses other numbers.",
        )
    if foreign:
        _refuse_own_folder(dataset, arguments.labels)
    converted = _converted(foreign, arguments) if foreign else {}
    cases = [converted.get(case.name, case) for case in dataset.cases]
    save_cases(arguments.output, [_absolute(case) for case in cases])
    print(f"list: {arguments.output}")


def _refuse_own_folder(dataset: FlareDataset, folder: Path) -> None:
    """Refuse to write converted label maps among the data set's own files: they would replace them.

    Raises
    ------
    InputError
        If `folder` holds a scan or a label map of the data set, or the file that one is a link to.
    """
    goal = folder.resolve()
    for path in (p for case in dataset.cases for p in (case.image, case.labels) if p is not None):
        if goal in (path.parent.resolve(), path.resolve().parent):
            came = f"{folder}, which holds the data set's own {path.name}"
            legal = "a folder for converted label maps alone; the data set stays as it is"
            raise InputError("--labels", came, legal, "Name another folder; it is made.")


def _needs_conversion(case: FlareCase) -> bool:
    """Whether the label file's numbers are not ours, or it is known to be empty and not there."""
    from flare_core.datasets.flare.labels import has_our_numbers

    return case.lesion_free or (case.labels is not None and not has_our_numbers(case.scheme))


def _converted(cases: Sequence[FlareCase], arguments: argparse.Namespace) -> dict[str, FlareCase]:
    """Write the label maps in our numbers; return the cases that point to them."""
    from flare_core.datasets.flare.labels import write_organ_labels

    make_folder(arguments.labels)
    done = {}
    with reporting(arguments.progress, TITLE) as report:
        count = report.counter("converting labels")
        for number, case in enumerate(cases, 1):
            path = arguments.labels / f"{case.name}.nii.gz"
            write_organ_labels(case, path)
            annotated = ("lesion",) if case.lesion_free else case.annotated
            done[case.name] = replace(case, labels=path, annotated=annotated, scheme="flare22")
            count(number, len(cases))
    return done


def _absolute(case: FlareCase) -> FlareCase:
    labels = case.labels.resolve() if case.labels is not None else None
    return replace(case, image=case.image.resolve(), labels=labels)


def _findings_csv(findings: Sequence[Finding]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("kind", "where", "what"))
    writer.writerows((finding.kind, finding.where, finding.what) for finding in findings)
    return stream.getvalue()


ACTIONS: tuple[Action, ...] = (
    (
        "list", list_cases, "which cases there are; -o writes a list to train from",
        (
            ("--pseudo", {"metavar": "TEAM", "help": "take unlabelled cases' labels from"}),
            ("--labels", {"type": Path, "metavar": "FOLDER", "help": "converted label maps"}),
        ),
    ),
    ("check", check, "name what is missing, doubled, unreadable, off-grid or mislabelled", ()),
    ("summary", summary, "tables of resolution, HU, coverage and volume", ()),
)  # fmt: skip

EVERYWHERE: Options = (
    ("folder", {"type": Path, "metavar": "FOLDER", "help": "the data set"}),
    ("-o,--output", {"type": Path, "metavar": "OUT", "help": "also write to"}),
    ("--edition", {"metavar": "NAME", "help": "flare21, flare22 ... (default: found out)"}),
    ("--numbers", {"metavar": "SCHEME", "help": "what label values mean (default: edition's)"}),
    ("--workers", {"type": int, "default": 0, "metavar": "N", "help": "0: one per core"}),
    CLUSTER,
    ("--progress", {"choices": ("bar", "none"), "default": "bar", "help": "show it or not"}),
)
