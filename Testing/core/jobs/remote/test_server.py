from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fake_engine
import served
from flare_core.errors import InputError
from flare_core.jobs.remote import wire
from flare_core.jobs.remote.access import server_tls
from flare_core.jobs.remote.client import check, engine_on
from flare_core.jobs.remote.server import PREFIX, ServerLimits
from flare_core.segment.settings import Settings
from served import ENGINE, LOG, RAN, TOKEN, scan, serving

ROOT = Path(__file__).parents[4]


class Talker:
    """A client that says what it likes."""

    def __init__(self, access) -> None:
        self.socket = socket.create_connection((access.host, access.port), 30)
        self.stream = self.socket.makefile("rb")

    def say(self, **fields) -> None:
        self.socket.sendall(wire.line_of(fields))

    def hear(self) -> dict:
        return json.loads(self.stream.readline() or b"{}")

    def greet(self, token: str = TOKEN) -> dict:
        """Come as far as a request."""
        nonce = wire.new_nonce()
        self.say(command="hello", protocol=wire.PROTOCOL, version="x", nonce=nonce)
        theirs = self.hear()["nonce"]
        self.say(command="prove", proof=wire.proof(token, "client", nonce, theirs))
        return self.hear()

    def ask(self, image=None, **more) -> dict:
        """Ask for a scan to be segmented."""
        image = image or scan()
        parcel, _ = wire.packed(image.array)
        head = {**parcel.fields(), **wire.grid_fields(image.geometry)}
        self.say(**{"command": "segment", "image": head, "settings": {}, **more})
        return self.hear()

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


def works(access) -> bool:
    """Whether a server still does what it should."""
    found = engine_on(access, ENGINE).segment(
        scan(liver=11), Settings(), lambda step: None, lambda: False
    )
    return np.count_nonzero(found.labels.array) == 11


def test_garbage_is_answered_and_the_server_goes_on():
    rng = np.random.default_rng(0)
    with serving(limits=ServerLimits(patience=served.QUICK)) as access:
        for data in [b"GET / HTTP/1.1\r\n\r\n", b"\n", b"{}\n", b"\x16\x03\x01\n",
                     b"[" * 60_000 + b"\n", b'{"protocol": 1, "nonce": 3}\n',
                     rng.bytes(300_000)]:  # fmt: skip
            with closing(Talker(access)) as one:
                with suppress(OSError):
                    one.socket.sendall(data)
                with suppress(OSError):
                    answer = one.hear()
                    assert answer.get("event") == "error"
                    assert {"argument", "came", "legal", "action"} <= set(answer)
        assert works(access)


