"""Is a data set what it claims to be: all there, once, readable, on one grid, rightly numbered?

Every scan and label map is read once; what is wrong is told, never repaired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.anatomy.label_schemes import scheme as scheme_of
from flare_core.anatomy.organs import organ
from flare_core.datasets.flare.dataset import FlareCase, FlareDataset
from flare_core.datasets.flare.folders import KINDS, Finding, listed
from flare_core.errors import InputError
from flare_core.imaging.apart import read_volume
from flare_core.imaging.checks import check_ct
from flare_core.imaging.geometry import GRID_TOLERANCE_MM
from flare_core.imaging.label_map import grid_difference
from flare_core.imaging.volume import Volume
from flare_core.spread.cases import SpreadCases, input_error
from flare_core.spread.here import in_turn
from flare_core.wording import many

PAIRS = (("right_kidney", "left_kidney"), ("right_adrenal_gland", "left_adrenal_gland"))
"""Organs of two sides: the right one must lie to the patient's right of the left one."""


@dataclass(frozen=True)
class CaseCheck:
    """What came of looking at one case."""

    findings: tuple[Finding, ...]
    """What is wrong or unusual."""
    digest: str = ""
    """Hash of the scan's size and voxels, whatever its file is called and how it is packed; empty
    if it could not be read."""


def check_dataset(
    dataset: FlareDataset,
    *,
    spread: SpreadCases = in_turn,
    on_done: Callable[[int, int], None] | None = None,
) -> tuple[Finding, ...]:
    """Return everything wrong or unusual, the worst kind first.

    Parameters
    ----------
    dataset : FlareDataset
        From `flare.find_dataset`.
    spread : SpreadCases
        What does the cases; the result does not depend on it.
    on_done : callable, optional
        Told (cases done, cases in all).
    """
    findings = list(dataset.findings)
    names: dict[str, list[str]] = {}
    with closing(spread(check_case, ((case.name, case) for case in dataset.cases))) as outcomes:
        for done, outcome in enumerate(outcomes, start=1):
            name, error = outcome.case, input_error(outcome)
            if error is not None:
                findings.append(Finding("unreadable", name, error.parts[1]))
            else:
                findings += outcome.value.findings
                names.setdefault(outcome.value.digest, []).append(name)
            if on_done:
                on_done(done, len(dataset.cases))
    names.pop("", None)
    findings += [_doubled(sorted(same)) for same in names.values() if len(same) > 1]
    return tuple(sorted(findings, key=lambda f: (KINDS.index(f.kind), f.where, f.what)))


def check_case(case: FlareCase) -> CaseCheck:
    """Read one case's scan and label map and say what is wrong with them."""
    try:
        scan = read_volume(case.image)
    except InputError as error:
        findings = [Finding("unreadable", case.name, f"{case.image.name}: {error.parts[1]}")]
        return CaseCheck((*findings, *_label_findings(case, None)))
    findings = [Finding(kind, case.name, what) for kind, what in _scan_problems(scan)]
    return CaseCheck((*findings, *_label_findings(case, scan)), _digest(scan))


def _scan_problems(scan: Volume) -> Iterator[tuple[str, str]]:
    try:
        yield from (("note", note) for note in check_ct(scan))
    except InputError as error:
        yield "unreadable", f"no usable CT: {error.parts[1]}"


def _label_findings(case: FlareCase, scan: Volume | None) -> list[Finding]:
    if case.labels is None:
        return []
    try:
        labels = read_volume(case.labels)
    except InputError as error:
        came = f"{_place(case.labels)}: {error.parts[1]}"
        return [Finding("unreadable", case.name, came)]
    problems = [*_grid_problems(labels, scan), *_value_problems(labels, case)]
    return [Finding(kind, case.name, what) for kind, what in problems]


def _grid_problems(labels: Volume, scan: Volume | None) -> Iterator[tuple[str, str]]:
    if scan is None or labels.geometry.same_grid(scan.geometry, tolerance_mm=GRID_TOLERANCE_MM):
        return
    difference = grid_difference(labels, scan.geometry)
    yield "off-grid", f"the label map is not on the scan's grid: {difference}"


def _value_problems(labels: Volume, case: FlareCase) -> Iterator[tuple[str, str]]:
    """Say which values are unknown, not claimed, missing, or on the wrong side."""
    low, high = float(labels.array.min()), float(labels.array.max())
    if labels.array.dtype.kind == "f" or low < 0 or high > 255:
        yield "mislabelled", f"values from {low:g} to {high:g} in the label map, no label numbers"
        return
    numbers = scheme_of(case.scheme)
    counts = _counts(labels.array)
    unknown = [f"{v} ({many(counts[v], 'voxel')})" for v in counts if v > numbers.highest]
    if unknown:
        legal = f"only 0 to {numbers.highest} are known ({numbers.title})"
        yield "mislabelled", f"label value {listed(unknown)}; {legal}"
    yield from _claim_problems(set(counts) - {0}, numbers, case)
    yield from _side_problems(labels, numbers, set(counts))


def _claim_problems(
    values: set[int], numbers: LabelScheme, case: FlareCase
) -> Iterator[tuple[str, str]]:
    """Compare the organs in the map with those that the case claims to annotate."""
    if not values:
        kind = "note" if numbers.partial else "mislabelled"
        yield kind, "the label map is empty"
        return
    there = {key for value, keys in numbers.organs if value in values for key in keys}
    if not case.annotated:
        return  # a partly labelled edition whose files say by themselves what they annotate
    extra = [organ(key).name for key in numbers.annotated if key in there - set(case.annotated)]
    if extra:
        yield "mislabelled", f"labels of {listed(extra)}, which the case does not claim to annotate"
    absent = [organ(key).name for key in case.annotated if key not in there]
    if absent:
        yield "note", f"annotated, but not there: {listed(absent)}"


def _side_problems(
    labels: Volume, numbers: LabelScheme, values: set[int]
) -> Iterator[tuple[str, str]]:
    for right, left in PAIRS:
        pair = numbers.number_of(right), numbers.number_of(left)
        if pair[0] == pair[1] or not values.issuperset(pair):
            continue
        one, other = (_leftwards_mm(labels, value) for value in pair)
        if one > other:
            name = organ(right).name.lower()
            yield "mislabelled", f"the {name} lies to the left of the left one: sides exchanged"


def _leftwards_mm(labels: Volume, value: int | None) -> float:
    """Return the mean x (LPS) of a label, mm."""
    places = np.argwhere(labels.array == value)
    return float(labels.geometry.voxel_to_lps(places.mean(axis=0))[0])


def _counts(array: npt.NDArray[Any]) -> dict[int, int]:
    """Return the voxels of every value that occurs in a label map (Z, Y, X)."""
    total = np.zeros(256, np.int64)
    for plane in array:
        total += np.bincount(plane.ravel(), minlength=256)
    return {int(v): int(total[v]) for v in np.flatnonzero(total)}


def _digest(scan: Volume) -> str:
    """Hash the voxels plane by plane; the file's name, date and packing do not matter."""
    found = hashlib.blake2b(repr(scan.array.shape).encode(), digest_size=20)
    for plane in scan.array:
        found.update(np.ascontiguousarray(plane).data)
    return found.hexdigest()


def _doubled(names: list[str]) -> Finding:
    what = f"the same scan is there {len(names)} times: {listed(names)}"
    return Finding("doubled", names[0], what)


def _place(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
