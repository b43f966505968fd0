from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from file_server import Site, serving
from flare_core.alive import alone_in
from flare_core.errors import Cancelled, InputError
from flare_core.models import download as module
from flare_core.models import remote_file
from flare_core.models.download import DownloadListener, download
from flare_core.models.remote_file import RemoteFile

BODY = np.random.default_rng(7).bytes(600_000)
HASH = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "STALL_S", 0.4)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Site({"/m.zip": BODY})) as started:
        yield started


def known(site: Site, **changes: object) -> RemoteFile:
    """The file with all that its publisher says of it."""
    facts: dict = {"url": f"{site.url}/m.zip", "size_bytes": len(BODY), "sha256": HASH}
    return RemoteFile(**(facts | changes))


def test_a_file_arrives_whole_and_nothing_else_stays(site: Site, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "m.zip"
    download(known(site), target, DownloadListener(lambda done, total: told.append((done, total))))
    assert target.read_bytes() == BODY and os.listdir(target.parent) == ["m.zip"]
    assert told[-1] == (len(BODY), len(BODY)) and told == sorted(told)


def test_what_is_there_already_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(BODY)
    download(known(site), tmp_path / "m.zip")
    assert site.asked == []
    (tmp_path / "m.zip").write_bytes(BODY[:-1] + b"x")  # same size, other bytes
    download(known(site), tmp_path / "m.zip")
    assert (tmp_path / "m.zip").read_bytes() == BODY


@pytest.mark.parametrize(
    "facts", [{}, {"size_bytes": 0}, {"sha256": ""}, {"size_bytes": 0, "sha256": ""}]
)
@pytest.mark.parametrize("fault", ["cut", "stall", "long", "wrong-range", "busy"])
def test_a_broken_transfer_is_resumed(site: Site, tmp_path: Path, fault: str, facts: dict) -> None:
    if facts.get("size_bytes", 1) and fault == "long":
        pytest.skip("another length than the publisher's is refused at once")
    site.faults = ["cut", fault] if fault == "wrong-range" else [fault]
    download(known(site, **facts), tmp_path / "m.zip")
    assert (tmp_path / "m.zip").read_bytes() == BODY
    ranges = [wanted for _, wanted in site.asked]
    assert len(ranges) > 1 and (fault == "busy" or ranges[1].startswith("bytes="))


def test_a_changed_file_is_not_glued_to_the_old_half(site: Site, tmp_path: Path) -> None:
    site.faults = ["cut"]
    other = bytes(reversed(BODY))
    seen = []

    def change(done: int, total: int | None) -> None:
        seen.append(done)
        site.tag, site.files["/m.zip"] = '"v2"', other

    download(known(site, sha256=""), tmp_path / "m.zip", DownloadListener(change))
    assert (tmp_path / "m.zip").read_bytes() == other


def test_without_a_tag_everything_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    site.tag, site.faults = "", ["cut"]
    download(known(site), tmp_path / "m.zip")
    assert (tmp_path / "m.zip").read_bytes() == BODY
    assert [wanted for _, wanted in site.asked] == ["", ""]


def test_wrong_bytes_are_refused_and_removed(site: Site, tmp_path: Path) -> None:
    site.files["/m.zip"] = BODY[:-1] + b"x"
    with pytest.raises(InputError, match=r"(?s)SHA-256 .*SHA-256 .*removed"):
        download(known(site), tmp_path / "m.zip")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("body", [b"<html>sign in</html>", BODY + b"more", b""])
def test_another_length_is_refused(site: Site, tmp_path: Path, body: bytes) -> None:
    site.files["/m.zip"] = body
    with pytest.raises(InputError, match=f"{len(body)} bytes"):
        download(known(site), tmp_path / "m.zip")
    assert not (tmp_path / "m.zip").exists()


def test_a_server_that_says_too_little_does_not_pass(site: Site, tmp_path: Path) -> None:
    site.faults = ["short"]
    with pytest.raises(InputError):
        download(known(site), tmp_path / "m.zip")
    site.faults = ["short"]
    with pytest.raises(InputError, match="SHA-256"):
        download(known(site, size_bytes=0), tmp_path / "m.zip")
    assert os.listdir(tmp_path) == []


def test_a_hopeless_server_is_given_up_and_the_half_is_kept(site: Site, tmp_path: Path) -> None:
    site.faults = ["cut"] + ["busy"] * 20
    with pytest.raises(InputError, match=r"(?s)503.*bytes are kept"):
        download(known(site), tmp_path / "m.zip")
    assert len(site.asked) == module.ATTEMPTS and not (tmp_path / "m.zip").exists()
    site.faults, kept = [], (tmp_path / "m.zip.part").stat().st_size
    download(known(site), tmp_path / "m.zip")
    assert kept and site.asked[-1][1] == f"bytes={kept}-"
    assert (tmp_path / "m.zip").read_bytes() == BODY


def test_nobody_there(tmp_path: Path, site: Site) -> None:
    with pytest.raises(InputError, match=r"(?s)127.0.0.1:9/.*attempts.*proxy"):
        download(RemoteFile("http://127.0.0.1:9/m.zip"), tmp_path / "m.zip")
    assert os.listdir(tmp_path) == []


def test_a_missing_file_is_said_at_once(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="404"):
        download(RemoteFile(f"{site.url}/other.zip"), tmp_path / "m.zip")
    assert len(site.asked) == 1


def test_redirects_are_followed_but_not_for_ever(site: Site, tmp_path: Path) -> None:
    site.redirects = {"/a.zip": "/m.zip", "/round.zip": "/round.zip"}
    download(known(site, url=f"{site.url}/a.zip"), tmp_path / "m.zip")
    assert (tmp_path / "m.zip").read_bytes() == BODY
    with pytest.raises(InputError, match="circle"):
        download(known(site, url=f"{site.url}/round.zip"), tmp_path / "n.zip")


def test_one_step_without_encryption_is_one_too_many() -> None:
    steps = ["https://a.org/m.zip", "http://b.org/m.zip", "https://c.org/m.zip"]
    answer = SimpleNamespace(history=[SimpleNamespace(url=url) for url in steps[:2]], url=steps[2])
    with pytest.raises(InputError, match=r"redirection to http://b\.org"):
        module._check_redirects(RemoteFile(steps[0]), answer)
    answer.history.pop()
    module._check_redirects(RemoteFile(steps[0]), answer)


@pytest.mark.parametrize("said", [True, False])
def test_more_than_any_model_has_is_not_fetched(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bool
) -> None:
    monkeypatch.setattr(remote_file, "MAX_BYTES", len(BODY) // 2)
    site.says_length = said
    with pytest.raises(InputError, match="at most 300000 bytes"):
        download(RemoteFile(f"{site.url}/m.zip"), tmp_path / "m.zip")
    assert not (tmp_path / "m.zip").exists()


def test_cancel_keeps_what_has_come(site: Site, tmp_path: Path) -> None:
    seen: list[int] = []
    watch = DownloadListener(lambda done, total: seen.append(done), cancelled=lambda: bool(seen))
    with pytest.raises(Cancelled):
        download(known(site), tmp_path / "m.zip", watch)
    assert not (tmp_path / "m.zip").exists() and (tmp_path / "m.zip.part").stat().st_size == seen[0]
    download(known(site), tmp_path / "m.zip")
    assert site.asked[-1][1] == f"bytes={seen[0]}-"


def test_cancel_during_a_pause(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 60.0)
    site.faults = ["busy"] * 3
    with pytest.raises(Cancelled):
        download(
            known(site), tmp_path / "m.zip", DownloadListener(cancelled=lambda: bool(site.asked))
        )


def test_a_mirror_has_the_same_file_under_its_name(site: Site, tmp_path: Path) -> None:
    site.files["/hospital/m.zip"] = BODY
    there = known(site, url="https://publisher.invalid/v2/m.zip").behind(f"{site.url}/hospital/")
    download(there, tmp_path / "m.zip")
    assert site.asked == [("/hospital/m.zip", "")]


def test_the_proxy_of_the_system_is_asked(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy gets the whole address as its path."""
    address = "http://publisher.invalid/m.zip"
    site.files[address] = BODY
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    download(RemoteFile(address, len(BODY), HASH), tmp_path / "m.zip")
    assert (tmp_path / "m.zip").read_bytes() == BODY


def test_a_full_disk_is_said(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"(?s)No space left.*Free space"):
        download(known(site), tmp_path / "m.zip")
    assert not (tmp_path / "m.zip").exists()


@pytest.mark.parametrize(
    "note", [b"", b"{", b"\xff\xfe", b"[1]", b'{"url": "URL", "tag": {"a": 1}}', b"[" * 5000,
             b'{"url": "URL", "tag": "\\u00e9\\r\\nX: y"}'],
)  # fmt: skip
def test_a_torn_note_about_half_a_file_does_not_stop_the_download(
    site: Site, tmp_path: Path, note: bytes
) -> None:
    (tmp_path / "m.zip.part").write_bytes(b"half of another file")
    url = known(site).url.encode()
    (tmp_path / "m.zip.part.json").write_bytes(note.replace(b"URL", url))
    (tmp_path / ".01234567.part.m.zip.part.json").write_bytes(b"{")  # killed while writing it
    download(known(site), tmp_path / "m.zip")
    assert (tmp_path / "m.zip").read_bytes() == BODY
    assert os.listdir(tmp_path) == ["m.zip"]


@pytest.mark.skipif(os.name == "nt", reason="folders have no locks there")
def test_two_downloads_of_one_file_at_once_fetch_it_once(site: Site, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: download(known(site), tmp_path / "m.zip"), range(3)))
    assert (tmp_path / "m.zip").read_bytes() == BODY and len(site.asked) == 1


@pytest.mark.skipif(os.name == "nt", reason="folders have no locks there")
def test_waiting_for_another_download_can_be_cancelled(site: Site, tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(Cancelled):
        download(known(site), tmp_path / "m.zip", DownloadListener(cancelled=lambda: True))


def test_what_a_download_left_that_was_killed_at_its_end_goes(site: Site, tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(BODY)
    (tmp_path / "m.zip.part.json").write_bytes(b"{}")
    download(known(site), tmp_path / "m.zip")
    assert os.listdir(tmp_path) == ["m.zip"] and site.asked == []
