"""How much of the processor the same tests take in two commits.

As a plug-in it writes each test's CPU seconds, its processes' included, into the JUnit file; as a
program it sums those of the tests that both files have. A test is known by the stem of its file and
the name of its function, so that one that has moved is found; where its file is called otherwise
now, by its function alone, if no other has that name:

    git worktree add /tmp/then COMMIT
    run="python -m pytest -p suite_time -n 1 --dist loadfile -q"
    (cd /tmp/then && PYTHONPATH=NOW/Testing $run --junitxml /tmp/then.xml)
    (cd NOW && PYTHONPATH=Testing $run --junitxml /tmp/now.xml)
    PYTHONPATH=Testing python -m suite_time /tmp/then.xml /tmp/now.xml
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

PROPERTY = "cpu_s"
SHOWN = 20
"""Tests that are listed: those that changed the most."""


def _spent_s() -> float:
    """CPU seconds of this process and of those it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, None, None]:
    """Note what a test cost, with the fixtures that it was the first to want."""
    before = _spent_s()
    item._cpu_before = before  # type: ignore[attr-defined]
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Put it into the last report of the test, which the JUnit file is made of."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "teardown":
        spent = _spent_s() - item._cpu_before  # type: ignore[attr-defined]
        report.user_properties.append((PROPERTY, f"{spent:.3f}"))


def seconds_of(text: str) -> Counter[str]:
    """Return the CPU seconds of every test of a JUnit file: ``file::function``, all its cases.

    Examples
    --------
    >>> case = '<testcase classname="Testing.core.test_a" name="test_b[1]" time="9"><properties>'
    >>> case += '<property name="cpu_s" value="2.5"/></properties></testcase>'
    >>> seconds_of(f"<testsuite>{case}{case}</testsuite>")
    Counter({'test_a::test_b': 5.0})
    """
    found: Counter[str] = Counter()
    for case in ElementTree.fromstring(text).iter("testcase"):
        stem = case.get("classname", "").rpartition(".")[2]
        name = case.get("name", "").partition("[")[0]
        spent = [p.get("value") for p in case.iter("property") if p.get("name") == PROPERTY]
        found[f"{stem}::{name}"] += float(spent[-1] or 0) if spent else 0.0
    return found


def renamed(then: Counter[str], now: Counter[str]) -> Counter[str]:
    """Return `then` with the names of `now`, where a test's file is called otherwise by now.

    Examples
    --------
    >>> then, now = Counter({"a::x": 1.0, "a::y": 2.0}), Counter({"b::x": 3.0, "b::y": 4.0, "c::y": 5.0})
    >>> renamed(then, now)
    Counter({'a::y': 2.0, 'b::x': 1.0})
    """  # noqa: E501
    new = {name: name.partition("::")[2] for name in now.keys() - then.keys()}
    old = {name: name.partition("::")[2] for name in then.keys() - now.keys()}
    often = Counter(new.values()), Counter(old.values())
    found = {function: name for name, function in new.items()}
    moved = {
        name: found[function]
        for name, function in old.items()
        if often[0][function] == often[1][function] == 1
    }
    return Counter({moved.get(name, name): spent for name, spent in then.items()})


def compared(then: Counter[str], now: Counter[str]) -> str:
    """Return both sums in words, and what changed the most.

    Examples
    --------
    >>> print(compared(Counter({"a::x": 8.0, "a::gone": 1.0}), Counter({"a::x": 2.0, "a::new": 3.0})))
    1 tests are in both: 8.0 CPU s then, 2.0 now (25 %)
    1 are gone: 1.0 CPU s; 1 are new: 3.0 CPU s
        8.0 ->    2.0  a::x
    """  # noqa: E501
    then = renamed(then, now)
    both = then.keys() & now.keys()
    before, after = (sum(each[name] for name in both) for each in (then, now))
    gone, new = then.keys() - both, now.keys() - both
    lines = [
        f"{len(both)} tests are in both: {before:.1f} CPU s then, {after:.1f} now "
        f"({100 * after / max(before, 1e-9):.0f} %)",
        f"{len(gone)} are gone: {sum(then[n] for n in gone):.1f} CPU s; "
        f"{len(new)} are new: {sum(now[n] for n in new):.1f} CPU s",
    ]
    most = sorted(both, key=lambda name: -abs(then[name] - now[name]))[:SHOWN]
    return "\n".join([*lines, *(f"{then[n]:7.1f} -> {now[n]:6.1f}  {n}" for n in most)])


def main(files: Sequence[str]) -> int:
    """Print the comparison of two JUnit files, the older one first."""
    then, now = (seconds_of(open(file, encoding="utf-8").read()) for file in files)  # noqa: SIM115
    print(compared(then, now))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
