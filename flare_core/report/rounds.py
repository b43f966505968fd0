"""One page about a self-training run: what was decided and why, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from flare_core.anatomy.organs import organ
from flare_core.report.charts.plane import ChartLine, line_chart
from flare_core.report.charts.rows import Pair, Strip, pair_chart, strip_chart
from flare_core.report.html import list_of, page, section, table
from flare_core.wording import many

View = Mapping[str, Any]

MEASURES = (
    ("confidence", "Confidence: mean probability inside the organ", 1.0),
    ("border_entropy", "Doubt at the border: entropy of the border band, bits", 1.0),
    ("disagreement", "Disagreement between rounds, relative to the organ's size", 1.0),
    ("fold_agreement", "Agreement of folds: mean pairwise DSC", 1.0),
)
"""Key in the evidence, title, end of the axis (more is drawn at the end)."""

MOST_ROWS = 400
"""Decisions shown; the rest is in decisions.json."""

PAIR_KEY = (
    "<p>Ring: the model before. Dot: the new one. Orange: it speaks against the new one. Means "
    "over the hold-out cases.</p>"
)
STRIP_KEY = (
    "<p>A line for every scan: above, in blue, where the organ's label was accepted; below, in "
    "orange, where it was not (numbers: accepted / not).</p>"
)

REVIEW_KEY = (
    "<p>A line for every scan, in orange. No teacher labelled scans before this round's training, "
    "so the new model did after it, to tell which to look at next; nothing was learned from these "
    "labels.</p>"
)


def rounds_page(view: View, following: Sequence[View] = ()) -> str:
    """Return the page of a run.

    Parameters
    ----------
    view : mapping
        From `train.rounds.view.view_of_run`.
    following : sequence of mapping
        The cases to look at next: ``case``, ``score``, ``reason``, ``seen``.
    """
    parts = [section("Rounds", _rounds(view))]
    for each in view["details"]:
        parts += _round(each)
    if following:
        parts.append(section("Scans to look at next", _following(following)))
    parts.append(section("How the numbers were made", list_of(METHOD)))
    state = f"{view['status']}, round {view['round']} of {view['rounds']}"
    message = f" {view['message']}" if view["message"] else ""
    return page(
        f"Self-training: {view['name']}",
        f"<p>{escape(state)}.{escape(message)} Strategy: {escape(_strategy(view))}. "
        f"Started {escape(view['created'])}.</p>",
        *parts,
    )


METHOD = (
    "Hold-out: patients frozen in the case store before training; no student ever sees them.",
    "DSC and NSD (2 mm) per organ on the scan's own grid; an organ that neither has scores 1, one "
    "that only one of them has scores 0; a reference below 1 mL is left out.",
    "A model is promoted if the mean over organs does not fall, and no organ falls beyond the "
    "tolerance with certainty (patients resampled), nor beyond the limit at all.",
    "Disagreement between rounds: blackbean's formula of FLARE22, for one organ its changed voxels "
    "over its size.",
    "Border band: one voxel of the network's grid to either side of the organ's surface.",
)


def _strategy(view: View) -> str:
    """Return the strategy with its settings, in words."""
    rest = {name: value for name, value in view["strategy"].items() if name != "kind"}
    texts = [f"{name.replace('_', ' ')} {value}" for name, value in rest.items()]
    kind = view["strategy"].get("kind", "as the student's configuration says")
    return f"{kind} ({', '.join(texts)})" if texts else str(kind)


def _rounds(view: View) -> str:
    heads = "".join(f"<th>{escape(text)}</th>" for text in ("Round", "Scans labelled", "Accepted"))
    heads += '<th class="text">Old against new</th><th style="white-space:nowrap">In use</th>'
    lines = []
    for each in view["details"]:
        verdict, promotion = each["verdict"], each["promotion"]
        reason = verdict["reason"] if verdict else "not judged yet"
        kind = "text" if verdict is None or verdict["promote"] else "text alert"
        used = promotion["model"] if promotion else ""
        lines.append(
            f"<tr><td>{each['round']}</td><td>{each['candidates']}</td><td>{each['accepted']}</td>"
            f'<td class="{kind}">{escape(reason)}</td>'
            f'<td style="white-space:nowrap">{escape(used)}</td></tr>'
        )
    return table(heads, lines)


def _round(each: View) -> list[str]:
    """Return the sections of one round, leaving out what it does not have yet."""
    number = each["round"]
    parts = [
        (f"Round {number}: old against new", _pairs(each["verdict"])),
        (f"Round {number}: training", _training(each["curves"])),
        (f"Round {number}: evidence", _evidence(each)),
        (f"Round {number}: decisions", _decisions(each["decisions"])),
    ]
    return [section(title, body) for title, body in parts if body]


def _pairs(verdict: View | None) -> str:
    if not verdict or not verdict["changes"]:
        return ""
    charts = []
    for metric in dict.fromkeys(each["metric"] for each in verdict["changes"]):
        rows = [
            Pair(_name(c["organ"]), c["old"], c["new"], bool(c["worse"]), _remark(c))
            for c in verdict["changes"]
            if c["metric"] == metric
        ]
        title = f"{metric.upper()} of every organ, old against new"
        charts.append(f"<h3>{metric.upper()}</h3>{pair_chart(title, rows)}")
    return _beside(charts) + PAIR_KEY


def _remark(change: View) -> str:
    return (
        f"{_name(change['organ'])}: {change['new'] - change['old']:+.3f} "
        f"({change['low']:+.3f} to {change['high']:+.3f}), {many(change['cases'], 'case')}. "
        f"{change['worse']}"
    )


def _training(curves: Sequence[View]) -> str:
    loss = [
        ChartLine(f"fold {k + 1}" if len(curves) > 1 else "loss", [(x, y) for x, y in each["loss"]])
        for k, each in enumerate(curves)
    ]
    charts = [line_chart("Loss over steps", loss, axes=("step", "loss"))]
    scores = curves[0]["dsc"] if curves else []
    keys = list(dict.fromkeys(key for _, row in scores for key in row))
    lines = [ChartLine(_name(key), [(x, row.get(key)) for x, row in scores]) for key in keys]
    charts.append(
        line_chart("DSC on hold-out scans over steps", lines, least=0.0, axes=("step", "DSC"))
    )
    titles = ("Loss", "DSC on hold-out scans, at the network's voxel size")
    drawn = [f"<h3>{t}</h3>{c}" for t, c in zip(titles, charts, strict=True) if c]
    return _beside(drawn)


def _evidence(each: View) -> str:
    decided = {row["case"]: set(row["organs"]) for row in each["decisions"]}
    charts = []
    for measure, title, most in MEASURES:
        found = strips_of(each["evidence"], decided, measure)
        strips = [Strip(_name(key), *values) for key, values in found.items()]
        if strips:
            charts.append(f"<h3>{escape(title)}</h3>{strip_chart(title, strips, most)}")
    key = STRIP_KEY if each["decisions"] else REVIEW_KEY
    return _beside(charts) + key if charts else ""


def strips_of(
    rows: Sequence[Mapping[str, object]], decided: Mapping[str, set[str]], measure: str
) -> dict[str, tuple[list[float], list[float]]]:
    """Return organ key -> values of a measure where the label was accepted, and where refused.

    Parameters
    ----------
    rows : sequence of mapping
        Evidence of cases: ``case`` and ``organs`` (key -> measures).
    decided : mapping
        Case -> accepted organs.
    """
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        taken = decided.get(str(row["case"]), set())
        organs = row["organs"]
        assert isinstance(organs, Mapping)
        for key, measures in organs.items():
            value = measures[measure]
            if value is not None and measures["volume_ml"]:
                found.setdefault(key, ([], []))[0 if key in taken else 1].append(float(value))
    return found


def _decisions(rows: Sequence[View]) -> str:
    if not rows:
        return ""
    heads = "<th>Case</th><th>Accepted</th><th>Organs</th><th>Weight</th>"
    lines = [
        f"<tr><td>{escape(row['case'])}</td><td>{'yes' if row['accepted'] else 'no'}</td>"
        f"<td>{len(row['organs'])}</td><td>{row['weight']:g}</td>"
        f'<td class="text note">{escape(row["reason"])}</td></tr>'
        for row in rows[:MOST_ROWS]
    ]
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    return table(heads + '<th class="text">Reason</th>', lines) + more


def _following(rows: Sequence[View]) -> str:
    heads = '<th>Case</th><th>Score</th><th>Seen</th><th class="text">Reason</th>'
    lines = [
        f"<tr><td>{escape(row['case'])}</td><td>{row['score']:.2f}</td>"
        f"<td>{'yes' if row['seen'] else 'no'}</td>"
        f'<td class="text note">{escape(row["reason"])}</td></tr>'
        for row in rows
    ]
    return table(heads, lines)


def _beside(charts: Sequence[str]) -> str:
    cells = "".join(f'<div style="flex:1 1 500px;max-width:640px">{each}</div>' for each in charts)
    return f'<div style="display:flex;flex-wrap:wrap;gap:1rem">{cells}</div>'


def _name(key: str) -> str:
    return organ(key).name
