"""Modules that are there under a name, are missing, or are read anew, for a while."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def modules_for_now(
    modules: Mapping[str, ModuleType | None], anew: tuple[str, ...] = ()
) -> Iterator[None]:
    """Have `sys.modules` hold these, and nothing of the packages `anew`; then what it held before.

    Name by name: `mock.patch.dict` empties the whole dictionary before it fills it again, and a
    thread that imports something in between gets Python's own modules a second time. With a second
    `_io`, streams raise an `UnsupportedOperation` that is not `io.UnsupportedOperation`.
    """
    before = _of(modules, anew)
    for name in before:
        del sys.modules[name]
    sys.modules.update(modules)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in _of(modules, anew):
            del sys.modules[name]
        sys.modules.update(before)


def _of(modules: Mapping[str, Any], packages: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: module
        for name, module in sys.modules.copy().items()
        if name in modules or name.partition(".")[0] in packages
    }
