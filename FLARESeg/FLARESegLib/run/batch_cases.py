"""The cases of a batch: which there are, and each as volume nodes in a scene of its own."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from flare_core.errors import InputError
from flare_core.imaging.apart import read_volume
from flare_core.imaging.checks import check_ct
from flare_core.imaging.inputs import CaseInput, existing, find_inputs
from flare_core.jobs.batch import with_own_names
from FLARESegLib.qt.event_loop import in_slicer
from FLARESegLib.run.workplace import python_program
from FLARESegLib.scene.results import nodes_of
from FLARESegLib.scene.volumes import volume_node

SCENE_SUFFIX = ".mrb"
OWN_RESULT = ".seg.nrrd"
"""Files of this ending are results, never inputs."""


@dataclass(frozen=True)
class Scan:
    """A CT of a case, in a scene."""

    name: str
    """What its results are called."""
    node: Any
    """The volume node."""
    like: Path | None
    """The NIfTI file whose header the label map takes over, if there is one."""


def find_cases(inputs: Sequence[Path]) -> list[CaseInput]:
    """Return the cases of all inputs, each with a name of its own; a scene counts as one.

    Raises
    ------
    InputError
        If an input holds nothing to segment, or two cases cannot be told apart by name.
    """
    return with_own_names([case for path in inputs for case in _cases_of(existing(path))])


def is_scene(path: Path) -> bool:
    """Whether a file is a Slicer scene, by its name."""
    return path.name.lower().endswith(SCENE_SUFFIX)


def _cases_of(path: Path) -> list[CaseInput]:
    """Return the cases of a file or folder, scenes among them."""
    if path.is_file() and is_scene(path):
        return [CaseInput(path.stem, path)]
    scenes = sorted(path.glob(f"*{SCENE_SUFFIX}")) if path.is_dir() else []
    try:
        cases = find_inputs(path)
    except InputError:
        if not scenes:
            raise
        cases = []
    cases += [CaseInput(each.stem, each) for each in scenes if not each.name.startswith(".")]
    return [case for case in cases if not case.path.name.lower().endswith(OWN_RESULT)]


@contextmanager
def own_scene() -> Iterator[Any]:
    """Yield an empty scene; in Slicer it is the application's, which a batch has to itself."""
    if in_slicer():
        scene = slicer.mrmlScene
        scene.Clear(0)
    else:
        scene = slicer.vtkMRMLScene()
        # Registers what turns label maps into segments, as Slicer's start does.
        logic = slicer.vtkSlicerSegmentationsModuleLogic()
        logic.SetMRMLScene(scene)
    try:
        yield scene
    finally:
        scene.Clear(0)


def load_scans(case: CaseInput, scene: Any) -> list[Scan]:
    """Load a case into a scene and return the CTs in it.

    Raises
    ------
    InputError
        If it cannot be read, or a scene holds no CT.
    """
    if is_scene(case.path):
        return _scans_of_scene(case, scene)
    volume = read_volume(case.path, series=case.series, python=python_program())
    like = case.path if case.path.name.lower().endswith((".nii", ".nii.gz")) else None
    return [Scan(case.name, volume_node(scene, volume, case.name), like)]


def _scans_of_scene(case: CaseInput, scene: Any) -> list[Scan]:
    from FLARESegLib.scene.volumes import node_volume

    _read_scene(case.path.absolute(), scene)
    found, others = [], []
    for node in nodes_of(scene, "vtkMRMLScalarVolumeNode"):
        if node.GetClassName() != "vtkMRMLScalarVolumeNode":  # label maps are a sub-class
            continue
        try:
            check_ct(node_volume(node), argument=node.GetName())
        except InputError as error:
            others.append(f"{error.parts[0]} ({error.parts[1]})")
        else:
            found.append(node)
    if not found:
        raise InputError(
            str(case.path),
            f"a scene without CT; not CT: {', '.join(others)}" if others else "a scene without CT",
            "a Slicer scene (.mrb) with a CT volume in HU",
            "Open it in Slicer and look what is in it.",
        )
    if len(found) == 1:
        return [Scan(case.name, found[0], None)]
    return [Scan(name, node, None) for name, node in zip(_names(case, found), found, strict=True)]


def _read_scene(path: Path, scene: Any) -> None:
    """Read a scene file; one that cannot be read leaves the scene empty.

    Files go through a cache folder, which Slicer has and a plain scene has to be given.
    """
    with tempfile.TemporaryDirectory(prefix="FLARESeg-scene-") as folder:
        if scene.GetDataIOManager() is None:
            cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
            cache.SetRemoteCacheDirectory(folder)
            manager.SetCacheManager(cache)
            scene.SetCacheManager(cache)
            scene.SetDataIOManager(manager)
        scene.ReadFromMRB(str(path), False)


def _names(case: CaseInput, nodes: Sequence[Any]) -> list[str]:
    """Return a name for each CT of a scene, without characters that file names cannot have."""
    plain = [re.sub(r"[^\w.-]+", "_", node.GetName()) for node in nodes]
    names = [f"{case.name}_{each}" for each in plain]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    return [f"{name}_{n}" if name in repeated else name for n, name in enumerate(names, start=1)]
