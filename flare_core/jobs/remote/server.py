"""``flare serve``: a worker for other computers. What is said is in `wire`, who may in `access`.

hello -> proofs -> a request -> its voxels into a file of ours -> its turn -> labels and numbers.
One loop talks to everybody, one thread computes. Waiting scans lie in one folder that only this
user can read; a scan's file goes when its turn begins or its client hangs up, the folder when the
server ends, and what a killed one left when the next one starts.

Invariant: no client can make it open a path, hold a place without a token, or stand still.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from flare_core.alive import scratch
from flare_core.errors import InputError
from flare_core.jobs import engine as engines
from flare_core.jobs.ending import on_stop_signal
from flare_core.jobs.engine import Engine, IsCancelled
from flare_core.jobs.failure import failure_of
from flare_core.jobs.outputs import plain
from flare_core.jobs.progress import Throttle, progress_fields
from flare_core.jobs.remote import wire
from flare_core.jobs.remote.access import written
from flare_core.jobs.remote.asked import Asked, asked_of, settings_of
from flare_core.jobs.remote.line import Gone, Line, Patience
from flare_core.jobs.remote.places import places_of
from flare_core.jobs.remote.turns import Turn, Turns
from flare_core.segment.progress import Progress
from flare_core.segment.settings import Settings

if TYPE_CHECKING:
    from flare_core.segment.pipeline import Segmentation

PREFIX = "flare-serve-"
"""Of the folder for scans that wait."""

WRONG_S = 1.0
"""Who has a wrong token waits so long for the answer."""

END_S = 5.0
"""How long a run may take to stop when the server ends."""


@dataclass(frozen=True)
class ServerLimits:
    """How much a server takes."""

    image_bytes: int = 2 * 2**30
    """Largest image, as voxels in memory."""
    jobs: int = 32
    """Scans at a time: those that come, wait and run."""
    connections: int = 128
    """Clients at a time."""
    patience: Patience = Patience()
    """How long a client may say nothing."""


@dataclass(frozen=True)
class Setup:
    """What a server is started with."""

    host: str
    """Where it listens."""
    port: int
    """0: the system chooses."""
    token: str
    """What its clients have."""
    tls: SSLContext | None = None
    """How it encrypts; None: not at all."""
    settings: Settings = Settings()
    """Device, threads, precision, home and usual model."""
    limits: ServerLimits = ServerLimits()
    """How much it takes."""


@dataclass(frozen=True)
class ServerListeners:
    """Who hears of a server; both are called in its loop."""

    ready: Callable[[str], None]
    """With its address, once it listens."""
    log: Callable[[str], None]
    """With a line for the person who runs it: sizes and times, nothing of a patient, no token."""


@dataclass(frozen=True, eq=False)
class FinalAnswer:
    """A last answer, ready to be sent."""

    fields: dict[str, Any]
    """Its line."""
    blobs: tuple[bytes, ...]
    """What comes behind it."""


def serve(setup: Setup, engine: Engine, told: ServerListeners) -> bool:
    """Serve until the process is asked to end; return whether all threads have ended.

    Raises
    ------
    InputError
        If it cannot listen there.
    """
    server = Server(setup, engine, told)
    with on_stop_signal(server.stop):
        return asyncio.run(server.run())


class Server:
    """Serves until `stop` is called, from any thread."""

    def __init__(self, setup: Setup, engine: Engine, told: ServerListeners) -> None:
        self._setup, self._engine, self._told = setup, engine, told
        self._turns = Turns()
        self._talks: set[asyncio.Task[None]] = set()
        self._jobs = 0
        self._folder = Path()
        self._places: dict[str, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()

    def stop(self) -> None:
        """End it: whoever waits is told."""
        if self._loop is None:
            self._end.set()
        else:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._end.set)

    async def run(self) -> bool:
        """Serve; return whether all its threads have ended.

        Raises
        ------
        InputError
            If it cannot listen there.
        """
        self._loop, setup = asyncio.get_running_loop(), self._setup
        with scratch(Path(tempfile.gettempdir()), PREFIX) as self._folder:
            self._places = places_of(setup.settings, self._folder)
            listening = await self._listen()
            port = listening.sockets[0].getsockname()[1]
            self._told.ready(written(setup.host, port))
            await self._end.wait()
            listening.close()
            for talk in tuple(self._talks):
                talk.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)
            return await asyncio.to_thread(self._turns.close, END_S)

    async def _listen(self) -> asyncio.Server:
        setup = self._setup
        handshake = None if setup.tls is None else setup.limits.patience.hello_s
        try:
            return await asyncio.start_server(
                self._begin,
                setup.host,
                setup.port,
                ssl=setup.tls,
                limit=wire.MOST_REQUEST_BYTES,
                ssl_handshake_timeout=handshake,
            )
        except OSError as error:
            raise InputError(
                "--listen",
                f"{written(setup.host, setup.port)}: {error.strerror or error}",
                "an address of this computer and a port that is free",
                "Choose another port, or end what listens there.",
            ) from error

    # --- one client

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to a client, whatever it does."""
        line = Line(reader, writer, self._setup.limits.patience, self._places)
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            await self._talk(line)
        except Gone as gone:
            self._told.log(f"{line.peer}: {gone}")
        except asyncio.CancelledError:  # the server ends
            await line.last_words(_stopped())
        except Exception as error:  # a client's edge: the others are served on
            self._told.log(f"{line.peer}: {_in_short(error)}")
            await line.last_words(error)
        finally:
            self._talks.discard(talk)
            line.close()

    async def _talk(self, line: Line) -> None:
        if len(self._talks) > self._setup.limits.connections:
            raise _full("clients", self._setup.limits.connections)
        await self._greet(line)
        request = await line.hear()
        command = request.get("command")
        if command == "check":
            settings_of(request.get("settings", {}), self._setup.settings)
            await line.say({"event": "ok"})
        elif command == "segment":
            asked = asked_of(request, self._setup.settings, self._setup.limits.image_bytes)
            with self._place():
                await self._segment(line, asked)
        else:
            raise InputError("command", repr(command), "check or segment", "Correct the request.")

    async def _greet(self, line: Line) -> None:
        """Find out that a client speaks our language and has the token.

        Raises
        ------
        InputError
            If not.
        """
        from flare_core import __version__

        hello = await line.hear()
        if hello.get("protocol") != wire.PROTOCOL or not wire.is_nonce(hello.get("nonce")):
            raise _other_version(hello)
        theirs, ours, token = str(hello["nonce"]), wire.new_nonce(), self._setup.token
        greeting = {"protocol": wire.PROTOCOL, "version": __version__, "nonce": ours}
        await line.say({"event": "hello", **greeting})
        said = (await line.hear()).get("proof")
        if not wire.proves(said, wire.proof(token, "client", theirs, ours)):
            await asyncio.sleep(WRONG_S)
            raise _wrong_token()
        await line.say({"event": "ready", "proof": wire.proof(token, "server", theirs, ours)})

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Take a place for a scan.

        Raises
        ------
        InputError
            If there is none.
        """
        if self._jobs >= self._setup.limits.jobs:
            raise _full("scans", self._setup.limits.jobs)
        self._jobs += 1
        try:
            yield
        finally:
            self._jobs -= 1

    async def _segment(self, line: Line, asked: Asked) -> None:
        """Take a scan in, wait for its turn, send what came of it."""
        began = time.monotonic()
        await line.say({"event": "send"})
        path = self._folder / uuid.uuid4().hex
        try:
            await line.receive(path, asked.parcel.bytes)
            answer = await self._in_turn(line, asked, path)
        finally:
            with suppress(OSError):  # Windows, while it is being read: it goes with the folder
                path.unlink(missing_ok=True)
        await line.say(answer.fields, *answer.blobs)
        size = " x ".join(map(str, asked.parcel.shape))
        self._told.log(f"{line.peer}: {size} voxels in {time.monotonic() - began:.1f} s")

    async def _in_turn(self, line: Line, asked: Asked, path: Path) -> FinalAnswer:
        """Have a scan segmented, and its client told how far it is; it may hang up."""
        news: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)

        def put(fields: dict[str, Any]) -> None:
            if news.full():  # only the newest matters
                news.get_nowait()
            news.put_nowait(fields)

        assert self._loop is not None
        later = self._loop.call_soon_threadsafe

        def tell(fields: dict[str, Any]) -> None:
            later(put, fields)

        work = partial(_computed, self._engine, asked, path, tell)
        turn = self._turns.take(work, lambda at, of: tell(_queued(at, of)))
        done = asyncio.wrap_future(turn.done)
        try:
            await self._follow(line, done, news)
            return await done
        finally:
            self._leave(turn, done)

    async def _follow(
        self, line: Line, done: asyncio.Future[FinalAnswer], news: asyncio.Queue[dict[str, Any]]
    ) -> None:
        """Pass news on until a job is done.

        Raises
        ------
        Gone
            If its client hangs up.
        """
        left = asyncio.ensure_future(line.left())
        try:
            while not done.done():
                heard = asyncio.ensure_future(news.get())
                limit_s = self._setup.limits.patience.alive_s
                those: tuple[asyncio.Future[Any], ...] = (left, done, heard)
                await asyncio.wait(those, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
                fields = heard.result() if heard.done() else {"event": "alive"}
                heard.cancel()
                if left.done():
                    left.result()
                if not done.done():
                    await line.say(fields)
        finally:
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)  # one reader at a time

    def _leave(self, turn: Turn, done: asyncio.Future[FinalAnswer]) -> None:
        """Forget a job; whatever comes of it, nobody asks any more."""
        self._turns.leave(turn)
        done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


def _computed(
    engine: Engine,
    asked: Asked,
    path: Path,
    tell: Callable[[dict[str, Any]], object],
    cancelled: IsCancelled,
) -> FinalAnswer:
    """Segment a scan whose voxels lie in a file, which goes first; in the thread that computes."""
    from flare_core.imaging.volume import Volume

    engines.stop_if(cancelled)
    throttle = Throttle()

    def on_progress(progress: Progress) -> None:
        if throttle.lets_through(progress):
            tell({"event": "progress", **progress_fields(progress)})

    with path.open("rb") as stream:
        chunks = iter(partial(stream.read, wire.CHUNK_BYTES), b"")
        voxels = wire.unpacked(asked.parcel, chunks, "image")
    path.unlink(missing_ok=True)
    if asked.scores and engine is engines.REAL:
        engine = engines.KEEPING
    engine.preload(asked.settings)
    found = engine.segment(Volume(voxels, asked.geometry), asked.settings, on_progress, cancelled)
    engines.stop_if(cancelled)
    return _packed(found, asked.scores)


def _packed(found: Segmentation, with_scores: bool) -> FinalAnswer:
    """Return a result as it travels."""
    from flare_core.segment.lesion_list import lesions_to_json
    from flare_core.segment.statistics import rows_to_json

    parcel, data = wire.packed(found.labels.array)
    blobs, scores = [data], None
    if with_scores and found.scores is not None:
        kept = found.scores
        more, beliefs = wire.packed(kept.probabilities)
        grid = wire.grid_fields(kept.geometry)
        scores = {**more.fields(), **grid, "organs": list(kept.organs)}
        blobs.append(beliefs)
    fields = {
        "event": "result",
        "labels": parcel.fields(),
        "scores": scores,
        "rows": [
            {**row, "value": plain(exact.value)}
            for row, exact in zip(rows_to_json(found.rows), found.rows, strict=True)
        ],
        "lesions": lesions_to_json(found.lesions),
        "notes": list(found.notes),
        "timings_s": plain(found.timings),
        "provenance": plain(found.provenance),
    }
    return FinalAnswer(fields, tuple(blobs))


def _in_short(error: Exception) -> str:
    """Return an error for the log, which says nothing of what a client sent."""
    if isinstance(error, InputError):
        return f"refused ({error.parts[0]})"
    failure = failure_of(error)
    if failure.kind == "internal":
        traceback.print_exception(error)
    return failure.kind.replace("_", " ")


def _queued(position: int, of: int) -> dict[str, Any]:
    return {"event": "queued", "position": position, "of": of}


# --- what can be wrong


def _other_version(hello: wire.Fields) -> InputError:
    from flare_core import __version__

    return InputError(
        "version",
        f"a client that speaks protocol {hello.get('protocol')!r} "
        f"(FLARESeg {hello.get('version')!r})",
        f"protocol {wire.PROTOCOL} (FLARESeg {__version__})",
        "Install the same version of FLARESeg on both computers.",
    )


def _wrong_token() -> InputError:
    return InputError(
        "token",
        "another one than the server's (not shown)",
        "the token that `flare serve` printed or has in its file",
        "Ask whoever runs the server, and copy it again.",
    )


def _full(what: str, most: int) -> InputError:
    return InputError(
        "the server's places",
        f"one more than its {most} {what} at a time",
        "a place that is free",
        "Try again in a few minutes, or run it on your own computer.",
    )


def _stopped() -> InputError:
    return InputError(
        "the server",
        "it was stopped by whoever runs it",
        "a server that runs",
        "Run it again when it is back, or on your own computer; nothing was written.",
    )
