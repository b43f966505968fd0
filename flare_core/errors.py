"""Errors that tell a person what to do.

Every error about an input has four parts: which argument, what came, what is legal, what to do.
"""

from __future__ import annotations

MOST_LETTERS = 600
"""A part of an error that is longer loses its middle: some come out of a damaged file."""


def shown(text: str) -> str:
    r"""Return a text with what no terminal and no file can show as escapes, and of bounded length.

    Examples
    --------
    >>> shown("a\0b\x1b[31m \udcff ü")
    'a\\x00b\\x1b[31m \\udcff ü'
    """
    text = _cut(text)
    if text.isprintable():
        return text
    return _cut("".join(c if _can_be_shown(c) else ascii(c)[1:-1] for c in text))


def _cut(text: str) -> str:
    half = (MOST_LETTERS - 5) // 2
    return text if len(text) <= MOST_LETTERS else f"{text[:half]} ... {text[-half:]}"


def _can_be_shown(letter: str) -> bool:
    code = ord(letter)
    return letter in "\n\t" or not (code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000)


class FlareError(Exception):
    """Root of the errors this library raises on purpose."""


class InputError(FlareError, ValueError):
    """An argument or a file that cannot be used.

    Parameters
    ----------
    argument : str
        Which argument, option or file.
    came : str
        What was given.
    legal : str
        What would be accepted.
    action : str
        What the person can do now.

    Examples
    --------
    >>> print(InputError("--threads", "-3", "0 (automatic) or more", "Leave the option out."))
    --threads: not usable.
      came:   -3
      legal:  0 (automatic) or more
      to do:  Leave the option out.
    """

    def __init__(self, argument: str, came: str, legal: str, action: str) -> None:
        argument, came, legal, action = map(shown, (argument, came or "", legal, action))
        came = came if came.strip() else "nothing (an empty text)"
        self.parts = (argument, came, legal, action)
        super().__init__(
            f"{argument}: not usable.\n  came:   {came}\n  legal:  {legal}\n  to do:  {action}"
        )

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        """Keep the four parts when the error crosses a process border."""
        return type(self), self.parts


class Cancelled(FlareError):
    """The caller asked the run to stop; nothing was written."""


class NothingFound(FlareError):
    """No abdominal organ is in the scan; there is nothing to write."""
