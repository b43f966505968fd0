"""What the tests of `spread` have workers do; they find it here by its name."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from flare_core.spread.on_dask import unwanted


def double(number: int) -> tuple[int, int]:
    """Return twice the number, and which process did it."""
    return 2 * number, os.getpid()


def refuse(number: int) -> int:
    """Raise for three."""
    if number == 3:
        raise ValueError(f"not {number}")
    return number


REPORTED_S = 0.5
"""By then a worker has told what it did before, or that would be taken for the guilty case."""


def deadly(folder: Path, number: int) -> int:
    """End the process: always for two, once for four; note each time that it is begun."""
    with open(folder / f"tried_{number}", "a") as file:
        file.write("x")
    first = (folder / f"tried_{number}").read_text() == "x"
    if number == 2 or (number == 4 and first):
        time.sleep(REPORTED_S)
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def until_unwanted(folder: Path, number: int) -> None:
    """Last until nobody wants it, and note that."""
    is_unwanted = unwanted()
    (folder / f"begun_{number}").touch()
    end = time.monotonic() + 60
    while not is_unwanted() and time.monotonic() < end:
        time.sleep(0.02)
    if is_unwanted():
        (folder / f"stopped_{number}").touch()


def numbers(count: int) -> list[tuple[str, Any]]:
    """Return so many cases."""
    return [(f"case{number}", number) for number in range(count)]


def quick_or(do: Any, number: int) -> Any:
    """Return at once for a number below 0, else do it."""
    return None if number < 0 else do(number)


def ended_by(names: dict[str, int], folder: Path, function: Any, item: Any) -> Any:
    """Do a case, but end the process so many times under those that are named."""
    case = getattr(item, "case", item)
    name = getattr(case, "name", case)
    tried = folder / f"tried_{name}"
    with open(tried, "a") as file:
        file.write("x")
    if len(tried.read_text()) <= names.get(name, 0):
        os.kill(os.getpid(), signal.SIGKILL)
    return function(item)


def ending(spread: Any, names: dict[str, int], folder: Path) -> Any:
    """Return what spreads cases like `spread`, with processes that end under some of them."""
    folder.mkdir(exist_ok=True)
    return lambda function, cases: spread(partial(ended_by, names, folder, function), cases)
