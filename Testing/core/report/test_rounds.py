"""The page of a self-training run: whole SVG, everything escaped, no part for what is not there."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from typing import Any

from flare_core.report.charts.rows import Strip, strip_chart
from flare_core.report.rounds import rounds_page, strips_of

SVG = "{http://www.w3.org/2000/svg}"

EVIDENCE = {"volume_ml": 1000.0, "confidence": 0.9, "border_entropy": 0.4, "disagreement": 0.1,
            "fold_agreement": None, "volume_plausible": True, "pieces": 1}  # fmt: skip
CHANGE = {"organ": "liver", "metric": "dsc", "cases": 3, "old": 0.8, "new": 0.9, "low": 0.05,
          "high": 0.2, "worse": ""}  # fmt: skip
VIEW: dict[str, Any] = {
    "name": "clinic <b>", "run": "r", "created": "2026-11-21T05:00:00+00:00", "status": "done",
    "message": "The round is done.", "round": 1, "rounds": 1, "stage": "promote",
    "strategy": {"kind": "iterative"}, "details": [{
        "round": 1, "done": {}, "predicted": 2, "candidates": 2, "accepted": 1,
        "curves": [{"loss": [[20, 1.5], [40, None], [60, 0.8], [80, 0.7]],
                    "dsc": [[40, {"liver": 0.5}], [80, {"liver": 0.7, "spleen": 0.4}]],
                    "fraction": 1.0, "seconds_left": 0.0}],
        "verdict": {"promote": True, "reason": "Not worse <i>.", "changes": [CHANGE],
                    "old": {"dsc": 0.8}, "new": {"dsc": 0.9}},
        "promotion": {"model": "clinic@1.1.0"},
        "decisions": [
            {"case": "a<script>", "accepted": True, "organs": ["liver"], "weight": 1.0,
             "reason": "1 of 1 organ accepted", "refused": {}},
            {"case": "b", "accepted": False, "organs": [], "weight": 0.0,
             "reason": "u 0.9 is above 0.2", "refused": {"liver": "u"}},
        ],
        "evidence": [{"case": "a<script>", "organs": {"liver": EVIDENCE}},
                     {"case": "b", "organs": {"liver": EVIDENCE}}],
    }],
}  # fmt: skip


def test_the_page_shows_decisions_evidence_curves_and_verdict():
    page = rounds_page(VIEW, [{"case": "b", "score": 0.8, "seen": False, "reason": "liver: 41 %"}])
    for text in ("old against new", "evidence", "decisions", "training", "clinic@1.1.0",
                 "u 0.9 is above 0.2", "Scans to look at next", "liver: 41 %"):  # fmt: skip
        assert text in page
    assert page.count("<svg") == 6  # DSC; loss, DSC; confidence, border, disagreement


def test_labels_made_for_people_alone_are_told_from_those_that_were_weighed():
    view = copy.deepcopy(VIEW)
    view["details"][0] |= {"decisions": [], "accepted": 0}
    told = "nothing was learned from these labels"
    assert told in rounds_page(view) and told not in rounds_page(VIEW)


def test_text_from_outside_is_escaped():
    page = rounds_page(VIEW)
    assert "<script>" not in page and "clinic <b>" not in page and "worse <i>" not in page


def test_a_run_that_has_just_begun_has_a_page():
    view = copy.deepcopy(VIEW)
    detail = view["details"][0]
    empty = {"verdict": None, "promotion": None, "decisions": [], "evidence": []}
    detail |= empty | {"curves": [{"loss": [], "dsc": [], "fraction": 0, "seconds_left": None}]}
    page = rounds_page(view)
    assert "not judged yet" in page and "<svg" not in page
    assert "Strategy" in rounds_page(view | {"details": []})


def test_strips_count_accepted_and_refused():
    rows = [
        {"case": "a", "organs": {"liver": EVIDENCE}},
        {"case": "b", "organs": {"liver": EVIDENCE | {"confidence": 0.2}}},
        {"case": "c", "organs": {"liver": EVIDENCE | {"volume_ml": 0.0}}},
    ]
    found = strips_of(rows, {"a": {"liver"}}, "confidence")
    assert found == {"liver": ([0.9], [0.2])}
    drawn = ET.fromstring(strip_chart("x", [Strip("Liver", *found["liver"])]))
    assert "1 / 1" in [each.text for each in drawn.iter(f"{SVG}text")]
