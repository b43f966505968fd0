"""Scores as files: one line per number, per case, per structure, and everything as JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from flare_core.evaluate.evaluate import CaseResult, Evaluation
from flare_core.evaluate.metrics import METRICS
from flare_core.evaluate.summary import Statistic, case_means, headlines, statistics
from flare_core.wording import many

IN_TERMINAL = {
    "dsc": "DSC",
    "nsd": "NSD",
    "hd95": "HD95, mm",
    "volume_error_percent": "volume, %",
}
"""Metrics of the table in a terminal, and their heads there."""


def scores_csv(evaluation: Evaluation) -> str:
    """Return every number on its own line: case, organ, metric, value, unit.

    Undefined values are written ``nan``, infinite distances ``inf``.
    """
    rows = (
        [row.case, row.organ, row.metric, number_text(row.value), METRICS[row.metric].unit]
        for row in evaluation.rows
    )
    return _csv(["case", "organ", "metric", "value", "unit"], rows)


def per_case_csv(evaluation: Evaluation) -> str:
    """Return one line for each case: status, means over the organs, then every score and volume."""
    edition = evaluation.rules.edition
    groups = {"organs": edition.organ_targets, "lesion": edition.lesion_targets}
    means = {
        f"{group}_mean_{key}": case_means(evaluation, targets, key)
        for group, targets in groups.items()
        if len(targets) > 1
        for key in evaluation.rules.metrics
        if METRICS[key].official
    }
    columns = list(_case_columns(evaluation))
    head = ["case", "status", "problem", *means, *(f"{target}_{name}" for target, name in columns)]
    rows = (
        [case.case, case.status, case.problem or "; ".join(case.notes)]
        + [number_text(float(column[number])) for column in means.values()]
        + _case_cells(case, columns)
        for number, case in enumerate(evaluation.cases)
    )
    return _csv(head, rows)


def per_organ_csv(evaluation: Evaluation) -> str:
    """Return one line for each structure and metric: mean, SD, median, quartiles, interval."""
    names = [field.name for field in fields(Statistic)]
    head = [*names[:2], "unit", *names[2:]]
    rows = []
    for one in statistics(evaluation):
        cells = [number_text(getattr(one, name)) for name in names[2:]]
        rows.append([one.organ, one.metric, METRICS[one.metric].unit, *cells])
    return _csv(head, rows)


def summary_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return the whole summary as plain values for JSON; undefined and infinite become None."""
    rules = evaluation.rules
    return {
        "edition": rules.edition.key,
        "title": rules.edition.title,
        "mode": rules.mode,
        "lesion_iou": rules.lesion_iou,
        "tolerance_mm": {target.key: target.tolerance_mm for target in rules.edition.targets},
        "nsd_gate_dsc": rules.edition.nsd_gate_dsc,
        "cases": len(evaluation.cases),
        "scored_zero": {case.case: f"{case.status}: {case.problem}" for case in evaluation.failed},
        "left_out": {case.case: case.problem for case in evaluation.left_out},
        "notes": {case.case: list(case.notes) for case in evaluation.cases if case.notes},
        "without_reference": list(evaluation.extra),
        "scores": [_plain(asdict(one)) for one in headlines(evaluation)],
        "statistics": [_plain(asdict(one)) for one in statistics(evaluation)],
        "metrics": {key: _described(key) for key in rules.metrics},
    }


def summary_text(evaluation: Evaluation) -> str:
    """Return the scores as a table for a terminal: means of DSC and NSD, medians of the others."""
    rules = evaluation.rules
    found = {(one.organ, one.metric): one for one in statistics(evaluation)}
    kinds = {
        k: "mean" if METRICS[k].official else "median" for k in IN_TERMINAL if k in rules.metrics
    }
    left_out = f" ({len(evaluation.left_out)} left out)" if evaluation.left_out else ""
    cases = many(len(evaluation.cases), "case")
    lines = [
        f"{rules.edition.title}, mode {rules.mode}, {cases}{left_out}",
        " " * 22 + "".join(f"{IN_TERMINAL[key]:>12}" for key in kinds),
        " " * 22 + "".join(f"{kind:>12}" for kind in kinds.values()),
    ]
    for target in rules.edition.targets:
        cells = (_short(getattr(found[target.key, key], kind)) for key, kind in kinds.items())
        lines.append(f"{target.name[:21]:<22}" + "".join(f"{cell:>12}" for cell in cells))
    for one in headlines(evaluation):
        ends = f"  (95 % CI {one.ci_low:.4f} to {one.ci_high:.4f})"
        lines.append(f"{one.name:<30}{_short(one.value)}{'' if math.isnan(one.ci_low) else ends}")
    return "\n".join(lines)


def problems_text(evaluation: Evaluation) -> list[str]:
    """Return one line for everything a person should know of before trusting the scores."""
    lines = [f"{c.case}: left out: {c.problem}" for c in evaluation.left_out]
    lines += [f"{c.case}: scores 0, {c.status}: {c.problem}" for c in evaluation.failed]
    lines += [f"{c.case}: {note}" for c in evaluation.cases for note in c.notes]
    return lines + [f"{name}: not scored, there is no reference" for name in evaluation.extra]


def number_text(value: float) -> str:
    """Write a number with up to six decimals, or six figures if that is more.

    Examples
    --------
    >>> [number_text(x) for x in (0.9312, 1.0, 12, 1234567.25, 0.00000123, float("nan"))]
    ['0.9312', '1', '12', '1234567.25', '0.00000123', 'nan']
    """
    if not math.isfinite(value):
        return str(float(value))
    if value and abs(value) < 1e-4:
        return np.format_float_positional(value, precision=6, fractional=False, trim="-")
    return np.format_float_positional(value, precision=6, trim="-")


def _short(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else str(value)


def _case_columns(evaluation: Evaluation) -> Iterable[tuple[str, str]]:
    """Return (structure, metric) for every score, then the two volumes of every structure."""
    for target in evaluation.rules.edition.targets:
        for metric in evaluation.rules.metrics_of(target):
            yield target.key, metric.key
    for target in evaluation.rules.edition.targets:
        yield target.key, "true_ml"
        yield target.key, "predicted_ml"


def _case_cells(case: CaseResult, columns: Sequence[tuple[str, str]]) -> list[str]:
    """Return a case's cells; empty where its reference does not annotate the structure."""
    found = {
        (one.target, name): number_text(value)
        for one in case.scores
        for name, value in {
            **one.values,
            "true_ml": one.true_ml,
            "predicted_ml": one.predicted_ml,
        }.items()
    }
    return [found.get(column, "") for column in columns]


def _described(key: str) -> dict[str, str]:
    metric = METRICS[key]
    return {
        "name": metric.name,
        "unit": metric.unit,
        "better": metric.direction,
        "empty": metric.empty,
        "source": metric.source,
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue()
