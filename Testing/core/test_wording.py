"""Counts with the right number of their noun, and no text of ours that has it wrong."""

from __future__ import annotations

import ast
import re

import pytest

from flare_core.wording import by_count, many
from house.source import ROOT

COUNTED = "case|scan|patient|organ|lesion|problem|team|metric|label map|stroke|round"
"""What we count most often in texts."""


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 processes"), (1, "1 process"), (2, "2 processes")]
)
def test_the_noun_follows_the_count(count: int, text: str) -> None:
    assert many(count, "process", "processes") == text


def test_a_name_with_braces_stays_as_it_is() -> None:
    assert by_count(2, "", "{count} voxels of {name} {0}") == "2 voxels of {name} {0}"


def test_no_text_counts_with_a_plural_alone() -> None:
    """A count of one in an f-string with a plural behind it would read "1 cases"."""
    plural = re.compile(rf"^ (of )?({COUNTED})s\b")
    wrong = []
    for path in sorted((ROOT / "flare_core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                wrong += [
                    f"{path.relative_to(ROOT)}:{node.lineno}"
                    for before, after in zip(node.values, node.values[1:], strict=False)
                    if isinstance(before, ast.FormattedValue)
                    and isinstance(after, ast.Constant)
                    and plural.match(after.value)
                ]
    assert not wrong
