"""Stand-ins of modules come and go, and no other module is gone meanwhile."""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType
from typing import Any

import pytest
from modules_for_now import modules_for_now


def test_names_have_what_they_had_before() -> None:
    stand_in, mine = ModuleType("json"), ModuleType("of_nobody")
    with modules_for_now({"json": stand_in, "of_nobody": mine, "colorsys": None}):
        assert (sys.modules["json"], sys.modules["of_nobody"]) == (stand_in, mine)
        with pytest.raises(ImportError):
            importlib.import_module("colorsys")
    assert sys.modules["json"] is json and "of_nobody" not in sys.modules


def test_a_package_is_read_anew_and_then_is_the_old_one() -> None:
    old = importlib.import_module("json.decoder")
    importlib.import_module("json.tool")
    with modules_for_now({}, anew=("json",)):
        assert importlib.import_module("json.decoder") is not old
        assert "json.tool" not in sys.modules
    assert sys.modules["json.decoder"] is old and "json.tool" in sys.modules


def test_other_modules_are_never_gone_not_even_for_a_moment() -> None:
    """What ends when `sys.modules` lets go of it looks whether Python's own ones are there."""
    seen: list[bool] = []

    class Watcher:
        def __del__(self) -> None:
            seen.append("_io" in sys.modules)

    held: Any = sys.modules
    with modules_for_now({"of_nobody": ModuleType("of_nobody")}):
        held["watcher"] = Watcher()
    held.pop("watcher", None)
    assert seen == [True]
