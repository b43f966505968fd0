"""The tables of a summary, to read (Markdown) and to compute with (CSV).

The first three are those that come with FLARE's data sets; what "coverage" means there differs from
edition to edition, so both are given under names of their own: the share of a scan's voxels that an
organ takes, and the share of cases that have it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.anatomy.organs import organ
from flare_core.datasets.summary.summarise import (
    CaseLine,
    HuStatistics,
    Spread,
    Summary,
    hu_statistics,
)
from flare_core.wording import many

Value = str | int | float | None


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    head: str
    """What it is, with its unit."""
    digits: int | None = None
    """Digits behind the point when shown to people; None shows about three figures."""


@dataclass(frozen=True)
class Table:
    """Rows of values."""

    key: str
    """Name of its CSV file."""
    title: str
    """For people."""
    columns: tuple[Column, ...]
    """The first one names the row."""
    rows: tuple[tuple[Value, ...], ...]
    """Values as they are; shown rounded."""
    note: str = ""
    """What a reader should know."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The columns' heads."""
        return tuple(column.head for column in self.columns)

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The rows as people read them."""
        return tuple(
            tuple(shown(v, c.digits) for v, c in zip(row, self.columns, strict=True))
            for row in self.rows
        )


def tables_of(summary: Summary) -> tuple[Table, ...]:
    """Return number of cases, resolution, intensities, labels and cases of a summary."""
    return (
        cases_table(summary),
        resolution_table(summary),
        intensity_table(summary),
        label_table(summary),
    )


def cases_table(summary: Summary) -> Table:
    """Return how many scans and label maps each part has."""
    parts = dict.fromkeys(case.subset for case in summary.cases)
    rows = [_part_row(part, [c for c in summary.cases if c.subset == part]) for part in parts]
    if len(rows) > 1:
        rows.append(_part_row("all", summary.cases))
    columns = (Column("Part"), Column("Scans"), Column("Labelled"), Column("Axial slices"))
    note = many(
        len(summary.left_out),
        "case could not be read and is left out.",
        "cases could not be read and are left out.",
    )
    return Table("parts", "Scans", columns, tuple(rows), note if summary.left_out else "")


def resolution_table(summary: Summary) -> Table:
    """Return spacing and size of the scans along x, y and z: minimum, median, mean, maximum."""
    columns = (
        Column("Dataset statistics"),
        *(Column(f"Spacing {axis} (mm)", 2) for axis in "xyz"),
        *(Column(f"Size {axis}", 0) for axis in "xyz"),
    )
    spreads = [
        Spread.of([line[axis] for line in values])
        for values in (
            [case.spacing_mm for case in summary.cases],
            [case.shape for case in summary.cases],
        )
        for axis in (2, 1, 0)
    ]
    rows = (
        ("min", *(_number(spread.minimum) for spread in spreads)),
        ("median", *(_number(spread.median) for spread in spreads)),
        ("mean", *(_number(spread.mean) for spread in spreads)),
        ("max", *(_number(spread.maximum) for spread in spreads)),
    )
    note = "Each column by itself: a row is not one scan. z is the third axis of the file's grid."
    return Table("resolution", "Resolution", columns, rows, note)


def intensity_table(summary: Summary) -> Table:
    """Return HU of the total foreground and of every label, the voxels of all cases together."""
    columns = (
        Column("Categories"),
        *(Column(f"CT-{name}", 0) for name in ("min", "0.5%", "median")),
        *(Column(f"CT-{name}", 1) for name in ("mean", "std")),
        *(Column(f"CT-{name}", 0) for name in ("99.5%", "max")),
        Column("Voxels"),
    )
    rows = [("Total foreground", *_hu_values(hu_statistics(summary.foreground)))]
    for value, name in label_names(summary.scheme):
        found = summary.counts.get(value)
        values = _hu_values(None if found is None else hu_statistics(found))
        rows.append((f"{value} {name}", *values))
    note = "HU of the labelled voxels of all labelled cases, each voxel counting once."
    return Table("intensity", "Intensity (HU)", columns, tuple(rows), note)


def label_table(summary: Summary) -> Table:
    """Return coverage, volume and number of samples of every label."""
    columns = (
        Column("Categories"),
        *(Column(f"Coverage {name} (%)") for name in ("min", "mean", "max")),
        *(Column(f"Volume {name} (mL)") for name in ("min", "median", "mean", "max")),
        Column("Number of samples"),
        Column("Annotated in"),
        Column("Present (%)", 1),
    )
    rows = tuple(_label_row(summary, value, name) for value, name in label_names(summary.scheme))
    note = (
        "Coverage: share of the scan's voxels, over the cases that have the label. "
        "Annotated in: cases whose label map would show it. Present: samples among these."
    )
    return Table("labels", "Labels", columns, rows, note)


def case_table(summary: Summary) -> Table:
    """Return one row per case; for the CSV file, as it may be long."""
    labels = label_names(summary.scheme)
    columns = (
        Column("case"), Column("part"), Column("labelled"),
        *(Column(f"spacing_{axis}_mm") for axis in "xyz"),
        *(Column(f"size_{axis}") for axis in "xyz"),
        *(Column(f"{name} (mL)") for _, name in labels),
    )  # fmt: skip
    rows = tuple(
        (
            case.name, case.subset, int(case.labelled), *case.spacing_mm[::-1], *case.shape[::-1],
            *(case.volume_ml(value) if _annotates(case, summary.scheme, value) else None
              for value, _ in labels),
        )
        for case in summary.cases
    )  # fmt: skip
    return Table("cases", "Cases", columns, rows)


def label_names(scheme: LabelScheme) -> list[tuple[int, str]]:
    """Return the label values that have an organ of ours, and their names.

    Examples
    --------
    >>> from flare_core.anatomy.label_schemes import FLARE21
    >>> label_names(FLARE21)[1]
    (2, 'Right kidney + left kidney')
    """
    return [
        (value, " + ".join(organ(key).name for key in keys).replace("+ L", "+ l"))
        for value, keys in scheme.organs
    ]


def to_markdown(title: str, tables: Sequence[Table]) -> str:
    """Write tables as Markdown."""
    return f"# {title}\n" + "".join(f"\n{part}\n" for part in _markdown_parts(tables))


def to_csv(table: Table) -> str:
    """Write a table as CSV with all digits; empty cells have no value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.heads)
    writer.writerows(table.rows)
    return stream.getvalue()


