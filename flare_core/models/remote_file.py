"""A file that somebody publishes: its address, and what is known of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from flare_core.errors import InputError

CONNECT_S = 10.0
"""How long a server may take to answer at all."""

MAX_BYTES = 16 * 2**30
"""Largest file that is fetched: where the publisher gives no size, a server may send for ever."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that somebody publishes."""

    url: str
    """Where; https, or http if the hash is known or the server is this very machine."""
    size_bytes: int = 0
    """Its size; 0 if the publisher's is not known."""
    sha256: str = ""
    """Its SHA-256; empty if the publisher gives none."""

    @property
    def name(self) -> str:
        """File name, from the address.

        Examples
        --------
        >>> RemoteFile("https://a.org/x/model%201.zip?v=2").name
        'model_1.zip'
        """
        last = unquote(urlsplit(self.url).path).rpartition("/")[2]
        return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".") or "download"

    def behind(self, mirror: str | None) -> RemoteFile:
        """Return the same file at a mirror: a folder's address that holds it under its name.

        Examples
        --------
        >>> RemoteFile("https://a.org/v2/m.zip", 5).behind("https://mirror.local/flare/").url
        'https://mirror.local/flare/m.zip'
        """
        if mirror is None:
            return self
        url = f"{mirror.rstrip('/')}/{self.url.rpartition('/')[2]}"
        return RemoteFile(url, self.size_bytes, self.sha256)

    def check_address(self) -> None:
        """Refuse an address whose answer nobody could vouch for.

        Raises
        ------
        InputError
            If it is not encrypted, not on this machine, and no hash would tell a wrong file.
        """
        parts = urlsplit(self.url)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme == "https" or (parts.scheme == "http" and (local or self.sha256)):
            return
        raise InputError(
            "address", self.url, "https://... (http where the file's SHA-256 is known)",
            "Use an encrypted address, or download the file yourself and install it from disk.",
        )  # fmt: skip


def check_size(url: str, count: int) -> None:
    """Refuse more bytes than any model has.

    Raises
    ------
    InputError
        If there are.
    """
    if count > MAX_BYTES:
        raise InputError(
            url, f"{count} bytes", f"a file of a model, at most {MAX_BYTES} bytes",
            "This is not the publisher's file: check the address, or install from a file you "
            "trust.",
        )  # fmt: skip


def remote_size(file: RemoteFile) -> int | None:
    """Return the size in bytes that the server states, or None if it does not answer or tell."""
    import requests

    if file.size_bytes:
        return file.size_bytes
    try:
        answer = requests.head(file.url, allow_redirects=True, timeout=CONNECT_S)
    except requests.RequestException:
        return None
    length = answer.headers.get("Content-Length", "")
    return int(length) if answer.ok and length.isdigit() else None