def test_garbage_instead_of_tls_keeps_nobody_waiting(certificate):
    limits = ServerLimits(patience=served.QUICK)
    with serving(tls=server_tls(*certificate), limits=limits) as access:
        ends = [socket.create_connection((access.host, access.port)) for _ in range(6)]
        garbage = [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00", b"{}\n", b"\0" * 99, b"x"]
        for end, data in zip(ends, garbage, strict=True):
            with suppress(OSError):
                end.sendall(data)
        assert works(replace(access, certificate=certificate[0]))
        for end in ends:
            with end, suppress(OSError):
                end.settimeout(30)
                while end.recv(1000):
                    pass


def test_nobody_gets_anywhere_without_the_token(monkeypatch):
    monkeypatch.setattr("flare_core.jobs.remote.server.WRONG_S", 0.05)
    with serving() as access:
        for token in ("", "x" * 30, TOKEN[:-1], TOKEN + " "):
            with closing(Talker(access)) as one:
                answer = one.greet(token)
                assert (answer["event"], answer["argument"]) == ("error", "token")
                assert TOKEN not in json.dumps(answer)
                assert one.hear() == {}
        with closing(Talker(access)) as one:  # a proof overheard in another conversation
            nonce = wire.new_nonce()
            one.say(command="hello", protocol=1, version="x", nonce=nonce)
            theirs = one.hear()["nonce"]
            one.say(command="prove", proof=wire.proof(TOKEN, "server", nonce, theirs))
            assert one.hear()["argument"] == "token"
        with closing(Talker(access)) as one:  # straight to the request
            one.say(command="segment", image={}, settings={})
            assert one.hear()["argument"] == "version"
    assert RAN == []


@pytest.mark.parametrize(("fields", "argument"), [
    ({"command": "fly"}, "command"),
    ({"command": "segment"}, "image"),
    ({"command": "segment", "image": 3}, "image"),
    ({"command": "segment", "image": {}, "path": "/etc/passwd"}, "request"),
    ({"command": "segment", "image": {}, "scores": 1}, "request"),
    ({"command": "segment", "image": {}, "settings": {"home": "/tmp"}}, "settings"),
    ({"command": "segment", "image": {}, "settings": {"device": "cuda"}}, "settings"),
    ({"command": "segment", "image": {}, "settings": []}, "settings"),
    ({"command": "segment", "image": {}, "settings": {"organs": ["toe"]}}, "organ"),
    ({"command": "check", "settings": {"model": "/tmp"}}, "the server's models"),
    ({"command": "check", "settings": {"model": 3}}, "model"),
])  # fmt: skip
def test_a_request_that_is_none_is_refused_before_a_voxel_travels(fields, argument):
    with serving() as access, closing(Talker(access)) as one:
        assert one.greet()["event"] == "ready"
        one.say(**fields)
        assert one.hear()["argument"] == argument


def test_a_client_that_sends_half_and_stops_is_sent_away():
    image = scan()
    data = wire.packed(image.array)[1]
    with (
        serving(limits=ServerLimits(patience=served.QUICK)) as access,
        closing(Talker(access)) as one,
    ):
        one.greet()
        assert one.ask(image)["event"] == "send"
        one.socket.sendall(data[: len(data) // 2])
        assert served.eventually(lambda: len(served.left_files()) == 1)
        assert works(access)  # it keeps nobody waiting
        assert one.hear() == {}  # hung up, after a while
        assert served.eventually(lambda: served.left_files() == [])
        assert any("stood still" in line for line in LOG)


def test_a_client_that_dribbles_is_sent_away():
    patience = served.Patience(hello_s=1.0, stall_s=0.5, bytes_per_s=1e4, alive_s=0.1)
    with serving(limits=ServerLimits(patience=patience)) as access, closing(Talker(access)) as one:
        one.greet()
        one.ask()
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 20:
                one.socket.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 15


def test_a_client_that_does_not_listen_is_sent_away():
    image = scan()
    rng = np.random.default_rng(0)

    def large(*arguments):
        found = served.segment(*arguments)
        noise = rng.random((4, 100, 200, 200)).astype(np.float16)
        return replace(found, scores=replace(found.scores, probabilities=noise))

    patience = ServerLimits(patience=served.QUICK)
    with serving(replace(ENGINE, segment=large), limits=patience) as access:
        with closing(Talker(access)) as one:
            one.greet()
            one.ask(image, scores=True)
            one.socket.sendall(wire.packed(image.array)[1])
            assert served.eventually(lambda: any("an answer" in line for line in LOG))
        assert works(access)


def test_spoilt_voxels_are_told():
    image = scan()
    data = bytearray(wire.packed(image.array)[1])
    data[50] ^= 255
    with serving() as access, closing(Talker(access)) as one:
        one.greet()
        one.ask(image)
        one.socket.sendall(data)
        while (answer := one.hear())["event"] != "error":
            pass
        assert answer["argument"] == "image"


def test_more_clients_than_it_takes_are_refused():
    with serving(limits=ServerLimits(connections=3)) as access:
        ends = [Talker(access) for _ in range(3)]
        assert served.eventually(lambda: refused(access))
        ends[0].close()
        assert served.eventually(lambda: not refused(access))
        for end in ends:
            end.close()


def refused(access) -> bool:
    try:
        check(access, Settings())
    except InputError as error:
        assert "clients at a time" in str(error)
        return True
    return False


def test_scans_wait_in_a_folder_that_only_we_can_read():
    with serving() as access, closing(Talker(access)) as one:
        one.greet()
        one.ask()
        one.socket.sendall(b"x")
        assert served.eventually(lambda: len(served.left_files()) == 1)
        folder = served.left_files()[0].parent
        if os.name == "posix":
            assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


# --- as a process


def started(*words: str, folder: Path) -> tuple[subprocess.Popen, dict]:
    """Start `flare serve` with the fake engine; return it and what it says first."""
    program = [sys.executable, str(Path(fake_engine.__file__)), "serve", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*program, "--progress", "json", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
    )
    return process, json.loads(process.stdout.readline())


@pytest.mark.skipif(os.name != "posix", reason="kills and asks for the end by signals")
def test_what_a_killed_server_left_goes_with_the_next_start(tmp_path):
    from flare_core.jobs.remote.access import Access, address_of

    first, told = started(folder=tmp_path)
    access = Access(*address_of(told["address"]), told["token"])
    with closing(Talker(access)) as one:
        one.greet(told["token"])
        one.ask()
        one.socket.sendall(b"x" * 50)
        left = lambda: [*tmp_path.glob(f"{PREFIX}*/*")]  # noqa: E731
        assert served.eventually(lambda: len(left()) == 1)
        first.send_signal(signal.SIGKILL)
        first.wait(30)
        first.stdout.close()
        assert len(left()) == 1
    second, told = started(folder=tmp_path)
    assert len([*tmp_path.glob(f"{PREFIX}*")]) == 1
    assert left() == []
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0
    second.stdout.close()
    assert [*tmp_path.glob(f"{PREFIX}*")] == []


@pytest.mark.skipif(os.name != "posix", reason="asks for the end by signals")
def test_a_stopped_server_ends_in_time_even_if_a_run_is_deaf(monkeypatch):
    monkeypatch.setattr("flare_core.jobs.remote.server.END_S", 0.2)
    go, begun = threading.Event(), threading.Event()

    def deaf(*arguments):
        begun.set()
        go.wait(30)
        return served.segment(*arguments)

    ended = pytest.raises(AssertionError)  # `serving` asks for threads that have all ended
    with ended, serving(replace(ENGINE, segment=deaf)) as access, closing(Talker(access)) as one:
        one.greet()
        one.ask()
        one.socket.sendall(wire.packed(scan().array)[1])
        assert begun.wait(30)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    go.set()
