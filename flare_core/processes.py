"""Processes of ours: no file of the current folder is ever run by them, and one that dies is told.

A `Sidecar` is a second Python that calls functions of ours, one at a time. What happens to it
happens to it alone: a library that crashes or hangs inside costs that call, and the next one gets a
new process. Calls and answers go through pipes; arrays are not copied on their way (60 ms for the
57 MB of a 512 x 512 x 110 scan). It is started with our own search path: a Python that is started
with ``-c`` or ``-m``, as by multiprocessing, first looks for its modules in the current folder.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from io import BytesIO, FileIO
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

ROOT = str(Path(__file__).resolve().parents[1])
"""The folder that holds this very flare_core."""

START = "import sys; sys.path[:] = sys.argv.pop().split('\\n'); "
"""What a Python of ours does first; the search path is its last argument."""

SERVE = "from flare_core.processes import serve; serve()"

END_S = 2.0
"""How long the end of a sidecar is waited for."""

LATER_S = 10.0
"""So much after its limit a sidecar ends by itself, if the process that would end it is gone."""

_NUMBER = struct.Struct("<q")

_STARTED: weakref.WeakSet[Sidecar] = weakref.WeakSet()


class Ended(Exception):
    """A sidecar ended before it answered.

    Parameters
    ----------
    code : int
        Exit code, or minus the number of a signal.
    limit_s : float or None
        How long it was given, if it was ended for taking longer.
    """

    def __init__(self, code: int, limit_s: float | None = None) -> None:
        self.code, self.limit_s = code, limit_s
        super().__init__(self.reason)

    @property
    def reason(self) -> str:
        """What happened, as the end of a sentence.

        Examples
        --------
        >>> Ended(-11).reason, Ended(-9).reason
        ('crashed (SIGSEGV)', 'was ended from outside (SIGKILL), mostly for want of memory')
        """
        if self.limit_s is not None:
            return f"did not end within {self.limit_s:.0f} s"
        if self.code == -9:
            return "was ended from outside (SIGKILL), mostly for want of memory"
        try:
            return f"crashed ({signal.Signals(-self.code).name})"
        except ValueError:
            return f"was ended from outside, or ended itself (exit code {self.code})"


class _FarTraceback(Exception):
    """Where an error arose in a sidecar; shown as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def safe_path() -> list[str]:
    """Return this process's search path without the current folder, with our own in it."""
    here = _current_folder()
    path = [entry for entry in sys.path if entry and (entry == ROOT or not _same(entry, here))]
    return path if ROOT in path else [ROOT, *path]


def forget_current_folder() -> None:
    """Import nothing from the current folder from now on, unless we ourselves are in it."""
    sys.path[:] = safe_path()


def python_words(code: str, *words: str, python: str = "") -> list[str]:
    """Return program and arguments that run `code` on the safe search path.

    Parameters
    ----------
    code : str
        Python statements; ``sys.argv[1:]`` are the `words`.
    python : str
        Which Python; by default this one.

    Raises
    ------
    OSError
        If this process is another program, and no Python of its own is found.
    """
    utf8 = ["-X", "utf8"] if sys.flags.utf8_mode else []
    path = "\n".join(safe_path())
    return [python or own_python(), *utf8, "-c", START + code, *words, path]


def own_python() -> str:
    """Return the Python that we are in; in the program Slicer, the one that comes with it.

    Raises
    ------
    OSError
        If there is none: another program, started with our words, would do something else.
    """
    program = sys.executable or ""
    if "python" in os.path.basename(program).lower():
        return program
    found = shutil.which("PythonSlicer")
    if found is None:
        raise OSError(f"no Python beside {program or 'this program'}")
    return found


