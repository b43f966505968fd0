from __future__ import annotations

from flare_core.report.charts.svg import text


def test_words_are_escaped() -> None:
    assert "&lt;b&gt;" in text((0, 0), "<b>")
