"""A volume of the scene as a new case, with its segmentation if there is one.

`addition_steps` takes voxels out of the scene in short steps (Qt's thread); `store_addition` writes
them and touches no node (any thread). Labels that nobody has reviewed go in as pseudo labels of the
model that made them; reviewed ones are an expert's or corrected, as FLARESeg's correction says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from FLARESegLib.correction.corrections import label_steps
from FLARESegLib.correction.submission import (
    Submission,
    patient_key,
    store_submission,
    submission_steps,
)
from FLARESegLib.scene.results import ASKED, result_facts
from FLARESegLib.scene.segment_identity import organ_segment_ids
from FLARESegLib.scene.volumes import copy_steps

import slicer
from flare_core.anatomy.organs import ALL_TARGETS, organ
from flare_core.cases.names import safe_name
from flare_core.cases.store import LabelFacts, open_store
from flare_core.errors import InputError
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.itk import compact
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
    """What was looked for."""
    model: str = ""
    """Which model made the labels."""


def addition_steps(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    *,
    name: str = "",
    author: str = "",
    reviewed: bool = False,
) -> Generator[float, None, Addition | Submission]:
    """Take a CT, and labels, out of the scene in short steps; yield the share done.

    Parameters
    ----------
    name : str
        Of the case; made from the volume's if it is empty.
    reviewed : bool
        Whether a person stands for all organs of the segmentation.

    Raises
    ------
    InputError
        If the volume is no CT, the segmentation holds no organ, or nobody says who reviewed it.
    """
    case = name.strip() or safe_name(volumeNode.GetName())
    if segmentationNode is None:
        image = yield from copy_steps(volumeNode)
        return Addition(case, patient_key(volumeNode), author, image)
    organs = _organs_of(segmentationNode)
    if reviewed:
        submission: Submission = yield from submission_steps(
            segmentationNode, organs, author=author, volumeNode=volumeNode, case=case
        )
        return submission
    labels = yield from label_steps(segmentationNode, volumeNode)
    image = yield from copy_steps(volumeNode)
    made = result_facts(segmentationNode)
    model = "-".join(str(made[key]) for key in ("model", "model_version") if made.get(key))
    patient = patient_key(volumeNode)
    return Addition(case, patient, author, image, labels, tuple(organs), model)


def store_addition(folder: Path, addition: Addition | Submission) -> str:
    """Write a case into the case store, made if it is not there; return the case's name.

    Raises
    ------
    InputError
        If the store refuses it: the scan is there, the name is taken, the disk is full.
    """
    if isinstance(addition, Submission):
        return store_submission(folder, addition).case
    with (
        open_store(folder, create=True) as store,
        tempfile.TemporaryDirectory(prefix="flaretrain-") as scratch,
    ):
        image = Path(scratch) / "image.nii.gz"
        write_volume(image, addition.image.with_array(compact(addition.image.array)))
        record = store.add_case(
            image,
            name=addition.name,
            patient=addition.patient,
            source=SOURCE,
            author=addition.author,
        )
        if addition.labels is not None:
            labels = Path(scratch) / "labels.nii.gz"
            write_labels(labels, addition.labels, like=record.image)
            store.add_labels(record.name, labels, _facts(addition))
    return record.name


def _facts(addition: Addition) -> LabelFacts:
    """Return what is known about labels that nobody has reviewed."""
    assert addition.labels is not None
    found = set(np.unique(addition.labels.array).tolist())
    absent = tuple(key for key in addition.organs if organ(key).id not in found)
    return LabelFacts("pseudo", addition.organs, addition.author, addition.model, absent=absent)


def _organs_of(segmentationNode: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """Return the organs that were looked for, in the order of the organ table."""
    asked: list[Any] = result_facts(segmentationNode).get(ASKED) or []
    known = {*asked, *organ_segment_ids(segmentationNode)}
    organs = [target.key for target in ALL_TARGETS if target.key in known]
    if not organs:
        raise InputError(
            "segmentation",
            f"{segmentationNode.GetName()!r}, which has no organ of the table",
            "segments that are named after organs, such as Liver",
            "Choose another segmentation, or none.",
        )
    return organs
