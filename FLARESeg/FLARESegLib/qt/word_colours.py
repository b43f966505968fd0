"""Colours of words, each of which reads well on Slicer's light and on its dark theme.

What a colour says is said in words as well, for whoever sees no colours.
"""

from __future__ import annotations

from typing import Any

ON_LIGHT = {"good": "#2a7530", "bad": "#c62828"}
"""On a pale background, contrast 4.5 or more (WCAG AA)."""
ON_DARK = {"good": "#81c784", "bad": "#ef9a9a"}
"""On a dark one, the same."""
MIDDLE = 128
"""Lightness (0 to 255) of a background below which a theme is a dark one."""


def is_dark(widget: Any) -> bool:
    """Whether a widget stands on a dark background."""
    return bool(widget.palette.window().color().lightness() < MIDDLE)


def word_colour(how: str, widget: Any) -> str:
    """Return the colour for what is told in a widget; empty if it needs none.

    Parameters
    ----------
    how : str
        "good", "bad", or "info", which has the theme's own colour.
    widget : QWidget
        Where the words stand.
    """
    return (ON_DARK if is_dark(widget) else ON_LIGHT).get(how, "")


def style_of(how: str, widget: Any) -> str:
    """Return the style sheet that gives a label this colour; empty if it needs none."""
    colour = word_colour(how, widget)
    return f"color: {colour};" if colour else ""
