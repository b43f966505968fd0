"""``_()`` marks text for people as translatable; outside the Slicer application it returns it.

Slicer finds the translation by the file that calls ``_``, so the function is passed on as it is.
"""

from __future__ import annotations

from importlib.util import find_spec


def _untranslated(text: str) -> str:
    """Return the text as it is."""
    return text


def _slicer_is_whole() -> bool:
    """Return whether this is Slicer's Python; slicer-core has no `slicer.i18n`."""
    try:
        return find_spec("slicer.i18n") is not None
    except (ImportError, ValueError):
        return False


if _slicer_is_whole():
    from slicer.i18n import tr as _
else:
    _ = _untranslated

__all__ = ["_"]
