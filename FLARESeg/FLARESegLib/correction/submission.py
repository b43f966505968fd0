"""From a corrected result to the training set: CT and labels become a version in the case store.

`submission_steps` takes voxels and facts out of the scene in short steps (Qt's thread);
`store_submission` writes them and touches no node (any thread); `submit` does both at once.

Only the organs that a person has reviewed are stored; the others count as not annotated, and none
of their voxels goes along. That a patient does not have an organ is said on purpose (`absent`),
never by deleting its segment. A name or number of the patient is never written: scans of one
patient are kept together by a hash of the DICOM patient ID, or by a code that the person gives. The
hash is a pseudonym, not anonymous: who knows the ID can compute it as well.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import slicer
from flare_core.anatomy.organs import ALL_TARGETS, Organ, organ, parse_organs
from flare_core.atomic import sha256_of
from flare_core.cases.names import key_of, safe_name
from flare_core.cases.store import CaseRecord, CaseStore, LabelFacts, LabelVersion, open_store
from flare_core.errors import FlareError, InputError
from flare_core.imaging.inputs import suffix_of
from flare_core.imaging.volume import Volume
from FLARESegLib.correction.corrections import count_changes, label_steps, volume_of
from FLARESegLib.correction.model_version import Said, made_from
from FLARESegLib.correction.patient import check_patient, hashed, patient_key
from FLARESegLib.scene.kept_output import KeptOutput, kept_output
from FLARESegLib.scene.organ_layer import find_steps
from FLARESegLib.scene.results import ABSENT, FACT, result_facts
from FLARESegLib.scene.results import CASE as CASE
from FLARESegLib.scene.results import VERSION as VERSION
from FLARESegLib.scene.volumes import copy_steps, finish

SERIES_UIDS = "DICOM.instanceUIDs"
SOURCE = "corrected in 3D Slicer"
"""What the store says about where such a case comes from."""


@dataclass(frozen=True, eq=False)
class Submission:
    """What goes into the case store, without any node."""

    image: Volume
    """The CT, HU, world LPS."""
    file: Path | None
    """The file it was read from, if it has the same voxels; its grid may be another one."""
    labels: Volume
    """All organ ids, uint8, on the CT's grid."""
    kept: KeptOutput | None
    """The model's output, if the labels are a correction of it."""
    reviewed: tuple[Organ, ...]
    """What a person has looked at."""
    absent: tuple[Organ, ...]
    """Of these, what the person says this patient does not have."""
    author: str
    """Who."""
    note: str
    """Free text."""
    made: Mapping[str, Any]
    """Facts of the model's run."""
    case: str
    """Name of the case, as the person wants it; empty: as before, or made up."""
    case_before: str
    """Name under which it was submitted before; empty if it was not."""
    case_suggested: str
    """Name to take otherwise, changed if another scan has it."""
    patient: str
    """Pseudonym of the patient, or the person's code; empty if nothing is known."""
    link: bool
    """Whether the scan's own file stays where it is instead of being copied."""


def submit(
    folder: str | Path,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    reviewed: Iterable[str],
    *,
    author: str,
    absent: Iterable[str] = (),
    patient: str = "",
    volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    case: str | None = None,
    link: bool = False,
    note: str = "",
) -> LabelVersion:
    """Add a corrected result to the case store at once; see `submission_steps`."""
    steps = submission_steps(
        segmentationNode,
        reviewed,
        author=author,
        absent=absent,
        patient=patient,
        volumeNode=volumeNode,
        case=case,
        link=link,
        note=note,
    )
    version = store_submission(folder, finish(steps))
    remember_submission(segmentationNode, version)
    return version


