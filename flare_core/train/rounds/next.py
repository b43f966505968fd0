"""The list of scans to look at next, from the evidence of a run's last round."""

from __future__ import annotations

from pathlib import Path

from flare_core.cases.store import open_store
from flare_core.errors import InputError
from flare_core.train.rounds.evidence_record import CaseEvidence
from flare_core.train.rounds.next_cases import NextCase, rank_cases, seen_cases
from flare_core.train.rounds.state import RunFolder


def next_of_run(path: Path) -> tuple[NextCase, ...]:
    """Return the cases of a run in the order in which a person should look at them.

    Raises
    ------
    InputError
        If there is no run, or none of its rounds has gathered evidence yet.
    """
    found = ranked_cases(path)
    if not found:
        raise InputError(
            "folder of the run",
            f"{path}: no round has labelled scans yet",
            "a run in which a teacher, or else the first student, has predicted",
            "Wait for the first round's evidence, or go on with flare rounds resume. (Without a "
            "teacher's labels the student predicts once it is trained.)",
        )
    return found


def ranked_cases(path: Path) -> tuple[NextCase, ...]:
    """Return what `next_of_run` does; nothing where there is no evidence yet."""
    run = RunFolder(path)
    for number in range(run.state.round, 0, -1):
        rows = run.round(number).read("candidates")
        if rows:
            with open_store(run.settings.store) as store:
                seen = seen_cases(store)
            return rank_cases([CaseEvidence.from_json(row) for row in rows], seen)
    return ()
