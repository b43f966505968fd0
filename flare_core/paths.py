"""Paths that every system and library takes: what one of them would say late is said at once."""

from __future__ import annotations

import os
from pathlib import Path

from flare_core.errors import InputError

LONGEST_NAME = 255
"""Bytes of a name on the usual file systems."""

LONGEST_PATH = 4000
"""Bytes of a path; Linux takes 4095."""


def usable_path(path: str | os.PathLike[str], argument: str = "", *, room: int = 0) -> Path:
    """Return a path that a file may have and that libraries in C and C++ take.

    Parameters
    ----------
    argument : str
        What the path was given for; the path itself if empty.
    room : int
        Bytes of names that will be put behind it.

    Raises
    ------
    InputError
        If it is empty, holds a zero byte, is not in UTF-8, or it or one of its names is too long.

    Examples
    --------
    >>> usable_path("models/a.zip", "package").name
    'a.zip'
    """
    text = os.fspath(path)
    came = _fault(text, room)
    if came:
        raise InputError(
            argument or text[:80] or "path",
            f"{text[:80]!r}, {came}",
            f"a path in UTF-8 text: names of at most {LONGEST_NAME} bytes, {LONGEST_PATH - room}"
            " together",
            "Choose another name; letters, digits, - and _ are always safe.",
        )
    return Path(text)


def _fault(text: str, room: int) -> str:
    """Return why no file may have a path; empty if one may."""
    if not text or "\0" in text:
        return "with a zero byte" if text else "an empty text"
    try:
        names = [name.encode("utf-8") for name in Path(text).parts]
    except UnicodeEncodeError:
        return "which is not in UTF-8"
    longest = max(map(len, names), default=0)
    if longest > LONGEST_NAME:
        return f"with a name of {longest} bytes"
    size = len(os.path.abspath(text).encode("utf-8", "replace"))
    return f"of {size} bytes" if size + room > LONGEST_PATH else ""