class Sidecar:
    """A process that calls functions; started by the first call, or by `warm`.

    One thread at a time may use it. It ends with this process, however that ends.
    """

    def __init__(self, python: str = "") -> None:
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._calling = False
        _STARTED.add(self)

    @property
    def alive(self) -> bool:
        """Whether there is a process, and it is this process's own."""
        ours = self._process is not None and self._owner == os.getpid()  # not after a fork
        return ours and self._process is not None and self._process.poll() is None

    def warm(self) -> None:
        """Start it, and do not wait for that.

        Raises
        ------
        OSError
            If the system starts no process.
        """
        if self.alive:
            return
        self.close()
        self._process = subprocess.Popen(
            python_words(SERVE, python=self._python),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a pipe that it held open would outlive us
            bufsize=0,
        )
        self._owner = os.getpid()

    def call(
        self, function: str | Callable[..., Any], *arguments: Any, limit_s: float | None = None
    ) -> Any:
        """Return what the function returns there, or raise what it raises.

        Parameters
        ----------
        function : str or callable
            ``module:name``, or a function that can be found by that.
        limit_s : float, optional
            When it is ended, counted from now.

        Raises
        ------
        Ended
            If the process ended meanwhile.
        OSError
            If the system starts no process.
        """
        self.warm()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()
        timer = threading.Timer(limit_s or 0, _end_late, (process, late))
        timer.daemon = True
        if limit_s is not None:
            timer.start()
        self._calling, over = True, False
        try:
            _send(process.stdin, (function, arguments, limit_s))
            good, value, text = _receive(process.stdout)
            over = True
        except (OSError, EOFError):
            code, over = self._left(process), True
            raise Ended(code, limit_s if late.is_set() else None) from None
        finally:
            timer.cancel()
            self._calling = False
            if not over:  # Ctrl-C: its answer would be taken for the next one's
                process.kill()
                self._left(process)
        if good:
            return value
        raise value from _FarTraceback(text)

    def close(self) -> None:
        """End it at once, if it is there."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        with suppress(OSError):
            process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None and not self._calling:  # a thread that reads will see its end
                with suppress(OSError):
                    stream.close()
        with suppress(subprocess.TimeoutExpired):  # it may hang in a disk that does not answer
            process.wait(END_S)

    def _left(self, process: subprocess.Popen[bytes]) -> int:
        """Tidy up after a process that gives no answer any more; return its exit code."""
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            code = -9
        self._calling, self._process = False, process
        self.close()
        return code


def end_sidecars() -> None:
    """End all sidecars of this process: for an end that runs no exit functions."""
    for sidecar in tuple(_STARTED):
        sidecar.close()


def serve() -> None:
    """Answer calls until the other end of the pipe is closed; the whole life of a sidecar."""
    for name in ("SIGINT", "SIGHUP"):  # Ctrl-C, a closed terminal: the main process's, it ends us
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    calls, answers = FileIO(os.dup(0), "rb"), FileIO(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):  # what a library prints must not come between the answers
        os.dup2(nowhere, number)
    thread = ThreadPoolExecutor(1)  # it hands out whatever is raised
    log = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    while True:
        try:
            function, arguments, limit_s = _receive(calls)
        except EOFError:
            return
        if limit_s is not None:  # it needs no lock of Python, which a library that hangs may hold
            faulthandler.dump_traceback_later(limit_s + LATER_S, exit=True, file=log)
        answer = _answer(thread, function, arguments)
        faulthandler.cancel_dump_traceback_later()
        try:
            _send(answers, answer)
        except OSError:
            return
        del answer  # it may be a whole scan


def _end_late(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    """End a process whose time is over."""
    late.set()
    process.kill()


def _answer(
    thread: ThreadPoolExecutor, function: str | Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Call the function; return (True, value, "") or (False, error, traceback)."""
    done = thread.submit(lambda: _found(function)(*arguments))
    error = done.exception()
    if error is None:
        return True, done.result(), ""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    travels = thread.submit(lambda: ForkingPickler.loads(ForkingPickler.dumps(error)))
    if travels.exception() is not None:  # an error of a library's own kind
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return False, error, text


def _found(function: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def _send(stream: Any, value: object) -> None:
    """Write a value: how many parts, their lengths, the parts; the first is the pickle."""
    body, buffers = BytesIO(), []  # type: ignore[var-annotated]
    ForkingPickler(body, 5, True, buffers.append).dump(value)
    parts = [body.getbuffer(), *(buffer.raw() for buffer in buffers)]
    head = b"".join(_NUMBER.pack(number) for number in (len(parts), *(p.nbytes for p in parts)))
    for part in (memoryview(head), *parts):
        while part.nbytes:
            part = part[stream.write(part) :]


def _receive(stream: Any) -> Any:
    """Read a value.

    Raises
    ------
    EOFError
        If the other end is gone.
    """
    count = _NUMBER.unpack(_exactly(stream, _NUMBER.size))[0]
    lengths = _exactly(stream, _NUMBER.size * count)
    body, *buffers = [_exactly(stream, length) for (length,) in _NUMBER.iter_unpack(lengths)]
    return ForkingPickler.loads(body, buffers=buffers)


def _exactly(stream: Any, length: int) -> bytearray:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = stream.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _same(path: str, folder: str) -> bool:
    return bool(folder) and os.path.realpath(path) == os.path.realpath(folder)
