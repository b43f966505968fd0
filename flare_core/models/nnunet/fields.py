"""Values out of nnU-Net's plans and dataset.json, which anybody may have written.

Each reader returns what it is named after, or refuses with the field's name: a file that is not as
nnU-Net writes it must not surface as a traceback somewhere behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core.errors import InputError
from flare_core.models.stage_card import Triple

ACTION = "Choose another configuration or model; only what is listed can be run."

LONGEST = 1000
"""Entries of a list; plans have a handful of stages, data sets a hundred labels."""

LONGEST_TEXT = 200
"""Letters of a name that are kept."""

LARGEST = 1e15
"""Numbers below are whole in floating point, too; none in a plans file comes near."""


def refusal(argument: str, came: str, legal: str, *, action: str = ACTION) -> InputError:
    """Error about a model that cannot be imported."""
    return InputError(argument, came, legal, action)


def need(mapping: Any, name: str, where: str) -> Any:
    """Return a field of a plans file.

    Raises
    ------
    InputError
        If it is missing.
    """
    if not isinstance(mapping, Mapping) or name not in mapping:
        raise refusal(where, f"no field {name}", f"nnU-Net plans with {name}")
    return mapping[name]


def fields(value: Any, where: str) -> dict[str, Any]:
    """Return an object; null counts as an empty one, as nnU-Net writes it.

    Raises
    ------
    InputError
        If it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _mistyped(where, value, "an object")
    return {str(name): item for name, item in value.items()}


def items(value: Any, where: str) -> list[Any]:
    """Return a list.

    Raises
    ------
    InputError
        If it is something else, or a very long one.
    """
    if not isinstance(value, (list, tuple)) or len(value) > LONGEST:
        raise _mistyped(where, value, f"a list of at most {LONGEST}")
    return list(value)


def whole(value: Any, where: str) -> int:
    """Return a whole number.

    Raises
    ------
    InputError
        If it is something else.

    Examples
    --------
    >>> whole(3, "plans"), whole(3.0, "plans")
    (3, 3)
    """
    number = real(value, where, "a whole number")
    if number != int(number):
        raise _mistyped(where, value, "a whole number")
    return int(number)


def real(value: Any, where: str, legal: str = "a finite number") -> float:
    """Return a finite number.

    Raises
    ------
    InputError
        If it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _mistyped(where, value, legal)
    if not -LARGEST < value < LARGEST:  # NaN is not either
        raise _mistyped(where, value, legal)
    return float(value)


def as_text(value: Any) -> str:
    """Return a name or title, shortened; empty if there is none.

    Examples
    --------
    >>> as_text("nnUNetTrainer"), as_text(None), as_text([1, 2])
    ('nnUNetTrainer', '', '')
    """
    plain = isinstance(value, (str, int, float))
    return str(value)[:LONGEST_TEXT].encode("utf-8", "replace").decode() if plain else ""


def triple(value: Any, where: str = "plans") -> Triple:
    """Return three whole numbers; one number counts for all axes.

    Examples
    --------
    >>> triple(3), triple([1, 3, 3])
    ((3, 3, 3), (1, 3, 3))
    """
    z, y, x = (
        whole(n, where) for n in ([value] * 3 if isinstance(value, int) else _three(value, where))
    )
    return z, y, x


def floats(value: Any, where: str = "plans") -> tuple[float, float, float]:
    """Return three real numbers."""
    z, y, x = (real(n, where) for n in _three(value, where))
    return z, y, x


def _three(value: Any, where: str) -> list[Any]:
    numbers = items(value, where)
    if len(numbers) != 3:
        raise _mistyped(where, value, "three numbers, one for each axis")
    return numbers


def _mistyped(where: str, value: Any, legal: str) -> InputError:
    came = repr(value)
    return refusal(where, came if len(came) <= 80 else f"{came[:77]}...", legal)
