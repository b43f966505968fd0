"""A rule about what nobody calls."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from house.circles import PRODUCT
from house.source import Source

CALLED_FROM_OUTSIDE: dict[str, str] = {
    "forward": "torch calls it",
    "find_class": "pickle calls it",
    "parse_known_args": "argparse calls it, for each sub-command as well",
    "runTest": "Slicer's test runner calls it",
    "startRun": "people call it from Slicer's Python console",
    "set_weight": "people call it from Python; no command changes a case's weight yet",
    "measurable": "people ask a lesion from Python; no page says it yet",
    "say_absent": "the self-tests in Slicer tick for a person",
    "dicom_segment": "a DICOM segmentation needs it; nothing writes one yet",
    "list_series": "its numbers are what --series takes; people call it from Python",
}
"""Names that nothing here calls, and who does; a test fails where an entry is not needed."""

SLICER_CLASS = re.compile(r"FLARE(Seg|Train)(Widget|Test)")
"""Slicer finds a module's classes by the module's name."""

USERS = (*PRODUCT, "benchmarks/")

LIBRARY = "flare_core/__init__.py"
"""What it lists, people import from their own programs."""


def unused(sources: Sequence[Source], exempt: Mapping[str, str] = CALLED_FROM_OUTSIDE) -> list[str]:
    """Find functions, methods and classes of the product that at most tests use.

    Names are compared, not objects, so one that something else shares is never accused; nor is one
    that a string names (``"module:name"``).
    """
    used = {
        (name, source.path, line)
        for source in sources
        if source.path.startswith(USERS)
        for name, line in _names(source)
    }
    by_name: dict[str, list[tuple[str, int]]] = {}
    for name, path, line in used:
        by_name.setdefault(name, []).append((path, line))
    idle = [
        (source, node)
        for source in sources
        if source.path.startswith(PRODUCT)
        for node in (*source.functions(), *source.classes())
        if not node.name.startswith("__") and not SLICER_CLASS.fullmatch(node.name)
        if all(_is_inside(place, source, node) for place in by_name.get(node.name, []))
    ]
    return [
        f"{source.at(node)}: {node.name} is used by tests at most"
        for source, node in idle
        if node.name not in exempt
    ]


def _is_inside(place: tuple[str, int], source: Source, node: ast.AST) -> bool:
    path, line = place
    first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
    return path == source.path and first <= line <= last


def _names(source: Source) -> Iterator[tuple[str, int]]:
    """Yield every name that a file reads, with its line.

    What ``__all__`` lists is handed on, not used, but for the names of the library itself.
    """
    handed_on = set() if source.path == LIBRARY else set(map(id, _listed(source)))
    for node in ast.walk(source.tree):
        if id(node) in handed_on:
            continue
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.end_lineno or node.lineno
        elif isinstance(node, ast.Constant) and _is_one_word(node.value):
            yield from ((word, node.lineno) for word in re.findall(r"\w+", str(node.value)))


def _listed(source: Source) -> Iterator[ast.AST]:
    """Yield the nodes of a file's ``__all__``."""
    for node in source.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(each, ast.Name) and each.id == "__all__" for each in targets):
            yield from ast.walk(node)


def _is_one_word(value: object) -> TypeGuard[str]:
    """Whether a constant may name something; text with spaces speaks to people."""
    return isinstance(value, str) and " " not in value
