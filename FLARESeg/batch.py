"""Segment many CTs in Slicer without its window.

    Slicer --no-splash --no-main-window --python-script FLARESeg/batch.py -- INPUT [INPUT ...] OUT

INPUT is a CT (NIfTI, NRRD, MetaImage), a folder of them, a folder with DICOM series, or a Slicer
scene (.mrb), of which every CT is taken. OUT gets, for each CT, CASE.seg.nrrd (segments with names,
colours and codes), CASE.nii.gz (organ ids) and CASE_statistics.csv, and all_cases.csv with the
numbers of all: case, organ, measure, value, unit.

Cases that are done are skipped, unless --overwrite is given; a case that fails is named at the end.
Exit code: 0 all done, 1 a case failed, 2 the arguments or the only input cannot be used.
It also runs in plain Python with the wheel slicer-core; without Slicer `flare segment` does the
same for images, without .seg.nrrd. For research use; not a medical device.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

FOLDER = str(Path(__file__).resolve().parent)
if FOLDER not in sys.path:
    sys.path.insert(0, FOLDER)

from FLARESegLib.core_path import make_importable  # noqa: E402 - needs the path set above

make_importable()

from flare_core.errors import FlareError, InputError  # noqa: E402 - is importable from here on

if TYPE_CHECKING:
    from FLARESegLib.logic import FLARESegLogic
    from FLARESegLib.run.batch_cases import BatchCase, Scan
    from FLARESegLib.run.batch_outputs import BatchOutputs

    from flare_core.segment.settings import Settings

OK, FAILED, UNUSABLE = 0, 1, 2
"""Exit codes."""


class batch:
    """A hidden module: Slicer takes each file of this folder for one and wants its class."""

    def __init__(self, parent: Any) -> None:
        parent.title = "FLARESeg batch"
        parent.hidden = True


class Parser(argparse.ArgumentParser):
    """A parser that does not end Slicer by itself."""

    def error(self, message: str) -> NoReturn:
        """Turn a complaint about the arguments into an `InputError`."""
        raise InputError("arguments", message, "INPUT [INPUT ...] OUT [options]", "See --help.")


@dataclass(frozen=True)
class Tally:
    """What has come of the cases so far."""

    done: list[BatchOutputs] = field(default_factory=list)
    """Outputs that are there, from now or before."""
    skipped: list[str] = field(default_factory=list)
    """Names of those from before."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why a case has no result, by its name."""
    refused: list[str] = field(default_factory=list)
    """Names of those that failed because of their input."""


