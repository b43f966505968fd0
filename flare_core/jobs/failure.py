"""What a failed run says: to a person as text, to a program as fields.

Exit codes: 1 something went wrong inside or some cases of a batch failed, 2 the arguments or the
input cannot be used, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
import tempfile
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from flare_core.errors import Cancelled, FlareError, InputError, NothingFound

EXIT_INTERNAL = 1
EXIT_INPUT = 2
EXIT_STOPPED = 130

NO_MEMORY = (
    "Cannot allocate memory",
    "failed to map segment from shared object",
    "std::bad_alloc",
    "can't allocate memory",
    "not enough memory",
    "can't start new thread",
    "The paging file is too small",
)
"""How the loader, C++, torch and Python's threads say that there is no more memory."""

MOST_LOGS = 20
"""So many tracebacks are kept in the temporary folder; a new one takes the oldest one's place."""

PACKAGES = {
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "SimpleITK": "SimpleITK",
    "skimage": "scikit-image",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "requests": "requests",
}
"""What we import of others, and pip's name for it: torch is no plain dependency, and a container
may leave out what it has no use for."""

SMALL_TORCH = "--index-url https://download.pytorch.org/whl/cpu"
"""Where torch without CUDA is: 0.2 GB. Pip's default build for Linux brings gigabytes with it."""

LOG_PREFIX = "flare_"

ISSUE_ADVICE = "Run again with --debug to see the details, and report them as an issue."

LOST_ANOTHER = "Another process of this run has ended, or cannot be reached"
GO_ON = "See what that one said last, often no memory; the same command goes on from what is saved."


@dataclass(frozen=True)
class Failure:
    """Why a run failed, in fields."""

    kind: str
    """input, cancelled, nothing_found or internal."""
    argument: str
    """Which argument or file it is about; may be empty."""
    came: str
    """What was given, or what happened."""
    legal: str
    """What would be accepted; may be empty."""
    action: str
    """What the person can do now."""
    message: str
    """The whole thing as text, for a person."""

    @property
    def exit_code(self) -> int:
        """Exit code of a process that ends because of this failure."""
        return {"internal": EXIT_INTERNAL, "cancelled": EXIT_STOPPED}.get(self.kind, EXIT_INPUT)

    def fields(self) -> dict[str, str]:
        """Return the fields as a plain dict, for JSON."""
        return asdict(self)


def failure_of(error: BaseException) -> Failure:
    """Put an exception into the fields a person or a program can act upon.

    Examples
    --------
    >>> failure_of(InputError("--threads", "-1", "0 or more", "Leave it out.")).action
    'Leave it out.'
    >>> failure_of(KeyError("x")).kind
    'internal'
    """
    error = _not_installed(error) or error
    if isinstance(error, InputError):
        return Failure("input", *error.parts, message=str(error))
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        own = str(error) if isinstance(error, Cancelled) else ""
        text = f"Stopped: {own}" if own else "Stopped; nothing half-written is left."
        return Failure("cancelled", "", "", "", "", message=text)
    if isinstance(error, NothingFound):
        return _nothing_found(error)
    if _wants_memory(error):
        return _out_of_memory(error)
    if _lost_another(error):
        text = f"{LOST_ANOTHER}.\n  {GO_ON}"
        return Failure("internal", "torchrun", LOST_ANOTHER, "", GO_ON, message=text)
    if isinstance(error, FlareError):  # raised on purpose, by Slicer's side for example
        return Failure("internal", "", str(error), "", "", message=str(error))
    text = f"{type(error).__name__}: {_words(error)}"
    return Failure("internal", "", text, "", ISSUE_ADVICE, message=f"Something failed: {text}")


def _not_installed(error: BaseException) -> InputError | None:
    """Return what to tell of a package that is not there; None if it is not about one of ours."""
    missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    if missing not in PACKAGES:  # a part of a package: it is there, and broken
        return None
    package = PACKAGES[missing]
    action = f"Run: {shlex.quote(sys.executable)} -m pip install {package}"
    if missing == "torch":
        action += f"; without an NVIDIA graphics card add {SMALL_TORCH}"
    return InputError(package, f"a Python without it ({sys.executable})", "one with it", action)


def _wants_memory(error: BaseException) -> bool:
    """Whether memory was missing: for an array, for a library that is loaded, for a thread."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    words = _words(error)
    if isinstance(error, (ImportError, OSError, RuntimeError, SystemError)) and any(
        sign in words for sign in NO_MEMORY
    ):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and isinstance(error, ImportError) and _wants_memory(cause)


def _lost_another(error: BaseException) -> bool:
    """Whether a process of a shared training found that another one has ended."""
    lost = type(error).__name__ in ("DistBackendError", "DistNetworkError")
    return lost or (isinstance(error, RuntimeError) and "gloo/transport" in _words(error))


def _words(error: BaseException) -> str:
    """Return what an error says; there are some that cannot."""
    try:
        return str(error)
    except Exception:
        return "(it does not say what)"


def _nothing_found(error: NothingFound) -> Failure:
    text = str(error) or "no abdominal organ found"
    legal = "a CT that shows at least a part of the abdomen, in Hounsfield units"
    action = "Check that this is the right scan and that its patient axes are stored correctly."
    return Failure("nothing_found", "input", text, legal, action, message=f"{text}\n  {action}")


def _out_of_memory(error: BaseException) -> Failure:
    action = "Close other programs, or use --fast, or --device cpu if a graphics card was used."
    came = f"the memory is not enough ({type(error).__name__})"
    return Failure("internal", "", came, "", action, message=f"Stopped: {came}.\n  {action}")


def log_traceback(error: BaseException) -> str:
    """Write the traceback to a new file in the system's temporary folder; return its path.

    Old ones of the same person are removed. Where nothing can be written, the path is empty.
    """
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix=LOG_PREFIX, suffix=".log", delete=False, encoding="utf-8", errors="replace"
        ) as log:
            log.write(text)
    except OSError:
        return ""
    _sweep_logs(Path(log.name).parent)
    return log.name


def _sweep_logs(folder: Path) -> None:
    """Remove all but the newest of our own logs."""
    try:
        facts = [(path.stat(), path) for path in folder.glob(f"{LOG_PREFIX}*.log")]
        user = getattr(os, "getuid", lambda: 0)()
        ours = sorted((s.st_mtime, str(path)) for s, path in facts if s.st_uid == user)
        for _, path in ours[:-MOST_LOGS]:
            os.unlink(path)
    except OSError:  # another process sweeps as well
        return


def json_line(event: dict[str, object]) -> str:
    r"""Return one JSON line; pure ASCII, so that no pipe's encoding can spoil it.

    Raises
    ------
    ValueError
        If a number is NaN or infinite, which JSON does not have.

    Examples
    --------
    >>> json_line({"event": "ready", "name": "Bäuche"})
    '{"event": "ready", "name": "B\\u00e4uche"}\n'
    """
    return json.dumps(event, ensure_ascii=True, allow_nan=False) + "\n"
