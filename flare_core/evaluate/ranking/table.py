"""From the teams' files to one table, metric x case x team, in which higher is better.

Rules for what is missing. A case that any team has is a case of the ranking; who lacks it, or has
no finite value there, is ranked last. A team whose case lacks an organ that another team's has is
missing there too: the mean over fewer organs would be another quantity. A team without the column
of a metric is an error: more likely it has another name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import LESION
from flare_core.errors import InputError
from flare_core.evaluate.ranking.files import Cells, read_team, team_files
from flare_core.evaluate.ranking.schemes import MetricRule, Scheme
from flare_core.wording import many

Numbers = npt.NDArray[np.float64]

SHOWN = 5
"""So many names are listed in a note."""


@dataclass(frozen=True, eq=False)
class ResultTable:
    """All values, ready to rank."""

    scheme: Scheme
    """What is ranked."""
    teams: tuple[str, ...]
    """Sorted by name."""
    cases: tuple[str, ...]
    """All cases that any team has, sorted by name."""
    raw: Numbers
    """As read (metric, case, team); NaN where missing."""
    scored: Numbers
    """With tolerances, and turned so that higher is better (metric, case, team)."""
    notes: tuple[str, ...] = ()
    """What a reader of the ranking must know."""


def read_results(folder: str | Path, scheme: Scheme) -> ResultTable:
    """Read the results of all teams; `ranking_files` describes the format.

    Raises
    ------
    InputError
        If there are fewer than two teams, a file cannot be understood, a team lacks a metric
        altogether, or has no case in common with the others.
    """
    told: list[str] = []
    files = team_files(Path(folder), told)
    cells = {team: read_team(team, paths, scheme, told) for team, paths in sorted(files.items())}
    _check_cases(cells)
    table = make_table(cells, scheme)
    return replace(table, notes=(*told, *table.notes))


def make_table(cells: Mapping[str, Cells], scheme: Scheme) -> ResultTable:
    """Arrange the values of all teams.

    Parameters
    ----------
    cells : mapping
        Team -> case -> column -> value.
    scheme : Scheme
        What is ranked.

    Raises
    ------
    InputError
        If a team lacks a metric altogether.
    """
    teams = tuple(cells)
    cases = tuple(sorted({case for found in cells.values() for case in found}))
    shape = (len(scheme.metrics), len(cases), len(teams))
    raw, scored = np.full(shape, np.nan), np.full(shape, np.nan)
    for team in teams:
        _check_columns(team, cells[team], scheme)
    for m, rule in enumerate(scheme.metrics):
        for c, case in enumerate(cases):
            raw[m, c] = _values(rule, [found.get(case, {}) for found in cells.values()])
        for t, team in enumerate(teams):
            tolerated = [cells[team].get(c, {}).get(rule.tolerance_column, math.nan) for c in cases]
            scored[m, :, t] = score(raw[m, :, t], rule, np.array(tolerated))
    return ResultTable(scheme, teams, cases, raw, scored, _notes(raw, scheme, teams, cases))


def score(values: Numbers, rule: MetricRule, tolerated: Numbers) -> Numbers:
    """Apply a rule's tolerance and turn the values so that higher is better.

    Parameters
    ----------
    values : float64 (cases,)
        As measured; not finite means missing.
    rule : MetricRule
        Direction and tolerance.
    tolerated : float64 (cases,)
        The rule's `tolerance_column`, if it has one.

    Examples
    --------
    >>> runtime = MetricRule("t", "t", False, ("t",), tolerance=15.0)
    >>> score(np.array([8.0, 14.9, 16.0, np.nan]), runtime, np.zeros(4)).tolist()
    [-15.0, -15.0, -16.0, nan]
    """
    values = np.where(np.isfinite(values), values, np.nan)
    if rule.tolerance is None:
        pass
    elif rule.tolerance_column:
        values = np.where((tolerated <= rule.tolerance) & ~np.isnan(values), 0.0, values)
    elif rule.higher_is_better:
        values = np.minimum(values, rule.tolerance)
    else:
        values = np.maximum(values, rule.tolerance)
    return values if rule.higher_is_better else -values


def _values(rule: MetricRule, found: Sequence[Mapping[str, float]]) -> list[float]:
    """Return one metric of one case for every team; `found` is each team's columns."""
    direct = [_direct(rule, columns) for columns in found]
    if not rule.organ_mean_of:
        return [math.nan if value is None else value for value in direct]
    organs = [_organs(rule, columns) for columns in found]
    complete = {
        name for value, parts in zip(direct, organs, strict=True) if value is None for name in parts
    }
    return [
        value if value is not None else _mean(parts, complete)
        for value, parts in zip(direct, organs, strict=True)
    ]


