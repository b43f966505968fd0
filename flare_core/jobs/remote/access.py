"""Who may use a server, and by which way: address, token, certificate.

A token is a secret both sides have in a file of their own. It never travels: each side proves that
it has it (`wire.proof`). Without TLS voxels can be read on the way, so that is for this computer
only (an SSH tunnel ends here too), or for who says so.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import ssl
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flare_core.errors import InputError
from flare_core.paths import usable_path

TOKEN_BYTES = 32
"""Of chance in a token that is made here."""

LEAST_LETTERS, MOST_LETTERS = 20, 500
"""A token of somebody's own: shorter can be guessed."""

MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"

ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([\w.-]+)):([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True)
class Access:
    """A server, and what lets a client use it."""

    host: str
    """Name or number."""
    port: int
    """1 to 65535."""
    token: str = field(repr=False)
    """The secret."""
    certificate: Path | None = None
    """Whom to trust; None: whom this computer trusts."""
    without_tls: bool = False
    """Send voxels in the clear to another computer."""

    @property
    def address(self) -> str:
        """Return host and port as a person writes them."""
        return written(self.host, self.port)

    @property
    def tls(self) -> bool:
        """Whether the way is encrypted."""
        if self.certificate is not None:
            return True
        return not (self.without_tls or is_here(self.host))


def address_of(text: str, argument: str = "--on", *, any_port: bool = False) -> tuple[str, int]:
    """Return host and port.

    Parameters
    ----------
    any_port : bool
        Port 0 is legal: the system chooses.

    Raises
    ------
    InputError
        If there is no host, or no port that can be one.

    Examples
    --------
    >>> address_of("gpu.hospital.org:8080"), address_of("[::1]:80")
    (('gpu.hospital.org', 8080), ('::1', 80))
    """
    found = ADDRESS.fullmatch(text)
    port = int(found[3]) if found else -1
    if found is None or not (0 if any_port else 1) <= port <= 65535:
        raise InputError(
            argument, repr(text), "HOST:PORT, as in 127.0.0.1:8765", "Correct the address."
        )
    return found[1] or found[2], port


def written(host: str, port: int) -> str:
    """Return an address as text.

    Examples
    --------
    >>> written("::1", 80)
    '[::1]:80'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_here(host: str) -> bool:
    """Whether what is sent to a host cannot leave this computer.

    Examples
    --------
    >>> is_here("localhost"), is_here("127.0.0.1"), is_here("::1"), is_here("10.0.0.7")
    (True, True, True, False)
    """
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def access_of(fields: Mapping[str, Any]) -> Access:
    """Return the access that a worker's request names under ``on``.

    Raises
    ------
    InputError
        If it is not as it should be; no error shows the token.
    """
    kinds: dict[str, Any] = {
        "address": str,
        "token": str,
        "certificate": (str, type(None)),
        "without_tls": bool,
    }
    wrong = [name for name, value in fields.items() if not isinstance(value, kinds.get(name, ()))]
    if wrong or not {"address", "token"} <= set(fields):
        raise InputError(
            "on",
            f"an object with {', '.join(sorted(map(str, fields))) or 'nothing'}",
            "address and token as texts; certificate (a path) and without_tls, if need be",
            "Correct the request.",
        )
    host, port = address_of(fields["address"], "on")
    certificate = fields.get("certificate")
    if certificate is not None:
        certificate = usable_path(certificate, "certificate")
    token = checked_token(fields["token"], "token")
    return Access(host, port, token, certificate, fields.get("without_tls", False))


# --- tokens


def checked_token(text: str, argument: str) -> str:
    """Return a token without the white space around it.

    Raises
    ------
    InputError
        If it is none; the error does not show it.
    """
    token = text.strip()
    if not (
        LEAST_LETTERS <= len(token) <= MOST_LETTERS and token.isascii() and token.isprintable()
    ):
        raise InputError(
            argument,
            f"a text of {len(token)} letters that is no token (not shown)",
            f"{LEAST_LETTERS} to {MOST_LETTERS} letters, digits and signs that cannot be guessed",
            f"Copy the server's token again, or make one: {MAKE_ONE}",
        )
    return token


def read_token(path: Path) -> str:
    """Return the token in a file that only its owner can read.

    Raises
    ------
    InputError
        If it cannot be read, others can read it, or it holds no token.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(2 * MOST_LETTERS)
    except OSError as error:
        raise InputError(
            "--token-file",
            f"{path}: {error.strerror or error}",
            "a file that holds the server's token",
            "Copy the token that `flare serve` printed, or its file.",
        ) from error
    if sys.platform != "win32" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(
            "--token-file",
            f"{path}, which others can read ({stat.filemode(mode)})",
            "a file for its owner alone",
            f"chmod 600 {path}; who may have read it can use the server, so make a new one.",
        )
    return checked_token(text, f"--token-file {path}")


def kept_token(path: Path) -> tuple[str, bool]:
    """Return the token in a file, and whether it was made now because there was no file.

    Raises
    ------
    InputError
        As `read_token`; or if no file can be made.
    """
    if os.path.lexists(path):
        return read_token(path), False
    token = new_token()
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(number, "w", encoding="ascii") as stream:
            stream.write(token + "\n")
    except OSError as error:
        raise InputError(
            "--token-file",
            f"{path}: {error.strerror or error}",
            "a file to keep the token in, which is made if it is not there",
            "Choose another place.",
        ) from error
    return token, True


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


# --- TLS


def server_tls(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Return how a server encrypts.

    Raises
    ------
    InputError
        If certificate or key cannot be read or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise InputError(
            "--certificate",
            f"{certificate} with key {key or certificate}: {_reason(error)}",
            "a certificate and its private key in PEM, in one file or two (--key)",
            "Check both files; docs/serve.md shows how to make them.",
        ) from error
    return context


def client_tls(certificate: Path | None) -> ssl.SSLContext:
    """Return how a client encrypts, and whom it trusts: by default whom this computer trusts.

    Raises
    ------
    InputError
        If the certificate cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=certificate)
    except (OSError, ValueError) as error:
        raise InputError(
            "--certificate",
            f"{certificate}: {_reason(error)}",
            "the server's certificate, or its authority's, in PEM",
            "Ask whoever runs the server for it.",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
