"""A client's end of the connection to a server; every failure says what a person can do.

Any thread may hang up, which ends what another one waits for.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from flare_core.errors import Cancelled, FlareError, InputError, NothingFound
from flare_core.jobs.remote import wire
from flare_core.jobs.remote.access import Access, client_tls

CONNECT_S = 15.0
"""How long a server may take to answer at all."""

STALL_S = 60.0
"""How long it may say nothing, later; it says that it is alive every few seconds."""

LAST_WORDS_S = 2.0
"""How long a server's reason is waited for, once it takes nothing more."""

AGAIN = "Run it again, or on this computer; nothing was written."


class ServerFailed(InputError):
    """Something broke inside a server."""


class Connection:
    """Connects when the first thing is asked."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._socket: socket.socket | None = None
        self._heard = bytearray()
        self._lock = threading.Lock()
        self._over = False

    def hang_up(self) -> None:
        """End it, from any thread; one that waits on it hears of that, and closes it."""
        with self._lock:
            self._over = True
            if self._socket is not None:
                with suppress(OSError):  # past TLS, whose goodbye would wait
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """End it; for the thread that uses it."""
        self.hang_up()
        if self._socket is not None:
            self._socket.close()

    def ask(self, request: dict[str, Any], expected: str) -> None:
        """Connect, and send a request that is answered with this event.

        Raises
        ------
        InputError
            If the server is not there, is another one, or refuses.
        """
        self._connect()
        self._greet()
        self.send(wire.line_of(request))
        if (answer := self.hear()).get("event") != expected:
            raise spoilt(self.access, f"an answer {str(answer.get('event'))[:40]!r}")

    def send(self, data: bytes, told: Callable[[float], None] = lambda share: None) -> None:
        """Send bytes; `told` hears which share is sent.

        Raises
        ------
        InputError
            If the server does not take them; what it said of that, if it did.
        """
        view = memoryview(data)
        for start in range(0, len(view), wire.CHUNK_BYTES):
            chunk = view[start : start + wire.CHUNK_BYTES]
            try:
                self._open.sendall(chunk)
            except (OSError, ValueError) as error:
                raise self._refused(error) from error
            told((start + len(chunk)) / len(view))

    def hear(self) -> dict[str, Any]:
        """Return the next answer.

        Raises
        ------
        InputError, NothingFound, ServerFailed
            If it is an error, or none comes.
        """
        try:
            answer = wire.fields_of(self._line())
        except FlareError:
            raise
        except ValueError as error:
            raise self._no_server(error) from error
        if answer.get("event") == "error":
            raise self._told(answer)
        return answer

    def receive(self, count: int) -> Iterator[bytes]:
        """Yield the next `count` bytes, piece by piece.

        Raises
        ------
        InputError
            If they do not come.
        """
        while count:
            if not self._heard:
                self._more()
            piece = bytes(self._heard[:count])
            del self._heard[:count]
            count -= len(piece)
            yield piece

    # --- getting there

    def _connect(self) -> None:
        access = self.access
        context = client_tls(access.certificate) if access.tls else None
        try:
            plain = socket.create_connection((access.host, access.port), CONNECT_S)
        except (OSError, UnicodeError) as error:
            raise self._nobody(error) from error
        self._take(plain)
        try:
            if context is not None:
                name = access.host.partition("%")[0]
                self._take(
                    context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
                )
                self._open.do_handshake()  # type: ignore[attr-defined]
        except ssl.SSLCertVerificationError as error:
            raise self._untrusted(error) from error
        except (OSError, ValueError) as error:
            raise self._no_tls(error) from error

    def _take(self, connection: socket.socket) -> None:
        """Keep a connection, unless somebody has hung up already."""
        with self._lock:
            self._socket = connection
            if self._over:
                connection.close()

    def _greet(self) -> None:
        """Prove to each other that both have the token."""
        from flare_core import __version__

        ours, token = wire.new_nonce(), self.access.token
        hello = {"protocol": wire.PROTOCOL, "version": __version__, "nonce": ours}
        self.send(wire.line_of({"command": "hello", **hello}))
        answer = self.hear()
        theirs = answer.get("nonce")
        if answer.get("event") != "hello" or not wire.is_nonce(theirs):
            raise self._no_server(ValueError("another greeting"))
        if answer.get("protocol") != wire.PROTOCOL:
            raise self._other_version(answer)
        said = wire.proof(token, "client", ours, str(theirs))
        self.send(wire.line_of({"command": "prove", "proof": said}))
        answer = self.hear()
        if not wire.proves(answer.get("proof"), wire.proof(token, "server", ours, str(theirs))):
            raise self._false_server()
        self._open.settimeout(STALL_S)

    @property
    def _open(self) -> socket.socket:
        """The connection.

        Raises
        ------
        Cancelled
            If somebody hung up.
        """
        if self._socket is None or self._over:
            raise Cancelled("stopped on request")
        return self._socket

    def _line(self) -> bytes:
        seen = 0
        while (end := self._heard.find(b"\n", seen)) < 0:
            seen = len(self._heard)
            if seen > wire.MOST_ANSWER_BYTES:
                raise ValueError("an endless line")
            self._more()
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        return line

    def _more(self) -> None:
        """Take in what comes next."""
        try:
            chunk = self._open.recv(wire.CHUNK_BYTES)
        except (OSError, ValueError) as error:
            raise self._cut(error) from error
        if not chunk:
            raise self._cut(None)
        self._heard += chunk

    # --- what can be wrong

    @property
    def _name(self) -> str:
        return f"server {self.access.address}"

    def _nobody(self, error: Exception) -> InputError:
        return InputError(
            self._name,
            f"nobody answers there: {getattr(error, 'strerror', None) or error}",
            "the address that `flare serve` printed, of a server that runs",
            "Check host, port and firewall, or run it on this computer.",
        )

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> InputError:
        return InputError(
            self._name,
            f"its certificate is not trusted: {error.verify_message}",
            "a certificate for this address that this computer trusts, or that is named",
            "Ask whoever runs the server for its certificate and name it (--certificate FILE).",
        )

    def _no_tls(self, error: Exception) -> InputError:
        return InputError(
            self._name,
            f"no encrypted talk came about: {getattr(error, 'reason', None) or error}",
            "a server that was started with --certificate",
            "Check the address; without TLS voxels could be read on the way.",
        )

    def _no_server(self, error: Exception) -> InputError:
        return InputError(
            self._name,
            f"an answer that is none of `flare serve` ({error})",
            "a server of FLARESeg; one with a certificate is asked for by --certificate",
            "Check address and port.",
        )

    def _other_version(self, answer: dict[str, Any]) -> InputError:
        from flare_core import __version__

        return InputError(
            self._name,
            f"it speaks protocol {str(answer.get('protocol'))[:20]} "
            f"(FLARESeg {str(answer.get('version'))[:20]})",
            f"protocol {wire.PROTOCOL} (FLARESeg {__version__})",
            "Install the same version of FLARESeg on both computers.",
        )

    def _false_server(self) -> InputError:
        return InputError(
            self._name,
            "it cannot prove that it has the token; nothing was sent to it",
            "the server that the token is of",
            "Check the address; somebody else may be listening there.",
        )

    def _cut(self, error: Exception | None) -> FlareError:
        """Return the failure of a connection; if we hung up ourselves it is a cancellation."""
        if self._over:
            return Cancelled("stopped on request")
        if isinstance(error, TimeoutError):
            came = f"it said nothing for {self._patience_s:.0f} s"
        else:
            reason = getattr(error, "strerror", None) or "it was closed there"
            came = f"the connection was cut in the middle ({reason})"
        return InputError(self._name, came, "a server that runs until the end", AGAIN)

    def _refused(self, error: Exception) -> FlareError:
        """Return what a server said before it took nothing more; else that it was cut."""
        with suppress(OSError, ValueError, FlareError):
            self._open.settimeout(LAST_WORDS_S)
            answer = wire.fields_of(self._line())
            if answer.get("event") == "error":
                return self._told(answer)
        return self._cut(error)

    @property
    def _patience_s(self) -> float:
        return (self._socket.gettimeout() or 0.0) if self._socket is not None else 0.0

    def _told(self, answer: dict[str, Any]) -> FlareError:
        """Return the exception for a server's error."""
        parts = [str(answer.get(k, "")) for k in ("argument", "came", "legal", "action")]
        if answer.get("kind") == "input":
            return InputError(f"{self._name}: {parts[0]}", *parts[1:])
        if answer.get("kind") == "nothing_found":
            return NothingFound(parts[1])
        return ServerFailed(
            self._name,
            f"something failed there: {parts[1]}",
            "a server that works",
            "Tell whoever runs it, or run it on this computer; nothing was written.",
        )


def spoilt(access: Access, came: str) -> InputError:
    """Return the error for an answer that no server of this version gives."""
    return InputError(
        f"server {access.address}",
        f"a result that cannot be used: {came}",
        "what `flare serve` of the same version sends",
        f"Install the same version of FLARESeg on both computers. {AGAIN}",
    )
