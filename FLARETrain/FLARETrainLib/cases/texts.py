"""What the table says about a case: cells and the text that appears when the pointer rests."""

from __future__ import annotations

from html import escape
from pathlib import Path

from FLARESegLib.qt.translation import _

from flare_core.anatomy.organs import organ
from FLARETrainLib.cases.rows import HELD_OUT, CaseRow


def titles() -> tuple[str, ...]:
    """Return the titles of the columns, in the order of `case_rows.COLUMNS`."""
    return (
        _("Case"), _("Next"), _("Status"), _("Labels"), _("Organs"), _("Sure"), _("Doubt"),
        _("Patient"), _("Held out"), _("Why to look at it"),
    )  # fmt: skip


def title_tips() -> tuple[str, ...]:
    """Return what the titles mean."""
    return (
        _("Click a title to sort."),
        _("Place in the list of scans to look at next, by the last training run"),
        _("What is known about its labels"),
        _("Who made the labels that count"),
        _("How many organs they annotate"),
        _("Mean probability that the model gave its own labels"),
        _("How doubtful the model's labels are, from 0 to 1"),
        _("A pseudonym if the scan came from DICOM"),
        _("Kept aside to compare models; never learned from"),
        _("Why the scan has this place in the list"),
    )


def status_text(status: str) -> str:
    """Return a status for people; also those of the filter."""
    known = {
        "unlabelled": _("unlabelled"),
        "pseudo": _("pseudo labels"),
        "corrected": _("corrected"),
        "accepted": _("accepted"),
        "rejected": _("rejected"),
        HELD_OUT: _("held out"),
    }
    return known.get(status, status)


def kind_text(kind: str) -> str:
    """Return the kind of labels for people."""
    known = {
        "expert": _("expert"),
        "corrected": _("corrected"),
        "pseudo": _("model"),
        "soft": _("model (soft)"),
    }
    return known.get(kind, kind)


def cells(row: CaseRow) -> tuple[str, ...]:
    """Return the cells of a row."""
    record = row.record
    return (
        record.name,
        "" if row.place is None else str(row.place),
        status_text(record.status),
        kind_text(record.kind),
        str(len(record.organs)) if record.organs else "",
        _number(row.scores.get("confidence")),
        _number(row.scores.get("doubt")),
        "" if record.patient == record.name else record.patient,
        _("yes") if record.held_out else "",
        row.reason,
    )


def tip(row: CaseRow, picture: Path | None) -> str:
    """Return what is known about a case, as HTML, with a picture if there is one."""
    record = row.record
    z, y, x = record.spacing_mm
    names = ", ".join(organ(key).name for key in record.organs)
    scores = ", ".join(f"{name} {value:.3f}" for name, value in sorted(row.scores.items()))
    facts = (
        (_("Patient"), record.patient),
        (_("From"), record.source),
        (_("Voxels"), " x ".join(str(n) for n in reversed(record.shape))),
        (_("Voxel size"), f"{x:.2f} x {y:.2f} x {z:.2f} mm"),
        (_("Label versions"), str(record.latest or 0)),
        (_("Organs"), names),
        (_("Scores"), scores),
        (_("Look at next"), row.reason),
    )
    lines = "".join(f"<br><b>{escape(k)}:</b> {escape(v)}" for k, v in facts if v)
    image = f'<br><img src="{escape(picture.as_posix())}">' if picture else ""
    return f"<qt><b>{escape(record.name)}</b>{image}{lines}</qt>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
