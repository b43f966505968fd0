"""Text on pictures, with the font that Pillow brings along."""

from __future__ import annotations

import textwrap
import unicodedata
from functools import lru_cache

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

WHITE: Colour = (240, 240, 240)
GREY: Colour = (160, 160, 165)
AMBER: Colour = (245, 185, 70)
PALE: Colour = (215, 220, 180)
"""For what is written on the scan itself."""


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font, `size` pixels high."""
    return ImageFont.load_default(size)


def plain(text: str) -> str:
    """Write `text` with the letters the font has (ASCII), so that no empty boxes appear.

    Examples
    --------
    >>> plain("Müller × 3 – 肝")
    'Muller x 3 - ?'
    """
    spelled = text.translate({0xD7: "x", 0x2013: "-", 0x2014: "-", 0x2212: "-", 0xDF: "ss"})
    letters = unicodedata.normalize("NFKD", spelled)
    kept = "".join(each for each in letters if not unicodedata.combining(each))
    return kept.encode("ascii", "replace").decode("ascii")


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    *,
    size: int = 14,
    colour: Colour = WHITE,
    anchor: str = "la",
    halo: int = 0,
) -> None:
    """Write one line; `anchor` is Pillow's, `halo` the pixels of a dark rim for text on a scan."""
    draw.text(
        at,
        plain(text),
        fill=colour,
        font=font(size),
        anchor=anchor,
        stroke_width=halo,
        stroke_fill=(0, 0, 0),
    )


def shortened(text: str, width: float, size: int) -> str:
    """Cut `text` so that it is at most `width` pixels wide."""
    if font(size).getlength(plain(text)) <= width:
        return text
    while text and font(size).getlength(plain(text) + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def wrapped(text: str, width: float, size: int) -> list[str]:
    """Break `text` into lines of at most about `width` pixels."""
    letters = max(8, int(width / (size * 0.52)))
    return textwrap.wrap(plain(text), letters)


def initials(name: str) -> str:
    """Shorten an organ's name for use inside a picture.

    Examples
    --------
    >>> [initials(name) for name in ("Liver", "Left kidney", "Inferior vena cava")]
    ['Li', 'LK', 'IVC']
    """
    words = name.split()
    return name[:2] if len(words) == 1 else "".join(word[0].upper() for word in words)
