"""Majority vote over the label maps of several teams, one case at a time.

Each voxel gets the label that most teams give it. Where several labels have equally many votes,
the one wins that the best-ranked of their voters gives: the teams come in the order of their rank.
Source: Ma et al., "The FLARE 2023 Challenge" (ensembles of the top three and the top five; how the
paper breaks ties is not said).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core.alive import owned
from flare_core.errors import InputError
from flare_core.imaging.apart import read_labels
from flare_core.imaging.files import write_labels
from flare_core.imaging.geometry import COMPARED_TOLERANCE_MM, Box
from flare_core.imaging.inputs import case_name, suffix_of

Labels = npt.NDArray[np.uint8]
OnCase = Callable[[int, int, str], None]


@dataclass(frozen=True)
class EnsembleCase:
    """What came of one case."""

    case: str
    """Its name."""
    path: Path
    """The written label map."""
    absent: tuple[str, ...] = ()
    """Teams that have no label map of it and did not vote."""


def ensemble_folders(
    folders: Sequence[str | Path], output: str | Path, *, on_case: OnCase | None = None
) -> tuple[EnsembleCase, ...]:
    """Vote on every case that any of the folders has and write the results.

    Memory holds one case of every team at a time.

    Parameters
    ----------
    folders : sequence of path
        Folders of label maps, the best-ranked team's first.
    output : path
        Folder for the results, CASE.nii.gz; created.
    on_case : callable, optional
        Called with (cases done, cases in all, name) after each case.

    Raises
    ------
    InputError
        If a folder holds no label map, label maps of a case lie on different grids, or a file
        cannot be read or written.
    """
    if len(folders) < 2:
        legal = "at least two folders of label maps"
        raise InputError("folders", f"{len(folders)}", legal, "Name more teams.")
    found = [label_files(Path(folder)) for folder in folders]
    cases = sorted({name for each in found for name in each})
    target = Path(output)
    target.mkdir(parents=True, exist_ok=True)
    done = []
    with owned(target):
        for number, case in enumerate(cases, 1):
            voters = [each[case] for each in found if case in each]
            teams = zip(folders, found, strict=True)
            absent = [Path(folder).name for folder, each in teams if case not in each]
            path = target / f"{case}.nii.gz"
            _write_vote(voters, path)
            done.append(EnsembleCase(case, path, tuple(absent)))
            if on_case is not None:
                on_case(number, len(cases), case)
    return tuple(done)


def label_files(folder: Path) -> dict[str, Path]:
    """Return the label maps of a folder by case; hidden files do not count.

    Raises
    ------
    InputError
        If it is no folder, holds none, or two of one case.
    """
    legal = "a folder with one label map (.nii.gz) for each case"
    if not folder.is_dir():
        raise InputError("predictions", f"{folder}, which is no folder", legal, "Correct the path.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not suffix_of(path):
            continue
        name = unicodedata.normalize("NFC", case_name(path))  # macOS parts letters and accents
        if name in files:
            came = f"{files[name].name} and {path.name} in {folder}, both of case {name}"
            raise InputError("predictions", came, legal, "Move one of them away.")
        files[name] = path
    if not files:
        raise InputError("predictions", f"{folder} without label maps", legal, "Correct the path.")
    return files


def majority_vote(labels: Sequence[Labels]) -> Labels:
    """Return the label that most maps give each voxel.

    Parameters
    ----------
    labels : sequence of uint8 (Z, Y, X)
        On one grid, the best-ranked team's first: it decides ties.

    Examples
    --------
    >>> a, b, c = (np.array([[row]], np.uint8) for row in ([1, 1, 3], [2, 1, 4], [2, 5, 5]))
    >>> majority_vote([a, b, c]).tolist()
    [[[2, 1, 3]]]
    """
    winner = labels[0].copy()
    most = _votes(labels, 0)
    for number in range(1, len(labels)):
        votes = _votes(labels, number)
        more = votes > most
        winner[more] = labels[number][more]
        most[more] = votes[more]
    return winner


def _votes(labels: Sequence[Labels], number: int) -> Labels:
    """Return how many maps agree with map `number` (Z, Y, X)."""
    votes = np.zeros(labels[0].shape, np.uint8)
    for other in labels:
        votes += other == labels[number]
    return votes


def _write_vote(voters: Sequence[Path], path: Path) -> None:
    """Read the maps of one case, vote inside the box that holds any label, write the result."""
    first = read_labels(voters[0])
    maps = [np.asarray(first.array, np.uint8)]
    for voter in voters[1:]:
        volume = read_labels(voter)
        if not volume.geometry.same_grid(first.geometry, COMPARED_TOLERANCE_MM):
            came = f"a grid other than that of {voters[0]}"
            legal = "label maps of one case on the grid of its scan"
            action = "Write the prediction on the scan's grid, or leave this team out."
            raise InputError(str(voter), came, legal, action)
        maps.append(np.asarray(volume.array, np.uint8))
    result = np.zeros_like(maps[0])
    any_label = maps[0] != 0
    for each in maps[1:]:
        any_label |= each != 0
    box = Box.of_mask(any_label)
    if box is not None:
        result[box.slices] = majority_vote([each[box.slices] for each in maps])
    write_labels(path, first.with_array(result), like=voters[0])
