"""A server's end of the connection to one client: says, hears and receives, never for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from flare_core import atomic
from flare_core.errors import FlareError, InputError
from flare_core.jobs.failure import failure_of
from flare_core.jobs.remote.places import without_places
from flare_core.jobs.remote.wire import CHUNK_BYTES, MOST_REQUEST_BYTES, fields_of, line_of

T = TypeVar("T")

LAST_WORDS_S = 2.0
"""How long a client is given to take its last answer."""


@dataclass(frozen=True)
class Patience:
    """How long a client may take."""

    hello_s: float = 10.0
    """For each line."""
    stall_s: float = 30.0
    """For the next part of the voxels, and to take an answer's next part."""
    bytes_per_s: float = 50e3
    """Slower than this, on the whole, voxels are not waited for."""
    alive_s: float = 5.0
    """A client hears something so often."""


class Gone(FlareError):
    """A client hung up, or stands still."""


class Line:
    """A connection; whoever fails to keep up is `Gone`.

    Parameters
    ----------
    places : mapping of str to str
        Paths of the server's that no client is told -> what stands for them (`places_of`).
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        patience: Patience,
        places: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._reader, self._writer, self._patience = reader, writer, patience
        self._places = places
        found = writer.get_extra_info("peername")
        self.peer = str(found[0]) if found else "?"
        """Who it is, as a number."""
        _notice_death(writer.get_extra_info("socket"), patience.stall_s)

    async def say(self, fields: dict[str, Any], *blobs: bytes) -> None:
        """Send a message and what comes behind it.

        Raises
        ------
        Gone
            If the client does not take it.
        """
        self._writer.write(line_of(without_places(fields, self._places)))
        await self._in_time(self._writer.drain(), self._patience.stall_s, "an answer")
        for blob in blobs:
            view = memoryview(blob)
            for start in range(0, len(view), CHUNK_BYTES):
                self._writer.write(view[start : start + CHUNK_BYTES])
                await self._in_time(self._writer.drain(), self._patience.stall_s, "an answer")

    async def hear(self) -> dict[str, Any]:
        """Return the next message.

        Raises
        ------
        Gone
            If none comes.
        InputError
            If it is none.
        """
        try:
            line = await self._in_time(
                self._reader.readuntil(), self._patience.hello_s, "its request"
            )
            return fields_of(line)
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise InputError(
                "request",
                "something that is no request of flare",
                f"a line of JSON, at most {MOST_REQUEST_BYTES} bytes",
                "Check the address; `flare segment --on` speaks to a server.",
            ) from error

    async def receive(self, path: Path, count: int) -> None:
        """Write the next `count` bytes to a file.

        Raises
        ------
        Gone
            If they do not come.
        InputError
            If they cannot be written; they are taken all the same, so that the client hears of it.
        """
        clock = asyncio.get_running_loop()
        end = clock.time() + self._patience.stall_s + count / self._patience.bytes_per_s
        failed: OSError | None = None
        with path.open("xb", buffering=0) as stream:
            while count:
                limit_s = max(0.0, min(self._patience.stall_s, end - clock.time()))
                chunk = await self._in_time(
                    self._reader.read(min(count, CHUNK_BYTES)), limit_s, "its voxels"
                )
                if not chunk:
                    raise Gone("hung up while its voxels came")
                count -= len(chunk)
                try:
                    if failed is None:
                        stream.write(chunk)
                except OSError as error:
                    failed = error
        if failed is not None:
            raise InputError(
                "the server's disk",
                f"the scan cannot be kept there: {atomic.reason(failed)}",
                "room for the scans that wait",
                "Tell whoever runs the server, or run it on your own computer.",
            ) from failed

    async def left(self) -> None:
        """Wait until the client hangs up; whatever it says meanwhile is not heard.

        Raises
        ------
        Gone
            Then.
        """
        with suppress(OSError):
            while await self._reader.read(CHUNK_BYTES):
                pass
        raise Gone("hung up")

    async def last_words(self, error: BaseException) -> None:
        """Tell an error, if the client still hears it."""
        with suppress(OSError, asyncio.TimeoutError, RuntimeError):
            fields = without_places(failure_of(error).fields(), self._places)
            self._writer.write(line_of({"event": "error", **fields}))
            self._writer.write_eof() if self._writer.can_write_eof() else None
            await asyncio.wait_for(self._drained(), LAST_WORDS_S)

    async def _drained(self) -> None:
        """Wait until all is sent and the client has hung up: an early end would cut it off."""
        await self._writer.drain()
        while await self._reader.read(CHUNK_BYTES):
            pass

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError, RuntimeError):
            self._writer.close()

    async def _in_time(self, work: Awaitable[T], limit_s: float, what: str) -> T:
        try:
            return await asyncio.wait_for(work, limit_s)
        except asyncio.TimeoutError as error:
            raise Gone(f"stood still for {limit_s:.0f} s with {what}") from error
        except (OSError, EOFError) as error:
            raise Gone(f"hung up, with {what} on its way") from error


def _notice_death(connection: Any, limit_s: float) -> None:
    """Have the system notice a client whose computer is gone, where it can."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    with suppress(OSError, AttributeError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, round(1000 * limit_s))
