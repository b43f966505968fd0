"""A case of the training set in the scene: CT and segmentation beside what is there already.

`read_case` reads the files and touches no node (any thread); `show_steps` puts them into the scene
in short steps (Qt's thread). The segmentation knows which case it is of, so that FLARESeg's
correction adds a version to that case.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from FLARESegLib.scene.results import (
    ABSENT,
    CASE,
    VERSION,
    import_steps,
    nodes_of,
    result_facts,
    result_of,
)
from FLARESegLib.scene.subject_place import place_beside
from FLARESegLib.scene.views import LEVEL_HU, WINDOW_HU
from FLARESegLib.scene.volumes import volume_node

import slicer
from flare_core.anatomy.organs import organ
from flare_core.cases.store import BY_PEOPLE, CaseRecord, LabelVersion, open_store
from flare_core.errors import InputError
from flare_core.imaging.volume import Volume

SCAN = "FLARETrain.scan"
"""Attribute of a volume node: SHA-256 of the scan it shows."""

Nodes = tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode]


@dataclass(frozen=True, eq=False)
class ReadCase:
    """A case without any node."""

    record: CaseRecord
    """What the store says."""
    image: Volume
    """The CT, HU."""
    labels: Volume | None
    """Its chosen labels; None without any."""
    version: LabelVersion | None
    """What is known about them."""


def read_case(folder: Path, name: str) -> ReadCase:
    """Read a case with the labels that count.

    Raises
    ------
    InputError
        If there is no such case, or a file of it cannot be read.
    """
    from flare_core.imaging.files import read_labels, read_volume  # SimpleITK; in a thread

    with open_store(folder) as store:
        record = store.case(name)
        version = None if record.chosen is None else store.version(name, record.chosen)
    image = read_volume(record.image)
    labels = read_labels(version.path) if version else None
    if labels is not None and labels.array.shape != image.array.shape:
        raise InputError(
            f"labels of {name}",
            f"{labels.array.shape} voxels",
            f"{image.array.shape}, those of the scan",
            "Run flare cases verify: a file was changed.",
        )
    return ReadCase(record, image, labels, version)


def show_steps(scene: slicer.vtkMRMLScene, case: ReadCase) -> Generator[float, None, Nodes]:
    """Put a case into the scene in short steps; yield the share done, return its nodes.

    A scan that is in the scene already is not put there again, nor is the same label version.

    Raises
    ------
    Cancelled
        If the volume is removed meanwhile.
    """
    volume = scan_node(scene, case.record.image_sha256) or _new_volume(scene, case)
    yield 0.3
    there = result_of(volume)
    if there is not None and _version_of(there) == (case.record.name, case.record.chosen):
        return volume, there
    steps = import_steps(volume, _labels(case), _organs(case), facts=_facts(case))
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            place_beside(end.value, volume)
            return volume, end.value
        yield 0.3 + 0.7 * share


def scan_node(scene: slicer.vtkMRMLScene, sha256: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the volume that shows a scan of the training set, or None."""
    for node in nodes_of(scene, "vtkMRMLScalarVolumeNode"):
        if node.GetAttribute(SCAN) == sha256:
            return node
    return None


def _new_volume(scene: slicer.vtkMRMLScene, case: ReadCase) -> slicer.vtkMRMLScalarVolumeNode:
    node = volume_node(scene, case.image, scene.GenerateUniqueName(case.record.name))
    node.SetAttribute(SCAN, case.record.image_sha256)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(WINDOW_HU, LEVEL_HU)
    if not display.GetColorNodeID():
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    return node


def _labels(case: ReadCase) -> np.ndarray:
    """Return the labels; an empty map where there are none, for FLARESeg to fill."""
    if case.labels is None:
        return np.zeros(case.image.array.shape, np.uint8)
    return case.labels.array.astype(np.uint8, copy=False)


def _organs(case: ReadCase) -> list[Any]:
    return [organ(key) for key in case.version.facts.annotated] if case.version else []


def _facts(case: ReadCase) -> dict[str, Any]:
    """Return where the labels came from, and of which case they are."""
    facts: dict[str, Any] = {CASE: case.record.name}
    if case.version is not None:
        made = case.version.facts
        facts |= {VERSION: case.version.number, "kind": made.kind, "author": made.author}
        facts |= {ABSENT: list(made.absent)} if made.kind in BY_PEOPLE else {}
        facts |= {"model": made.model, "settings": made.settings} if made.model else {}
    return facts


def _version_of(segmentation: slicer.vtkMRMLSegmentationNode) -> tuple[str, int | None]:
    facts = result_facts(segmentation)
    return facts.get(CASE, ""), facts.get(VERSION)
