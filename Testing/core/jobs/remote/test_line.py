from __future__ import annotations

import asyncio

import pytest

from flare_core.errors import InputError
from flare_core.jobs.remote.line import Gone, Line, Patience
from flare_core.jobs.remote.wire import MOST_REQUEST_BYTES

QUICK = Patience(hello_s=0.05, stall_s=0.05, bytes_per_s=1e9)


class Nowhere:
    """Where nothing that is written arrives."""

    def get_extra_info(self, name):
        return None


def with_line(data: bytes, talk, *, end: bool = True):
    """Return what a talk on a line gives, to which so much was sent."""

    async def whole():
        reader = asyncio.StreamReader(limit=MOST_REQUEST_BYTES)
        reader.feed_data(data)
        if end:
            reader.feed_eof()
        return await talk(Line(reader, Nowhere(), QUICK))

    return asyncio.run(whole())


def test_hears_line_by_line():
    async def two(line):
        return [await line.hear(), await line.hear()]

    assert with_line(b'{"a": 1}\n{"b": 2}\n', two) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    "data", [b"x\n", b"[]\n", b"\xff\n", b"x" * (MOST_REQUEST_BYTES + 9) + b"\n"]
)
def test_what_is_no_request_is_refused(data):
    with pytest.raises(InputError, match="no request of flare"):
        with_line(data, lambda line: line.hear())


@pytest.mark.parametrize("end", [True, False])
def test_half_a_line_is_nobody(end):
    with pytest.raises(Gone):
        with_line(b'{"a"', lambda line: line.hear(), end=end)


@pytest.mark.parametrize("end", [True, False])
def test_half_the_voxels_are_nobody(tmp_path, end):
    with pytest.raises(Gone):
        with_line(b"x" * 99, lambda line: line.receive(tmp_path / "x", 100), end=end)


def test_takes_no_more_than_was_announced(tmp_path):
    with_line(b"x" * 100 + b"y", lambda line: line.receive(tmp_path / "x", 100), end=False)
    assert (tmp_path / "x").read_bytes() == b"x" * 100


def test_a_full_disk_is_told_once_all_has_come():
    class Full:
        def open(self, *words, **more):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def write(self, data):
            raise OSError(28, "No space left on device")

    async def talk(line):
        with pytest.raises(InputError, match="the server's disk"):
            await line.receive(Full(), 6)
        return await line.hear()

    assert with_line(b'voxels{"a": 1}\n', talk) == {"a": 1}
