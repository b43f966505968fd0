"""What went wrong, in a sentence or two for a person; nobody is shown a traceback."""

from __future__ import annotations

from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import DISK_FULL, four_parts_text


def error_words(error: BaseException) -> str:
    """Return what a person should know of an error, and do about it.

    Examples
    --------
    >>> from flare_core.errors import InputError
    >>> error_words(InputError("name", "'A b'", "a-z", "Choose another name."))
    "Choose another name. (name: 'A b'; needed: a-z)"
    >>> error_words(OSError(13, "Permission denied", "/data"))
    'Permission denied: /data'
    """
    parts = getattr(error, "parts", None)
    if parts:
        return four_parts_text(*parts)
    if DISK_FULL.search(str(error)):
        return _("The disk is full. Free some space and try again.")
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error).strip() or type(error).__name__
