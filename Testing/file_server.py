"""A file server on this machine with the faults that servers have."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STALL_S = 3.0
"""Longer than the tests' patience."""


@dataclass
class Site:
    """What the server has and how it misbehaves; a fault is used up by one request."""

    files: dict[str, bytes]
    """Path -> content."""
    faults: list[str] = field(default_factory=list)
    """Next answers: cut, stall, busy, long, short, wrong-range; empty: well-behaved."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Path -> address."""
    tag: str = '"v1"'
    """ETag; empty: none, and ranges are then ignored."""
    says_length: bool = True
    """Whether it tells how much will come; else the end of the connection is the end."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range) of every GET."""
    url: str = ""
    """Its address."""


class Handler(BaseHTTPRequestHandler):
    """Answers for the site that `serving` gives it."""

    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        body = self.site.files.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.site.asked.append((self.path, wanted))
        if self.path in self.site.redirects:
            self.send_response(302)
            self.send_header("Location", self.site.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.site.files.get(self.path)
        fault = self.site.faults.pop(0) if self.site.faults else ""
        if body is None or fault == "busy":
            self.send_response(404 if body is None else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(body, wanted, fault)

    def _send(self, body: bytes, wanted: str, fault: str) -> None:
        start = 0
        if wanted and self.site.tag and self.headers.get("If-Range") == self.site.tag:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        if start >= len(body) > 0:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            shown = start + (fault == "wrong-range")
            self.send_header("Content-Range", f"bytes {shown}-{len(body) - 1}/{len(body)}")
        said = len(body) - start + {"long": 100, "short": -100}.get(fault, 0)
        if self.site.says_length:
            self.send_header("Content-Length", str(said))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        if self.site.tag:
            self.send_header("ETag", self.site.tag)
        self.end_headers()
        self._write(body[start:], fault)

    def _write(self, body: bytes, fault: str) -> None:
        half = len(body) // 2
        try:
            self.wfile.write(body[:half])
            self.wfile.flush()
            if fault == "stall":
                time.sleep(STALL_S)
            if fault in ("cut", "stall"):
                self.close_connection = True
                return
            self.wfile.write(body[half:])
        except OSError:  # the other side has had enough
            pass
        if fault:
            self.close_connection = True


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve a site on a free port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
