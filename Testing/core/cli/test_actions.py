from __future__ import annotations

import argparse

import pytest

from flare_core.cli.actions import Action, add_actions

ACTIONS: tuple[Action, ...] = (
    ("look", len, "look at it", (("case", {}), ("-o,--output", {"type": int}))),
    ("leave", max, "leave it", ()),
)


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--debug", action="store_true")
    add_actions(parser, ACTIONS, (("--home", {"default": "here"}),))
    return parser


def test_an_action_brings_what_does_it_and_its_options(parser: argparse.ArgumentParser) -> None:
    found = parser.parse_args(["look", "una", "-o", "3"])
    assert vars(found) == {
        "action": "look", "case": "una", "output": 3, "home": "here", "do": len, "debug": False,
    }  # fmt: skip
    assert parser.parse_args(["look", "una", "--output", "4"]).output == 4


def test_every_action_has_the_options_of_all(parser: argparse.ArgumentParser) -> None:
    found = parser.parse_args(["leave", "--home", "there", "--debug"])
    assert (found.do, found.home, found.debug) == (max, "there", True)
    assert parser.parse_args(["--debug", "leave"]).debug


def test_options_cannot_be_cut_short_and_an_action_must_be_named(
    parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["leave", "--ho", "there"], []):
        with pytest.raises((SystemExit, argparse.ArgumentError)):
            parser.parse_args(words)
    capsys.readouterr()