def _direct(rule: MetricRule, columns: Mapping[str, float]) -> float | None:
    return next((columns[name] for name in rule.columns if name in columns), None)


def _organs(rule: MetricRule, columns: Mapping[str, float]) -> dict[str, float]:
    """Return the values of single organs."""
    lesion = f"{LESION.key}_{rule.organ_mean_of}"
    ending = f"_{rule.organ_mean_of}"
    return {name: v for name, v in columns.items() if name.endswith(ending) and name != lesion}


def _mean(parts: Mapping[str, float], complete: set[str]) -> float:
    if not parts or parts.keys() != complete:
        return math.nan
    return math.fsum(parts.values()) / len(parts)


def _check_cases(cells: Mapping[str, Cells]) -> None:
    """Refuse a team that shares no case with any other: names do not match."""
    for team, found in cells.items():
        others = {case for other, theirs in cells.items() if other != team for case in theirs}
        if not others & found.keys():
            came = f"cases {_listed(sorted(found))}, none of which another team has"
            came = came if found else "tables without any case, so none of which another team has"
            legal = f"names as the others have them: {_listed(sorted(others))}"
            raise InputError(team, came, legal, "Rename the cases, or take the team out.")


def _check_columns(team: str, cells: Cells, scheme: Scheme) -> None:
    """Refuse a team without the column of a metric, or without the one its tolerance needs."""
    present = {column for columns in cells.values() for column in columns}
    for rule in scheme.metrics:
        parts = _organs(rule, dict.fromkeys(present, 0.0)) if rule.organ_mean_of else {}
        if not parts and not present.intersection(rule.columns):
            wanted = " or ".join(f"`{name}`" for name in rule.columns)
            if rule.organ_mean_of:
                wanted += f", or one for each organ as in `liver_{rule.organ_mean_of}`"
            raise _missing_column(team, wanted, rule.columns[0], present)
        if rule.tolerance_column and rule.tolerance_column not in present:
            wanted = f"`{rule.tolerance_column}`, which the tolerance of {rule.title} is about"
            raise _missing_column(team, wanted, rule.tolerance_column, present)


def _missing_column(team: str, wanted: str, name: str, present: set[str]) -> InputError:
    near = difflib.get_close_matches(name, present, n=1)
    hint = f"Is it {near[0]}? " if near else ""
    came = f"no such column; usable ones are: {', '.join(sorted(present)) or 'none'}"
    action = f"{hint}Add the column, or rank by another --scheme."
    return InputError(f"results of {team}", came, f"a column {wanted}", action)


def _notes(
    raw: Numbers, scheme: Scheme, teams: Sequence[str], cases: Sequence[str]
) -> tuple[str, ...]:
    """Name what is missing."""
    gone = ~np.isfinite(raw)  # (metric, case, team)
    notes = []
    for t, team in enumerate(teams):
        whole = gone[:, :, t].all(axis=0)  # (case,)
        parts = [("result", whole)]
        parts += [(rule.title, gone[m, :, t] & ~whole) for m, rule in enumerate(scheme.metrics)]
        for what, missing in parts:
            names = [cases[int(c)] for c in np.flatnonzero(missing)]
            if names:
                notes.append(
                    f"{team}: no {what} of {many(len(names), 'case')}, ranked last: "
                    f"{_listed(names)}"
                )
    return tuple(notes)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
