"""A volume of the scene as a new case, with its segmentation if there is one.

`addition_steps` takes voxels out of the scene in short steps (Qt's thread); `store_addition` writes
them and touches no node (any thread). Labels that nobody has reviewed go in as pseudo labels of the
model that made them; reviewed ones are an expert's or corrected, as FLARESeg's correction says.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import dataclass
from pathlib import Path

from FLARESegLib.correction.corrections import label_steps
from FLARESegLib.correction.patient import check_patient, patient_key
from FLARESegLib.correction.submission import Submission, store_submission, submission_steps
from FLARESegLib.scene.organ_layer import find_steps
from FLARESegLib.scene.results import ABSENT, NOT_FOUND, result_facts
from FLARESegLib.scene.volumes import copy_steps

import slicer
from flare_core.anatomy.organs import ALL_TARGETS
from flare_core.cases.names import safe_name
from flare_core.cases.store import CaseRecord, CaseStore, LabelFacts, open_store
from flare_core.errors import InputError
from flare_core.imaging.volume import Volume

SOURCE = "added in 3D Slicer"
"""What the store says about where such a case comes from."""


@dataclass(frozen=True, eq=False)
class Addition:
    """What goes into the case store, without any node."""

    name: str
    """Of the case."""
    patient: str
    """Pseudonym of the patient; empty if nothing is known."""
    author: str
    """Who adds it."""
    image: Volume
    """The CT, HU, world LPS."""
    labels: Volume | None = None
    """Organ ids on the CT's grid; None without labels."""
    organs: tuple[str, ...] = ()
    """Organs that have a voxel."""
    absent: tuple[str, ...] = ()
    """Organs that a model looked for in vain, or that a person says are not there."""
    model: str = ""
    """Which model made the labels."""


@dataclass(frozen=True)
class Stored:
    """What became of an addition."""

    case: str
    """Name of the case."""
    new: bool
    """Whether the scan is new; else the store had it already, whatever it was called."""
    version: int | None
    """Number of the labels' version; None without labels."""


def addition_steps(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    *,
    name: str = "",
    author: str = "",
    patient: str = "",
    reviewed: bool = False,
) -> Generator[float, None, Addition | Submission]:
    """Take a CT, and labels, out of the scene in short steps; yield the share done.

    Parameters
    ----------
    name : str
        Of the case; made from the volume's if it is empty.
    patient : str
        A code for the patient; by default the pseudonym that DICOM gives.
    reviewed : bool
        Whether a person stands for all organs of the segmentation. Organs without a voxel are
        left out, unless the person has said that they are absent: a deleted segment says nothing.

    Raises
    ------
    InputError
        If the volume is no CT, the segmentation holds no organ, or nobody says who reviewed it.
    """
    case = name.strip() or safe_name(volumeNode.GetName())
    patient = patient.strip() or patient_key(volumeNode)
    if segmentationNode is None:
        image = yield from copy_steps(volumeNode)
        return Addition(case, patient, author, image)
    labels = yield from label_steps(segmentationNode, volumeNode)
    made = result_facts(segmentationNode)
    there = yield from find_steps(labels.array, ALL_TARGETS)
    organs = _organs_in(there, segmentationNode)
    absent = [key for key in made.get(ABSENT, ()) if key not in organs]
    if reviewed:
        submission: Submission = yield from submission_steps(
            segmentationNode, organs, absent=absent, author=author, volumeNode=volumeNode,
            case=case, patient=patient,
        )  # fmt: skip
        return submission
    image = yield from copy_steps(volumeNode)
    model = "-".join(str(made[key]) for key in ("model", "model_version") if made.get(key))
    missed = [key for key in made.get(NOT_FOUND, ()) if key not in organs]
    gone = tuple(dict.fromkeys((*absent, *missed)))
    return Addition(case, patient, author, image, labels, tuple(organs), gone, model)


def store_addition(folder: Path, addition: Addition | Submission) -> Stored:
    """Write a case into the case store, made if it is not there.

    A scan that is there already, under whatever name, stays one case and gets the labels.

    Raises
    ------
    InputError
        If the store refuses it: nobody says whose scan it is, the name is taken, the disk is full.
    """
    if isinstance(addition, Submission):
        with open_store(folder, create=True) as store:  # the model's labels may come first
            before = {record.name for record in store.cases()}
        version = store_submission(folder, addition)
        return Stored(version.case, version.case not in before, version.number)
    with open_store(folder, create=True) as store:
        store.refuse_if_read_only()
        with store.scratch() as scratch:  # in the store, which removes what a killed process left
            return _store(store, addition, scratch)


def _store(store: CaseStore, addition: Addition, scratch: Path) -> Stored:
    """Write an addition into an open store, through files in `scratch`."""
    from flare_core.imaging.files import write_labels, write_volume  # SimpleITK; see `submission`
    from flare_core.imaging.itk import compact

    image, labels = scratch / "image.nii.gz", scratch / "labels.nii.gz"
    write_volume(image, addition.image.with_array(compact(addition.image.array)))
    there = store.case_of_image(image)
    record = there or _new_case(store, image, addition)
    if addition.labels is None:
        return Stored(record.name, there is None, None)
    write_labels(labels, addition.labels, like=record.image)
    number = store.add_labels(record.name, labels, _facts(addition)).number
    return Stored(record.name, there is None, number)


def _new_case(store: CaseStore, image: Path, addition: Addition) -> CaseRecord:
    """Add a scan that the store does not have."""
    check_patient(addition.patient)
    return store.add_case(
        image,
        name=addition.name,
        patient=addition.patient,
        source=SOURCE,
        author=addition.author,
    )


def _facts(addition: Addition) -> LabelFacts:
    """Return what is known about labels that nobody has reviewed."""
    annotated = (*addition.organs, *addition.absent)
    return LabelFacts("pseudo", annotated, addition.author, addition.model, absent=addition.absent)


def _organs_in(
    there: Collection[int], segmentationNode: slicer.vtkMRMLSegmentationNode
) -> list[str]:
    """Return the organs that have a voxel, in the order of the organ table."""
    organs = [target.key for target in ALL_TARGETS if target.id in there]
    if not organs:
        raise InputError(
            "segmentation",
            f"{segmentationNode.GetName()!r}, in which no organ of the table has a voxel",
            "segments that are named after organs, such as Liver",
            "Choose another segmentation, or none.",
        )
    return organs
