from __future__ import annotations

import os
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.jobs.remote import access
from flare_core.jobs.remote.access import Access, access_of, address_of

TOKEN = "x" * 30


@pytest.mark.parametrize("text", [
    "", "host", "host:", ":80", "host:0", "host:65536", "host:99999", "host:-1", "ho st:80",
    "http://host:80", "host:80/x", "::1:80x", "[::1]", "höst:80", "host:８０",
])  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InputError, match="HOST:PORT"):
        address_of(text)


def test_port_0_is_for_who_listens():
    assert address_of("h:0", any_port=True) == ("h", 0)


@pytest.mark.parametrize(("host", "facts", "tls"), [
    ("127.0.0.1", {}, False), ("localhost", {}, False), ("::1", {}, False),
    ("127.0.0.1", {"certificate": Path("x")}, True), ("10.0.0.1", {}, True),
    ("localhost.evil.org", {}, True), ("10.0.0.1", {"without_tls": True}, False),
    ("10.0.0.1", {"without_tls": True, "certificate": Path("x")}, True),
])  # fmt: skip
def test_what_leaves_this_computer_is_encrypted(host, facts, tls):
    assert Access(host, 1, TOKEN, **facts).tls is tls


def test_a_token_is_made_kept_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "token"
    token, made = access.kept_token(path)
    assert made
    assert len(token) >= access.LEAST_LETTERS
    assert access.kept_token(path) == (token, False)
    assert access.read_token(path) == token
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o640)
        with pytest.raises(InputError, match="others can read"):
            access.read_token(path)
    assert access.new_token() != access.new_token()


def test_files_that_hold_no_token_are_refused_and_not_shown(tmp_path):
    for number, text in enumerate(["", "short-secret", "x" * 501, "ü" * 30, "a" * 25 + "\0"]):
        path = tmp_path / str(number)
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        with pytest.raises(InputError, match="no token") as caught:
            access.read_token(path)
        assert not text or text not in str(caught.value)
    with pytest.raises(InputError, match="--token-file"):
        access.read_token(tmp_path / "none")
    with pytest.raises(InputError, match="--token-file"):
        access.kept_token(tmp_path / "none" / "token")


def test_a_request_names_its_server():
    fields = {"address": "h:80", "token": f" {TOKEN}\n", "certificate": "c.pem"}
    assert access_of(fields) == Access("h", 80, TOKEN, Path("c.pem"))
    assert access_of({"address": "h:80", "token": TOKEN, "without_tls": True}).without_tls


@pytest.mark.parametrize("fields", [
    {}, {"address": "h:80"}, {"token": TOKEN}, {"address": 3, "token": TOKEN},
    {"address": "h", "token": TOKEN}, {"address": "h:80", "token": "short"},
    {"address": "h:80", "token": TOKEN, "x": 1}, {"address": "h:80", "token": [TOKEN]},
    {"address": "h:80", "token": TOKEN, "certificate": ""},
    {"address": "h:80", "token": TOKEN, "without_tls": 1},
])  # fmt: skip
def test_a_request_that_names_none_is_refused_and_the_token_not_shown(fields):
    with pytest.raises(InputError) as caught:
        access_of(fields)
    assert TOKEN not in str(caught.value)


def test_certificates_that_are_none_are_told(tmp_path):
    path = tmp_path / "x.pem"
    path.write_text("no certificate")
    for load in (lambda: access.server_tls(path, None), lambda: access.client_tls(path),
                 lambda: access.server_tls(tmp_path / "none", None),
                 lambda: access.client_tls(tmp_path / "none")):  # fmt: skip
        with pytest.raises(InputError, match="--certificate"):
            load()


def test_old_tls_is_not_spoken(certificate):
    import ssl

    assert access.server_tls(*certificate).minimum_version >= ssl.TLSVersion.TLSv1_2
    assert access.client_tls(certificate[0]).minimum_version >= ssl.TLSVersion.TLSv1_2
    assert access.client_tls(None).verify_mode == ssl.CERT_REQUIRED
