"""nnU-Net v1's plans.pkl without running the program that a pickle is.

A pickle names functions and calls them. This reader knows a dozen names, all of plain containers
and numpy's numbers, and answers each with a class of its own that only keeps values; any other
name ends the reading. So even numpy is not called, and no stranger's code can be.
"""

from __future__ import annotations

import codecs
import collections
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_core.errors import InputError
from flare_core.models.pickle_size import check_pickle

MAX_BYTES = 32 * 2**20
"""A plans file lists the training cases; that of FLARE22's winner has one megabyte."""

MOST_VALUES = 4_000_000
"""Numbers, texts and containers of a plans file, each counted as often as it is held."""

MOST_AXES = 8
"""Axes of an array."""

FORMATS = {"f2": "e", "f4": "f", "f8": "d", "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q",
           "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}  # fmt: skip
"""numpy's names of number types and those of the struct module."""


def read_plans_pickle(path: Path) -> Any:
    """Return what a pickle of plain containers and numbers holds; arrays come as lists.

    Raises
    ------
    InputError
        If it cannot be read or names anything else.
    """
    action = "Do not use this model unless you trust it and can convert it elsewhere."
    legal = "a pickle of numbers, text, lists and dicts"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(str(path), "a larger file", f"at most {MAX_BYTES} bytes", action)
        data = path.read_bytes()
        check_pickle(io.BytesIO(data), most_values=MOST_VALUES, most_steps=MOST_VALUES)
        return _plain(_Reader(io.BytesIO(data)).load())
    except _Refused as error:
        came = f"a pickle that calls {error}; nothing of it was executed"
        raise InputError(str(path), came, legal, action) from error
    except InputError:
        raise
    except BROKEN as error:
        raise InputError(str(path), f"not readable: {error}", legal, action) from error


BROKEN = (
    OSError, EOFError, pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError,
    AttributeError, struct.error, OverflowError, MemoryError, RecursionError, NotImplementedError,
)  # fmt: skip
"""What a damaged pickle raises."""


class _Refused(Exception):
    """A name that is not known here."""


class _Type:
    """In place of numpy.dtype."""

    def __init__(self, code: str = "f8", *rest: object) -> None:
        del rest
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def numbers(self, data: bytes) -> list[Any]:
        """Return the numbers that bytes hold."""
        form = FORMATS[self.code]
        count = len(data) // struct.calcsize(form)
        return list(struct.unpack(f"{self.order}{count}{form}", data))


class _Array:
    """In place of numpy.ndarray."""

    def __init__(self, *ignored: object) -> None:
        del ignored
        self.values: list[Any] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        flat = list(data) if isinstance(data, list) else kind.numbers(data)
        if len(shape) > MOST_AXES:
            raise ValueError(f"an array of {len(shape)} axes")
        if fortran and len(shape) > 1:
            raise ValueError("an array in column order")
        for n in reversed(shape[1:]):
            flat = [flat[i : i + n] for i in range(0, len(flat), n)] if n else []
        self.values = flat


def _array(*ignored: object) -> _Array:
    del ignored
    return _Array()


def _scalar(kind: _Type, data: Any = b"") -> Any:
    if isinstance(data, str):
        data = data.encode("latin1")
    return kind.numbers(data)[0] if isinstance(data, bytes) else data


def _from_buffer(data: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    """In place of numpy's way of reading an array in pickle protocol 5."""
    made = _Array()
    made.__setstate__((1, shape, kind, order == "F", bytes(data)))
    return made


def _no_bytes(*arguments: object) -> bytes:
    """In place of bytes: old pickles write none at all so; with a number it would be a bomb."""
    if arguments:
        raise _Refused("bytes with arguments")
    return b""


def _encoded(text: str, coding: str = "latin1") -> bytes:
    """In place of _codecs.encode, by which old pickles write bytes."""
    if coding not in ("latin1", "latin-1"):
        raise _Refused(f"_codecs.encode to {coding}")
    return codecs.latin_1_encode(text)[0]


KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "bytes"): _no_bytes,
    ("_codecs", "encode"): _encoded,
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}
"""Everything that a pickle may name, and what it gets."""


class _Reader(pickle.Unpickler):  # noqa: S301 (finds nothing but what KNOWN lists)
    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for."""
        module = {"__builtin__": "builtins"}.get(module, module)
        if (module, name) not in KNOWN:
            raise _Refused(f"{module}.{name}")
        return KNOWN[module, name]


def _key(key: Any) -> Any:
    """Return a key of a dict; old plans have some of several labels, which become text."""
    return str(_plain(key)) if isinstance(key, tuple) else key


def _plain(value: Any) -> Any:
    """Return the same with lists for arrays."""
    if isinstance(value, _Array):
        return _plain(value.values)
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