def shown(value: Value, digits: int | None = None) -> str:
    """Write a value for people; a dash where there is none.

    Examples
    --------
    >>> shown(0.00512), shown(3016.4), shown(41.26), shown(-12.0, 0), shown(None), shown(2.5, 2)
    ('0.00512', '3016', '41.3', '-12', '-', '2.50')
    """
    if value is None:
        return "-"
    if isinstance(value, (str, int)):
        return str(value)
    if not math.isfinite(value):
        return "-"
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 or size == 0 else max(0, 2 - math.floor(math.log10(size)))
    return f"{value:.{digits}f}"


def _markdown_parts(tables: Sequence[Table]) -> Iterator[str]:
    for table in tables:
        yield f"## {table.title}"
        rule = ("---", *("---:" for _ in table.heads[1:]))
        rows = [" | ".join(map(_cell, row)) for row in (table.heads, rule, *table.texts)]
        yield "\n".join(f"| {row} |" for row in rows)
        if table.note:
            yield table.note


def _cell(text: str) -> str:
    """Keep what ends a cell of Markdown out of it."""
    return text.replace("|", "\\|").replace("\n", " ")


def _part_row(part: str, cases: Sequence[CaseLine]) -> tuple[Value, ...]:
    labelled = sum(case.labelled for case in cases)
    return part, len(cases), labelled, sum(case.shape[0] for case in cases)


def _hu_values(found: HuStatistics | None) -> tuple[Value, ...]:
    if found is None:
        return (None,) * 7 + (0,)
    return (
        found.minimum, found.low, found.median, found.mean, found.sd, found.high, found.maximum,
        found.voxels,
    )  # fmt: skip


def _label_row(summary: Summary, value: int, name: str) -> tuple[Value, ...]:
    cases = summary.with_label(value)
    share = Spread.of([case.coverage(value) for case in cases])
    volume = Spread.of([case.volume_ml(value) for case in cases])
    annotated = sum(_annotates(case, summary.scheme, value) for case in summary.cases)
    return (
        f"{value} {name}",
        *(_number(v) for v in (share.minimum, share.mean, share.maximum)),
        *(_number(v) for v in (volume.minimum, volume.median, volume.mean, volume.maximum)),
        len(cases),
        annotated,
        100 * len(cases) / annotated if annotated else None,
    )


def _annotates(case: CaseLine, scheme: LabelScheme, value: int) -> bool:
    """Whether a case's label map would show this label if the organ is there."""
    keys = next(keys for number, keys in scheme.organs if number == value)
    return case.labelled and all(key in case.annotated for key in keys)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
