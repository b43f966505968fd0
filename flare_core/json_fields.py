"""JSON to frozen dataclass and back, strictly: nothing unknown, missing or of another type passes.

A file that means something else than the reader thinks is worse than one that cannot be read, so
no value is coerced except a whole number where a real one is wanted.
"""

from __future__ import annotations

import json
import math
import re
import sys
import types
from collections import Counter
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from flare_core.errors import InputError

T = TypeVar("T")

DEEPEST = 100
"""Lists and objects within each other; a card has six levels."""

IN_FILES = "in files"
"""Key in a field's metadata: what it is called in JSON, where that is not its name."""

WORDS: dict[Any, str] = {
    str: "text", int: "a whole number", float: "a finite number", bool: "true or false",
    dict: "an object", type(None): "null",
}  # fmt: skip
"""How a type is called in a message to a person."""


def read_json(text: str, where: str) -> Any:
    """Parse JSON text; NaN, Infinity, repeated keys and absurd nesting are refused.

    Raises
    ------
    InputError
        If the text is not JSON in this strict sense.

    Examples
    --------
    >>> read_json('{"a": [1, 2.5]}', "example")
    {'a': [1, 2.5]}
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
        check_json(value, text)
        return value
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(
            where, f"not readable as JSON: {error}", "one JSON object",
            "Restore the file from where it came, or correct it at the place named.",
        ) from error  # fmt: skip


def check_json(value: Any, text: str | bytes) -> None:
    """Refuse a parsed value that no walk through it would end well for.

    Parameters
    ----------
    value : Any
        What was parsed.
    text : str or bytes
        What it was parsed from; most texts are cleared by a look at it.

    Raises
    ------
    ValueError
        If it is nested deeper than `DEEPEST`, or a text holds half a character.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if data.count(b"[") + data.count(b"{") > DEEPEST:
        _check_depth(value)
    if rb"\ud" in data.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text with half a character (a lone surrogate)") from error


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
        inside = [each.values() if isinstance(each, dict) else each for each in level]
        level = [
            item
            for each in inside
            if not isinstance(each, (str, int, float, type(None)))
            for item in each
            if isinstance(item, (dict, list))
        ]
        depth += 1


