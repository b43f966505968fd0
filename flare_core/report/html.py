"""What all pages are made of: one head, style and foot, sections, lists, tables.

A page holds its pictures and its style; it loads nothing, and its own policy forbids it to. Every
text that comes from outside is escaped, here or by who writes a part.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

RESEARCH_USE = "Research use only, not a medical device"

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto;
  max-width: 1280px; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
.use { color: #a84300; font-weight: 600; margin: .3rem 0 1.2rem; }
img.montage { width: 100%; height: auto; background: #141417; border-radius: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #e3e3e3; text-align: right;
  vertical-align: top; }
th { font-weight: 600; color: #555; border-bottom-color: #aaa; vertical-align: bottom; }
th:first-child, td:first-child, .text { text-align: left; }
td:first-child { white-space: nowrap; }
.text { overflow-wrap: anywhere; }
.note { color: #666; font-size: .85rem; min-width: 16rem; }
.alert { color: #a84300; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .5em;
  border: 1px solid #0005; }
img.thumb { width: 210px; height: auto; display: block; border-radius: 3px; }
footer { margin-top: 2.5rem; color: #666; font-size: .9rem; }
svg { max-width: 100%; height: auto; }
@media print {
  body { margin: 0; max-width: none; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
}
"""


def page(title: str, *parts: str, style: str = "") -> str:
    """Wrap escaped parts into a page that may load nothing; `style` is CSS of its own."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    name = escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name} - FLARESeg</title><style>{STYLE}{style}</style></head>\n<body>"
        f'<h1>{name}</h1><p class="use">{RESEARCH_USE}.</p>\n'
        + "\n".join(part for part in parts if part)
        + f"\n<footer>FLARESeg. {RESEARCH_USE}. "
        "Results must be checked by a person who can judge them.</footer></body></html>\n"
    )


def section(title: str, body: str) -> str:
    """Return a titled part of a page; `body` is HTML."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def list_of(texts: Iterable[str]) -> str:
    """Return texts as a list, escaped."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def table(heads: str, lines: Iterable[str]) -> str:
    """Return a table from its head cells and its rows, both HTML."""
    return (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