def submission_steps(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    reviewed: Iterable[str],
    *,
    author: str,
    absent: Iterable[str] = (),
    patient: str = "",
    volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    case: str | None = None,
    link: bool = False,
    note: str = "",
) -> Generator[float, None, Submission]:
    """Take a corrected result out of the scene in short steps; yield the share done.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
        The corrected result.
    reviewed : iterable of str
        Organs that the person has looked at.
    author : str
        Who corrected it.
    absent : iterable of str
        Organs that this patient does not have, as the person says; they count as reviewed.
    patient : str
        A code for the patient, the same for all scans of one; by default the pseudonym of the
        DICOM patient ID. Without either only a scan that the store has already can be submitted.
    volumeNode : vtkMRMLScalarVolumeNode, optional
        The CT; by default the one it was made from.
    case : str, optional
        Name in the store. By default the one used before; for DICOM a number made from the series
        UID; else the volume's name.
    link : bool
        Leave the CT's file where it is, if the volume came from one that the store can read.
    note : str
        Free text.

    Raises
    ------
    InputError
        If nothing was reviewed, nobody says who, the labels are not clear (`current_labels`), a
        reviewed organ has no voxel and is not said to be absent, or an absent one has voxels.
    """
    volume = volumeNode or volume_of(segmentationNode)
    gone = parse_organs(tuple(absent)) if (absent := tuple(absent)) else ()
    organs = _checked((*reviewed, *(target.key for target in gone)), author)
    labels = yield from label_steps(segmentationNode, volume)
    there = yield from find_steps(labels.array, ALL_TARGETS)
    check_presence(there, organs, gone)
    image = yield from copy_steps(volume)
    made = result_facts(segmentationNode)
    kept = kept_output(segmentationNode)
    return Submission(
        image,
        _unchanged_file(volume),
        labels,
        kept if kept is not None and kept.shape == labels.array.shape else None,
        organs,
        gone,
        author.strip(),
        note,
        made,
        case or "",
        made.get(CASE, ""),
        safe_name(_case_name(volume)),
        patient.strip() or patient_key(volume),
        link,
    )


def store_submission(folder: str | Path, submission: Submission) -> LabelVersion:
    """Write a submission into the case store (made if it is not there) as a new version.

    Raises
    ------
    InputError
        If the store refuses it, or the folder cannot be written.
    """
    with open_store(folder, create=True) as store:
        store.refuse_if_read_only()
        with store.scratch() as scratch:  # in the store, which removes what a killed process left
            return _store(store, submission, scratch)


def _store(store: CaseStore, submission: Submission, scratch: Path) -> LabelVersion:
    """Write a submission into an open store, through files in `scratch`."""
    from flare_core.imaging.files import write_labels  # SimpleITK; a panel opens without it

    record = _known_case(store, submission) or _new_case(store, submission, scratch)
    labels = scratch / "labels.nii.gz"
    write_labels(labels, _only(submission.labels, submission.reviewed), like=record.image)
    parent = _parent(store, record, submission, scratch)
    return store.add_labels(record.name, labels, _facts(submission, parent))


def _parent(
    store: CaseStore, record: CaseRecord, submission: Submission, scratch: Path
) -> int | None:
    """Return the version that was corrected: the model's, where there is one."""
    kept = submission.kept
    if kept is None:
        return record.latest
    now = submission.labels
    said = Said(now.with_array(kept.whole()), **_run(submission))
    return made_from(store, record, said, now, submission.reviewed, scratch)


def remember_submission(
    segmentationNode: slicer.vtkMRMLSegmentationNode, version: LabelVersion
) -> None:
    """Write into the segmentation where it is stored and what is absent, for the next version."""
    facts = {CASE: version.case, VERSION: version.number, ABSENT: list(version.facts.absent)}
    for name, value in facts.items():
        segmentationNode.SetAttribute(FACT + name, json.dumps(value))


def check_presence(
    there: Collection[int], reviewed: tuple[Organ, ...], absent: tuple[Organ, ...]
) -> None:
    """See that each reviewed organ has voxels, or was said to be absent, and not both.

    Parameters
    ----------
    there : collection of int
        Ids of the organs that have a voxel.
    reviewed, absent : tuple of Organ

    Raises
    ------
    InputError
        If one does not.
    """
    lost = [o.name for o in reviewed if o.id not in there and o not in absent]
    if lost:
        raise InputError(
            ", ".join(lost),
            "reviewed, but without a voxel",
            "voxels, or the statement that this patient does not have it",
            "Tick Absent if the patient does not have it; otherwise draw it, or untick Reviewed.",
        )
    left = [o.name for o in absent if o.id in there]
    if left:
        raise InputError(
            ", ".join(left),
            "said to be absent, but with voxels",
            "one of the two",
            "Delete its segment, or untick Absent.",
        )


