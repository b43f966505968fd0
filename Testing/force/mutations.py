"""Ways to spoil bytes, lines of text and JSON; every choice comes from the generator given."""

from __future__ import annotations

import copy
import gzip
import json
import random
import struct
from collections.abc import Callable
from typing import Any

LONG = 5000
"""Letters of a header value that a C++ reader may not have room for."""

DEEP = 20_000
"""Levels of nesting."""

WORDS = (
    "", "0", "-1", "1", "nan", "inf", "-inf", "1e308", "1e-320", "4294967296", "2147483647",
    "-2147483648", "9223372036854775808", "999999999999999999999999", "0x10", "1,5", "1 2 3 4 5 6",
    "%s%n%s%n", "../../etc/passwd", "\u00e9\u4e2d", "none", "true", "()", "(1,0,0)", "[]", "{}",
    "\t", "9" * LONG, "A" * LONG, " " * LONG,
)  # fmt: skip
"""Values that a number, a word or a name in a text header gets."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e308, -1e308, float("nan"), float("inf"), 2**31,
    2**63, -(2**63), 10**30, "", "x", "1", "\0", "\ud800", "../x", "/etc/passwd", "A" * LONG, [],
    {}, [[]], [None], {"": None}, [0] * 1000, [-1, -1, -1], [1e9, 1e9, 1e9], {"a": {"b": {}}},
)  # fmt: skip
"""Values that a field of JSON gets."""

EXTREMES = (
    struct.pack("<h", -1), struct.pack("<h", 32767), struct.pack("<i", -1),
    struct.pack("<i", 2**31 - 1), struct.pack("<i", -(2**31)), struct.pack("<f", float("nan")),
    struct.pack("<f", float("inf")), struct.pack("<f", -1e30), struct.pack("<f", 1e-30),
    struct.pack("<q", 2**62), struct.pack("<d", float("nan")), bytes(4), b"\xff" * 8, bytes(8),
)  # fmt: skip
"""Values that a field of a binary header gets."""


def spoil_bytes(data: bytes, chance: random.Random, *, head: int = 400) -> bytes:
    """Spoil bytes in one to three ways; two of three hit the first `head` bytes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = chance.choice(BYTES)(data, chance, head)
    return data


def _at(data: bytes, chance: random.Random, head: int) -> int:
    end = min(head, len(data)) if chance.random() < 0.67 else len(data)
    return chance.randrange(max(1, end))


def _flip(data: bytes, chance: random.Random, head: int) -> bytes:
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 32)) if data else 0):
        found[_at(data, chance, head)] ^= 1 << chance.randrange(8)
    return bytes(found)


def _cut(data: bytes, chance: random.Random, head: int) -> bytes:
    return data[: _at(data, chance, head)]


def _extreme(data: bytes, chance: random.Random, head: int) -> bytes:
    value = chance.choice(EXTREMES)
    place = _at(data, chance, head) // 2 * 2
    return data[:place] + value + data[place + len(value) :]


def _blank(data: bytes, chance: random.Random, head: int) -> bytes:
    place, count = _at(data, chance, head), chance.choice((4, 64, 1024))
    count = min(count, len(data) - place)
    return data[:place] + chance.choice((b"\0", b"\xff", b" ")) * count + data[place + count :]


def _repeat(data: bytes, chance: random.Random, head: int) -> bytes:
    place, count = _at(data, chance, head), chance.choice((4, 64, 1024))
    return data[: place + count] + data[place:]


def _drop(data: bytes, chance: random.Random, head: int) -> bytes:
    place = _at(data, chance, head)
    return data[:place] + data[place + chance.choice((1, 2, 4, 64, 1024)) :]


def _insert(data: bytes, chance: random.Random, head: int) -> bytes:
    place = _at(data, chance, head)
    return data[:place] + chance.randbytes(chance.choice((1, 4, 100))) + data[place:]


BYTES: tuple[Callable[[bytes, random.Random, int], bytes], ...] = (
    _flip, _flip, _cut, _extreme, _extreme, _extreme, _blank, _repeat, _drop, _insert,
)  # fmt: skip


