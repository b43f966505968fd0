"""One self-contained page about a data set: its tables, and a histogram of every number in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from flare_core.anatomy.organs import organ
from flare_core.datasets.summary.summarise import (
    LOWEST_HU,
    Counts,
    Spread,
    Summary,
    coarse,
    hu_statistics,
    percentile,
)
from flare_core.datasets.summary.tables import Table, label_names, shown
from flare_core.report.charts.histogram import Histogram, histogram_of, histogram_svg, round_bars
from flare_core.report.charts.svg import Colour
from flare_core.report.html import list_of, page, section, table
from flare_core.wording import many

HU_BARS = 70
GREY: Colour = (120, 120, 125)


@dataclass(frozen=True)
class Gallery:
    """Histograms that belong together."""

    title: str
    """For people."""
    histograms: Sequence[Histogram]
    """Shown beside each other."""
    note: str = ""
    """What a reader should know; may be empty."""


def dataset_page(
    title: str,
    tables: Sequence[Table],
    galleries: Sequence[Gallery],
    notes: Sequence[str] = (),
) -> str:
    """Return the page as HTML that loads nothing.

    Parameters
    ----------
    title : str
        Name of the data set.
    tables : sequence of Table
        In this order; the first cell of a row names it.
    galleries : sequence of Gallery
        Shown behind the tables.
    notes : sequence of str
        Such as cases that could not be read.
    """
    return page(
        title,
        section("Notes", list_of(notes)) if notes else "",
        *(section(each.title, _table_of(each)) for each in tables),
        *(section(each.title, _gallery(each)) for each in galleries if each.histograms),
    )


def _table_of(numbers: Table) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in numbers.heads)
    return table(heads, (_row(row) for row in numbers.texts)) + _note(numbers.note)


def _row(texts: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in texts) + "</tr>"


def _gallery(gallery: Gallery) -> str:
    drawings = "".join(histogram_svg(each) for each in gallery.histograms)
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:1rem">{drawings}</div>{_note(gallery.note)}'
    )


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>' if text else ""


def galleries_of(summary: Summary) -> tuple[Gallery, ...]:
    """Return the histograms of grids, of HU and of volumes."""
    return (
        Gallery("Spacing and size", tuple(_grids(summary))),
        Gallery(
            "HU of the labelled voxels",
            tuple(_intensities(summary)),
            "Dashed: the median. Each chart shows the middle 99 % of the voxels.",
        ),
        Gallery(
            "Volumes of the labels",
            tuple(_volumes(summary)),
            "Over the cases that have the label. Grey: usual range of adults, where there is one. "
            "Of an organ that the edge of the scan cuts, the part inside counts.",
        ),
    )


def _grids(summary: Summary) -> Iterable[Histogram]:
    """Yield spacing in plane, distance of slices, their number and the length of the scan."""
    cases = summary.cases
    wanted = (
        ("Spacing in plane (x)", [case.spacing_mm[2] for case in cases], "mm"),
        ("Distance of slices (z)", [case.spacing_mm[0] for case in cases], "mm"),
        ("Number of slices (z)", [float(case.shape[0]) for case in cases], ""),
        ("Length of the scan (z)", [case.spacing_mm[0] * case.shape[0] for case in cases], "mm"),
    )
    drawn = (histogram_of(title, values, unit) for title, values, unit in wanted)
    return (each for each in drawn if each is not None)


def _intensities(summary: Summary) -> Iterable[Histogram]:
    """Yield the HU of the foreground and of each label."""
    yield from _hu("Total foreground", summary.foreground, GREY)
    for value, name in label_names(summary.scheme):
        if value in summary.counts:
            yield from _hu(name, summary.counts[value], _colour(summary, value))


def _hu(name: str, counts: Counts, colour: Colour) -> Iterable[Histogram]:
    found = hu_statistics(counts)
    if found is None:
        return
    start, width, bars = round_bars(found.low, found.high, HU_BARS)
    width = max(1.0, width)  # a bar narrower than 1 HU would be empty
    bars = max(1, min(bars, int((found.high - start) // width) + 1))
    heights = coarse(counts, LOWEST_HU, start, width, bars)
    quartiles = " to ".join(shown(percentile(counts, q), 0) for q in (25.0, 75.0))
    remark = f"median {found.median:.0f} HU, half of it {quartiles}"
    yield Histogram(name, start, width, heights, "HU", colour, remark, found.median)


def _volumes(summary: Summary) -> Iterable[Histogram]:
    """Yield the volumes of each label."""
    for value, name in label_names(summary.scheme):
        volumes = [case.volume_ml(value) for case in summary.with_label(value)]
        remark = f"{many(len(volumes), 'case')}, median {shown(Spread.of(volumes).median)} mL"
        drawn = histogram_of(name, volumes, "mL", remark=remark)
        if drawn is not None:
            usual = _usual_range(summary, value)
            yield Histogram(
                name, drawn.start, drawn.width, drawn.counts, "mL", _colour(summary, value),
                remark, drawn.middle, usual,
            )  # fmt: skip


def _usual_range(summary: Summary, value: int) -> tuple[float, float] | None:
    """Return the reference range of a label that is one organ."""
    keys = next(keys for number, keys in summary.scheme.organs if number == value)
    return organ(keys[0]).volume_range_ml if len(keys) == 1 else None


def _colour(summary: Summary, value: int) -> Colour:
    keys = next(keys for number, keys in summary.scheme.organs if number == value)
    return organ(keys[0]).colour
