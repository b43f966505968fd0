from __future__ import annotations

import os

from fake_engine import flare


def test_a_batch_has_a_page_that_leads_to_its_cases(scans, tmp_path):
    out = tmp_path / "out"
    words = ("segment", scans("a", "bad", "b"), "-o", out, "--outputs")
    assert flare(*words, "labels,statistics,png,page") == 1
    page = (out / "all_cases.html").read_text("utf-8")
    assert 'href="a.html"' in page and 'href="b_statistics.csv"' in page
    assert "1 without a result" in page and "is truncated" in page
    assert {"a.html", "b.html"} <= set(os.listdir(out))
