"""``flare segment``: from a CT to labels, numbers and a picture.

Exit codes: 0 all done, 1 a case of a batch failed or something broke, 2 the arguments or the only
input cannot be used, 130 stopped by Ctrl-C. Results go to standard output, progress and errors to
standard error; with ``--progress json`` everything is JSON lines on standard output.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from flare_core.anatomy.label_schemes import SCHEMES, as_listed
from flare_core.errors import InputError
from flare_core.jobs import batch, worker
from flare_core.jobs.batch_on_cluster import run_plan_on
from flare_core.jobs.cluster import place_of
from flare_core.jobs.engine import REAL, Engine
from flare_core.jobs.on_cluster import CLUSTER
from flare_core.jobs.outputs import (
    OUR_SCHEME,
    USUAL,
    check_outputs,
    check_scheme,
    is_file_name,
    output_folder,
)
from flare_core.jobs.progress import PROGRESS, Reporter, reporting
from flare_core.jobs.remote.access import Access, address_of, read_token
from flare_core.jobs.reports import CaseReport
from flare_core.segment.settings import DEVICES, PRECISIONS, Settings

NAME = "segment"
HELP = "segment the abdominal organs of CT scans"

OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--model", {"default": Settings.model, "metavar": "NAME", "help": "name or package folder"}),
    ("--organs", {"metavar": "A,B", "help": "only these, as in liver,spleen (default: all)"}),
    ("--device", {"choices": DEVICES, "default": Settings.device, "help": "where to compute"}),
    (
        "--threads",
        {"type": int, "default": Settings.threads, "metavar": "N", "help": "0: all"},
    ),
    (
        "--precision",
        {"choices": PRECISIONS, "default": Settings.precision, "help": "number format"},
    ),
    (
        "--fast",
        {"action": "store_true", "help": "no overlap, one look: faster, a little less exact"},
    ),
    ("--no-cascade", {"action": "store_true", "help": "organ model on the whole scan"}),
    ("--assume-hu", {"action": "store_true", "help": "the values are HU, however they look"}),
    (
        "--lesion-sensitivity",
        {
            "type": float,
            "metavar": "S",
            "help": "0 to 1: how readily a voxel is a lesion (default: as the model was made)",
        },
    ),
    ("--series", {"metavar": "UID", "help": "which series of a DICOM folder"}),
    (
        "--outputs",
        {
            "metavar": "A,B",
            "help": "of labels,statistics,png,page,dicom-seg,dicom-sr (default: the first three)",
        },
    ),
    (
        "--scheme",
        {
            "type": partial(as_listed, keys=SCHEMES),
            "choices": tuple(SCHEMES),
            "default": OUR_SCHEME,
            "metavar": "EDITION",
            "help": "numbers of the label map, as in flare24_task1 (default: our organ ids)",
        },
    ),
    CLUSTER,
    ("--overwrite", {"action": "store_true", "help": "do cases again that are done"}),
    ("--progress", {"choices": PROGRESS, "default": "bar", "help": "for people, programs, nobody"}),
    ("--home", {"metavar": "FOLDER", "help": "where installed models are"}),
    ("--worker", {"action": "store_true", "help": "stay warm and take JSON requests on stdin"}),
    ("--on", {"metavar": "HOST:PORT", "help": "compute there, where `flare serve` listens"}),
    ("--token-file", {"type": Path, "metavar": "FILE", "help": "with --on: the server's token"}),
    ("--certificate", {"type": Path, "metavar": "FILE", "help": "with --on: PEM to trust"}),
    ("--without-tls", {"action": "store_true", "help": "with --on: send scans unencrypted"}),
)

WHAT_LEAVES = (
    "Voxels and their geometry go to {address} ({how}): no file name, no patient's name, no DICOM"
    " tags. It keeps nothing."
)

OF_REQUESTS = ("output", "outputs", "series", "cluster", "overwrite", "progress")
"""Options that a worker's command line does not have."""

SERVERS_OWN = ("device", "threads", "precision", "home")
"""What the server's own command line decides."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``flare segment`` takes."""
    parser.add_argument(
        "input", nargs="*", type=Path, help="NIfTI, NRRD or MHA file, DICOM folder, folder of them"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="folder, or FILE.nii.gz for a single scan"
    )
    for name, facts in OPTIONS:
        parser.add_argument(name, **facts)


def run(arguments: argparse.Namespace, engine: Engine = REAL) -> int:
    """Segment what was named; return the exit code.

    Raises
    ------
    InputError
        If the arguments cannot be used.
    """
    access = access_named(arguments)
    if arguments.worker:
        _refuse_beside_worker(arguments)
        return worker.serve(settings_of(arguments), engine, scheme=arguments.scheme)
    place = place_of(arguments.cluster) if arguments.cluster else None
    with reporting(arguments.progress) as reporter:
        plan = make_plan(arguments)
        _tell_what_is_passed_over(arguments, plan, reporter)
        with output_folder(_folder(arguments.output)):
            if access is not None:
                engine = engine_there(access, engine, reporter)
            if place is None:
                tally = batch.run_plan(plan, engine, CaseReport(reporter), debug=arguments.debug)
            else:
                where = place, arguments.cluster
                tally = run_plan_on(where, plan, engine, reporter, debug=arguments.debug)
    return batch.exit_code(tally)


