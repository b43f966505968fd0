"""START HERE for the case store: scans and versions of their labels, safe against every accident.

A folder with immutable files and an SQLite catalogue of them (`cases_files` shows the folders).
What was promised stays: when a method returns, its files and rows are on disk. What a killed
process leaves is settled by the next one that writes. `cases_checks` says what may come in,
`cases_add` and `cases_change` how, `cases_read` what can be asked, `cases_write` how files and
catalogue change together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from flare_core.alive import scratch
from flare_core.atomic import sha256_of
from flare_core.cases import checks, files, rows, schema
from flare_core.cases.add import (
    check_patient,
    insert_labels,
    insert_restored,
    insert_scan,
    same_image,
    stated_absent,
)
from flare_core.cases.change import (
    change_hold_out,
    change_patient,
    change_scores,
    change_status,
    change_weight,
)
from flare_core.cases.image import (
    Image,
    find_image,
    image_of,
    put_voxels,
    unknown_voxels,
    voxels_of,
)
from flare_core.cases.names import LONG_TEXT, check_name, check_text, safe_name
from flare_core.cases.place import is_writable
from flare_core.cases.read import CaseReader
from flare_core.cases.records import BY_PEOPLE as BY_PEOPLE
from flare_core.cases.records import KINDS as KINDS
from flare_core.cases.records import STATUSES as STATUSES
from flare_core.cases.records import CaseRecord as CaseRecord
from flare_core.cases.records import Event as Event
from flare_core.cases.records import LabelFacts as LabelFacts
from flare_core.cases.records import LabelVersion as LabelVersion
from flare_core.cases.records import Problem as Problem
from flare_core.cases.verify import StoreCheck, verify_store
from flare_core.cases.write import Writing, writing
from flare_core.errors import InputError
from flare_core.paths import usable_path

Check = Callable[[Path], object]
"""Looks at a scan, as a file, before anything is kept; may raise to refuse it."""

AT_ONCE = 200
"""Cases whose scores are written while others wait; a second or two of a slow disk."""


def open_store(folder: str | os.PathLike[str], *, create: bool = False) -> CaseStore:
    """Open the case store in a folder.

    Parameters
    ----------
    folder : path
        The store. If it cannot be written to, it is opened for reading.
    create : bool
        Make an empty store if there is none.

    Raises
    ------
    InputError
        If there is no store, its catalogue is lost or damaged, or a newer program made it.
    """
    place = Path(os.path.abspath(os.path.expanduser(usable_path(folder, "case store"))))
    with schema.explaining_errors(place):
        if not (place / schema.CATALOGUE).exists():
            _make(place, create)
    return CaseStore(place)


def _make(place: Path, create: bool) -> None:
    """Make an empty store, or say why there is none."""
    if (place / files.MARK).exists():
        action = f"Run `flare cases verify --rebuild --store {place}`: the files make a new one."
        raise InputError("case store", f"{place}, whose catalogue is gone", "a store", action)
    if not create:
        action = "Check the path; `flare cases add` and `flare cases import` make a new store."
        raise InputError("case store", f"{place}, which holds none", "a store", action)
    place.mkdir(parents=True, exist_ok=True) if not place.is_file() else None
    schema.create(place)


class CaseStore(CaseReader):
    """A folder of cases; a context manager, for one thread. Any number of processes may use it.

    A case's status follows what happens: ``unlabelled`` when a scan is added; ``pseudo`` when a
    model's labels come (kinds pseudo, soft), unless a person's are there and not rejected;
    ``corrected`` when corrected labels come; ``accepted`` when an expert's come; after that,
    whatever `set_status` says.
    """

    def __init__(self, folder: Path) -> None:
        read_only = not is_writable(folder)
        if not read_only:
            files.make_folders(folder)
        super().__init__(folder, schema.connect(folder, read_only=read_only), read_only=read_only)
        if not self.read_only:
            if files.intents(folder) or files.left_behind(folder):
                with self._writing():  # settles them
                    pass
            files.sweep_pending(folder)

    def add_case(
        self,
        image: str | os.PathLike[str],
        *,
        name: str | None = None,
        patient: str = "",
        source: str = "",
        link: bool = False,
        author: str = "",
        weight: float = 1.0,
        check: Check | None = None,
    ) -> CaseRecord:
        """Add a scan, or return it if it is there under this name.

        Parameters
        ----------
        image : path
            A file, which is copied as it is, or a DICOM folder, which becomes NIfTI.
        name : str, optional
            Unique, and a legal folder name on every system; made from the file's if left out.
        patient : str
            Whoever was scanned. Empty: a pseudonym made of a DICOM folder's patient ID, so that two
            scans of one patient are never parted; the case's name where there is none.
        link : bool
            Leave the file where it is and remember its place and hash.
        check : callable, optional
            Called with the scan as a file before anything is kept; may raise to refuse it.

        Raises
        ------
        InputError
            If it is no scan, it is there under another name or as another patient's, the name is
            taken or not legal, the disk is full, or the store is open for reading.
        """
        return self.put_case(
            image, name=name, patient=patient, source=source, link=link, author=author,
            weight=weight, check=check,
        )[0]  # fmt: skip

    def put_case(
        self,
        image: str | os.PathLike[str],
        *,
        name: str | None = None,
        patient: str = "",
        source: str = "",
        link: bool = False,
        author: str = "",
        weight: float = 1.0,
        check: Check | None = None,
    ) -> tuple[CaseRecord, bool]:
        """Do as `add_case`; return the case, and whether it is new."""
        self.refuse_if_read_only()
        path = usable_path(image, "image")
        given = check_name(name) if name is not None else _name_of(path)
        for argument, text in (("patient", patient), ("source", source), ("author", author)):
            check_text(argument, text)
        if link and os.path.isdir(path):
            raise InputError("image", f"the folder {path}", "a file", "Add it without --link.")
        person = patient.strip() or self.patient_of(_patient_id(path)) or given
        values = {
            "name": given, "patient": person, "source": source, "author": author,
            "weight": _weight(weight), "linked": link,
        }  # fmt: skip
        with (
            self.scratch() as scratch,
            checks.scan_file(path, scratch) as (file, suffix, grid),
        ):
            if check is not None:
                check(file)
            with self._copy(file, suffix, link) as copy:
                known, older = self._voxels(file, copy.sha256, grid)
                with self._writing() as write:
                    put_voxels(self._db, older)
                    there = same_image(self._db, Image(copy.sha256, known, grid), given)
                    if there is not None:
                        check_patient(there, patient.strip())
                    else:
                        insert_scan(write, {**values, "grid": grid, "voxels": known}, copy, suffix)
        return self.case(given), there is None

    def case_of_image(self, image: str | os.PathLike[str]) -> CaseRecord | None:
        """Return the case that has this image, whatever its file is called; None if none has.

        Raises
        ------
        InputError
            If it is no scan that can be read.
        """
        found = image_of(self.folder, Path(image))
        with schema.explaining_errors(self.folder):
            older = unknown_voxels(self._db, self.folder, found.grid)
        if older and not self.read_only:
            with self._writing():
                put_voxels(self._db, older)
        with schema.explaining_errors(self.folder):
            row = find_image(self._db, found)
        return None if row is None else self.case(row["name"])

    def add_labels(
        self, case: str, labels: str | os.PathLike[str], facts: LabelFacts
    ) -> LabelVersion:
        """Add a label map as the newest version of a case; earlier ones stay as they are.

        Parameters
        ----------
        case : str
            Name of the case.
        labels : path
            ``.nii.gz`` (kept as it is), ``.nii``, ``.nrrd`` or ``.mha`` on the scan's grid, with
            organ ids 1 to 14.
        facts : LabelFacts
            Where it comes from and what it claims.

        Raises
        ------
        InputError
            If the grid is another, a value is unknown, an annotated organ has no voxel and is not
            named as absent, or a voxel's organ is not annotated; see also `add_case`.
        """
        number = self._add_labels(case, Path(labels), facts, once=False)
        assert number is not None  # it is only where `once` finds the file
        return self.version(case, number)

    def add_labels_once(
        self, case: str, labels: str | os.PathLike[str], facts: LabelFacts
    ) -> LabelVersion | None:
        """Do as `add_labels`, unless a version of the case has the same file: then return None."""
        number = self._add_labels(case, Path(labels), facts, once=True)
        return None if number is None else self.version(case, number)

    def _add_labels(self, case: str, path: Path, facts: LabelFacts, *, once: bool) -> int | None:
        self.refuse_if_read_only()
        record = self.case(case)
        present = checks.check_labels(path, record.image, facts)
        facts = self._completed(record, path, facts)
        rows.facts_text(facts)  # refuses what JSON cannot hold, before anything is written
        with (
            self.scratch() as scratch,
            checks.label_file(path, record.image, scratch) as file,
            self._copy(file, checks.COMPRESSED) as copy,
            self._writing() as write,
        ):
            if facts.kind not in BY_PEOPLE:
                stated = stated_absent(rows.find_case(self._db, case))
                facts = checks.with_absent(facts, stated, present, path)
            return insert_labels(write, record.name, copy, facts, once=once)

    def restore(self, case: str, number: int, author: str = "", note: str = "") -> LabelVersion:
        """Make an old version the one that counts: a new version with the old one's file."""
        check_text("author", author)
        check_text("note", note, LONG_TEXT)
        with self._writing() as write:
            new = insert_restored(write, case, number, author, note)
        return self.version(case, new)

    def set_status(
        self, case: str, status: str, *, author: str = "", reason: str = ""
    ) -> CaseRecord:
        """Accept or reject the chosen labels of a case, or take that back.

        Raises
        ------
        InputError
            If the status does not fit the labels: without any only ``unlabelled`` does.
        """
        check_text("author", author)
        check_text("reason", reason, LONG_TEXT)
        with self._writing() as write:
            change_status(write, case, status, author, reason)
        return self.case(case)

    def set_weight(self, case: str, weight: float, *, author: str = "") -> CaseRecord:
        """Change how often a case is drawn in training."""
        check_text("author", author)
        with self._writing() as write:
            change_weight(write, case, _weight(weight), author)
        return self.case(case)

    def set_patient(self, case: str, patient: str, *, author: str = "") -> CaseRecord:
        """Say that a case is another patient's scan, by whom training and hold-out are parted.

        A case that was held out stays so, unless its patient has scans that are not. Runs that have
        begun keep the lists of cases they have written.

        Raises
        ------
        InputError
            If there is no such case, or the patient has no name.
        """
        check_text("author", author)
        check_text("patient", patient)
        if not patient.strip():
            raise InputError("patient", "no name", "whose scan it is", "Name the patient.")
        with self._writing() as write:
            change_patient(write, case, patient.strip(), author)
        return self.case(case)

    def set_scores(self, case: str, scores: Mapping[str, float]) -> None:
        """Keep numbers about a case by name; a name that is there gets the new value.

        Raises
        ------
        InputError
            If one is not finite.
        """
        self.set_scores_of({case: scores})

    def set_scores_of(
        self, table: Mapping[str, Mapping[str, float]], *, forget: Sequence[str] = ()
    ) -> None:
        """Keep numbers about many cases, name of the case -> scores, as `set_scores` does.

        Parameters
        ----------
        forget : sequence of str
            Names of scores that belong together: a case keeps none of them from before.

        Raises
        ------
        InputError
            If a case is unknown or a score is not finite.
        """
        names = list(table)
        for start in range(0, len(names), AT_ONCE):  # others may write in between
            with self._writing() as write:
                part = {name: table[name] for name in names[start:][:AT_ONCE]}
                change_scores(write, part, forget=forget)

    def freeze_hold_out(self, patients: Sequence[str], *, author: str = "") -> tuple[str, ...]:
        """Choose the patients whose scans are never learnt from, once and for all.

        Scans of these patients that come later belong to the hold-out as well.

        Raises
        ------
        InputError
            If it was chosen before and differs, no patient is named, or one is unknown.
        """
        for text in (author, *patients):
            check_text("patient", text)
        with self._writing() as write:
            change_hold_out(write, patients, author)
        return self.hold_out()

    def verify(
        self, *, hashes: bool = True, on_done: Callable[[int, int], None] | None = None
    ) -> tuple[Problem, ...]:
        """Look for what is missing, changed or not in the catalogue; take in what is whole.

        Parameters
        ----------
        hashes : bool
            Read every file and compare its SHA-256; otherwise only its size.
        on_done : callable, optional
            Told (cases done, cases in all).
        """
        lock = None if self.read_only else self._writing
        with schema.explaining_errors(self.folder):
            return verify_store(StoreCheck(self._db, self.folder, hashes), lock, on_done)

    def _completed(self, record: CaseRecord, labels: Path, facts: LabelFacts) -> LabelFacts:
        """Check the parent, and work out what was edited if nobody said."""
        if facts.parent is None:
            return facts
        parent = self.version(record.name, facts.parent)
        if facts.edited_ml or facts.kind not in BY_PEOPLE:
            return facts
        return replace(facts, edited_ml=checks.edited_ml(parent.path, labels))

    def scratch(self) -> AbstractContextManager[Path]:
        """Make a folder for files on their way into the store; it goes when the block ends.

        If this process is killed, the next one that opens the store removes it.
        """
        return scratch(self.folder / files.PENDING, files.SCRATCH)

    def _voxels(self, file: Path, sha256: str, grid: str) -> tuple[str, dict[int, str]]:
        """Return a scan's voxels, and those of older cases on its grid; none if it is there."""
        with schema.explaining_errors(self.folder):
            if self._db.execute("SELECT 1 FROM cases WHERE sha256 = ?", (sha256,)).fetchone():
                return "", {}
            return voxels_of(file), unknown_voxels(self._db, self.folder, grid)

    @contextmanager
    def _copy(self, file: Path, suffix: str, link: bool = False) -> Iterator[files.Staged]:
        if link:
            whole = Path(os.path.abspath(file))
            try:
                linked = files.Staged(whole, sha256_of(whole), whole.stat().st_size)
            except OSError as error:
                raise files.unreadable(whole, error) from error
            yield linked
            return
        checks.check_space(self.folder, file.stat().st_size)
        with files.staged(self.folder, file, suffix) as copy:
            yield copy

    @contextmanager
    def _writing(self) -> Iterator[Writing]:
        self.refuse_if_read_only()
        with writing(self._db, self.folder) as write:
            yield write

    def refuse_if_read_only(self) -> None:
        """Raise the error that every write would raise, before work is put into one.

        Raises
        ------
        InputError
            If the store is open for reading.
        """
        if self.read_only:
            raise InputError(
                "case store",
                f"{self.folder}, which this user cannot write to",
                "a folder that can be written to",
                "Change its permissions, or copy the store to another folder.",
            )


def _patient_id(image: Path) -> str:
    """Return the patient ID of a DICOM folder, "" of anything else."""
    if not os.path.isdir(image):
        return ""
    from flare_core.imaging.dicom.series import patient_id

    return patient_id(image)


def _name_of(image: Path) -> str:
    from flare_core.imaging.inputs import case_name

    return safe_name(case_name(image))


def _weight(weight: float) -> float:
    if not (math.isfinite(weight) and weight >= 0):
        raise InputError("weight", str(weight), "a finite number, 0 or more", "1 is usual.")
    return float(weight)
