"""``flare serve``: segment for other computers that have the token (``flare segment --on``).

Waiting scans lie in one temporary folder of this user and go with their client, their turn or the
server; nothing is kept. Stop it with Ctrl-C. See docs/serve.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError
from flare_core.jobs.ending import end_at_once
from flare_core.jobs.engine import REAL, Engine
from flare_core.jobs.progress import PROGRESS, Reporter, reporting
from flare_core.jobs.remote.access import (
    address_of,
    is_here,
    kept_token,
    new_token,
    server_tls,
)
from flare_core.segment.settings import DEVICES, PRECISIONS, Settings

if TYPE_CHECKING:
    from flare_core.jobs.remote.server import Setup

NAME = "serve"
HELP = "segment for other computers that have the token"

OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--listen", {"required": True, "metavar": "HOST:PORT", "help": "as in 127.0.0.1:8765"}),
    (
        "--token-file",
        {"type": Path, "metavar": "FILE", "help": "keeps the token (default: a new one, printed)"},
    ),
    ("--certificate", {"type": Path, "metavar": "FILE", "help": "PEM: encrypt by TLS"}),
    ("--key", {"type": Path, "metavar": "FILE", "help": "PEM: its key, if in another file"}),
    ("--without-tls", {"action": "store_true", "help": "unencrypted even to other computers"}),
    (
        "--most-mib",
        {"type": int, "default": 2048, "metavar": "N",
         "help": "largest scan, as voxels in memory (default: 2048)"},
    ),
    (
        "--most-scans",
        {"type": int, "default": 32, "metavar": "N",
         "help": "scans that come, wait or run at a time (default: 32)"},
    ),
    ("--model", {"default": Settings.model, "metavar": "NAME", "help": "for who names none"}),
    ("--device", {"choices": DEVICES, "default": Settings.device, "help": "where to compute"}),
    ("--threads", {"type": int, "default": Settings.threads, "metavar": "N", "help": "0: all"}),
    (
        "--precision",
        {"choices": PRECISIONS, "default": Settings.precision, "help": "number format"},
    ),
    ("--home", {"metavar": "FOLDER", "help": "where installed models are"}),
    ("--progress", {"choices": PROGRESS, "default": "bar", "help": "for people, programs, nobody"}),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``flare serve`` takes."""
    for name, facts in OPTIONS:
        parser.add_argument(name, **facts)


def run(arguments: argparse.Namespace, engine: Engine = REAL) -> int:
    """Serve until somebody stops it; return the exit code.

    Raises
    ------
    InputError
        If the arguments cannot be used, the model is not there, or the address is taken.
    """
    from flare_core.jobs.remote.server import ServerListeners, serve

    setup, made = setup_of(arguments)
    with reporting(arguments.progress) as reporter:
        engine.preload(setup.settings)  # a model that is missing is told now
        told = ServerListeners(
            lambda address: _tell_ready(reporter, address, setup, made),
            lambda line: reporter.log(line, {"event": "log", "line": line}),
        )
        if not serve(setup, engine, told):
            end_at_once()
    return 0


def setup_of(arguments: argparse.Namespace) -> tuple[Setup, str]:
    """Return what the arguments say, and the token if it was made now and nobody has it yet.

    Raises
    ------
    InputError
        If they cannot be used, or voxels could be read on the way.
    """
    from flare_core.jobs.remote.server import ServerLimits, Setup

    host, port = address_of(arguments.listen, "--listen", any_port=True)
    if arguments.certificate is None and not (is_here(host) or arguments.without_tls):
        raise InputError(
            "--listen",
            f"{arguments.listen} without --certificate: scans could be read on the way",
            "127.0.0.1, or a certificate for TLS",
            "Give --certificate and --key, or listen on 127.0.0.1 behind an SSH tunnel "
            "(--without-tls does it all the same).",
        )
    if arguments.key is not None and arguments.certificate is None:
        raise InputError(
            "--key", "--key without --certificate", "both", "Give --certificate as well."
        )
    for name in ("most_mib", "most_scans"):
        if getattr(arguments, name) < 1:
            option = "--" + name.replace("_", "-")
            raise InputError(option, str(getattr(arguments, name)), "1 or more", "Correct it.")
    given = {name: getattr(arguments, name) for name in
             ("model", "device", "threads", "precision", "home")}  # fmt: skip
    settings = Settings.from_dict(given)
    tls = arguments.certificate and server_tls(arguments.certificate, arguments.key)
    limits = ServerLimits(arguments.most_mib << 20, arguments.most_scans)
    if arguments.token_file is None:
        token = made = new_token()
    else:
        token, made = kept_token(arguments.token_file)[0], ""
    return Setup(host, port, token, tls, settings, limits), made


def _tell_ready(reporter: Reporter, address: str, setup: Setup, made: str) -> None:
    """Say where it listens; a token that nobody has yet is said once."""
    how = "encrypted" if setup.tls else "not encrypted"
    words = f"Listening on {address} ({how}). Ctrl-C stops it."
    token = f"\nToken, shown this once: {made}" if made else ""
    event = {"event": "listening", "address": address, "tls": bool(setup.tls)}
    reporter.tell(words + token, {**event, "token": made} if made else event)
