"""Fetch a file over HTTP: resumed, checked, and under its name only when it is whole and right.

Steps: ask for the rest of what is there -> append -> size -> SHA-256 -> rename.
Invariants: ``NAME.part`` is never taken for the file; a second attempt goes on where the first
stopped, but only if the server vouches that the file is still the same (its ETag or date); nothing
is asked of the network unless somebody called `download` or `remote_size`.
Proxies are those of the system, as `requests` finds them.
"""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core import atomic
from flare_core.alive import alone_in
from flare_core.atomic import sha256_of
from flare_core.errors import Cancelled, InputError
from flare_core.home import ensure_folder
from flare_core.json_fields import read_json
from flare_core.models.remote_file import CONNECT_S, RemoteFile, check_size

if TYPE_CHECKING:
    from requests import Response

STALL_S = 30.0
"""How long nothing may arrive before the connection is given up and made anew."""

ATTEMPTS = 5
"""How often a failing transfer is tried; attempts that brought new bytes do not count."""

FIRST_WAIT_S = 1.0
"""Pause after the first failure; each further one is twice as long, up to `LONGEST_WAIT_S`."""

LONGEST_WAIT_S = 30.0

CHUNK = 2**16
"""Bytes between two looks at `cancelled`."""

RETRIED = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be different a little later."""

OnBytes = Callable[[int, int | None], None]
"""Told (bytes there, bytes in all or None)."""


@dataclass(frozen=True)
class DownloadListener:
    """Who is told how far a download is, and who may stop it."""

    on_bytes: OnBytes = lambda done, total: None
    """Called after every piece."""
    cancelled: Callable[[], bool] = lambda: False
    """Asked before every piece and every pause; what has come stays for the next time."""
    on_file: Callable[[str], None] = lambda name: None
    """Told the name of every file before it is fetched, or found to be here already."""


class _TryAgain(Exception):
    """The transfer broke in a way that another attempt may mend."""


def download(file: RemoteFile, target: Path, watch: DownloadListener | None = None) -> Path:
    """Fetch a file to `target`; return it.

    If `target` is there already with the right size and hash, nothing is fetched.

    Raises
    ------
    InputError
        If it cannot be had, or what came is not what was promised. A wrong file is removed, half a
        file stays as ``NAME.part`` and is completed next time.
    Cancelled
        If `watch.cancelled` returned True.
    """
    watch = watch or DownloadListener()
    watch.on_file(file.name)
    file.check_address()
    ensure_folder(target.parent)
    part = target.with_name(f"{target.name}.part")
    with alone_in(target.parent, waiting=lambda: _stop_if_cancelled(watch)) as known:
        if known:
            _sweep(target)
        if target.is_file() and not _fault(target, file):
            _forget(part)  # of a download that was killed at its very end
            return target
        return _fetched(file, part, target, watch)


def _sweep(target: Path) -> None:
    """Remove the half-written tags of killed downloads; what has come of the file itself stays."""
    for left in target.parent.glob(f".????????.part.{glob.escape(target.name)}.part.json"):
        left.unlink(missing_ok=True)


def _fetched(file: RemoteFile, part: Path, target: Path, watch: DownloadListener) -> Path:
    _fetch_persistently(file, part, watch)
    fault = _fault(part, file)
    if fault:
        _forget(part)
        raise InputError(
            file.url, fault, _promised(file),
            "The file was removed. Try again; if it happens again, the server has another file "
            "than the publisher's: ask them, or install from a file you trust.",
        )  # fmt: skip
    os.replace(part, target)
    _forget(part)
    return target


def _fetch_persistently(file: RemoteFile, part: Path, watch: DownloadListener) -> None:
    """Append to `part` until it is complete; pause and try again where that may help."""
    failures = 0
    while True:
        before = _size_of(part)
        try:
            _fetch(file, part, watch)
            return
        except _TryAgain as error:
            failures = 1 if _size_of(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise _gave_up(file, part, str(error)) from error
            _pause(min(FIRST_WAIT_S * 2 ** (failures - 1), LONGEST_WAIT_S), watch)


def _pause(seconds: float, watch: DownloadListener) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _stop_if_cancelled(watch)
        time.sleep(min(left, 0.2))


def _fetch(file: RemoteFile, part: Path, watch: DownloadListener) -> None:
    """Ask once for what is missing of `part`, and append what comes."""
    have = _size_of(part)
    if file.size_bytes and have == file.size_bytes:
        return
    if have and (not _tag_of(part, file) or (file.size_bytes and have > file.size_bytes)):
        part.unlink()
        have = 0
    with _answer(file, part, have) as answer:
        if answer.status_code == 416:  # what is there is longer than the file, or all of it
            _forget(part)
            raise _TryAgain("the server does not know the part that is missing")
        start, total = _extent(answer, have, file)
        if start == 0:
            _remember_tag(part, file, answer)
        _append(answer, part, (start, total), watch)


def _append(
    answer: Response, part: Path, extent: tuple[int, int | None], watch: DownloadListener
) -> None:
    """Write the answer's bytes behind the first `start` bytes of `part`.

    Raises
    ------
    _TryAgain
        If it ends too early.
    InputError
        If more comes than was promised, or the disk is full.
    """
    start, total = extent
    done = start
    with _writing(part, start) as stream:
        for chunk in _chunks(answer):
            _stop_if_cancelled(watch)
            done += len(chunk)
            if total is not None and done > total:
                raise _TryAgain(f"more than the promised {total} bytes came")
            check_size(answer.url, done)
            stream.write(chunk)
            watch.on_bytes(done, total)
    if total is not None and done < total:
        raise _TryAgain(f"the connection ended after {done} of {total} bytes")


@contextmanager
def _writing(part: Path, start: int) -> Iterator[Any]:
    """Open `part` behind its first `start` bytes; a full disk becomes a clear error."""
    try:
        with part.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise InputError(
            str(part), f"writing failed: {error.strerror or error}",
            "a folder on a disk with free space",
            "Free space, then try again: the download goes on from there. Or choose another home "
            "folder (on the command line: --home).",
        ) from error  # fmt: skip


@contextmanager
def _answer(file: RemoteFile, part: Path, have: int) -> Iterator[Response]:
    """Yield the server's answer to a request for the bytes from `have` on.

    Raises
    ------
    _TryAgain
        If there is none, or one that may change.
    InputError
        If the server refuses, or leads somewhere that is not encrypted.
    """
    import requests

    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": _tag_of(part, file)}
    try:
        with requests.get(
            file.url, headers=headers, stream=True, timeout=(CONNECT_S, STALL_S)
        ) as answer:
            _check_redirects(file, answer)
            if answer.status_code in RETRIED:
                raise _TryAgain(f"the server answered {answer.status_code} {answer.reason}")
            if answer.status_code not in (200, 206, 416):
                raise _refused(file, answer)
            yield answer
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _TryAgain(_plainly(error)) from error
    except requests.TooManyRedirects as error:
        raise InputError(
            file.url, "it leads round in a circle", "an address with a file",
            "Check the address; behind a hospital's proxy, sign in there first.",
        ) from error  # fmt: skip


def _chunks(answer: Response) -> Iterator[bytes]:
    import requests

    try:
        yield from answer.iter_content(CHUNK)
    except (requests.RequestException, OSError) as error:
        raise _TryAgain(_plainly(error)) from error


def _extent(answer: Response, have: int, file: RemoteFile) -> tuple[int, int | None]:
    """Return (first byte that comes, bytes of the whole file or None).

    Raises
    ------
    InputError
        If the server's file has another size than the publisher's.
    """
    start, total = 0, None
    if answer.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise _TryAgain("the server sent another part than it was asked for")
        start, total = have, None if match[2] == "*" else int(match[2])
    elif answer.headers.get("Content-Length", "").isdigit():
        total = int(answer.headers["Content-Length"])
    if file.size_bytes and total is not None and total != file.size_bytes:
        raise InputError(
            file.url, f"a file of {total} bytes", _promised(file),
            "This is not the publisher's file (perhaps a sign-in page): check the address and the "
            "network, or install from a file you trust.",
        )  # fmt: skip
    check_size(file.url, total or 0)
    return start, total or file.size_bytes or None


def _check_redirects(file: RemoteFile, answer: Response) -> None:
    """Refuse to be led from an encrypted address to one that is not."""
    hops = [*(each.url for each in answer.history[1:]), answer.url]
    plain = [url for url in hops if not url.startswith("https:")]
    if file.url.startswith("https:") and plain:
        raise InputError(
            file.url, f"a redirection to {plain[0]}", "encrypted addresses only",
            "Do not use this address; download the file in a browser and install it from disk.",
        )  # fmt: skip


def _refused(file: RemoteFile, answer: Response) -> InputError:
    return InputError(
        file.url, f"the server answered {answer.status_code} {answer.reason}", "a file there",
        "Check the address and whether a browser on this machine can open it; or download it "
        "elsewhere and install it from disk.",
    )  # fmt: skip


def _gave_up(file: RemoteFile, part: Path, reason: str) -> InputError:
    have = _size_of(part)
    kept = f" {have} bytes are kept and the next attempt goes on from there." if have else ""
    return InputError(
        file.url, f"{reason} ({ATTEMPTS} attempts)", "a connection that lasts",
        f"Check network and proxy, then try again.{kept} Offline: download the file elsewhere and "
        "install it from disk.",
    )  # fmt: skip


def _fault(path: Path, file: RemoteFile) -> str:
    """Return why a complete file is not the publisher's; empty if it is, as far as is known."""
    size = _size_of(path)
    if file.size_bytes and size != file.size_bytes:
        return f"{size} bytes"
    if file.sha256 and (digest := sha256_of(path)) != file.sha256:
        return f"SHA-256 {digest}"
    return "" if size else "an empty file"


