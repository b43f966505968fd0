"""One self-contained HTML page for an evaluation: numbers, distributions, pictures, definitions.

It gets plain values: this package does not know how scores are computed.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from flare_core.report.case.page import STYLE
from flare_core.report.case.panel import Pixels
from flare_core.report.case.sheet import RESEARCH_USE

JPEG_QUALITY = 82
OWN_STYLE = """
.cards { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; }
.card { border: 1px solid #ddd; border-radius: 6px; padding: .6rem 1.1rem; }
.card b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
.card span { color: #666; font-size: .85rem; }
.pair { display: flex; flex-wrap: wrap; gap: .6rem; align-items: flex-start; }
.pair td, .pair th { padding: .3rem .45rem; font-size: .85rem; white-space: nowrap; }
.pair td.text, .pair th.text { white-space: normal; }
figure { margin: 0 0 1.2rem; }
figcaption { color: #444; margin-bottom: .3rem; }
"""


@dataclass(frozen=True)
class Card:
    """One number in large type."""

    name: str
    """What it is."""
    value: float
    """NaN is shown as undefined."""
    ci: tuple[float, float] = (math.nan, math.nan)
    """Confidence interval, if there is one."""


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    head: tuple[str, ...]
    """Column names."""
    rows: tuple[tuple[str, ...], ...]
    """Cells, as many in each row as in the head."""
    alert: frozenset[int] = frozenset()
    """Numbers of the rows that stand out."""
    text_columns: frozenset[int] = frozenset({0})
    """Numbers of the columns that hold words."""


@dataclass(frozen=True)
class Figure:
    """A chart or a picture."""

    caption: str
    """What it shows; empty where the section's title says it."""
    svg: str = ""
    """An ``<svg>`` element of our own charts; inserted as it is."""
    picture: bytes = b""
    """JPEG, from `jpeg_bytes`."""


@dataclass(frozen=True)
class Section:
    """A part of the page under its own title."""

    title: str
    """Its title."""
    remarks: tuple[str, ...] = ()
    """Sentences above its content."""
    tables: tuple[Table, ...] = ()
    """Its tables."""
    figures: tuple[Figure, ...] = ()
    """Its charts and pictures."""


def evaluation_page(
    title: str, remark: str, cards: Sequence[Card], sections: Sequence[Section]
) -> str:
    """Return the page.

    Parameters
    ----------
    title : str
        What was evaluated.
    remark : str
        By which rules, and over how many cases.
    cards : sequence of Card
        The scores of the whole evaluation.
    sections : sequence of Section
        What follows, in this order; empty ones are left out.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    body = "\n".join(_section(each) for each in sections if each.tables or each.figures)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - FLARESeg</title><style>{STYLE}{OWN_STYLE}</style></head>\n"
        f'<body><h1>{escape(title)}</h1><p class="use">{RESEARCH_USE}.</p>'
        f'<p>{escape(remark)}</p><div class="cards">{"".join(map(_card, cards))}</div>\n'
        f"{body}\n<footer>FLARESeg. {RESEARCH_USE}.</footer></body></html>\n"
    )


def jpeg_bytes(pixels: Pixels) -> bytes:
    """Encode uint8 (H, W, 3) as JPEG: a page with several pictures stays small enough to mail."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def score_text(value: float) -> str:
    """Write a score, a distance or a volume the way a table shows it.

    Examples
    --------
    >>> [score_text(x) for x in (0.93215, 12.345, -1413.1, float("nan"), float("inf"))]
    ['0.932', '12.3', '-1413', 'undefined', 'infinite']
    """
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinite"
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 10 else 3
    return f"{value:.{digits}f}"


def _card(card: Card) -> str:
    low, high = card.ci
    between = "" if math.isnan(low) else f"95 % CI {score_text(low)} to {score_text(high)}"
    return (
        f'<div class="card">{escape(card.name)}<b>{score_text(card.value)}</b>'
        f"<span>{between}</span></div>"
    )


def _section(section: Section) -> str:
    remarks = "".join(f"<p>{escape(text)}</p>" for text in section.remarks)
    tables = "".join(_table(each) for each in section.tables)
    figures = "".join(_figure(each) for each in section.figures)
    return (
        f"<section><h2>{escape(section.title)}</h2>{remarks}"
        f'<div class="pair">{figures}{tables}</div></section>'
    )


def _table(table: Table) -> str:
    head = "".join(_cell("th", k, text, table) for k, text in enumerate(table.head))
    rows = "".join(
        f"<tr{' class=alert' if number in table.alert else ''}>"
        + "".join(_cell("td", k, text, table) for k, text in enumerate(row))
        + "</tr>"
        for number, row in enumerate(table.rows)
    )
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="wide">{body}</div>'


def _cell(tag: str, column: int, text: str, table: Table) -> str:
    kind = ' class="text"' if column in table.text_columns else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"


def _figure(figure: Figure) -> str:
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    if figure.svg:
        return f"<figure>{caption}{figure.svg}</figure>"
    source = base64.b64encode(figure.picture).decode("ascii")
    return (
        f'<figure>{caption}<img class="montage" alt="{escape(figure.caption)}" '
        f'src="data:image/jpeg;base64,{source}"></figure>'
    )
