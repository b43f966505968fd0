"""The two packages that objects other than scans need: pydicom reads them, highdicom makes them.

They are no plain dependency: a CT series is read without them, with bounds of our own.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from flare_core.errors import InputError

INSTALL = "pip install 'flareseg[dicom]'"
"""What brings both."""


def require(package: str, purpose: str) -> None:
    """Refuse what needs a package that is not there.

    Parameters
    ----------
    package : str
        ``pydicom`` or ``highdicom``.
    purpose : str
        What it is wanted for, such as an option.

    Raises
    ------
    InputError
        If it is not installed; says what to install.

    Examples
    --------
    >>> require("numpy", "--outputs dicom-seg")
    """
    if find_spec(package) is None:
        raise InputError(
            purpose,
            f"a Python without the package {package}",
            f"one with it: {INSTALL}",
            f"Run: {INSTALL}",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep both packages from telling of every value that is not quite legal, which many are."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
