"""What ``flare cases`` prints: tables for people, plain values for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flare_core.jobs.outputs import plain
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.cases.store import CaseRecord, Event, LabelVersion, Problem


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of texts as aligned columns; the first row is the heading.

    Examples
    --------
    >>> print(columns([("case", "n"), ("a1", "10")]))
    case  n
    a1    10
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def organs_text(keys: Sequence[str], absent: Sequence[str] = ()) -> str:
    """Return the organs that labels annotate, short enough for a table, those not there apart.

    Examples
    --------
    >>> organs_text(["liver", "spleen"]), organs_text(["x"] * 13), organs_text([])
    ('liver, spleen', '13 organs', '-')
    >>> organs_text(["liver", "spleen"], ["spleen"]), organs_text(["x"] * 12 + ["y"], ["y"])
    ('liver; absent: spleen', '12 organs; absent: y')
    """
    there = [key for key in keys if key not in absent]
    named = (
        many(len(each), "organ") if len(each) > 3 else ", ".join(each) for each in (there, absent)
    )
    text, gone = named
    return "; absent: ".join((text or "none", gone)) if gone else text or "-"


def cases_table(records: Sequence[CaseRecord], scores: Mapping[str, Mapping[str, float]]) -> str:
    """Return a line for each case, and a line that counts them."""
    names = sorted({name for each in scores.values() for name in each})
    rows = [("case", "patient", "status", "kind", "version", "organs", "set", *names)]
    for each in records:
        version = "-" if each.chosen is None else f"{each.chosen}/{each.latest}"
        mine = scores.get(each.name, {})
        numbers = [f"{mine[name]:.3g}" if name in mine else "-" for name in names]
        part = "hold-out" if each.held_out else "training"
        rows.append((each.name, each.patient, each.status, each.kind or "-", version,
                     organs_text(each.organs, each.absent), part, *numbers))  # fmt: skip
    return f"{columns(rows)}\n{counts_text(records)}"


def counts_text(records: Sequence[CaseRecord]) -> str:
    """Return how many cases there are, by status."""
    counts = Counter(each.status for each in records)
    parts = [f"{number} {status}" for status, number in counts.items()]
    patients = len({each.patient for each in records})
    told = f"{many(len(records), 'case')} of {many(patients, 'patient')}"
    return f"{told}: {', '.join(parts)}" if parts else told


def case_values(record: CaseRecord, scores: Mapping[str, float]) -> dict[str, Any]:
    """Return a case for programs."""
    values: dict[str, Any] = plain(record)
    return values | {"scores": dict(scores)}


def history_text(events: Sequence[Event]) -> str:
    """Return a line for each event."""
    rows = [("when", "case", "what", "version", "status", "who", "detail")]
    rows += [
        (each.at[:19].replace("T", " "), each.case or "(store)", each.what,
         str(each.version or "-"), each.status or "-", each.author or "-", each.detail)
        for each in events
    ]  # fmt: skip
    return columns(rows)


def versions_text(versions: Sequence[LabelVersion], chosen: int | None) -> str:
    """Return a line for each label version; a star marks the one that counts."""
    rows = [("", "version", "kind", "made of", "organs", "edited", "author", "model", "file")]
    for each in versions:
        facts = each.facts
        edited = f"{sum(facts.edited_ml.values()):.1f} mL" if facts.edited_ml else "-"
        rows.append(("*" if each.number == chosen else " ", str(each.number), facts.kind,
                     str(facts.parent or "-"), organs_text(facts.annotated, facts.absent), edited,
                     facts.author or "-", facts.model or "-", each.path.name))  # fmt: skip
    return f"{columns(rows)}\n* what status and training mean"


def problems_text(problems: Sequence[Problem]) -> str:
    """Return what is wrong, each with what to do."""
    return "\n".join(
        f"{each.kind}: {each.case or 'store'}: {each.what}"
        + (f"\n  to do: {each.action}" if each.action else "")
        for each in problems
    )
