"""How much a pickle makes, found without unpickling it.

A pickle of some hundred bytes can stand for more than any memory holds: a list of a list twice, of
that twice, and so on ("a billion laughs"). Nothing is repeated until somebody walks through it,
prints it, or takes its hash, which unpickling does for the keys of a dict. So the pickle's steps
are followed here with nothing in hand but counts.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import BinaryIO

DEEPEST = 100
"""Containers within containers; plans and checkpoints have about ten."""

MOST_STEPS = 10_000_000
"""Steps of a pickle; a checkpoint with the log of thousands of epochs has some millions."""

MOST_VALUES = 50_000_000
"""Values that a checkpoint may stand for, each counted as often as it is held."""

_MARK = object()
_PUT = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_EMPTY = {"EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"}
_TO_MARK = {"TUPLE", "LIST", "DICT", "FROZENSET", "INST", "OBJ"}
_SEVERAL = {"APPENDS", "ADDITEMS", "SETITEMS"}
_TAKE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "REDUCE": 2, "NEWOBJ": 2, "NEWOBJ_EX": 3,
         "STACK_GLOBAL": 2, "BINPERSID": 1}  # fmt: skip
"""Steps that make one value of some, and of how many."""
_ADD = {"APPEND": 1, "BUILD": 1, "SETITEM": 2}
"""Steps that put values into the one below them."""
_NOTHING = {"PROTO", "FRAME", "STOP"}
_REFUSED = {"EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
"""Steps that neither plans nor checkpoints need."""
_MAKES_ROOM = "bytearray"
"""With a number it fills as much memory; torch's loader would call it."""


class _Container:
    """A value that holds others."""

    __slots__ = ("depth", "parts", "size")

    def __init__(self, parts: list[object]) -> None:
        self.parts = parts
        self.size = -1  # not known yet; 0 while it is being found out
        self.depth = 0


def check_pickle(
    stream: BinaryIO, *, most_values: int = MOST_VALUES, most_steps: int = MOST_STEPS
) -> None:
    """Read one pickle and return behind its end if it is of a size to be read.

    Raises
    ------
    ValueError
        If it stands for more values than `most_values`, takes more steps, is nested deeper than
        `DEEPEST`, holds itself, or is damaged.
    """
    machine = _Machine(most_steps)
    try:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if steps > most_steps:
                raise ValueError(f"more than {most_steps} steps")
            machine.step(opcode.name, argument)
    except (IndexError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"a damaged pickle ({error})") from error
    for container in machine.made:
        _measure(container, most_values)


class _Machine:
    """The stack and the memory of an unpickler that makes nothing."""

    def __init__(self, most: int) -> None:
        self.made: list[_Container] = []
        self.stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._most = most

    def step(self, name: str, argument: object) -> None:
        """Follow one step."""
        if name in _HOW:
            _HOW[name](self, name, argument)
        else:  # a number, a text, a name: counted by the room it takes
            if isinstance(argument, str) and argument.rpartition(" ")[2] == _MAKES_ROOM:
                raise ValueError(f"a pickle that calls {argument}")
            long = len(argument) if isinstance(argument, (str, bytes)) else 0
            self.stack.append(1 + long // 8)

    def _get(self, name: str, argument: object) -> None:
        self.stack.append(self._memo[int(argument)])  # type: ignore[call-overload]

    def _put(self, name: str, argument: object) -> None:
        place = len(self._memo) if name == "MEMOIZE" else int(argument)  # type: ignore[call-overload]
        if not 0 <= place <= self._most:  # Python's own unpickler would make room for all below
            raise ValueError(f"a pickle with a memory of {place} places")
        self._memo[place] = self.stack[-1]

    def _add(self, name: str, argument: object) -> None:
        parts = self._to_mark() if name in _SEVERAL else self._take(_ADD[name])
        below = self.stack[-1]
        if isinstance(below, _Container):
            below.parts.extend(parts)

    def _make(self, name: str, argument: object) -> None:
        if name in _EMPTY:
            parts: list[object] = []
        else:
            parts = self._to_mark() if name in _TO_MARK else self._take(_TAKE[name])
        container = _Container(parts)
        self.made.append(container)
        self.stack.append(container)

    def _mark(self, name: str, argument: object) -> None:
        self.stack.append(_MARK)

    def _drop(self, name: str, argument: object) -> None:
        if name == "POP":
            self.stack.pop()
        else:
            self._to_mark()

    def _twice(self, name: str, argument: object) -> None:
        self.stack.append(self.stack[-1])

    def _pass(self, name: str, argument: object) -> None:
        """Change nothing."""

    def _refuse(self, name: str, argument: object) -> None:
        raise ValueError(f"a pickle with {name}")

    def _take(self, count: int) -> list[object]:
        if len(self.stack) < count:
            raise IndexError("an empty stack")
        parts = self.stack[-count:]
        del self.stack[-count:]
        return parts

    def _to_mark(self) -> list[object]:
        parts: list[object] = []
        while (value := self.stack.pop()) is not _MARK:
            parts.append(value)
        return parts


_HOW: dict[str, Callable[[_Machine, str, object], None]] = {
    **dict.fromkeys(_PUT, _Machine._put),
    **dict.fromkeys(_GET, _Machine._get),
    **dict.fromkeys((*_ADD, *_SEVERAL), _Machine._add),
    **dict.fromkeys((*_EMPTY, *_TAKE, *_TO_MARK), _Machine._make),
    **dict.fromkeys(_NOTHING, _Machine._pass),
    **dict.fromkeys(_REFUSED, _Machine._refuse),
    "MARK": _Machine._mark,
    "POP": _Machine._drop,
    "POP_MARK": _Machine._drop,
    "DUP": _Machine._twice,
}
"""What to do in each step; the others push one value."""


def _measure(container: _Container, most: int) -> None:
    """Find out size and depth of a container and all below it, without recursion."""
    path = [container]
    while path:
        last = path[-1]
        if last.size > 0:
            path.pop()
            continue
        inside = [part for part in last.parts if isinstance(part, _Container)]
        if last.size < 0:
            last.size = 0
            below = [part for part in inside if part.size <= 0]
            if any(part.size == 0 for part in below):
                raise ValueError("a pickle of a list or dict that holds itself")
            path.extend(below)
            if below:
                continue
        last.depth = 1 + max((part.depth for part in inside), default=0)
        last.size = 1 + sum(
            part.size if isinstance(part, _Container) else part  # type: ignore[misc]
            for part in last.parts
            if part is not _MARK
        )
        _refuse(last, most)
        path.pop()


def _refuse(container: _Container, most: int) -> None:
    if container.size > most:
        raise ValueError(f"a pickle that stands for more than {most} values")
    if container.depth > DEEPEST:
        raise ValueError(f"a pickle nested deeper than {DEEPEST} levels")
