"""The frame of all pages: it loads nothing, and what comes in as text comes out as text."""

from __future__ import annotations

from flare_core.report.html import list_of, page, section, table


def test_a_page_forbids_itself_to_load_anything_and_says_what_it_is_for() -> None:
    whole = page("Case <1>", "<p>one</p>", "", "<p>two</p>", style=".own { color: red; }")
    assert "default-src 'none'" in whole and ".own { color: red; }" in whole
    assert whole.count("Research use only") == 2 and "Case &lt;1&gt;" in whole
    assert whole.index("<p>one</p>") < whole.index("<p>two</p>") and "<script" not in whole


def test_titles_and_lists_are_escaped_and_ready_made_parts_are_not() -> None:
    assert section("a & b", "<p>x</p>") == "<section><h2>a &amp; b</h2><p>x</p></section>"
    assert list_of(["<i>", "b"]) == "<ul><li>&lt;i&gt;</li><li>b</li></ul>"
    lines = table("<th>Case</th>", ["<tr><td>1</td></tr>", "<tr><td>2</td></tr>"])
    assert lines.count("<tr>") == 3 and lines.index("<thead>") < lines.index("<td>1</td>")
