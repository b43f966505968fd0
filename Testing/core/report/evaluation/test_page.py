from __future__ import annotations

import io
import math
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from flare_core.report.charts.svg import score_text
from flare_core.report.evaluation.figures import Figure, jpeg_bytes
from flare_core.report.evaluation.page import Card, Section, TextTable, evaluation_page


class Tags(HTMLParser):
    """Collects the tags that load something."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        self.sources += [v or "" for k, v in attrs if k in ("src", "href")]
        assert tag not in ("script", "link", "iframe")


def page() -> str:
    table = TextTable(("Case <1>", "DSC"), (("a & b", "0.9"), ("c", "0.1")), alert=frozenset({1}))
    picture = jpeg_bytes(np.zeros((8, 8, 3), np.uint8))
    figures = (Figure("chart", svg="<svg><g/></svg>"), Figure('pic "x"', picture=picture))
    cards = [Card("DSC", 0.9, (0.8, 0.95)), Card("NSD", math.nan)]
    sections = [Section("Numbers", ("All.",), (table,), figures), Section("Nothing")]
    return evaluation_page("Ed & Co", "<two> cases", cards, sections)


def test_it_is_complete_and_loads_nothing_from_elsewhere() -> None:
    tags = Tags()
    tags.feed(page())
    assert tags.rows == 3 and tags.sources and all(s.startswith("data:") for s in tags.sources)
    assert "default-src 'none'" in page()


def test_words_from_outside_are_escaped() -> None:
    for words in ("Ed &amp; Co", "&lt;two&gt; cases", "Case &lt;1&gt;", "a &amp; b", "pic &quot;x"):
        assert words in page()


def test_empty_sections_are_left_out() -> None:
    assert "Numbers" in page() and "Nothing" not in page()


def test_cards_and_alerts() -> None:
    assert "95 % CI 0.800 to 0.950" in page() and "undefined" in page()
    assert page().count("<tr class=alert>") == 1 and "Research use only" in page()


def test_pictures_come_back() -> None:
    pixels = np.full((20, 30, 3), 100, np.uint8)
    again = np.asarray(Image.open(io.BytesIO(jpeg_bytes(pixels))))
    assert again.shape == pixels.shape and np.abs(again.astype(int) - 100).max() <= 2


def test_numbers() -> None:
    assert [score_text(x) for x in (1.0, -9.87654, 12.34, 1500.0)] == [
        "1.000", "-9.877", "12.3", "1500",
    ]  # fmt: skip
