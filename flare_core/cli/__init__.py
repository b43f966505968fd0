"""The command line: ``flare COMMAND ...``, one file per command.

A command module has NAME, HELP, add_arguments(parser) and run(arguments) -> exit code, and imports
nothing heavy at its top. Exit codes: see `flare_core.jobs.failure`.
"""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Protocol

from flare_core.cli import (
    cases,
    dataset,
    evaluate,
    measure,
    models,
    phantom,
    rank,
    recipes,
    rounds,
    segment,
    serve,
    train,
)
from flare_core.errors import InputError
from flare_core.jobs.ending import end_at_once
from flare_core.jobs.engine import settle
from flare_core.jobs.failure import EXIT_INTERNAL, failure_of, json_line, log_traceback
from flare_core.jobs.outputs import RESEARCH_USE
from flare_core.jobs.streams import forgiving_streams, lost_output
from flare_core.paths import usable_path
from flare_core.processes import forget_current_folder


class Command(Protocol):
    """What a command module offers."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it and return the exit code."""


COMMANDS: dict[str, Command] = {
    segment.NAME: segment,
    phantom.NAME: phantom,
    dataset.NAME: dataset,
    measure.NAME: measure,
    rank.NAME: rank,
    train.NAME: train,
    rounds.NAME: rounds,
    recipes.NAME: recipes,
    evaluate.NAME: evaluate,
    models.NAME: models,
    cases.NAME: cases,
    serve.NAME: serve,
}
"""★ Add a command: one file, one entry here."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints have the four parts of every other error.

    No path of it may be empty: a shell's variable that is not set would mean the current folder.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, every `Path` through `_path`; sub-commands come here as well."""
        self.register("type", Path, _path)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Turn a complaint about the arguments into an `InputError`."""
        raise InputError(
            self.prog, message, " ".join(self.format_usage().split()), f"See {self.prog} --help."
        )


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty path; '.' is the current folder")
    return Path(text)


def build_parser(
    commands: Mapping[str, Command] = COMMANDS, words: Sequence[str] | None = None
) -> Parser:
    """Return the parser of all commands.

    Parameters
    ----------
    words : sequence of str, optional
        What is to be parsed: only commands among them declare their arguments. None: all do.
    """
    from flare_core import __version__

    parser = Parser(
        prog="flare", description=f"Abdominal CT segmentation. {RESEARCH_USE}", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"flare {__version__}")
    choices = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in commands.items():
        one = choices.add_parser(
            name,
            help=command.HELP,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if words is not None and name not in words:
            continue
        command.add_arguments(one)
        one.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(argv: Sequence[str] | None = None, commands: Mapping[str, Command] = COMMANDS) -> int:
    """Run a command; return the exit code. Errors are told on standard error, never raised."""
    forget_current_folder()
    forgiving_streams()
    code = _run(list(sys.argv[1:] if argv is None else argv), commands)
    with suppress(KeyboardInterrupt):  # people press Ctrl-C twice
        if not settle():
            atexit.register(_end_in_time, code)
    return code


def _end_in_time(code: int) -> None:
    """End a process in which a library is still being loaded: taken apart, it would crash."""
    if not settle(0.0):
        end_at_once(code)


def _run(words: list[str], commands: Mapping[str, Command]) -> int:
    """Run a command; return the exit code."""
    try:
        arguments = build_parser(commands, words).parse_args(words)
        _check_paths(arguments)
        code = commands[arguments.command].run(arguments)
        return _code_of_output(code, arguments)
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in words and failure_of(error).kind == "internal":
            raise
        return _tell(error, as_json=_wants_json(words))


def _check_paths(arguments: argparse.Namespace) -> None:
    """Refuse, before anything is begun, a path that no file may have."""
    for name, value in vars(arguments).items():
        for each in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(each, Path):
                usable_path(each, name)


def _code_of_output(code: int, arguments: argparse.Namespace) -> int:
    """Return the exit code of a command whose words on standard output may be lost.

    Where files are the result, as with --output, those words are only about them.
    """
    sys.stdout.flush()
    lost = lost_output()
    if not lost or code or getattr(arguments, "output", None):
        return code
    print(f"standard output: could not be written ({lost}); all else was done.", file=sys.stderr)
    return EXIT_INTERNAL


def _tell(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong; return the exit code."""
    failure = failure_of(error)
    log = log_traceback(error) if failure.kind == "internal" else ""
    if as_json:
        event = "cancelled" if failure.kind == "cancelled" else "error"
        sys.stdout.write(json_line({"event": event, **failure.fields(), "log": log}))
    details = f"\n  details: {log}" if log else ""
    print(f"{failure.message}{details}", file=sys.stderr)
    return failure.exit_code


def _wants_json(words: Sequence[str]) -> bool:
    """Return whether a program reads our output; looked up in the words, as parsing may fail."""
    pairs = zip(words, words[1:], strict=False)
    return "--progress=json" in words or ("--progress", "json") in pairs