def spoil_zipped(data: bytes, chance: random.Random, *, head: int = 400) -> bytes:
    """Spoil what a gzip file holds, or in one of four cases the gzip file itself."""
    if chance.random() < 0.25:
        return spoil_bytes(data, chance, head=64)
    return gzip.compress(spoil_bytes(gzip.decompress(data), chance, head=head), 1)


def spoil_header(data: bytes, chance: random.Random, *, end: bytes, mark: str) -> bytes:
    """Spoil a text header that ends with `end`; `mark` parts key and value of a line."""
    if chance.random() < 0.2:
        return spoil_bytes(data, chance)
    head, found, rest = data.partition(end)
    text = spoil_lines(head.decode("latin-1"), chance, mark)
    return text.encode("utf-8", "surrogatepass") + found + rest


def spoil_lines(text: str, chance: random.Random, mark: str) -> str:
    """Spoil one or two lines of ``key MARK value``."""
    lines = text.split("\n")
    for _ in range(chance.choice((1, 1, 2))):
        place = chance.randrange(len(lines))
        key, found, value = lines[place].partition(mark)
        how = chance.randrange(8)
        if how <= 3 and found:
            lines[place] = key + found + _spoilt_value(value, chance)
        elif how == 4:
            lines.insert(place, lines[place])
        elif how == 5 and len(lines) > 1:
            del lines[place]
        elif how == 6:
            lines[place] = chance.choice(WORDS) + found + value
        else:
            lines.insert(place, f"{chance.choice(WORDS)}{mark}{chance.choice(WORDS)}")
    return "\n".join(lines)


def _spoilt_value(value: str, chance: random.Random) -> str:
    """Return another value, or the same with one of its words changed."""
    words = value.split(" ")
    if chance.random() < 0.5 or len(words) < 2:
        return " " + chance.choice(WORDS)
    words[chance.randrange(len(words))] = chance.choice(WORDS)
    return " ".join(words)


def spoil_json(value: Any, chance: random.Random) -> bytes:
    """Return JSON text with one to three fields changed, or the text itself spoilt."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        value = _spoilt_tree(value, chance)
    data = json.dumps(value, indent=chance.choice((None, 1))).encode("ascii")
    how = chance.randrange(16)
    if how == 0:
        return spoil_bytes(data, chance, head=len(data))
    if how == 1:
        return chance.choice((b"[", b'{"a":')) * DEEP + data
    if how == 2:
        return data.decode().encode(chance.choice(("utf-16", "utf-8-sig", "utf-32")))
    if how == 3:
        return b'{"stages": 1, "stages": 2, "id": 1, "id": ' + data + b"}"
    if how == 4:
        return data.replace(b"1", b"1" * LONG, 1)
    return data


def _spoilt_tree(value: Any, chance: random.Random) -> Any:
    """Change one place of a tree of dicts and lists."""
    places = [()] + _places(value, ())
    path = chance.choice(places)
    if not path:
        return _other(chance) if chance.random() < 0.3 else value
    parent = value
    for step in path[:-1]:
        parent = parent[step]
    last, how = path[-1], chance.randrange(8)
    if how == 0:
        del parent[last]
    elif how == 1 and isinstance(parent, dict):
        parent[chance.choice(("", "x", "A" * LONG, "__class__"))] = parent.pop(last)
    elif how == 1:
        parent.insert(last, parent[last])
    elif how == 2:
        other = chance.choice(places[1:])
        parent[last] = copy.deepcopy(_get(value, other))
    elif how == 3 and isinstance(parent[last], (int, float)):
        parent[last] = parent[last] * chance.choice((-1, 0, 10, 1e6, 0.5))
    elif how == 4:
        parent[last] = [parent[last]]
    else:
        parent[last] = _other(chance)
    return value


def _other(chance: random.Random) -> Any:
    """Return one of `VALUES`, which itself is never changed: the same seed gives the same input."""
    return copy.deepcopy(chance.choice(VALUES))


def _get(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _places(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return the paths of all that a tree holds."""
    if not isinstance(value, (dict, list)):
        return []
    found = []
    for key in value if isinstance(value, dict) else range(len(value)):
        found += [(*path, key), *_places(value[key], (*path, key))]
    return found
