"""One self-contained page about a data set: its tables, and a histogram of every number in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

from flare_core.report.case.page import list_of, page, section, table
from flare_core.report.dataset.charts import Histogram, histogram_svg


class TableLike(Protocol):
    """What the page reads of a table; `datasets.summary.tables.Table` has these names."""

    @property
    def title(self) -> str:
        """For people."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The columns' heads."""

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The rows, written for people."""

    @property
    def note(self) -> str:
        """What a reader should know; may be empty."""


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
    tables: Sequence[TableLike],
    galleries: Sequence[Gallery],
    notes: Sequence[str] = (),
) -> str:
    """Return the page as HTML that loads nothing.

    Parameters
    ----------
    title : str
        Name of the data set.
    tables : sequence of TableLike
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


def _table_of(numbers: TableLike) -> str:
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