def read_json_file(file: Path, *, argument: str, legal: str, action: str) -> Any:
    """Read a JSON file that a person names.

    Raises
    ------
    InputError
        With `argument`, `legal` and `action`, if the file cannot be read; or if it is not JSON.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        came = f"{file}: {getattr(error, 'strerror', None) or error}"
        raise InputError(argument, came, legal, action) from error
    return read_json(text, str(file))


def decode(cls: type[T], value: Any, where: str, *, note: str = "") -> T:
    """Build the dataclass `cls` from a parsed JSON object.

    Parameters
    ----------
    cls : type
        A dataclass of str, int, float, bool, dict, tuples, optional values and such dataclasses.
    value : Any
        What `read_json` gave.
    where : str
        What the object is called in an error, such as ``card.json``.
    note : str
        Added to the advice when a field is unknown, such as the newest format known here.

    Raises
    ------
    InputError
        If a field is unknown, missing or of another type, or `cls` itself refuses the values.
    """
    if not isinstance(value, dict):
        raise _mistyped(where, value, "an object")
    known = {_name_in_files(field): field for field in fields(cls)}  # type: ignore[arg-type]
    _check_names(known, value, where, note)
    hints = _field_types(cls)
    values = {
        known[name].name: _decode_value(hints[known[name].name], item, f"{where}: {name}", note)
        for name, item in value.items()
    }
    return cls(**values)


def encode(value: Any) -> Any:
    """Turn a dataclass into plain JSON values; fields keep their order, free objects are sorted.

    Examples
    --------
    >>> encode({"b": (1, 2), "a": None})
    {'a': None, 'b': [1, 2]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {_name_in_files(each): encode(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {str(key): encode(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return value


def _name_in_files(field: Field[Any]) -> str:
    """Return a field's name in JSON: its own, or the one that files had before it was renamed."""
    return str(field.metadata.get(IN_FILES, field.name))


def to_text(value: Any, where: str) -> str:
    """Write a dataclass as JSON text; the same values give the same text.

    What is written is read back first, so a file that this library could not read, or a whole
    number that would come back as another text, is never made.

    Raises
    ------
    InputError
        If a field is of another type than declared, or a free object holds something JSON has no
        word for, such as NaN or an array.
    """
    return _dump(decode(type(value), read_json(_dump(value, where), where), where), where)


def _dump(value: Any, where: str) -> str:
    try:
        text = json.dumps(encode(value), indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            where, str(error), "text, finite numbers, true, false, null, lists and objects",
            "Convert the value before it goes into the file (NaN becomes null).",
        ) from error  # fmt: skip
    # Numbers of one list on one line; a text cannot match, as JSON texts hold no bare line break
    return re.sub(r"\[\n\s+([-+0-9.eE,\s]+)\]", _on_one_line, text) + "\n"


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[1].split())}]"


def _field_types(cls: type[Any]) -> dict[str, Any]:
    # Not get_type_hints(cls): Python 3.10 stumbles over dataclasses' KW_ONLY marker
    stated = types.SimpleNamespace(__annotations__={item.name: item.type for item in fields(cls)})
    return get_type_hints(stated, globalns=vars(sys.modules[cls.__module__]))


def _check_names(
    known: dict[str, Field[Any]], value: dict[str, Any], where: str, note: str
) -> None:
    unknown = sorted(set(value) - set(known))
    if unknown:
        names = ", ".join(
            repr(name)[:82] if len(name) > 80 or not name else name for name in unknown
        )
        raise InputError(
            where, f"unknown field {names[:400]}", f"the fields {', '.join(known)}",
            f"Remove or rename the field{note}.",
        )  # fmt: skip
    missing = [name for name, field in known.items() if name not in value and _is_required(field)]
    if missing:
        raise InputError(
            where, f"missing field {', '.join(missing)}", f"at least {', '.join(missing)}",
            "Add the field, or fetch the file again from where it came.",
        )  # fmt: skip


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _decode_value(hint: Any, value: Any, where: str, note: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _decode_optional(hint, value, where, note)
    if origin is tuple:
        return _decode_tuple(get_args(hint), value, where, note)
    if origin is dict and get_args(hint)[1] is not Any and isinstance(value, dict):
        inside = get_args(hint)[1]
        return {key: _decode_value(inside, v, f"{where}[{key}]", note) for key, v in value.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return decode(hint, value, where, note=note)
    return _decode_plain(origin or hint, value, where)


def _decode_optional(hint: Any, value: Any, where: str, note: str) -> Any:
    if value is None and type(None) in get_args(hint):
        return None
    inner = [choice for choice in get_args(hint) if choice is not type(None)]
    return _decode_value(inner[0], value, where, note)


def _decode_tuple(items: tuple[Any, ...], value: Any, where: str, note: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _mistyped(where, value, "a list")
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(value) != len(items):
        raise _mistyped(where, value, f"a list of {len(items)}")
    return tuple(
        _decode_value(item, part, f"{where}[{index}]", note)
        for index, (item, part) in enumerate(zip(items, value, strict=True))
    )


def _decode_plain(wanted: Any, value: Any, where: str) -> Any:
    # bool is a subclass of int in Python, but not a number to a person
    if wanted is float and type(value) in (int, float) and _is_finite(value):
        return float(value)
    if wanted is not float and type(value) is wanted:
        return value
    raise _mistyped(where, value, WORDS[wanted])


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _mistyped(where: str, value: Any, legal: str) -> InputError:
    came = json.dumps(value, ensure_ascii=False)
    came = came if len(came) <= 80 else came[:77] + "..."
    return InputError(where, came, legal, "Correct the value in the file.")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"field {counts.most_common(1)[0][0][:80]} comes twice")
    return result
