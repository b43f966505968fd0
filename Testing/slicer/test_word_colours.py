"""Colours of words: each has enough contrast on the theme it is meant for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from FLARESegLib.qt.word_colours import ON_DARK, ON_LIGHT, is_dark, style_of, word_colour
from qt_double import Palette

LIGHT, DARK = (SimpleNamespace(palette=Palette(lightness)) for lightness in (239, 50))
ENOUGH = 4.5
"""Contrast that WCAG AA asks for."""


def brightness(red: float, green: float, blue: float) -> float:
    """Relative luminance of a colour, parts 0 to 255 (WCAG 2.1)."""
    parts = [
        part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4
        for part in (red, green, blue)
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(colour: str, background: int) -> float:
    one = brightness(*(int(colour[n : n + 2], 16) for n in (1, 3, 5)))
    other = brightness(background, background, background)
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


@pytest.mark.parametrize(("colours", "background"), [(ON_LIGHT, 239), (ON_DARK, 50)])
def test_words_can_be_read_on_their_theme(colours, background):
    assert set(colours) == {"good", "bad"}
    for colour in colours.values():
        assert contrast(colour, background) >= ENOUGH


def test_a_widget_tells_which_theme_there_is():
    assert is_dark(DARK) and not is_dark(LIGHT)
    assert word_colour("bad", DARK) == ON_DARK["bad"]
    assert style_of("good", LIGHT) == f"color: {ON_LIGHT['good']};"


@pytest.mark.parametrize("widget", [LIGHT, DARK])
def test_a_plain_message_has_the_colour_of_the_theme(widget):
    assert style_of("info", widget) == ""
