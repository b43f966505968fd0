"""The two packages that objects other than scans need: pydicom reads them, highdicom makes them.

They are no plain dependency: a CT series is read without them, with bounds of our own.
"""

from __future__ import annotations

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
