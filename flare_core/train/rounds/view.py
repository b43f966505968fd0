"""Everything the page about a run shows, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flare_core.train.rounds.evidence_record import CaseEvidence
from flare_core.train.rounds.state import RunFolder
from flare_core.train.rounds.status import run_status
from flare_core.train.strategies.candidate import Decision


def view_of_run(path: Path) -> dict[str, Any]:
    """Return `run_status` with the decisions and the evidence of every round added.

    Raises
    ------
    InputError
        If there is no run, or a file of it is damaged.
    """
    run = RunFolder(path)
    view = run_status(path)
    for each in view["details"]:
        folder = run.round(each["round"])
        each["decisions"] = folder.read("decisions") or []
        each["evidence"] = folder.read("candidates") or []
        for row in each["decisions"]:  # a page of thousands must not stop at a spoilt one's field
            Decision.from_json(row)
        for row in each["evidence"]:
            CaseEvidence.from_json(row)
    return view