def _checked(reviewed: Iterable[str], author: str) -> tuple[Organ, ...]:
    """Return the reviewed organs."""
    organs = parse_organs(tuple(reviewed))
    if not author.strip():
        raise InputError("author", "nothing", "a name", "Say who reviewed these labels.")
    return organs


def _facts(submission: Submission, parent: int | None) -> LabelFacts:
    """Return who made the labels, from which model's, and how much was changed."""
    labels, organs, kept = submission.labels, submission.reviewed, submission.kept
    edited = {}
    if kept is not None:
        voxel_ml = labels.geometry.voxel_ml
        edited = {
            change.organ: round(change.changed_ml, 4)
            for change in count_changes(kept.whole(), labels.array, voxel_ml)
            if organ(change.organ) in organs
        }
    return LabelFacts(
        kind="expert" if kept is None else "corrected",
        annotated=tuple(target.key for target in organs),
        author=submission.author,
        **_run(submission),
        parent=parent,
        edited_ml=edited,
        note=submission.note,
        absent=tuple(target.key for target in submission.absent),
    )


def _run(submission: Submission) -> dict[str, Any]:
    """Return by which model and how the labels were made that were corrected."""
    if submission.kept is None:
        return {}
    settings = dict(submission.made.get("settings", {}))
    return {"model": _model(submission.made), "settings": settings}


def _only(labels: Volume, organs: tuple[Organ, ...]) -> Volume:
    """Return the labels without the organs that nobody reviewed."""
    table = np.zeros(256, np.uint8)
    for target in organs:
        table[target.id] = target.id
    return labels.with_array(table[labels.array])


def _model(made: Mapping[str, Any]) -> str:
    """Return the model as ``name-version``, empty if it is not known."""
    return "-".join(str(made[key]) for key in ("model", "model_version") if made.get(key))


def _unchanged_file(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Path | None:
    """Return the file a volume came from, if it is one file and has the same voxels."""
    storage = volumeNode.GetStorageNode()
    name = storage.GetFileName() if storage is not None else None
    if not name or storage.GetNumberOfFileNames() > 1 or volumeNode.GetModifiedSinceRead():
        return None
    path = Path(name)
    return path if path.is_file() else None


def _image_file(submission: Submission, scratch: Path) -> tuple[Path, bool]:
    """Return the scan as a file, and whether it is its own one, not a copy made for the store."""
    from flare_core.imaging.files import READERS, write_volume
    from flare_core.imaging.itk import compact

    file = submission.file
    known = file is not None and suffix_of(file) in (*READERS, ".nii", ".nii.gz")
    if file is not None and known and _fits(file, submission.image):
        return file, True
    path = scratch / "image.nii.gz"
    write_volume(path, submission.image.with_array(compact(submission.image.array)))
    return path, False


def _fits(file: Path, image: Volume) -> bool:
    """Whether a file is on the grid that the volume has in the scene."""
    from flare_core.imaging.files import read_geometry

    try:
        return read_geometry(file).same_grid(image.geometry)
    except FlareError:  # Slicer reads more kinds of files than the library
        return False


def _known_case(store: CaseStore, submission: Submission) -> CaseRecord | None:
    """Return the case under which this result was submitted before, if it is in this store."""
    wanted = submission.case or submission.case_before
    if wanted != submission.case_before:
        return None
    records = [record for record in store.cases() if record.name == wanted]
    return records[0] if records and _fits(records[0].image, submission.image) else None


def _new_case(store: CaseStore, submission: Submission, scratch: Path) -> CaseRecord:
    """Add the scan to the store; if it is there under another name, that is its case."""
    image, own = _image_file(submission, scratch)
    same = store.case_of_image(image)
    if same is not None:
        return same
    name = submission.case
    if not name:
        name = submission.case_before or submission.case_suggested
        if key_of(name) in {key_of(record.name) for record in store.cases()}:
            name = safe_name(f"{name[:60]}-{sha256_of(image)[:8]}")
    check_patient(submission.patient)
    return store.add_case(
        image,
        name=name,
        patient=submission.patient,
        source=SOURCE,
        link=own and submission.link,
        author=submission.author,
    )


def _case_name(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return a case's name: for DICOM a number, as the volume may be named after the patient."""
    uids = volumeNode.GetAttribute(SERIES_UIDS)
    if uids:
        return f"ct-{hashed(' '.join(sorted(uids.split())))}"
    return volumeNode.GetName()
