"""The page of an evaluation: takes the scores apart into sections, tables and charts."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from flare_core.evaluate.evaluate import Evaluation
from flare_core.evaluate.metrics import METRICS
from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.summary import Statistic, case_means, headlines, statistics
from flare_core.report import html
from flare_core.report.charts.svg import score_text
from flare_core.report.evaluation.figures import (
    Figure,
    Sources,
    distribution,
    lesion_distribution,
    pictures,
    volumes,
)
from flare_core.wording import many

MODE_TEXT = {
    "official": "Mode official: the numbers of the organisers' scripts, to 4 decimals. Of organs "
    "that are compared on the labelled slices only, the last labelled slice is left out, and a "
    "reference of one slice has no score.",
    "fixed": "Mode fixed: as the organisers' scripts, but with all labelled slices and unrounded.",
}
CHART_KEY = (
    "Charts: the violin is the density (from 8 different values on), the box the middle half, its "
    "bar the median, the diamond the mean; whiskers reach to the last case within 1.5 box lengths. "
    "Dots are cases, beyond 250 cases only the outliers; hollow ones lie beyond the axis."
)
CHARTED = ("1", "mm")
"""Units of the metrics that get a chart."""
HEAD = ("Structure", "mean ± SD", "95 % CI", "median [IQR]", "n")

COUNT_HEADS = {"undefined": "undef.", "infinite": "inf."}
"""Fields of `Statistic` that get a column where a case has such a value."""


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
class TextTable:
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
class Section:
    """A part of the page under its own title."""

    title: str
    """Its title."""
    remarks: tuple[str, ...] = ()
    """Sentences above its content."""
    tables: tuple[TextTable, ...] = ()
    """Its tables."""
    figures: tuple[Figure, ...] = ()
    """Its charts and pictures."""


def page_of(evaluation: Evaluation, sources: Sources) -> str:
    """Return the HTML page of an evaluation."""
    rules = evaluation.rules
    failed = f", {len(evaluation.failed)} of them scored 0" if evaluation.failed else ""
    left_out = f", {len(evaluation.left_out)} left out" if evaluation.left_out else ""
    names = f"{sources.prediction.resolve().name} against {sources.reference.resolve().name}"
    counts = f"{many(len(evaluation.cases), 'case')}{failed}{left_out}"
    remark = f"{names}: {counts}. {MODE_TEXT[rules.mode]} {CHART_KEY}"
    cards = [Card(one.name, one.value, (one.ci_low, one.ci_high)) for one in headlines(evaluation)]
    sections = [
        Section("Cases left out or scored 0, and notes", tables=_problems(evaluation)),
        *_metric_sections(evaluation),
        Section("Volumes", figures=volumes(evaluation)),
        Section("Best and worst cases", figures=pictures(evaluation, sources)),
        Section("Cases, worst first", tables=(_cases(evaluation),)),
        Section("What was computed", tables=(_metrics(evaluation), _tolerances(evaluation))),
    ]
    return evaluation_page(rules.edition.title, remark, cards, sections)


def _metric_sections(evaluation: Evaluation) -> list[Section]:
    """Return chart and table of every metric; the lesion-wise ones share theirs."""
    found: dict[str, list[Statistic]] = {}
    for one in statistics(evaluation):
        found.setdefault(one.metric, []).append(one)
    names = {target.key: target.name for target in evaluation.rules.edition.targets}
    sections = []
    for key in (key for key in found if not METRICS[key].lesion_only):
        metric = METRICS[key]
        figures = (distribution(evaluation, metric),) if metric.unit in CHARTED else ()
        table = _table([(one, names[one.organ]) for one in found[key]])
        sections.append(Section(_title(metric), tables=(table,), figures=figures))
    return [*sections, _lesion_section(evaluation, found)]


def _lesion_section(evaluation: Evaluation, found: dict[str, list[Statistic]]) -> Section:
    keys = [key for key in found if METRICS[key].lesion_only]
    rows = [(one, METRICS[key].name) for key in keys for one in found[key]]
    remark = (
        "Lesions are connected components (26 neighbours). One counts as found if its "
        f"intersection over union with a predicted one is above {evaluation.rules.lesion_iou:g}."
    )
    tables = (_table(rows),) if rows else ()
    return Section("Lesion-wise metrics", (remark,), tables, lesion_distribution(evaluation))


def _title(metric: Metric) -> str:
    """Return a metric's name with its unit and which way is better.

    Examples
    --------
    >>> _title(METRICS["hd95"])
    'Hausdorff distance, 95 %, mm (lower is better)'
    """
    better = {"zero": " (0 is best)", "none": ""}
    unit = "" if metric.unit == "1" or "{" in metric.unit else f", {metric.unit}"
    return f"{metric.name}{unit}{better.get(metric.direction, f' ({metric.direction} is better)')}"


def _table(rows: Sequence[tuple[Statistic, str]]) -> TextTable:
    """Return statistics with their names; how many are undefined or infinite, only if some are."""
    counts = [
        name for name in ("undefined", "infinite") if any(getattr(one, name) for one, _ in rows)
    ]
    cells = tuple(
        (
            name,
            f"{score_text(one.mean)} ± {score_text(one.sd)}",
            f"{score_text(one.ci_low)} to {score_text(one.ci_high)}",
            f"{score_text(one.median)} [{score_text(one.q1)}, {score_text(one.q3)}]",
            str(one.n),
            *(str(getattr(one, count) or "") for count in counts),
        )
        for one, name in rows
    )
    return TextTable((*HEAD, *(COUNT_HEADS[count] for count in counts)), cells)


def _problems(evaluation: Evaluation) -> tuple[TextTable, ...]:
    wrong = (*evaluation.left_out, *evaluation.failed)
    rows: list[tuple[str, ...]] = [(c.case, c.status, c.problem) for c in wrong]
    rows += [(c.case, "note", note) for c in evaluation.cases for note in c.notes]
    rows += [(name, "not scored", "a prediction without a reference") for name in evaluation.extra]
    if not rows:
        return ()
    alert = frozenset(range(len(wrong)))
    return (TextTable(("Case", "What", "Why"), tuple(rows), alert, frozenset({0, 1, 2})),)


def _cases(evaluation: Evaluation) -> TextTable:
    """Return one row for each case, worst first."""
    edition = evaluation.rules.edition
    groups = [("Organ", edition.organ_targets), ("Lesion", edition.lesion_targets)]
    columns = [
        (f"{name} {key.upper()}", case_means(evaluation, targets, key))
        for name, targets in groups
        if targets
        for key in evaluation.rules.metrics
        if METRICS[key].official
    ]
    if not columns:
        return TextTable(("Case", "Status"), tuple((c.case, c.status) for c in evaluation.cases))
    order = np.argsort(np.nan_to_num(columns[0][1], nan=2.0), kind="stable")
    rows = tuple(
        (evaluation.cases[k].case, evaluation.cases[k].status)
        + tuple(score_text(float(column[k])) for _, column in columns)
        for k in order
    )
    alert = frozenset(n for n, k in enumerate(order) if evaluation.cases[k].status != "scored")
    head = ("Case", "Status", *(name for name, _ in columns))
    return TextTable(head, rows, alert, frozenset({0, 1}))


def _metrics(evaluation: Evaluation) -> TextTable:
    rows = tuple(
        (key, METRICS[key].name, METRICS[key].unit, METRICS[key].direction, METRICS[key].empty)
        for key in evaluation.rules.metrics
    )
    head = ("Key", "Metric", "Unit", "Better", "Where a structure is not there")
    return TextTable(head, rows, text_columns=frozenset(range(5)))


def _tolerances(evaluation: Evaluation) -> TextTable:
    rows = tuple(
        (t.name, str(t.value), f"{t.tolerance_mm:g}", "yes" if t.labelled_slices else "no")
        for t in evaluation.rules.edition.targets
    )
    return TextTable(("Structure", "Label", "NSD tolerance, mm", "Labelled slices only"), rows)


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
    return html.page(
        title,
        f'<p>{escape(remark)}</p><div class="cards">{"".join(map(_card, cards))}</div>',
        *(_section(each) for each in sections if each.tables or each.figures),
        style=OWN_STYLE,
    )


def _card(card: Card) -> str:
    low, high = card.ci
    between = "" if math.isnan(low) else f"95 % CI {score_text(low)} to {score_text(high)}"
    return (
        f'<div class="card">{escape(card.name)}<b>{score_text(card.value)}</b>'
        f"<span>{between}</span></div>"
    )


def _section(section: Section) -> str:
    remarks = "".join(f"<p>{escape(text)}</p>" for text in section.remarks)
    tables = "".join(_html_table(each) for each in section.tables)
    figures = "".join(_figure(each) for each in section.figures)
    return html.section(section.title, f'{remarks}<div class="pair">{figures}{tables}</div>')


def _html_table(table: TextTable) -> str:
    head = "".join(_cell("th", k, text, table) for k, text in enumerate(table.head))
    rows = (
        f"<tr{' class=alert' if number in table.alert else ''}>"
        + "".join(_cell("td", k, text, table) for k, text in enumerate(row))
        + "</tr>"
        for number, row in enumerate(table.rows)
    )
    return html.table(head, rows)


def _cell(tag: str, column: int, text: str, table: TextTable) -> str:
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
