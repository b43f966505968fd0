"""The teams' CSV files: which there are, what their columns are called, what stands in them.

RESULTS/ holds a file TEAM.csv for each team, or a folder TEAM/ with one or more CSV files, as
``flare evaluate`` and ``flare measure`` write them (files without a case column, such as summaries,
are passed over there). A file has a column ``case`` (or ``Name``, as the organisers' scripts call
it) and is either

- wide: a line for each case, a column for each metric (``organ_dsc``, ``runtime_s``, ...), or for
  each organ and metric (``liver_dsc``, ``Liver_DSC``, ...), or
- long: columns ``case, organ, metric, value``; `organ` is empty for a metric of the whole case.

An empty cell, or a line that is not there, is a missing value; so is ``nan``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from flare_core.anatomy.organs import LESION, organ
from flare_core.errors import InputError
from flare_core.evaluate.ranking_schemes import Scheme
from flare_core.imaging.inputs import case_name

Cells = dict[str, dict[str, float]]
"""Case -> column -> value, NaN if it is missing. A case without any value is there too."""

ORGANISERS_NAMES = {
    "name": "case",
    "time": "runtime_s",
    "gpu_mem": "gpu_stable_max_mib",
    "maxgpu_mem": "gpu_max_mib",
    "auc_gpu_time": "auc_gpu_mib_s",
    "auc_cpu_time": "auc_cpu_percent_s",
    "auc_ram_time": "auc_ram_mib_s",
}
"""Column heads of the organisers' efficiency tables and what we call the same."""

WHOLE = ("", "organ", "organs", "organs_mean", "mean", "average")
"""What `organ` says in a long table about the whole case, or about the mean over its organs."""
LONG = {"case", "organ", "metric", "value"}
DIFFERENCE = 1e-6
"""Two files of a team may differ by this share about the same value (they were rounded)."""

Value = tuple[str, str, str, str]
"""Case, column, text, and where it stands."""


def team_files(folder: Path) -> dict[str, list[Path]]:
    """Return the CSV files of each team.

    Raises
    ------
    InputError
        If the folder is absent or holds fewer than two teams.
    """
    if not folder.is_dir():
        legal = "a folder with TEAM.csv or TEAM/*.csv for each team"
        raise InputError("RESULTS", f"{folder}, which is no folder", legal, "Correct the path.")
    found: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
        files = [path] if path.is_file() else sorted(path.glob("*.csv"))
        files = [each for each in files if each.suffix.lower() == ".csv"]
        team = path.stem if path.is_file() else path.name
        if files and team in found:
            came = f"{team}.csv and the folder {team}"
            raise InputError("RESULTS", came, "one of them for each team", "Move one away.")
        if files:
            found[team] = files
    if len(found) < 2:
        came = f"{folder} with {len(found)} teams" + "".join(f" ({team})" for team in found)
        legal = "TEAM.csv or TEAM/*.csv of at least two teams"
        raise InputError("RESULTS", came, legal, "Add the other teams' results.")
    return found


def read_team(team: str, paths: Sequence[Path], scheme: Scheme) -> Cells:
    """Read what a scheme needs from all files of a team.

    Raises
    ------
    InputError
        If a file cannot be understood, or two values contradict each other.
    """
    cells: Cells = {}
    read = 0
    for path in paths:
        rows = _rows(path)
        head = next(rows, None)
        names = [canonical(name) for name in head[1]] if head else []
        if "case" not in names:
            if len(paths) > 1:
                continue  # a summary beside the scores
            came = f"no column `case`, but: {', '.join(head[1]) if head else 'nothing'}"
            legal = "comma-separated: `case` and a column a metric, or `case,organ,metric,value`"
            raise InputError(str(path), came, legal, "Correct the first line of the file.")
        read += 1
        values = _long(rows, names, path) if set(names) >= LONG else _wide(rows, names, path)
        _add(cells, values, scheme, path)
    if not read:
        legal = "at least one file with a column `case`"
        came = f"{len(paths)} CSV files without a column `case`"
        raise InputError(team, came, legal, f"Look into {paths[0].parent}.")
    return cells


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of the lines that are not empty."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            for row in (reader := csv.reader(stream)):
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        came = f"a file that cannot be read: {error}"
        legal = "comma-separated text in UTF-8"
        raise InputError(str(path), came, legal, "Export the table again.") from error


