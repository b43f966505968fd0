"""README and docs/: commands exist with their options, paths and links lead somewhere."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest

from flare_core.cli import build_parser

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Every `flare` command of the page's shell blocks and of its inline code, as words."""
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", "").split("\n")]
    lines += re.findall(r"`(flare [a-z]+ [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [shlex.split(line, comments=True) for line in lines if line.startswith("flare ")]


def parser_of(words: list[str]) -> argparse.ArgumentParser | None:
    """The parser of the deepest sub-command that the words name; None where there is none."""
    parser: argparse.ArgumentParser = build_parser()
    depth = 0
    for word in words[1:]:
        choices = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if not choices:
            break
        if word not in choices[0].choices:
            return parser if depth and "|" in word else None
        parser, depth = choices[0].choices[word], depth + 1
    return parser


def unknown_words(words: list[str]) -> list[str]:
    """What of a command does not exist: the sub-command, or options of it."""
    parser = parser_of(words)
    if parser is None:
        return words
    own = words[: words.index("--")] if "--" in words else words
    options = [word.partition("=")[0] for word in own if re.match(r"--?[A-Za-z]", word)]
    return [option for option in options if option not in parser._option_string_actions]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    found = commands(page.read_text("utf-8"))
    assert [words for words in found if unknown_words(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    paths = re.findall(
        r"(?<![\w/.])((?:benchmarks|flare_core|FLARESeg|FLARETrain|Testing)/[\w/.]*\w)", text
    )
    places = [page.parent / link for link in links] + [REPOSITORY / path for path in paths]
    assert [str(place) for place in places if not place.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_are_python_and_import_what_exists(page):
    for block in blocks(page.read_text("utf-8"), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flare_core"):
                module = __import__(node.module, fromlist=["*"])
                assert [a.name for a in node.names if not hasattr(module, a.name)] == []


def test_a_page_says_that_it_is_for_research():
    without = [page.name for page in PAGES if "not a medical device" not in page.read_text("utf-8")]
    assert without == ["house.md"]


@pytest.mark.parametrize(
    "line",
    ["flare segmnet x", "flare segment x --fats", "flare models instal x", "flare rank x --nope=1"],
)
def test_the_check_notices(line):
    assert unknown_words(shlex.split(line))
