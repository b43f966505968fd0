"""The teams' CSV files: which there are, what their columns are called, what stands in them.

RESULTS/ holds a file TEAM.csv for each team, or a folder TEAM/ with one or more CSV files, as
``flare evaluate`` and ``flare measure`` write them (files without a case column, such as summaries,
are passed over there). A file has a column ``case`` (or ``Name``, as the organisers' scripts call
it beside no ``case``) and is either

- wide: a line for each case, a column for each metric (``organ_dsc``, ``runtime_s``, ...), or for
  each organ and metric (``liver_dsc``, ``Liver_DSC``, ...), or
- long: columns ``case, organ, metric, value``; `organ` is empty for a metric of the whole case.

An empty cell, or a line that is not there, is a missing value; so is ``nan``. A value that its
metric cannot have, such as a DSC in per cent, is refused. A line called mean, SD or the like is
none of the cases: it is passed over, and a note says so.
"""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from flare_core.anatomy.organs import LESION, organ
from flare_core.errors import InputError, shown
from flare_core.evaluate.efficiency.measure import NUMBERS
from flare_core.evaluate.metrics import METRICS
from flare_core.evaluate.ranking.schemes import Scheme
from flare_core.imaging.inputs import case_name
from flare_core.wording import many

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

SUMMARY = frozenset((
    "all", "average", "averages", "avg", "case", "cases", "ci", "confidence", "count",
    "deviation", "dev", "error", "interval", "iqr", "max", "maximum", "mean", "means", "med",
    "median", "min", "minimum", "of", "over", "overall", "percentile", "quantile", "range", "sd",
    "sem", "std", "stddev", "stdev", "standard", "sum", "summary", "the", "total", "var",
    "variance",
))  # fmt: skip
"""Words of which the names of summary lines consist: ``Mean``, ``std. dev.``, ``mean of cases``."""
CONNECTING = frozenset(("all", "case", "cases", "of", "over", "range", "the", "error", "interval"))
"""Those that alone name no summary."""
NUMBER = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?inf(inity)?|[-+]?nan", re.IGNORECASE | re.ASCII
)
"""What counts as a number; Python would take 1_0 too."""

MOST_NAMED = 5
"""So many names are listed in a note."""

Value = tuple[str, str, str, str]
"""Case, column, text, and where it stands."""


def team_files(folder: Path, notes: list[str]) -> dict[str, list[Path]]:
    """Return the CSV files of each team; what was passed over goes into `notes`.

    Raises
    ------
    InputError
        If the folder is absent or holds fewer than two teams.
    """
    if not folder.is_dir():
        legal = "a folder with TEAM.csv or TEAM/*.csv for each team"
        raise InputError("RESULTS", f"{folder}, which is no folder", legal, "Correct the path.")
    found: dict[str, list[Path]] = {}
    passed: list[str] = []
    for path in _listed(folder):
        files = [path] if path.is_file() else _listed(path) if path.is_dir() else []
        files = [each for each in files if each.suffix.lower() == ".csv" and each.is_file()]
        passed += [] if files else [path.name]
        team = path.stem if path.is_file() else path.name
        if files and not team.isprintable():  # nor could it be written into a table
            legal = "names of teams in letters that can be shown"
            raise InputError("RESULTS", repr(team), legal, "Rename the file or folder.")
        if files and team in found:
            came = f"{team}.csv and the folder {team}"
            raise InputError("RESULTS", came, "one of them for each team", "Move one away.")
        if files:
            found[team] = files
    if len(found) < 2:
        came = f"{folder} with {many(len(found), 'team')}" + "".join(f" ({team})" for team in found)
        legal = "TEAM.csv or TEAM/*.csv of at least two teams"
        raise InputError("RESULTS", came, legal, "Add the other teams' results.")
    if passed:
        named = ", ".join(shown(name) for name in passed[:MOST_NAMED])
        more = f" and {len(passed) - MOST_NAMED} more" if len(passed) > MOST_NAMED else ""
        notes.append(f"passed over, no CSV file or a folder without one: {named}{more}")
    return found


