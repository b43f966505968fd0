"""Errors that tell a person what to do.

Every error about an input has four parts: which argument, what came, what is legal, what to do.
"""

from __future__ import annotations


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