def _promised(file: RemoteFile) -> str:
    facts = [f"{file.size_bytes} bytes"] if file.size_bytes else []
    facts += [f"SHA-256 {file.sha256}"] if file.sha256 else []
    return ", ".join(facts) or "a file"


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _remember_tag(part: Path, file: RemoteFile, answer: Response) -> None:
    """Keep what the server calls this state of the file; a weak tag vouches for nothing."""
    tag = answer.headers.get("ETag", "")
    if not tag or tag.startswith("W/"):
        tag = answer.headers.get("Last-Modified", "")
    atomic.write_json(_tag_file(part), {"url": file.url, "tag": tag})


def _tag_of(part: Path, file: RemoteFile) -> str:
    """Return what the server called the file when `part` was begun; empty: begin anew.

    A note that is torn or not ours vouches for nothing, and must not stop the download for good.
    """
    try:
        kept = read_json(_tag_file(part).read_text("utf-8"), "tag")
    except (OSError, ValueError):  # not there, not text, not JSON (InputError is a ValueError)
        return ""
    tag = kept.get("tag") if isinstance(kept, dict) and kept.get("url") == file.url else ""
    return tag if isinstance(tag, str) and tag.isascii() and tag.isprintable() else ""


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _stop_if_cancelled(watch: DownloadListener) -> None:
    if watch.cancelled():
        raise Cancelled("The download was cancelled; what has come is kept for the next time.")


def _plainly(error: Exception) -> str:
    """Return the innermost reason of a network error, in one line."""
    inner: BaseException = error
    while inner.__cause__ is not None or inner.__context__ is not None:
        inner = inner.__cause__ or inner.__context__  # type: ignore[assignment]
    return f"{type(inner).__name__}: {inner}".splitlines()[0][:200]
