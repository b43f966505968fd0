"""``flare evaluate``: score predicted label maps against references, by the rules of FLARE.

PRED and REF are folders with one label file for each case, of the same name (``_0000`` and the
format do not count), or two files. A prediction that is missing, unreadable or on another grid is
named and scores 0; a case whose reference cannot be read is named and left out.

With -o: scores.csv (every number), per_case.csv, per_organ.csv, summary.json and
evaluation.html. --scheme takes JSON:

  {"structures": [{"value": 1, "name": "liver"},
                  {"value": 7, "name": "heart", "tolerance_mm": 3.0}]}

Exit codes: 0 scored (look at what was named), 1 cases were left out, 2 the arguments cannot be
used or references are another edition's, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.anatomy.label_schemes import SCHEMES, as_listed
from flare_core.errors import InputError
from flare_core.jobs.failure import EXIT_INTERNAL
from flare_core.jobs.on_cluster import CLUSTER, spread_of
from flare_core.jobs.outputs import output_folder
from flare_core.jobs.progress import PROGRESS, Reporter, counted, progress_fields, reporting
from flare_core.spread.cases import Pacer
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.evaluate.evaluate import Evaluation, Files
    from flare_core.evaluate.scoring import ScoringRules

NAME = "evaluate"
HELP = "score label maps against references, as FLARE does"

EDITIONS = ("flare21", "flare22", "flare23", "flare24-task1", "flare24-task2")
MODES = ("official", "fixed")
"""As in `flare_core.evaluate.protocols`, which is not imported for every `flare --help`."""

OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--edition", {"type": partial(as_listed, keys=EDITIONS), "choices": EDITIONS,
                   "default": "flare22", "help": "whose rules (default: flare22)"}),
    ("--mode", {"choices": MODES, "default": "official",
                "help": "the organisers' numbers, or without their two slips"}),
    ("-o,--output", {"type": Path, "metavar": "OUT", "help": "folder for tables and the page"}),
    ("--images", {"type": Path, "metavar": "DIR", "help": "scans, for the page's pictures"}),
    ("--scheme", {"type": Path, "metavar": "FILE.json", "help": "own label values and names"}),
    ("--prediction-scheme", {"type": partial(as_listed, keys=SCHEMES), "choices": tuple(SCHEMES),
                             "help": "PRED's values, if not EDITION's"}),
    ("--reference-scheme", {"type": partial(as_listed, keys=SCHEMES), "choices": tuple(SCHEMES),
                            "help": "REF's values, if not EDITION's"}),
    ("--metrics", {"metavar": "A,B", "help": "only these, as in dsc,nsd (default: all)"}),
    ("--lesion-iou", {"type": float, "default": 0.5, "metavar": "SHARE",
                      "help": "overlap above which a lesion is found (default: 0.5)"}),
    ("--any-place", {"action": "store_true",
                     "help": "compare only sizes, not origin and spacing, as FLARE's scripts do"}),
    ("--workers", {"type": int, "default": 0, "metavar": "N", "help": "processes; 0: automatic"}),
    CLUSTER,
    ("--progress", {"choices": PROGRESS, "default": "bar",
                    "help": "for people, programs, nobody"}),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``flare evaluate`` takes."""
    parser.add_argument("prediction", type=Path, metavar="PRED", help="predicted label maps")
    parser.add_argument("reference", type=Path, metavar="REF", help="true label maps")
    for name, facts in OPTIONS:
        parser.add_argument(*name.split(","), **facts)


def run(arguments: argparse.Namespace) -> int:
    """Score, report and write; return the exit code.

    Raises
    ------
    InputError
        If the arguments or a reference cannot be used, or the results cannot be written.
    """
    with reporting(arguments.progress, NAME) as reporter:
        return _run(arguments, reporter)