def _listed(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted; hidden things do not count."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        came = f"a folder that cannot be looked into: {error.strerror or error}"
        legal = "folders that you may read"
        raise InputError(str(folder), came, legal, "Change its permissions.") from error


def read_team(team: str, paths: Sequence[Path], scheme: Scheme, notes: list[str]) -> Cells:
    """Read what a scheme needs from all files of a team; what was passed over goes into `notes`.

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
        names = _columns(head[1]) if head else []
        if "case" not in names:
            if len(paths) > 1 and not (head and _other_separator(head[1])):
                continue  # a summary beside the scores
            came = f"no column `case`, but: {', '.join(head[1]) if head else 'nothing'}"
            legal = "comma-separated: `case` and a column a metric, or `case,organ,metric,value`"
            action = "Correct the first line of the file."
            if mark := _other_separator(head[1]) if head else "":
                action = f"Export the table with commas instead of {mark}, and decimal points."
            raise InputError(str(path), came, legal, action)
        read += 1
        values = _long(rows, names, path) if set(names) >= LONG else _wide(rows, names, path)
        _add(cells, _without_summaries(values, path, notes), scheme, path)
    if not read:
        legal = "at least one file with a column `case`"
        came = f"{len(paths)} CSV files without a column `case`"
        raise InputError(team, came, legal, f"Look into {paths[0].parent}.")
    return cells


def _columns(head: Sequence[str]) -> list[str]:
    """Return our names of a table's columns; beside a column `case`, `Name` is another thing."""
    plain = [name.strip().lower() for name in head]
    names = [canonical(name) for name in plain]
    return [
        each if name == "case" and "case" in plain else name
        for each, name in zip(plain, names, strict=True)
    ]


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


def _other_separator(head: Sequence[str]) -> str:
    """Return what parts the names of a first line that has no commas; empty if it is none."""
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if any(canonical(name.strip('"')) == "case" for name in ",".join(head).split(mark)[:-1]):
            return word
    return ""


def _without_summaries(values: Iterator[Value], path: Path, notes: list[str]) -> Iterator[Value]:
    """Yield the values of cases; note the lines that sum up, refuse a line without a name."""
    passed: set[str] = set()
    for value in values:
        name, where = value[0], value[3].partition(", column")[0]
        if not name.strip() or not name.isprintable():
            came = repr(name) if name.strip() else "an empty cell"
            legal = "the name of a case"
            raise InputError(
                f"{where}, column case", came, legal, "Name the case, or drop the line."
            )
        if not is_summary(name):
            yield value
        elif name not in passed:
            passed.add(name)
            notes.append(f"{where}: {name.strip()!r} sums up cases and is none; passed over")


def is_summary(name: str) -> bool:
    """Whether the name of a line is that of a mean, a deviation or the like, not of a case.

    Examples
    --------
    >>> [is_summary(name) for name in ("Mean", "std. dev.", "mean \u00b1 SD", "25%", "95% CI")]
    [True, True, True, True, True]
    >>> [is_summary(name) for name in ("case_1", "mean_0001", "Max Mustermann", "case", "min1")]
    [False, False, False, False, False]
    """
    plain = re.sub(r"\d+(\.\d+)? ?%", " ", name.lower())
    words = re.findall(r"[^\W\d_]+", plain)
    if re.search(r"\d", plain) or not set(words) <= SUMMARY:
        return False
    return bool(set(words) - CONNECTING) or plain != name.lower()


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
    mine: dict[tuple[str, str], float] = {}  # of this file alone: each value stands in it once
    for case_text, name, text, where in values:
        case = cells.setdefault(_case(case_text), {})
        if name not in wanted:
            wanted[name] = wanted_column(name, scheme)
        column = wanted[name]
        if column is None or (not text.strip() and column not in direct):
            continue  # an organ without a value is not annotated in this case
        value = _in_range(_number(text, where), name, where)
        old = case.get(column, math.nan)
        first = mine.setdefault((_case(case_text), column), value)
        half = math.isnan(first) != math.isnan(value)  # a case twice, once without its value
        if half or abs(old - value) > DIFFERENCE * max(1.0, abs(old)):  # never true of NaN
            old = first if half else old
            came = f"{column} of {case_text}: {old:g} before, {value:g} in {path.name}"
            raise InputError(where, came, "one value for a case and metric", "Remove the other.")
        case[column] = old if math.isnan(value) else value


@lru_cache(maxsize=4096)
def _case(text: str) -> str:
    """Return the name of a case without ``.nii.gz`` and ``_0000``; every column asks again.

    Letters with accents count as one, however macOS has written them.
    """
    return unicodedata.normalize("NFC", case_name(text.strip()))


def _number(text: str, where: str) -> float:
    if not text.strip():
        return math.nan
    if not NUMBER.fullmatch(text.strip()):
        legal = "a number with a decimal point, or nothing for a missing value"
        raise InputError(where, repr(text), legal, "Correct the cell.")
    return float(text)


def _in_range(value: float, column: str, where: str) -> float:
    """Return the value, freed of rounding errors; refuse what its column cannot hold."""
    low, high = legal_range(column)
    if math.isnan(value) or low <= value <= high:
        return value
    near = min(max(value, low), high)
    if abs(near - value) <= DIFFERENCE:
        return near
    is_share = high == 1.0
    legal = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
    action = "Correct the cell; leave it empty if there is no value."
    if is_share and 1 < value <= 100:
        action = "If the column is in per cent, divide all of it by 100; else correct the cell."
    raise InputError(where, f"{value:g}", f"{legal}, or nothing for a missing value", action)


def legal_range(column: str) -> tuple[float, float]:
    """Return the least and greatest value that a column can hold, by what it measures.

    Examples
    --------
    >>> legal_range("liver_dsc"), legal_range("runtime_s"), legal_range("our_own_number")
    ((0.0, 1.0), (0.0, inf), (-inf, inf))
    """
    if column in NUMBERS:
        return 0.0, math.inf
    for key, metric in METRICS.items():
        if column == key or column.endswith(f"_{key}"):
            return metric.least, metric.most
    return -math.inf, math.inf


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
    >>> from flare_core.evaluate.ranking.schemes import FLARE23
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
