"""Old model against new, organ by organ, as rows for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from FLARESegLib.qt.translation import _

from flare_core.anatomy.organs import organ
from flare_core.errors import FlareError
from flare_core.models.package import read_card


@dataclass(frozen=True)
class ComparedOrgan:
    """One line of the table; DSC and NSD are in [0, 1]."""

    title: str
    """Name of the organ, or what the line is the mean of."""
    cases: int | None
    """Hold-out cases that have a value; None in the line of means."""
    old_dsc: float | None
    """Mean over the cases, old model; None without one."""
    new_dsc: float | None
    """Mean over the cases, new model."""
    low: float | None
    """The change of DSC is at least this, surely."""
    high: float | None
    """The change of DSC is at most this, surely."""
    old_nsd: float | None
    """Normalised surface distance, old model."""
    new_nsd: float | None
    """Normalised surface distance, new model."""
    worse: str = ""
    """What speaks against the new model."""

    @property
    def change(self) -> float | None:
        """New minus old DSC."""
        if self.old_dsc is None or self.new_dsc is None:
            return None
        return self.new_dsc - self.old_dsc


def compared(verdict: Mapping[str, Any]) -> tuple[ComparedOrgan, ...]:
    """Return the lines of a verdict (`comparison.Verdict` as JSON), the means first."""
    if not verdict:
        return ()
    old, new = verdict.get("old") or {}, verdict.get("new") or {}
    means = ComparedOrgan(
        _("Mean over organs"), None, old.get("dsc"), new.get("dsc"), None, None,
        old.get("nsd"), new.get("nsd"),
    )  # fmt: skip
    by_organ: dict[str, dict[str, Mapping[str, Any]]] = {}
    for change in verdict.get("changes", ()):
        by_organ.setdefault(change["organ"], {})[change["metric"]] = change
    return (means, *(_line(key, rows) for key, rows in by_organ.items()))


def _line(key: str, rows: Mapping[str, Mapping[str, Any]]) -> ComparedOrgan:
    dsc, nsd = rows.get("dsc", {}), rows.get("nsd", {})
    told = [str(row["worse"]) for row in (dsc, nsd) if row.get("worse")]
    return ComparedOrgan(
        organ(key).name, dsc.get("cases", nsd.get("cases")), dsc.get("old"), dsc.get("new"),
        dsc.get("low"), dsc.get("high"), nsd.get("old"), nsd.get("new"), "; ".join(told),
    )  # fmt: skip


def cells(row: ComparedOrgan) -> tuple[str, ...]:
    """Return the cells of a line.

    Examples
    --------
    >>> cells(ComparedOrgan("Liver", 3, 0.9, 0.95, 0.01, 0.08, 0.8, 0.9))
    ('Liver', '0.900', '0.950', '+0.050', '', '0.800', '0.900', '3', '+0.010 to +0.080')
    """
    span = "" if row.low is None or row.high is None else f"{row.low:+.3f} to {row.high:+.3f}"
    return (
        row.title,
        _number(row.old_dsc),
        _number(row.new_dsc),
        "" if row.change is None else f"{row.change:+.3f}",
        row.worse,
        _number(row.old_nsd),
        _number(row.new_nsd),
        "" if row.cases is None else str(row.cases),
        span,
    )


def tip(row: ComparedOrgan) -> str:
    """Return what a row says in full, for the pointer that rests on it.

    Examples
    --------
    >>> tip(ComparedOrgan("Liver", 3, 0.9, 0.95, 0.01, 0.08, 0.8, 0.9))
    'Liver, 3 hold-out scans: DSC 0.900 to 0.950, surely +0.010 to +0.080; NSD 0.800 to 0.900'
    """
    old, new, _change, worse, old_nsd, new_nsd, cases, span = cells(row)[1:]
    head = _("{organ}, {cases} hold-out scans").format(organ=row.title, cases=cases)
    dsc = _("DSC {old} to {new}").format(old=old, new=new)
    sure = _(", surely {span}").format(span=span) if span else ""
    nsd = _("NSD {old} to {new}").format(old=old_nsd, new=new_nsd)
    text = f"{head if cases else row.title}: {dsc}{sure}; {nsd}"
    return f"{text}; {worse}" if worse else text


def finds_nothing(verdict: Mapping[str, Any]) -> bool:
    """Whether a verdict is on a model that found no organ; also one of before this was written."""
    scores = [value for value in (verdict.get("new") or {}).values() if value is not None]
    return bool(verdict.get("finds_nothing")) or (bool(scores) and not any(scores))


def model_title(reference: str) -> str:
    """Return a model's name for people: ``name@version``, or what the card in its folder says.

    Examples
    --------
    >>> model_title("mine@1.1.0"), model_title("/gone/default")
    ('mine@1.1.0', 'default')
    """
    if "/" not in reference and "\\" not in reference:
        return reference
    try:
        card = read_card(Path(reference))
    except FlareError:
        return Path(reference).name
    return f"{card.name} {card.version}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