def _wide(rows: Iterator[tuple[int, list[str]]], names: list[str], path: Path) -> Iterator[Value]:
    at = names.index("case")
    for line, row in rows:
        _check_width(row, names, path, line)
        for name, text in zip(names, row, strict=True):
            if name != "case":
                yield row[at], name, text, f"{path}, line {line}, column {name}"


def _long(rows: Iterator[tuple[int, list[str]]], names: list[str], path: Path) -> Iterator[Value]:
    case, part, metric, value = (names.index(n) for n in ("case", "organ", "metric", "value"))
    for line, row in rows:
        _check_width(row, names, path, line)
        structure, measure = row[part].strip().lower(), canonical(row[metric])
        whole = "" if measure not in ("dsc", "nsd") else "organ_"
        column = f"{whole}{measure}" if structure in WHOLE else f"{structure}_{measure}"
        yield row[case], column, row[value], f"{path}, line {line}"


def _check_width(row: Sequence[str], names: Sequence[str], path: Path, line: int) -> None:
    if len(row) != len(names):
        came = f"{len(row)} cells in line {line}"
        legal = f"{len(names)}, as in the first line"
        raise InputError(str(path), came, legal, "Correct the line (quote cells with commas).")


def _add(cells: Cells, values: Iterator[Value], scheme: Scheme, path: Path) -> None:
    """Put the values that the scheme needs into `cells`; refuse contradictions."""
    direct = direct_columns(scheme)
    wanted: dict[str, str | None] = {}
    for case_text, name, text, where in values:
        case = cells.setdefault(_case(case_text), {})
        if name not in wanted:
            wanted[name] = wanted_column(name, scheme)
        column = wanted[name]
        if column is None or (not text.strip() and column not in direct):
            continue  # an organ without a value is not annotated in this case
        value = _number(text, where)
        old = case.get(column, math.nan)
        if abs(old - value) > DIFFERENCE * max(1.0, abs(old)):  # never true of NaN
            came = f"{column} of {case_text}: {old:g} before, {value:g} in {path.name}"
            raise InputError(where, came, "one value for a case and metric", "Remove the other.")
        case[column] = old if math.isnan(value) else value


@lru_cache(maxsize=4096)
def _case(text: str) -> str:
    """Return the name of a case without ``.nii.gz`` and ``_0000``; every column asks again."""
    return case_name(text.strip())


def _number(text: str, where: str) -> float:
    try:
        return float(text) if text.strip() else math.nan
    except ValueError:
        legal = "a number with a decimal point, or nothing for a missing value"
        raise InputError(where, repr(text), legal, "Correct the cell.") from None


def canonical(name: str) -> str:
    """Return our name of a column.

    Examples
    --------
    >>> canonical(" Time"), canonical("Liver_DSC"), canonical("AUC_GPU_Time")
    ('runtime_s', 'liver_dsc', 'auc_gpu_mib_s')
    """
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    return ORGANISERS_NAMES.get(plain, plain)


def wanted_column(name: str, scheme: Scheme) -> str | None:
    """Return the name under which a scheme needs a column; None if it does not.

    Examples
    --------
    >>> from flare_core.evaluate.ranking_schemes import FLARE23
    >>> wanted_column("rk_dsc", FLARE23), wanted_column("tumor_nsd", FLARE23)
    ('right_kidney_dsc', 'lesion_nsd')
    >>> wanted_column("liver_hd95", FLARE23), wanted_column("sd_dsc", FLARE23)
    (None, None)
    """
    direct = direct_columns(scheme)
    if name in direct:
        return name
    structure, _, measure = name.rpartition("_")
    key = structure_key(structure)
    column = f"{key}_{measure}"
    needed = any(measure == rule.organ_mean_of for rule in scheme.metrics if rule.organ_mean_of)
    if key is None or (column not in direct and (not needed or key == LESION.key)):
        return None
    return column


def direct_columns(scheme: Scheme) -> set[str]:
    """Return the columns that hold a metric, or what its tolerance is about."""
    columns = {column for rule in scheme.metrics for column in rule.columns}
    return columns | ({rule.tolerance_column for rule in scheme.metrics} - {""})


def structure_key(name: str) -> str | None:
    """Return the key of an organ, of both kidneys or of lesions; None for any other word.

    Examples
    --------
    >>> structure_key("ivc"), structure_key("kidneys"), structure_key("mean")
    ('inferior_vena_cava', 'kidneys', None)
    """
    if name in ("kidney", "kidneys"):
        return "kidneys"
    try:
        return None if name.isdigit() else organ(name).key
    except InputError:
        return None
