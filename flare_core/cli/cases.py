"""``flare cases``: the case store: scans, versions of their labels, who made them, the hold-out.

    flare cases list [--status pseudo] [--organ liver] [--text WORD]
    flare cases add SCAN... [--labels FILE --organs liver,spleen] [--patient P]
    flare cases import FOLDER [--kind pseudo]
    flare cases verify [--quick] [--rebuild]
    flare cases export nnunet|flare22|list -o OUT
    flare cases history [CASE]
    flare cases restore CASE VERSION
    flare cases status CASE [accepted|rejected|pseudo|corrected] [--reason TEXT]
    flare cases hold-out [PATIENT... | --share 0.2]

Labels never overwrite one another: each comes as a new version, and `restore` makes an old one
count again. The hold-out is chosen once; its scans are never learnt from. `import` reads the
folders of FLARE21 to 24, plain images/ with labels/, and nnU-Net's raw data sets. Exit codes: 0
done, 1 `verify` or `import` found something wrong, 2 the arguments or a file cannot be used.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.cli.actions import Action, Options, add_actions
from flare_core.cli.cases_files import FORMATS, TITLE, Told, add, export, import_folder
from flare_core.cli.cases_text import (
    case_values,
    cases_table,
    history_text,
    problems_text,
    versions_text,
)
from flare_core.errors import InputError
from flare_core.home import open_home
from flare_core.jobs.failure import EXIT_INTERNAL
from flare_core.jobs.on_cluster import CLUSTER
from flare_core.jobs.outputs import plain
from flare_core.jobs.progress import reporting
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.cases.store import CaseStore

NAME = "cases"
HELP = "the case store: scans, label versions, hold-out"

Do = Callable[["CaseStore", argparse.Namespace], Told]

NEAR_SHARE, FINE_PARTS = 0.02, 20
"""The hold-out is one of some equal parts if that is the share asked for, or nearly; else it is
some of so many."""

MAKES_STORE = ("add", "import")
"""Actions that make the store if there is none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    add_actions(parser, ACTIONS, EVERYWHERE)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit code.

    Raises
    ------
    InputError
        If the store, a case or an argument cannot be used.
    """
    from flare_core.cases.store import open_store

    folder = arguments.store or open_home().cases
    if arguments.action == "verify" and arguments.rebuild:
        _rebuild(folder)
    with open_store(folder, create=arguments.action in MAKES_STORE) as store:
        do: Do = arguments.do
        code, text, values = do(store, arguments)
    if arguments.json:
        sys.stdout.write(json.dumps(plain(values), indent=1) + "\n")
    elif text:
        print(text)
    return code


def list_cases(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Return the cases that fit."""
    records = store.cases(
        status=arguments.status,
        organ=arguments.organ,
        kind=arguments.kind,
        text=arguments.text,
        held_out=arguments.held_out,
        limit=arguments.limit,
        offset=arguments.offset,
    )
    scores = store.score_table()
    values = [case_values(each, scores.get(each.name, {})) for each in records]
    return 0, cases_table(records, scores), values


