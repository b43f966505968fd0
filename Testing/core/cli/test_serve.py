from __future__ import annotations

import argparse
import threading
from dataclasses import replace

import pytest

import served
from fake_engine import flare
from flare_core.cli import serve as command
from flare_core.cli.serve import setup_of
from flare_core.errors import InputError
from flare_core.jobs.remote import server
from flare_core.jobs.remote.access import Access, address_of
from flare_core.jobs.remote.client import check
from flare_core.segment.settings import Settings
from served import certificate as certificate


def parsed(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.3", "hospital.org", "[::]"])
def test_to_other_computers_only_encrypted_or_if_it_is_said(host, certificate, tmp_path):
    with pytest.raises(InputError, match="could be read on the way"):
        setup_of(parsed("--listen", f"{host}:80"))
    assert setup_of(parsed("--listen", f"{host}:80", "--without-tls"))[0].tls is None
    words = ("--certificate", certificate[0], "--key", certificate[1])
    assert setup_of(parsed("--listen", f"{host}:80", *words))[0].tls is not None


@pytest.mark.parametrize("words", [
    ("--listen", "nonsense"), ("--listen", "localhost:1", "--most-mib", "0"),
    ("--listen", "localhost:1", "--most-scans", "-1"), ("--listen", "localhost:1", "--key", "x"),
    ("--listen", "localhost:1", "--certificate", "/none"),
    ("--listen", "localhost:1", "--threads", "-1"),
])  # fmt: skip
def test_what_cannot_be_is_told(words, capsys):
    assert flare("serve", *words) == 2
    assert "not usable" in capsys.readouterr().err


def test_a_token_is_made_new_or_kept(tmp_path):
    setup, made = setup_of(parsed("--listen", "localhost:1"))
    assert setup.token == made
    path = tmp_path / "token"
    setup, made = setup_of(parsed("--listen", "localhost:1", "--token-file", path))
    assert (setup.token, made) == (path.read_text().strip(), "")


def test_serves_until_it_is_stopped_and_says_the_token_once(capsys, monkeypatch):
    """In this process, so that what it says can be looked at."""
    begun: list[server.Server] = []
    real = server.Server.__init__

    def noted(self, *words):
        real(self, *words)
        begun.append(self)

    monkeypatch.setattr(server.Server, "__init__", noted)
    codes = []
    thread = threading.Thread(
        target=lambda: codes.append(flare("serve", "--listen", "127.0.0.1:0"))
    )
    thread.start()
    text = ""

    def says():
        nonlocal text
        text += capsys.readouterr().out
        return "Token" in text

    assert served.eventually(says)
    address = text.partition("Listening on ")[2].split()[0]
    token = text.strip().rpartition(" ")[2]
    access = Access(*address_of(address), token)
    check(access, Settings())
    with pytest.raises(InputError):
        check(replace(access, token="y" * 30), Settings())
    begun[0].stop()
    thread.join(30)
    assert codes == [0]
    said = capsys.readouterr()
    assert token not in said.out + said.err
    assert "refused (token)" in said.err


def test_an_address_that_is_taken_is_told(capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert flare("serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}") == 2
    assert "--listen" in capsys.readouterr().err
