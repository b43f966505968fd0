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
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
    from FLARESegLib.run.batch_cases import Scan
    from FLARESegLib.run.batch_outputs import BatchOutputs

    from flare_core.imaging.inputs import CaseInput
    from flare_core.jobs.batch import BatchCase
    from flare_core.jobs.failure import Failure
    from flare_core.jobs.reports import Tally
    from flare_core.segment.settings import Settings

FAILED, UNUSABLE = 1, 2
"""Exit codes."""


class batch:
    """A hidden module: Slicer takes each file of this folder for one and wants its class."""

    def __init__(self, parent: Any) -> None:
        parent.title = "FLARESeg batch"
        parent.hidden = True


class SlicerParser(argparse.ArgumentParser):
    """A parser that does not end Slicer by itself."""

    def error(self, message: str) -> NoReturn:
        """Turn a complaint about the arguments into an `InputError`."""
        raise InputError("arguments", message, "INPUT [INPUT ...] OUT [options]", "See --help.")


def parser() -> SlicerParser:
    """Return the parser of the arguments behind ``--``."""
    from flare_core.segment.settings import DEVICES, Settings

    made = SlicerParser(prog="batch.py", description=__doc__, allow_abbrev=False,
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

    from flare_core.jobs.batch import exit_code, work_through
    from flare_core.jobs.outputs import output_folder

    cases = find_cases(arguments.inputs)
    report = ConsoleReport(arguments.output)
    with output_folder(arguments.output):
        for case in cases:
            BatchOutputs(arguments.output, case.name).tidy()
        own = logic is None
        logic = logic or FLARESegLogic()
        _check_packages(arguments, logic)
        try:
            works = _works(cases, arguments, logic)
            tally = work_through(works, report, overwrite=arguments.overwrite)
        finally:
            summary = write_summary(arguments.output, report.there)
            if own:
                logic.shutdown()
    report.finish(tally, summary)
    return exit_code(tally)


class ConsoleReport:
    """Tells what happens to each CT in plain lines, which Slicer's log keeps."""

    def __init__(self, folder: Path) -> None:
        self.there: list[BatchOutputs] = []
        """Outputs that are there, from now or before."""
        self._folder = folder

    def start(self, case: str, number: int, of: int) -> None:
        """Say nothing: the case was announced, and may have several CTs."""

    def step(self, step: Any) -> None:
        """Say nothing: the run prints where it is."""

    def skipped(self, case: str, files: Any) -> None:
        """Say how to do it again."""
        from FLARESegLib.run.batch_outputs import BatchOutputs

        print(f"  {case}: done before, skipped (--overwrite does it again)", flush=True)
        self.there.append(BatchOutputs(self._folder, case))

    def result(self, outputs: BatchOutputs) -> None:
        """Remember it: the run has printed that it is done."""
        self.there.append(outputs)

    def error(self, case: str, failure: Failure, log: str) -> None:
        """Say why, and where the traceback is."""
        details = f"\n  details: {log}" if log else ""
        print(f"  {case}: failed: {failure.message}{details}", file=sys.stderr, flush=True)

    def finish(self, tally: Tally, summary: Path | None) -> None:
        """Say how it went."""
        print(tally.text)
        if summary is not None:
            print(f"All numbers: {summary}")
        if tally.failed:
            print("Failed: " + ", ".join(tally.failed), file=sys.stderr)
        print(end="", flush=True)


def _works(
    cases: Sequence[CaseInput], arguments: argparse.Namespace, logic: FLARESegLogic
) -> Iterator[BatchCase]:
    """Announce each case and yield the CTs in it, in a scene of their own."""
    from FLARESegLib.run.batch_cases import load_scans, own_scene
    from FLARESegLib.run.batch_outputs import BatchOutputs

    inputs = [each.path for each in cases]
    for number, case in enumerate(cases, start=1):
        print(f"[{number}/{len(cases)}] {case.name}: {case.path}", flush=True)
        outputs, place = BatchOutputs(arguments.output, case.name), (number, len(cases))
        if outputs.done and not arguments.overwrite:
            yield _work(outputs, place, lambda: None)
            continue
        with own_scene() as scene:
            try:
                scans = load_scans(case, scene)
            except (FlareError, OSError) as error:
                yield _work(outputs, place, partial(_raise, error))
                continue
            for scan in scans:
                outputs = BatchOutputs(arguments.output, scan.name)
                do = partial(_do_scan, scan, outputs, inputs, (arguments, logic))
                yield _work(outputs, place, do)


def _work(outputs: BatchOutputs, place: tuple[int, int], do: Callable[[], Any]) -> BatchCase:
    """Return one CT as a case of the batch; `place` is its number and how many there are."""
    from flare_core.jobs.batch import BatchCase

    return BatchCase(outputs.name, *place, outputs.files, lambda: outputs.done, do)


def _raise(error: Exception) -> NoReturn:
    raise error


def _do_scan(
    scan: Scan,
    outputs: BatchOutputs,
    inputs: Sequence[Path],
    tools: tuple[argparse.Namespace, FLARESegLogic],
) -> BatchOutputs:
    """Segment one CT and write its results."""
    from FLARESegLib.run.batch_outputs import write_results
    from FLARESegLib.run.console import ConsoleProgress

    from flare_core.jobs.batch import spare_inputs

    arguments, logic = tools
    spare_inputs(inputs, outputs.files.values())
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
    return outputs


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


def leave(code: int) -> None:
    """End Slicer, or this process, with an exit code."""
    from FLARESegLib.qt.event_loop import in_slicer

    if not in_slicer():
        sys.exit(code)
    import slicer

    slicer.util.exit(code)


if __name__ == "__main__":
    leave(main(words_for_us(sys.argv)))