def _run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from flare_core.evaluate.evaluate import evaluate_folders

    pacer = Pacer()

    def on_case(done: int, of: int, name: str) -> None:
        progress = counted(f"scoring {many(of, 'case')}", pacer(done, of), name)
        reporter.show(progress, {"event": "progress", "case": name, **progress_fields(progress)})

    rules, files = rules_from(arguments), files_from(arguments)
    _check_paths(arguments)
    inputs = [arguments.prediction.absolute(), arguments.reference.absolute()]
    with output_folder(arguments.output):
        with spread_of(arguments, reporter, inputs=inputs) as spread:
            given = (arguments.prediction, arguments.reference)
            prediction, reference = inputs if spread else given
            evaluation = evaluate_folders(
                prediction,
                reference,
                rules,
                files,
                workers=arguments.workers,
                spread=spread,
                on_case=on_case,
            )
        written = _write(arguments, evaluation, files) if arguments.output else []
    _tell(arguments, evaluation, written, reporter)
    return EXIT_INTERNAL if evaluation.left_out else 0


def _tell(
    arguments: argparse.Namespace,
    evaluation: Evaluation,
    files: Sequence[Path],
    reporter: Reporter,
) -> None:
    """Tell the table, name the problems, list the files."""
    from flare_core.evaluate.tables import problems_text, summary_record, summary_text

    paths = [str(path.absolute()) for path in files]
    event = {"event": "result", "files": paths, "summary": summary_record(evaluation)}
    reporter.tell(summary_text(evaluation), event)
    for line in problems_text(evaluation):
        reporter.warn(line)
    if arguments.prediction.resolve() == arguments.reference.resolve():
        reporter.warn("PRED and REF are the same: whatever is compared with itself is perfect")
    if files:
        reporter.tell("\n".join(["Written:", *(f"  {path}" for path in files)]))


def rules_from(arguments: argparse.Namespace) -> ScoringRules:
    """Return the rules that the arguments ask for.

    Raises
    ------
    InputError
        If a metric, the IoU or the scheme's file cannot be used.
    """
    from flare_core.evaluate.label_values import own_edition
    from flare_core.evaluate.metrics import METRICS
    from flare_core.evaluate.protocols import edition
    from flare_core.evaluate.scoring import ScoringRules

    rules = edition(arguments.edition)
    if arguments.scheme is not None:
        rules = own_edition(arguments.scheme, rules)
    names = METRICS if arguments.metrics is None else arguments.metrics.split(",")
    return ScoringRules(
        edition=rules,
        mode=arguments.mode,
        metrics=tuple(dict.fromkeys(name.strip() for name in names)),
        lesion_iou=arguments.lesion_iou,
    )


def files_from(arguments: argparse.Namespace) -> Files:
    """Return how the label files are to be read."""
    from flare_core.evaluate.evaluate import Files

    return Files(
        prediction_scheme=SCHEMES.get(arguments.prediction_scheme),
        reference_scheme=SCHEMES.get(arguments.reference_scheme),
        same_place=not arguments.any_place,
    )


def _check_paths(arguments: argparse.Namespace) -> None:
    """Refuse, before anything is computed, what would only fail at the end."""
    if arguments.workers < 0:
        raise InputError("--workers", str(arguments.workers), "0 (automatic) or more", "Leave it.")
    if arguments.images is not None and not arguments.images.is_dir():
        raise InputError("--images", str(arguments.images), "a folder with scans", "Correct it.")
    if arguments.images is not None and arguments.output is None:
        legal = "--images together with --output: the scans are for the page's pictures"
        raise InputError("--images", "no --output", legal, "Add -o OUT.")


def _write(arguments: argparse.Namespace, evaluation: Evaluation, files: Files) -> list[Path]:
    from flare_core.jobs.result_files import write_evaluation
    from flare_core.report.evaluation.figures import Sources

    sources = Sources(arguments.prediction, arguments.reference, arguments.images, files)
    return write_evaluation(arguments.output, evaluation, sources)
