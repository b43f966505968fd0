from __future__ import annotations

from flare_core.datasets.summary.tables import Column, Table
from flare_core.report.charts.histogram import Histogram
from flare_core.report.dataset import Gallery, dataset_page

TABLE = Table("t", "A <table>", (Column("Name"), Column("mL", 1)), (("a & b", 2.25), ("c", None)))


def test_a_page_shows_tables_galleries_and_notes_and_escapes_them():
    drawn = Histogram("Liver <1>", 0.0, 10.0, (1, 4, 2), "mL")
    page = dataset_page("x <script>", [TABLE], [Gallery("Volumes", [drawn])], ["left out: <y>"])
    assert "<script" not in page
    for text in ("x &lt;script&gt;", "A &lt;table&gt;", "a &amp; b", "&lt;y&gt;", "Volumes"):
        assert text in page
    assert "<td>2.2</td>" in page
    assert "<td>-</td>" in page
    assert page.count("<svg") == 1
    assert "default-src 'none'" in page


def test_an_empty_gallery_is_left_out():
    page = dataset_page("x", [TABLE], [Gallery("Nothing here", [])])
    assert "Nothing here" not in page
