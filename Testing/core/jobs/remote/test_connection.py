from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager

import pytest

from flare_core.errors import Cancelled, InputError
from flare_core.jobs.remote import connection, wire
from flare_core.jobs.remote.access import Access
from flare_core.jobs.remote.connection import Connection

TOKEN = "secret of these tests, long enough"


@contextmanager
def answering(*answers: bytes):
    """Yield access to something that answers each line with the next of these."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        end, _ = listening.accept()
        with end, end.makefile("rb") as lines:
            for answer in answers:
                lines.readline()
                end.sendall(answer)
            lines.readline()

    threading.Thread(target=serve, daemon=True).start()
    with listening:
        yield Access("127.0.0.1", listening.getsockname()[1], TOKEN)


@contextmanager
def mute():
    """Yield access to something that takes and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Access("127.0.0.1", listening.getsockname()[1], TOKEN)


def error_of(access: Access) -> InputError:
    with closing(Connection(access)) as line, pytest.raises(InputError) as caught:
        line.ask({"command": "check"}, "ok")
    assert caught.value.parts[0].startswith(f"server {access.address}")
    assert all(caught.value.parts)
    assert TOKEN not in str(caught.value)
    return caught.value


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "nobody answers" in str(error_of(Access("127.0.0.1", port, TOKEN)))
    assert "nobody answers" in str(error_of(Access("no.such.host.invalid", 80, TOKEN)))
    assert "nobody answers" in str(error_of(Access("x" * 80, 80, TOKEN)))


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x022\n", b"[]\n",
    b'{"event": "hello"}\n', b'{"event": "hello", "nonce": 3}\n', b'{"event": "ready"}\n',
])  # fmt: skip
def test_another_kind_of_server(answer):
    with answering(answer) as access:
        assert "none of `flare serve`" in str(error_of(access))


def test_an_endless_answer_is_not_kept(monkeypatch):
    monkeypatch.setattr(wire, "MOST_ANSWER_BYTES", 10_000)
    with answering(b"x" * 10**6) as access:
        assert "endless" in str(error_of(access))


def test_a_server_without_the_token_gets_nothing():
    hello = wire.line_of({"event": "hello", "protocol": wire.PROTOCOL, "nonce": wire.new_nonce()})
    ready = wire.line_of({"event": "ready", "proof": "0" * 64})
    with answering(hello, ready) as access:
        assert "cannot prove" in str(error_of(access))


def test_another_version():
    hello = {"event": "hello", "protocol": 99, "version": "9.0", "nonce": wire.new_nonce()}
    with answering(wire.line_of(hello)) as access:
        assert "protocol 99" in str(error_of(access))


def test_an_errors_words_are_bounded():
    long = {"event": "error", "kind": "input", "argument": "x", "came": "y" * 10**6,
            "legal": "z" * 10**6, "action": "a" * 10**6}  # fmt: skip
    with answering(wire.line_of(long)) as access:
        assert len(str(error_of(access))) < 2000


def test_hanging_up_ends_what_another_thread_waits_for():
    with mute() as access, closing(Connection(access)) as line:
        failed = []

        def ask():
            try:
                line.ask({}, "ok")
            except Cancelled as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while line._socket is None:
            threading.Event().wait(0.01)
        line.hang_up()
        thread.join(30)
        assert failed
        with pytest.raises(Cancelled):
            line.hear()


def test_who_takes_no_bytes_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S", 1.0)
    with mute() as access, closing(Connection(access)) as line:
        line._connect()
        with pytest.raises(InputError, match="said nothing for"):
            line.send(b"x" * 10**8)
