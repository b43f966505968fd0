"""One case of a summary: its grid, and the HU of every label counted by value.

A record is small whatever the scan's size, and can be kept on disk, so that a run over thousands of
scans goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core import atomic
from flare_core.anatomy.label_schemes import scheme as scheme_of
from flare_core.datasets.flare.dataset import FlareCase
from flare_core.datasets.flare.labels import annotated_in, check_same_grid
from flare_core.datasets.summary.numbers import BINS, LOWEST_HU, Counts
from flare_core.errors import InputError
from flare_core.imaging.apart import read_geometry, read_labels, read_volume
from flare_core.imaging.geometry import Index, Triple

FORMAT = 1
"""Changes when what is kept on disk changes."""

CHUNK = 1 << 22
"""Voxels counted at a time: 4 million labels and HU take 100 MB while they are combined."""


@dataclass(frozen=True, eq=False)
class LabelHistogram:
    """The voxels of one label value."""

    value: int
    """The label value."""
    lowest: int
    """HU of the first count."""
    counts: Counts
    """Voxels of each HU from `lowest` on."""


@dataclass(frozen=True, eq=False)
class CaseRecord:
    """What the summary needs of one case."""

    name: str
    """The case."""
    subset: str
    """Its part of the data set."""
    shape: Index
    """Voxels z, y, x."""
    spacing_mm: Triple
    """Spacing z, y, x."""
    labelled: bool
    """Whether it has a label map."""
    annotated: tuple[str, ...] = ()
    """Organs that the label map annotates."""
    labels: tuple[LabelHistogram, ...] = ()
    """One for every label value above 0 that occurs."""


def measure_case(case: FlareCase) -> CaseRecord:
    """Read one case and count its voxels; of an unlabelled one only the header is read.

    HU that are no whole numbers are rounded; those beyond int16 count as its ends.

    Raises
    ------
    InputError
        If a file cannot be read, the label map is on another grid, or holds unknown values.
    """
    geometry = read_geometry(case.image)
    facts = (case.name, case.subset, geometry.shape, geometry.spacing_mm)
    if case.labels is None:
        return CaseRecord(*facts, labelled=False)
    labels = read_labels(case.labels)
    check_same_grid(case.labels, labels, case.image)
    numbers = scheme_of(case.scheme)
    found = tuple(_histograms(read_volume(case.image).array, labels.array, numbers.highest))
    values = [one.value for one in found]
    return CaseRecord(*facts, True, case.annotated or annotated_in(numbers, values), found)


def save_record(record: CaseRecord, path: Path) -> None:
    """Keep a record, whole or not at all."""
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        facts=np.array([record.name, record.subset, *record.annotated]),
        labelled=np.array(record.labelled),
        shape=np.array(record.shape),
        spacing=np.array(record.spacing_mm),
        places=np.array([(h.value, h.lowest, h.counts.size) for h in record.labels], np.int64),
        counts=np.concatenate([np.zeros(0, np.int64), *(h.counts for h in record.labels)]),
    )
    atomic.write_bytes(path, stream.getvalue())


def load_record(path: Path) -> CaseRecord | None:
    """Return a kept record; None if there is none or its file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return _record_of(dict(kept))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def fingerprint(case: FlareCase) -> str:
    """Return a hash of what a record depends on: files, their sizes and times, the numbers used."""
    parts: list[object] = [FORMAT, case.name, case.subset, case.scheme, case.annotated]
    for path in (case.image, case.labels):
        if path is not None:
            facts = path.stat()
            parts += [str(path.resolve()), facts.st_size, facts.st_mtime_ns]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _record_of(kept: dict[str, npt.NDArray[Any]]) -> CaseRecord:
    name, subset, *annotated = (str(text) for text in kept["facts"])
    ends = np.cumsum(kept["places"].reshape(-1, 3)[:, 2])
    parts = np.split(kept["counts"], ends)
    labels = tuple(
        LabelHistogram(int(value), int(lowest), counts)
        for (value, lowest, _), counts in zip(kept["places"].reshape(-1, 3), parts, strict=False)
    )
    z, y, x = (int(n) for n in kept["shape"])
    dz, dy, dx = (float(n) for n in kept["spacing"])
    labelled = bool(kept["labelled"])
    return CaseRecord(name, subset, (z, y, x), (dz, dy, dx), labelled, tuple(annotated), labels)


def _histograms(
    scan: npt.NDArray[Any], labels: npt.NDArray[np.uint8], highest: int
) -> Iterator[LabelHistogram]:
    """Count every (label, HU) pair of the labelled voxels, a few planes at a time."""
    total = np.zeros((highest + 1) * BINS, np.int64)
    planes = max(1, CHUNK // max(1, labels[0].size))
    for first in range(0, len(labels), planes):
        part = labels[first : first + planes]
        places = np.nonzero(part)
        values = part[places]
        if values.size and int(values.max()) > highest:
            raise _unknown_value(int(values.max()), highest)
        hu = _whole(scan[first : first + planes][places])
        pair = values.astype(np.int64) * BINS + (hu - LOWEST_HU)
        total += np.bincount(pair, minlength=total.size)
    for value, counts in enumerate(total.reshape(highest + 1, BINS)):
        there = np.flatnonzero(counts)
        if there.size:
            part_of = slice(int(there[0]), int(there[-1]) + 1)
            yield LabelHistogram(value, int(there[0]) + LOWEST_HU, counts[part_of].copy())


def _whole(hu: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return HU as whole numbers in the range of int16."""
    if hu.dtype.kind == "f":
        hu = np.rint(np.nan_to_num(hu, nan=LOWEST_HU))
    return np.clip(hu, LOWEST_HU, LOWEST_HU + BINS - 1).astype(np.int64)


def _unknown_value(value: int, highest: int) -> InputError:
    return InputError(
        "labels",
        f"label value {value}",
        f"0 to {highest}",
        "Name the numbers the label maps really use; `flare dataset check` lists such cases.",
    )