def verify(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Compare files and catalogue; exit code 1 if something is wrong."""
    with reporting(arguments.progress, TITLE) as report:
        count = report.counter("verifying")
        problems = store.verify(hashes=not arguments.quick, on_done=count)
    wrong = [problem for problem in problems if problem.wrong]
    end = many(len(wrong), "problem") if wrong else "No problem"
    lines = [problems_text(problems)] if problems else []
    text = "\n".join([*lines, f"{end} in {many(len(store.cases()), 'case')} ({store.folder})"])
    return EXIT_INTERNAL if wrong else 0, text, [plain(each) for each in problems]


def history(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Return what happened to a case, or to all; of one case also the label versions."""
    events = store.history(arguments.case)
    values: dict[str, Any] = {"events": [plain(each) for each in events]}
    text = history_text(events)
    if arguments.case is not None:
        record, versions = store.case(arguments.case), store.versions(arguments.case)
        values |= {"case": plain(record), "versions": [plain(each) for each in versions]}
        text += "\n\n" + versions_text(versions, record.chosen) if versions else ""
    return 0, text, values


def restore(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Make an old version count again."""
    before = store.case(arguments.case).status
    version = store.restore(arguments.case, arguments.version, arguments.author, arguments.note)
    text = f"{version.case}: version {version.number} is version {arguments.version} again"
    status = store.case(arguments.case).status
    if status != before:  # a rejected case teaches again, for one
        text += f"; the case is {status} now, {before} before"
    return 0, text, plain(version) | {"status": status}


def status(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Show the status of a case, or change it."""
    record = store.case(arguments.case)
    if arguments.status is not None:
        record = store.set_status(
            arguments.case, arguments.status, author=arguments.author, reason=arguments.reason
        )
    return 0, f"{record.name}: {record.status}", plain(record)


def patient(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Show whose scan a case is, or correct it; say what became of the hold-out."""
    record = before = store.case(arguments.case)
    if arguments.patient is not None:
        record = store.set_patient(arguments.case, arguments.patient, author=arguments.author)
    where = "held out" if record.held_out else "not held out"
    text = f"{record.name}: a scan of {record.patient}, {where}"
    if record.held_out and not before.held_out:
        text += " now; models that have learnt from it so far score too well on it"
    elif before.held_out and not record.held_out:
        text += " any more, as other scans of that patient are not"
    return 0, text, plain(record)


def hold_out(store: CaseStore, arguments: argparse.Namespace) -> Told:
    """Show the frozen hold-out, or choose it, once."""
    patients = list(arguments.patients)
    if arguments.share is not None:
        patients += _drawn(store, arguments.share, arguments.seed)
    if patients:
        store.freeze_hold_out(patients, author=arguments.author)
    frozen = store.hold_out()
    cases = [record.name for record in store.cases(held_out=True)]
    text = f"{many(len(frozen), 'patient')} with {many(len(cases), 'scan')}: {', '.join(frozen)}"
    return 0, text if frozen else "no hold-out yet", {"patients": frozen, "cases": cases}


def _drawn(store: CaseStore, share: float, seed: int) -> list[str]:
    """Draw a share of the patients whose scans a person has labelled."""
    from flare_core.cases.store import BY_PEOPLE
    from flare_core.datasets.split import patient_folds
    from flare_core.datasets.stored import cases_of_store

    if not 0 < share <= 0.5:
        raise InputError("--share", str(share), "more than 0, at most 0.5", "0.2 is usual.")
    cases = cases_of_store(store, kinds=BY_PEOPLE, held_out=None)
    count = len({case.patient for case in cases})
    if count < 2:
        raise InputError(
            "--share", f"{share} of {many(count, 'patient')}",
            "2 or more patients whose scans people have labelled",
            "Add expert or corrected labels first, or name the patients.",
        )  # fmt: skip
    parts = min(count, round(1 / share))
    if abs(1 / parts - share) > NEAR_SHARE:  # .4 is not a half, one of two parts would be
        parts = min(count, FINE_PARTS)
    taken = max(1, round(share * parts))
    folds = patient_folds(cases, parts, seed=seed)
    return sorted(patient for fold in folds[:taken] for patient in fold)


def _rebuild(folder: str | Path) -> None:
    from flare_core.cases.rebuild import rebuild

    count = rebuild(Path(folder).expanduser().absolute())
    print(f"new catalogue of {many(count, 'case')}; the old one lies beside", file=sys.stderr)


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return ""


EVERYWHERE: Options = (
    ("--store", {"type": Path, "metavar": "FOLDER", "help": "the store (~/.flareseg/cases)"}),
    ("--json", {"action": "store_true", "help": "for programs"}),
)

_CASE = ("case", {"metavar": "CASE", "help": "its name"})
_AUTHOR = ("--author", {"default": _me(), "metavar": "NAME", "help": "who does it (you)"})
_PROGRESS = ("--progress", {"choices": ("bar", "none"), "default": "bar", "help": "show it or not"})
_LINK = ("--link", {"action": "store_true", "help": "leave scans where they are"})
_HU = ("--assume-hu", {"action": "store_true", "help": "scans are in HU, however they look"})
_MODEL = ("--model", {"default": "", "metavar": "NAME-VERSION", "help": "which made the labels"})
_KIND = ("--kind", {"metavar": "KIND", "help": "of the labels: expert, corrected, pseudo, soft"})
_STATUS = ("--status", {"nargs": "+", "metavar": "STATUS", "help": "only with one of these"})

ACTIONS: tuple[Action, ...] = (
    ("list", list_cases, "cases with status, labels and scores", (
        _STATUS,
        ("--kind", {"nargs": "+", "metavar": "KIND", "help": "of their labels"}),
        ("--organ", {"metavar": "ORGAN", "help": "that their labels annotate"}),
        ("--text", {"metavar": "WORD", "help": "in name, patient or source"}),
        ("--hold-out", {"dest": "held_out", "action": "store_true", "default": None,
                        "help": "the hold-out only"}),
        ("--training", {"dest": "held_out", "action": "store_false", "default": None,
                        "help": "without the hold-out"}),
        ("--limit", {"type": int, "metavar": "N", "help": "at most so many"}),
        ("--offset", {"type": int, "default": 0, "metavar": "N", "help": "after so many"}),
    )),
    ("add", add, "add scans, copied or linked, and the labels of one", (
        ("images", {"nargs": "+", "type": Path, "metavar": "SCAN", "help": "file or DICOM folder"}),
        ("--name", {"metavar": "NAME", "help": "of the case (made from the file's)"}),
        ("--patient", {"default": "", "metavar": "P", "help": "who was scanned"}),
        ("--source", {"default": "", "metavar": "TEXT", "help": "collection it is from"}),
        ("--labels", {"type": Path, "metavar": "FILE", "help": "label map, RTSTRUCT or SEG"}),
        ("--organs", {"metavar": "ORGANS", "help": "that the label map annotates, by comma"}),
        ("--absent", {"metavar": "ORGANS", "help": "of these, which are not in the scan"}),
        ("--note", {"default": "", "metavar": "TEXT", "help": "kept with the labels"}),
        _KIND, _MODEL, _LINK, _AUTHOR,
    )),
    ("import", import_folder, "bring in a data set: FLARE21 to 24, nnU-Net, plain folders, DICOM", (
        ("folder", {"type": Path, "metavar": "FOLDER", "help": "the data set"}),
        ("--edition", {"metavar": "NAME", "help": "flare21, flare22 ... (default: found out)"}),
        ("--numbers", {"metavar": "SCHEME", "help": "what label values mean (the edition's)"}),
        ("--pseudo", {"metavar": "TEAM", "help": "whose predictions unlabelled scans get"}),
        _KIND, _MODEL, _LINK, _HU, _AUTHOR, _PROGRESS, CLUSTER,
    )),
    ("verify", verify, "compare every file with the catalogue", (
        ("--quick", {"action": "store_true", "help": "sizes only, no hashes"}),
        ("--rebuild", {"action": "store_true", "help": "make the catalogue again from the files"}),
        _PROGRESS,
    )),
    ("export", export, "write cases in another program's folders", (
        ("format", {"choices": FORMATS, "help": "nnU-Net raw, FLARE22, or a list to train from"}),
        ("-o,--output", {"type": Path, "required": True, "metavar": "OUT", "help": "where to"}),
        ("--status", {"nargs": "+", "metavar": "STATUS", "help": "(corrected accepted)"}),
        ("--organs", {"metavar": "ORGANS", "help": "nnunet: the labels, by comma"}),
        ("--unlabelled", {"action": "store_true", "help": "also scans without labels"}),
        ("--with-hold-out", {"action": "store_true", "help": "as test cases"}),
        _PROGRESS,
    )),
    ("history", history, "what happened, and the label versions of a case", (
        ("case", {"nargs": "?", "metavar": "CASE", "help": "its name; all if left out"}),
    )),
    ("restore", restore, "make an old label version count again", (
        _CASE,
        ("version", {"type": int, "metavar": "VERSION", "help": "its number"}),
        ("--note", {"default": "", "metavar": "TEXT", "help": "why"}),
        _AUTHOR,
    )),
    ("status", status, "show a case's status, accept or reject its labels", (
        _CASE,
        ("status", {"nargs": "?", "metavar": "STATUS", "help": "accepted, rejected, ..."}),
        ("--reason", {"default": "", "metavar": "TEXT", "help": "why"}),
        _AUTHOR,
    )),
    ("patient", patient, "show whose scan a case is, or correct it", (
        _CASE,
        ("patient", {"nargs": "?", "metavar": "PATIENT", "help": "whose it really is"}),
        _AUTHOR,
    )),
    ("hold-out", hold_out, "show or freeze the patients that are never learnt from", (
        ("patients", {"nargs": "*", "metavar": "PATIENT", "help": "chosen once, for ever"}),
        ("--share", {"type": float, "metavar": "S", "help": "draw so many of the patients that"
                     " people have labelled, such as 0.2"}),
        ("--seed", {"type": int, "default": 0, "metavar": "N", "help": "of the draw (0)"}),
        _AUTHOR,
    )),
)  # fmt: skip
"""Name, what does it, help, options."""
