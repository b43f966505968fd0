"""Names of cases: legal as folder names on every system, and no two that one system confuses."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from flare_core.errors import InputError

LONGEST = 80
"""Characters of a name; Windows allows 260 for a whole path."""

MOST_BYTES = 200
"""Bytes of a name in UTF-8; most systems allow 255, and files made of it have longer names."""

SHORT_TEXT, LONG_TEXT = 1000, 100_000
"""Characters of an author, patient or source, and of a note or reason."""

_FORBIDDEN = r'[\x00-\x1f<>:"/\\|?*\ud800-\udfff]'
"""What some system refuses, and halves of a character (a name that was not UTF-8)."""
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
    name = name.encode("utf-8")[:MOST_BYTES].decode("utf-8", "ignore")
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


def pseudonym(number: str) -> str:
    """Return what a DICOM patient ID is called in a store; FLARESeg calls it the same.

    Examples
    --------
    >>> pseudonym("MRN-4711")
    'patient-932ac84b6407'
    """
    return f"patient-{hashlib.sha256(f'FLARESeg {number}'.encode()).hexdigest()[:12]}"


def check_text(argument: str, text: str, longest: int = SHORT_TEXT) -> str:
    """Return a text that can be stored and shown, or refuse it.

    Raises
    ------
    InputError
        If it is no text, is too long, or holds a NUL or half of a character.

    Examples
    --------
    >>> check_text("author", "Ada")
    'Ada'
    """
    odd = [sign for sign in text if sign == "\0" or "\ud800" <= sign <= "\udfff"]
    if not odd and len(text) <= longest:
        return text
    came = f"{ascii(text[:60])}{'...' if len(text) > 60 else ''}"
    why = f"with {ascii(odd[0])} in it" if odd else f"of {len(text)} characters"
    raise InputError(
        argument,
        f"{came}, {why}",
        f"at most {longest} characters, none of them NUL or half of one",
        "Type it again; text from a file must be UTF-8.",
    )


def is_text(value: object, longest: int = LONG_TEXT) -> bool:
    """Whether something is a text that `check_text` would let pass."""
    if not isinstance(value, str):
        return False
    try:
        check_text("text", value, longest)
    except InputError:
        return False
    return True