def _folder(output: Path) -> Path:
    return output.parent if is_file_name(output) else output


def _tell_what_is_passed_over(
    arguments: argparse.Namespace, plan: batch.BatchPlan, reporter: Reporter
) -> None:
    """Say which sub-folders with image files are not searched; the output folder is none."""
    from flare_core.imaging.inputs import passed_over

    out = arguments.output.absolute()
    cases = {job.input for job in plan.jobs}
    for path in arguments.input:
        names = [p.name for p in passed_over(path, cases) if p.absolute() != out]
        if names and not arguments.series:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
            text = f"Sub-folders of {path} are not searched for image files: {shown}."
            reporter.log(f"note: {text}", {"event": "note", "text": text})


def make_plan(arguments: argparse.Namespace) -> batch.BatchPlan:
    """Check the arguments and find the cases; nothing is computed or written yet.

    Raises
    ------
    InputError
        If something is missing, unknown or cannot be written.
    """
    _require_paths(arguments)
    settings = settings_of(arguments)
    check_scheme(arguments.scheme, settings.organs)
    output = arguments.output
    outputs = check_outputs(USUAL if arguments.outputs is None else arguments.outputs.split(","))
    jobs = batch.plan_jobs(
        batch.find_cases(arguments.input, arguments.series),
        output,
        outputs=outputs,
        scheme=arguments.scheme,
    )
    tells_all = len(jobs) > 1 and "statistics" in outputs
    return batch.BatchPlan(
        jobs=jobs,
        settings=settings,
        overwrite=arguments.overwrite,
        summary=_folder(output) / batch.SUMMARY_FILE if tells_all else None,
    )


def _require_paths(arguments: argparse.Namespace) -> None:
    if not arguments.input:
        raise InputError(
            "input", "nothing", "at least one scan or folder", "flare segment CT.nii.gz -o OUT"
        )
    if arguments.output is None:
        raise InputError(
            "--output", "nothing", "a folder for the results", "Add -o FOLDER to the command."
        )


def _refuse_beside_worker(arguments: argparse.Namespace) -> None:
    """Refuse what each request names for itself, and what a worker has no use for."""
    given = {"input": arguments.input}
    given |= {f"--{name}": getattr(arguments, name) for name in OF_REQUESTS}
    for name, value in given.items():
        if value and value != "bar":
            raise InputError(
                name, f"{name} beside --worker", "nothing: each request names its own",
                "Leave it out, or leave --worker out.",
            )  # fmt: skip


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings among the arguments.

    Raises
    ------
    InputError
        If one of them is not legal.
    """
    return Settings.from_dict(
        {
            "model": arguments.model,
            "organs": arguments.organs,
            "device": arguments.device,
            "threads": arguments.threads,
            "fast": arguments.fast,
            "cascade": not arguments.no_cascade,
            "precision": arguments.precision,
            "home": arguments.home,
            "assume_hu": arguments.assume_hu,
            "lesion_sensitivity": arguments.lesion_sensitivity,
        }
    )


def access_named(arguments: argparse.Namespace) -> Access | None:
    """Return the server that the arguments name; None: this computer.

    Raises
    ------
    InputError
        If they do not fit together, or there is no token.
    """
    if not arguments.on:
        _refuse_without_server(
            arguments, {"token_file": None, "certificate": None, "without_tls": False}
        )
        return None
    host, port = address_of(arguments.on)
    if arguments.cluster or arguments.worker:
        other = "--cluster" if arguments.cluster else "--worker"
        raise InputError(other, f"{other} beside --on", "one of them", "Leave one of them out.")
    for name in SERVERS_OWN:
        if getattr(arguments, name) != getattr(Settings, name):
            raise InputError(
                f"--{name}", f"--{name} beside --on", "nothing: the server decides",
                "Leave it out, or start the server with it.",
            )  # fmt: skip
    if arguments.token_file is None:
        raise InputError(
            "--token-file",
            "nothing, beside --on",
            "a file that holds the server's token and that only you can read",
            "Write what `flare serve` printed into a file: --token-file FILE.",
        )
    token = read_token(arguments.token_file)
    return Access(host, port, token, arguments.certificate, arguments.without_tls)


def engine_there(access: Access, here: Engine, reporter: Reporter) -> Engine:
    """Return the engine that computes there; say what leaves this computer."""
    how = "encrypted" if access.tls else "not encrypted"
    words = WHAT_LEAVES.format(address=access.address, how=how)
    reporter.log(words, {"event": "elsewhere", "address": access.address})
    from flare_core.jobs.remote.client import engine_on  # NumPy is not wanted before

    return engine_on(access, here)


def _refuse_without_server(arguments: argparse.Namespace, unused: dict[str, object]) -> None:
    for name, usual in unused.items():
        if getattr(arguments, name) != usual:
            option = "--" + name.replace("_", "-")
            raise InputError(
                option, f"{option} without --on", "nothing, where this computer computes",
                "Name the server (--on HOST:PORT), or leave it out.",
            )  # fmt: skip
