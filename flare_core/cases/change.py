"""What changes about a case that is there: its status, weight and scores, and the hold-out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from flare_core.cases import files
from flare_core.cases.names import check_text, key_of
from flare_core.cases.records import STATUSES
from flare_core.cases.rows import check_among, find_case, next_event, scores_of
from flare_core.cases.scores import LARGEST, Scores, file_of, put_scores, read_scores
from flare_core.cases.settle import case_facts, put_hold_out
from flare_core.cases.write import Writing
from flare_core.cases.written import case_file
from flare_core.errors import InputError
from flare_core.wording import many

FITS = {
    "": ("unlabelled",),
    "expert": ("accepted", "rejected"),
    "corrected": ("corrected", "accepted", "rejected"),
    "pseudo": ("pseudo", "accepted", "rejected"),
    "soft": ("pseudo", "accepted", "rejected"),
}
"""Kind of the chosen labels -> statuses that a case may be given."""


def change_status(write: Writing, case: str, status: str, author: str, reason: str) -> None:
    """Give a case another status.

    Raises
    ------
    InputError
        If it does not fit the case's labels.
    """
    check_among("status", [status], STATUSES)
    row = find_case(write.db, case)
    legal = FITS[row["kind"]]
    if status not in legal:
        labels = f"{row['kind']} labels" if row["kind"] else "no labels"
        raise InputError(
            "status",
            f"{status} for case {row['name']}, which has {labels}",
            ", ".join(legal),
            "Add labels first, or choose a status that fits those there are.",
        )
    write.db.execute("UPDATE cases SET status = ? WHERE id = ?", (status, row["id"]))
    now_so = find_case(write.db, case)
    write.tell(next_event(write.db, now_so, author, "status", reason))


def change_weight(write: Writing, case: str, weight: float, author: str) -> None:
    """Give a case another weight."""
    row = find_case(write.db, case)
    write.db.execute("UPDATE cases SET weight = ? WHERE id = ?", (weight, row["id"]))
    write.tell(next_event(write.db, row, author, "weight", repr(weight)))


def change_patient(write: Writing, case: str, patient: str, author: str) -> None:
    """Say that a case is another patient's scan.

    A case that was held out stays so, unless its patient has scans that are not: who was never
    learnt from joins the hold-out.

    Raises
    ------
    InputError
        If there is no such case, or its ``case.json`` is damaged.
    """
    row, key = find_case(write.db, case), key_of(patient)
    path = write.files.folder / files.CASES / row["name"] / files.CASE_FACTS
    known = case_file(write.files.folder, row["name"])
    if known is None:
        action = "Run `flare cases verify`, which says what is wrong with it."
        raise InputError(str(path), "no such file", "the facts of the case", action)
    frozen = dict(write.db.execute("SELECT patient_key, patient FROM hold_out").fetchall())
    others = "SELECT 1 FROM cases WHERE patient_key = ? AND id != ?"
    alone = write.db.execute(others, (key, row["id"])).fetchone() is None
    joins = row["patient_key"] in frozen and key not in frozen and alone
    write.files.announce(row["name"], *[""] * joins)
    path.chmod(0o644)  # Windows replaces nothing that may only be read
    write.files.replace(path, case_facts({**known, "patient": patient}))
    query = "UPDATE cases SET patient = ?, patient_key = ? WHERE id = ?"
    write.db.execute(query, (patient, key, row["id"]))
    write.tell(next_event(write.db, row, author, "patient", patient))
    if joins:
        all_of_them = [*frozen.values(), patient]
        _write_hold_out(write, all_of_them)
        put_hold_out(write.db, [patient])
        write.tell(next_event(write.db, None, author, "hold-out", ", ".join(all_of_them)))


def _write_hold_out(write: Writing, patients: Sequence[str]) -> None:
    """Let the file of the frozen hold-out name more patients."""
    text = json.dumps({"patients": list(patients)}, indent=1, ensure_ascii=False) + "\n"
    path = write.files.folder / files.HOLD_OUT
    path.chmod(0o644)
    write.files.replace(path, text)


def change_hold_out(write: Writing, patients: Sequence[str], author: str) -> None:
    """Freeze the hold-out, or see that it was frozen like this before.

    Raises
    ------
    InputError
        If another one was frozen, none is named, or one is unknown.
    """
    wanted = {key_of(patient): patient.strip() for patient in patients}
    rows = write.db.execute("SELECT patient_key, patient FROM hold_out").fetchall()
    if rows:
        _check_same({row["patient_key"]: row["patient"] for row in rows}, wanted)
        return
    known = {row[0] for row in write.db.execute("SELECT DISTINCT patient_key FROM cases")}
    unknown = [patient for key, patient in wanted.items() if key not in known]
    if unknown or not wanted:
        raise InputError(
            "hold-out",
            f"patient {', '.join(unknown)}, of whom there is no scan" if unknown else "no patient",
            f"some of the store's {many(len(known), 'patient')}",
            "Add their scans first, or correct the names; `flare cases list` shows patients.",
        )
    chosen = [wanted[key] for key in sorted(wanted)]
    write.files.announce("")
    text = json.dumps({"patients": chosen}, indent=1, ensure_ascii=False) + "\n"
    write.files.write(write.files.folder / files.HOLD_OUT, text)
    put_hold_out(write.db, chosen)
    write.tell(next_event(write.db, None, author, "hold-out", ", ".join(chosen)))


def _check_same(frozen: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    if set(frozen) != set(wanted):
        raise InputError(
            "hold-out",
            f"{many(len(wanted), 'patient')}, other than those frozen before",
            f"the {many(len(frozen), 'patient')} frozen: {', '.join(frozen.values())}",
            "It is chosen once, so that no score is ever measured on what was learnt from."
            " For another one, start another store.",
        )


def change_scores(
    write: Writing, table: Mapping[str, Scores], *, forget: Sequence[str] = ()
) -> None:
    """Keep scores of cases (name -> scores), in the catalogue and beside the case.

    Those called as in `forget` that a case gets no new value of are dropped.

    Raises
    ------
    InputError
        If a case is unknown or a score is no finite number.
    """
    for scores in table.values():
        _check_finite(scores)
    rows = {name: find_case(write.db, name) for name in table}
    write.files.announce(*(row["name"] for row in rows.values()))
    for name, scores in table.items():
        old = [(rows[name]["id"], each) for each in forget]
        write.db.executemany("DELETE FROM scores WHERE case_id = ? AND name = ?", old)
        put_scores(write.db, rows[name]["id"], scores)
        write_scores(write, rows[name])


def write_scores(write: Writing, case: sqlite3.Row) -> bool:
    """Let the file beside a case say what the catalogue says; return whether it did not before."""
    scores, path = scores_of(write.db, case["id"]), file_of(write.files.folder, case["name"])
    if scores == read_scores(path):
        return False
    write.files.make_folder(path.parent)
    write.files.replace(path, json.dumps(scores, indent=1, ensure_ascii=False) + "\n")
    return True


def _check_finite(scores: Scores) -> None:
    for name in scores:
        check_text("name of a score", name)
    bad = [name for name, value in scores.items() if not abs(value) < LARGEST]
    if bad:
        raise InputError(
            f"score {bad[0]}", str(scores[bad[0]]), "a finite number", "Leave it out instead."
        )