def parser() -> Parser:
    """Return the parser of the arguments behind ``--``."""
    from flare_core.segment.settings import DEVICES, Settings

    made = Parser(prog="batch.py", description=__doc__, allow_abbrev=False,
                  formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    made.add_argument("inputs", nargs="+", type=Path, metavar="INPUT")
    made.add_argument("output", type=Path, metavar="OUT", help="folder for the results")
    made.add_argument("--model", default=Settings.model, help="model name or package folder")
    made.add_argument("--organs", metavar="A,B", help="only these, as in liver,spleen")
    made.add_argument("--device", default=Settings.device, choices=DEVICES)
    made.add_argument("--fast", action="store_true", help="faster, a little less exact")
    made.add_argument("--lesion-sensitivity", type=float, metavar="S", help="0 to 1")
    made.add_argument("--home", metavar="FOLDER", help="where installed models are")
    made.add_argument("--install", action="store_true", help="first install what is missing")
    made.add_argument("--overwrite", action="store_true", help="do cases again that are done")
    return made


def words_for_us(argv: Sequence[str]) -> list[str]:
    """Return the words that are meant for this script, wherever Slicer leaves its own.

    Examples
    --------
    >>> words_for_us(["Slicer", "--no-main-window", "--", "in", "out"])
    ['in', 'out']
    >>> words_for_us(["batch.py", "in", "out"])
    ['in', 'out']
    """
    words = list(argv)
    return words[words.index("--") + 1 :] if "--" in words else words[1:]


def main(words: Sequence[str], logic: FLARESegLogic | None = None) -> int:
    """Segment what was named; return the exit code."""
    try:
        arguments = parser().parse_args(list(words))
        return run(arguments, logic)
    except InputError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except FlareError as error:  # installing did not work
        print(error, file=sys.stderr)
        return FAILED
    except SystemExit as end:  # --help
        return int(end.code or 0)


def run(arguments: argparse.Namespace, logic: FLARESegLogic | None = None) -> int:
    """Do every case, write the table of all, say how it went; return the exit code.

    Raises
    ------
    InputError
        If there is nothing to do, or nowhere to write.
    """
    from FLARESegLib.logic import FLARESegLogic
    from FLARESegLib.run.batch_cases import find_cases
    from FLARESegLib.run.batch_outputs import BatchOutputs, write_summary

    cases = find_cases(arguments.inputs)
    _make_folder(arguments.output)
    for case in cases:
        BatchOutputs(arguments.output, case.name).tidy()
    own = logic is None
    logic = logic or FLARESegLogic()
    tally = Tally()
    _check_packages(arguments, logic)
    try:
        for number, case in enumerate(cases, start=1):
            print(f"[{number}/{len(cases)}] {case.name}: {case.path}", flush=True)
            _do_case(case, [each.path for each in cases], (arguments, logic), tally)
    finally:
        summary = write_summary(arguments.output, tally.done)
        if own:
            logic.shutdown()
    _tell(tally, summary)
    if not tally.failed:
        return OK
    return UNUSABLE if len(cases) == 1 and tally.refused and not tally.done else FAILED


def _do_case(
    case: BatchCase,
    inputs: Sequence[Path],
    tools: tuple[argparse.Namespace, FLARESegLogic],
    tally: Tally,
) -> None:
    """Do the CTs of a case in a scene of their own; whatever goes wrong, the next case is done."""
    from FLARESegLib.run.batch_cases import load_scans, own_scene
    from FLARESegLib.run.batch_outputs import BatchOutputs

    arguments, _ = tools
    outputs = BatchOutputs(arguments.output, case.name)
    if outputs.done and not arguments.overwrite:
        _skip(outputs, tally)
        return
    with own_scene() as scene:
        try:
            scans = load_scans(case, scene)
        except (FlareError, OSError) as error:
            _fail(case.name, error, tally)
            return
        for scan in scans:
            outputs = BatchOutputs(arguments.output, scan.name)
            if outputs.done and not arguments.overwrite:
                _skip(outputs, tally)
                continue
            try:
                outputs.spare(inputs)
                _do_scan(scan, outputs, tools)
            except Exception as error:  # noqa: BLE001 - the edge: one bad case must not stop the rest
                _fail(scan.name, error, tally)
            else:
                tally.done.append(outputs)


def _do_scan(
    scan: Scan, outputs: BatchOutputs, tools: tuple[argparse.Namespace, FLARESegLogic]
) -> None:
    """Segment one CT and write its results."""
    from FLARESegLib.run.batch_outputs import write_results
    from FLARESegLib.run.console import ConsoleProgress

    arguments, logic = tools
    run = logic.segmentAsync(
        scan.node,
        settings=_settings(arguments),
        onProgress=ConsoleProgress(prefix=f"  {scan.name}: ").show,
    )
    logic.waitFor(run)
    if run.error is not None:
        raise run.error
    assert run.result is not None
    for note in run.result.notes:
        print(f"  {scan.name}: note: {note}", flush=True)
    write_results(outputs, (scan.node, run.segmentationNode), run.result.rows, scan.like)


def _settings(arguments: argparse.Namespace) -> Settings:
    """Return the choices among the arguments; a wrong one is told by every case."""
    from flare_core.segment.settings import Settings

    return Settings(
        model=arguments.model,
        organs=tuple(arguments.organs.split(",")) if arguments.organs else None,
        device=arguments.device,
        fast=arguments.fast,
        home=arguments.home,
        lesion_sensitivity=arguments.lesion_sensitivity,
    )


def _check_packages(arguments: argparse.Namespace, logic: FLARESegLogic) -> None:
    """Find out before the first case, not at every one, that Python packages are missing."""
    if arguments.install:
        logic.installDependencies()
    missing = logic.missingDependencies()
    if missing:
        raise InputError(
            "Python packages",
            f"{', '.join(missing)} missing",
            "a Slicer in which FLARESeg has been set up",
            "Run this again with --install, or press Apply in the module FLARESeg once.",
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "output",
            f"{folder}: {error.strerror or error}",
            "a folder that can be created and written",
            "Choose another output folder.",
        ) from error


def _skip(outputs: BatchOutputs, tally: Tally) -> None:
    print(f"  {outputs.name}: done before, skipped (--overwrite does it again)", flush=True)
    tally.done.append(outputs)
    tally.skipped.append(outputs.name)


def _fail(name: str, error: BaseException, tally: Tally) -> None:
    tally.failed[name] = str(error)
    if isinstance(error, InputError):
        tally.refused.append(name)
    print(f"  {name}: failed: {error}", file=sys.stderr, flush=True)


def _tell(tally: Tally, summary: Path | None) -> None:
    """Say how it went."""
    new = len(tally.done) - len(tally.skipped)
    print(f"{new} segmented, {len(tally.skipped)} skipped, {len(tally.failed)} failed.")
    if summary is not None:
        print(f"All numbers: {summary}")
    if tally.failed:
        print("Failed: " + ", ".join(tally.failed), file=sys.stderr)
    print(end="", flush=True)


def leave(code: int) -> None:
    """End Slicer, or this process, with an exit code."""
    from FLARESegLib.qt.event_loop import in_slicer

    if not in_slicer():
        sys.exit(code)
    import slicer

    slicer.util.exit(code)


if __name__ == "__main__":
    leave(main(words_for_us(sys.argv)))
