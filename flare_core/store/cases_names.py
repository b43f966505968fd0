"""Names of cases: legal as folder names on every system, and no two that one system confuses."""

from __future__ import annotations

import re
import unicodedata

from flare_core.errors import InputError

LONGEST = 80
"""Characters of a name; Windows allows 260 for a whole path."""

_FORBIDDEN = r'[\x00-\x1f<>:"/\\|?*]'
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_name(name: str) -> str:
    """Return a case's name, or refuse one that is no legal folder name somewhere.

    Raises
    ------
    InputError
        If it is empty, too long, holds a sign that Windows forbids, starts with a dot, ends with a
        dot or a blank, or is a name that Windows reserves.

    Examples
    --------
    >>> check_name("liver 07"), safe_name("a/b:c."), safe_name("con")
    ('liver 07', 'a_b_c', '_con')
    """
    if safe_name(name) != unicodedata.normalize("NFC", name):
        raise InputError(
            "name of the case",
            repr(name),
            f"a folder name of at most {LONGEST} characters that every system allows",
            f"Call it {safe_name(name)!r}, for example.",
        )
    return unicodedata.normalize("NFC", name)


def safe_name(text: str) -> str:
    """Return the legal name that is nearest to a text."""
    name = re.sub(_FORBIDDEN, "_", unicodedata.normalize("NFC", text))[:LONGEST]
    name = name.strip(" ").lstrip(".").rstrip(". ") or "case"
    return f"_{name}"[:LONGEST] if _RESERVED.fullmatch(name) else name


def key_of(name: str) -> str:
    """Return what is compared: names that differ only in capitals are one folder on Windows.

    Examples
    --------
    >>> key_of(" Case A") == key_of("case a")
    True
    """
    return unicodedata.normalize("NFC", name).strip().casefold()
