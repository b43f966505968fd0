"""``flare segment --on HOST:PORT``: the options that name a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from flare_core.errors import InputError
from flare_core.jobs.engine import Engine
from flare_core.jobs.progress import Reporter
from flare_core.jobs.remote.access import Access, address_of, read_token
from flare_core.jobs.remote.client import engine_on
from flare_core.segment.settings import Settings

OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--on", {"metavar": "HOST:PORT", "help": "compute there, where `flare serve` listens"}),
    ("--token-file", {"type": Path, "metavar": "FILE", "help": "with --on: the server's token"}),
    ("--certificate", {"type": Path, "metavar": "FILE", "help": "with --on: PEM to trust"}),
    ("--without-tls", {"action": "store_true", "help": "with --on: send scans unencrypted"}),
)
"""What ``flare segment`` has beside its own options."""

WHAT_LEAVES = (
    "Voxels and their geometry go to {address} ({how}): no file name, no patient's name, no DICOM"
    " tags. It keeps nothing."
)

SERVERS_OWN = ("device", "threads", "precision", "home")
"""What the server's own command line decides."""


def access_named(arguments: argparse.Namespace) -> Access | None:
    """Return the server that the arguments name; None: this computer.

    Raises
    ------
    InputError
        If they do not fit together, or there is no token.
    """
    if not arguments.on:
        _refuse(arguments, {"token_file": None, "certificate": None, "without_tls": False})
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
    return engine_on(access, here)


def _refuse(arguments: argparse.Namespace, unused: dict[str, object]) -> None:
    for name, usual in unused.items():
        if getattr(arguments, name) != usual:
            option = "--" + name.replace("_", "-")
            raise InputError(
                option, f"{option} without --on", "nothing, where this computer computes",
                "Name the server (--on HOST:PORT), or leave it out.",
            )  # fmt: skip
