"""Sub-commands of a command, declared as a table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

Options = tuple[tuple[str, dict[str, Any]], ...]
"""Names of an option, by comma, and what `argparse.ArgumentParser.add_argument` is told of it."""

Action = tuple[str, Callable[..., Any], str, Options]
"""Name, what does it, help, its own options."""

DEBUG: Options = (
    ("--debug", {"action": "store_true", "default": argparse.SUPPRESS,
                 "help": "show the traceback of an error"}),
)  # fmt: skip
"""Every command has it; so that it may also stand behind a sub-command's name."""


def add_actions(
    parser: argparse.ArgumentParser, actions: Sequence[Action], everywhere: Options = ()
) -> None:
    """Declare sub-commands; the parsed arguments then have `action`, and `do`, what does it.

    Parameters
    ----------
    everywhere : sequence of (str, dict)
        Options that each of them has beside its own and `DEBUG`.
    """
    places = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, do, text, options in actions:
        one = places.add_parser(name, help=text, description=text, allow_abbrev=False)
        for words, facts in (*options, *everywhere, *DEBUG):
            one.add_argument(*words.split(","), **facts)
        one.set_defaults(do=do)
