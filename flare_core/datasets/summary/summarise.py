"""A data set in numbers: resolution, HU and volume of every label, as the FLARE papers' tables.

Records of cases come one after another and are added up; what grows with the number of cases is a
line of volumes each, so thousands of scans need no more memory than a few. HU are counted by value,
from which all statistics are exact: no voxel is kept, however many there are.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core import atomic
from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.anatomy.label_schemes import scheme as scheme_of
from flare_core.datasets.flare.dataset import FlareCase, FlareDataset
from flare_core.datasets.flare.folders import Finding
from flare_core.datasets.flare.labels import annotated_in
from flare_core.errors import InputError
from flare_core.imaging.apart import read_geometry, read_labels, read_volume
from flare_core.imaging.file_facts import file_facts
from flare_core.imaging.geometry import Index, Triple
from flare_core.imaging.label_map import check_same_grid
from flare_core.spread.cases import Outcome, SpreadCases, input_error
from flare_core.spread.here import in_turn

Counts = npt.NDArray[np.int64]

LOWEST_HU = -(2**15)
"""HU of the first bin."""
BINS = 2**16
"""One bin for every int16 value; HU beyond are counted in the first or last one."""


@dataclass(frozen=True)
class HuStatistics:
    """The seeds' row of numbers about the voxels of an organ, HU."""

    voxels: int
    """How many voxels."""
    minimum: float
    """Smallest value."""
    low: float
    """0.5th percentile."""
    median: float
    """50th percentile."""
    mean: float
    """Arithmetic mean."""
    sd: float
    """Standard deviation of the voxels (divided by their number)."""
    high: float
    """99.5th percentile."""
    maximum: float
    """Largest value."""


@dataclass(frozen=True)
class Spread:
    """Where the values of many cases lie."""

    minimum: float
    """Smallest."""
    median: float
    """Middle one."""
    mean: float
    """Arithmetic mean."""
    maximum: float
    """Largest."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values; NaN of none.

        Examples
        --------
        >>> Spread.of([3.0, 1.0, 8.0])
        Spread(minimum=1.0, median=3.0, mean=4.0, maximum=8.0)
        """
        if not len(values):
            return cls(math.nan, math.nan, math.nan, math.nan)
        found = (np.min(values), np.median(values), np.mean(values), np.max(values))
        return cls(*(float(value) for value in found))


def hu_statistics(counts: Counts, lowest: int = LOWEST_HU) -> HuStatistics | None:
    """Return the statistics of voxels counted by value; None if there are none.

    Parameters
    ----------
    counts : int64 (n,)
        Voxels of each HU, the first bin's being `lowest`.

    Examples
    --------
    >>> hu_statistics(np.array([1, 0, 3]), 40)
    HuStatistics(voxels=4, minimum=40.0, low=40.03, median=42.0, mean=41.5, sd=0.866025403784\
4386, high=42.0, maximum=42.0)
    """
    there = np.flatnonzero(counts)
    if not there.size:
        return None
    values, weights = there + lowest, counts[there].astype(float)
    mean = float(np.average(values, weights=weights))
    variance = float(np.average((values - mean) ** 2, weights=weights))
    low, median, high = (percentile(counts, q, lowest) for q in (0.5, 50.0, 99.5))
    return HuStatistics(
        int(counts.sum()), float(values[0]), low, median, mean, math.sqrt(variance), high,
        float(values[-1]),
    )  # fmt: skip


def percentile(counts: Counts, q: float, lowest: int = LOWEST_HU) -> float:
    """Return what `numpy.percentile` would of the voxels themselves (linear interpolation).

    Examples
    --------
    >>> percentile(np.array([2, 0, 0, 0, 1]), 75.0, 0), float(np.percentile([0, 0, 4], 75))
    (2.0, 2.0)
    """
    reached = np.cumsum(counts)
    place = (int(reached[-1]) - 1) * q / 100
    below, above = np.searchsorted(reached, [math.floor(place), math.ceil(place)], side="right")
    return float(lowest + below + (above - below) * (place - math.floor(place)))


def coarse(counts: Counts, lowest: int, start: float, width: float, bars: int) -> list[int]:
    """Return the voxels in each of some equal bars from `start`; those outside are left out.

    Examples
    --------
    >>> coarse(np.array([5, 1, 1, 1, 9]), 0, 1, 1.5, 2)
    [2, 1]
    """
    there = np.flatnonzero(counts)
    bar = np.floor((there + lowest - start) / width).astype(int)
    inside = (bar >= 0) & (bar < bars)
    found = np.bincount(bar[inside], weights=counts[there[inside]], minlength=bars)
    return [int(n) for n in found]


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
class CaseMeasurement:
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


def measure_case(case: FlareCase) -> CaseMeasurement:
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
        return CaseMeasurement(*facts, labelled=False)
    labels = read_labels(case.labels)
    check_same_grid(case.labels, labels, case.image)
    numbers = scheme_of(case.scheme)
    found = tuple(_histograms(read_volume(case.image).array, labels.array, numbers.highest))
    values = [one.value for one in found]
    return CaseMeasurement(*facts, True, case.annotated or annotated_in(numbers, values), found)


def save_record(record: CaseMeasurement, path: Path) -> None:
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


def load_record(path: Path) -> CaseMeasurement | None:
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
            parts += file_facts(path)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _record_of(kept: dict[str, npt.NDArray[Any]]) -> CaseMeasurement:
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
    return CaseMeasurement(
        name, subset, (z, y, x), (dz, dy, dx), labelled, tuple(annotated), labels
    )


def _histograms(
    scan: npt.NDArray[Any], labels: npt.NDArray[Any], highest: int
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


OnDone = Callable[[int, int], None]


@dataclass(frozen=True)
class CaseLine:
    """One case in the summary."""

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
    annotated: tuple[str, ...]
    """Organs that the label map annotates."""
    voxels: Mapping[int, int]
    """Voxels of every label value that occurs."""

    def volume_ml(self, value: int) -> float:
        """Return the volume of a label, mL."""
        z, y, x = self.spacing_mm
        return self.voxels.get(value, 0) * z * y * x / 1000

    def coverage(self, value: int) -> float:
        """Return the share of the scan that a label takes, %."""
        z, y, x = self.shape
        return 100 * self.voxels.get(value, 0) / (z * y * x)


@dataclass(frozen=True, eq=False)
class Summary:
    """A whole data set in numbers."""

    title: str
    """Name of the data set, for people."""
    scheme: LabelScheme
    """What the label values mean."""
    cases: tuple[CaseLine, ...]
    """One line per case that could be read, in the data set's order."""
    counts: Mapping[int, Counts]
    """Label value -> voxels of each HU from `summary_numbers.LOWEST_HU` on, all cases together."""
    left_out: tuple[Finding, ...] = ()
    """Cases that could not be read, and why."""

    @property
    def foreground(self) -> Counts:
        """All labels together: voxels of each HU."""
        return np.sum([np.zeros(BINS, np.int64), *self.counts.values()], axis=0)

    def with_label(self, value: int) -> list[CaseLine]:
        """Return the cases in which a label value occurs."""
        return [case for case in self.cases if case.voxels.get(value)]


@dataclass  # mutable: adds up records as they come
class SummaryBuilder:
    """Adds up records."""

    lines: dict[int, CaseLine] = field(default_factory=dict)
    """Number of the case -> its line."""
    counts: dict[int, Counts] = field(default_factory=dict)
    """Label value -> voxels of each HU."""

    def add(self, number: int, record: CaseMeasurement) -> None:
        """Add the record of case `number`."""
        voxels = {one.value: int(one.counts.sum()) for one in record.labels}
        self.lines[number] = CaseLine(
            record.name,
            record.subset,
            record.shape,
            record.spacing_mm,
            record.labelled,
            record.annotated,
            voxels,
        )
        for one in record.labels:
            first = one.lowest - LOWEST_HU
            total = self.counts.setdefault(one.value, np.zeros(BINS, np.int64))
            total[first : first + one.counts.size] += one.counts

    def finished(self, dataset: FlareDataset, left_out: Sequence[Finding]) -> Summary:
        """Return the sum of what was added."""
        lines = tuple(self.lines[number] for number in sorted(self.lines))
        title = f"{dataset.root.name}: {dataset.title}"
        counts = dict(sorted(self.counts.items()))
        return Summary(title, dataset.scheme, lines, counts, tuple(left_out))


def summarise(
    dataset: FlareDataset,
    *,
    spread: SpreadCases = in_turn,
    keep_in: Path | None = None,
    on_done: OnDone | None = None,
) -> Summary:
    """Measure every case and add them up.

    Parameters
    ----------
    dataset : FlareDataset
        From `flare.find_dataset`.
    spread : SpreadCases
        What does the cases; the result does not depend on it.
    keep_in : Path, optional
        A folder where records of finished cases are kept, so that a run that was stopped goes on
        with the others; those of changed files are made again.
    on_done : callable, optional
        Told (cases done, cases in all).
    """
    builder = SummaryBuilder()
    left_out: list[Finding] = []
    numbers = {case.name: number for number, case in enumerate(dataset.cases)}
    with closing(_records(dataset.cases, spread, keep_in)) as outcomes:
        for done, outcome in enumerate(outcomes, start=1):
            error = input_error(outcome)
            if error is None:
                builder.add(numbers[outcome.case], outcome.value)
            else:
                left_out.append(Finding("unreadable", outcome.case, error.parts[1]))
            if on_done:
                on_done(done, len(dataset.cases))
    return builder.finished(dataset, sorted(left_out, key=lambda finding: finding.where))


def _records(
    cases: Sequence[FlareCase], spread: SpreadCases, keep_in: Path | None
) -> Generator[Outcome, None, None]:
    """Yield every case's record: the kept ones first, then the others as they are made."""
    if keep_in is None:
        yield from spread(measure_case, ((case.name, case) for case in cases))
        return
    keep_in.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    waiting = []
    for case in cases:
        with suppress(OSError):  # a file that is not there: measuring the case tells of it
            paths[case.name] = keep_in / f"{fingerprint(case)}.npz"
        record = load_record(paths[case.name]) if case.name in paths else None
        if record is None:
            waiting.append((case.name, case))
        else:
            yield Outcome(case.name, record)
    for outcome in spread(measure_case, waiting):
        if outcome.error is None and outcome.case in paths:
            save_record(outcome.value, paths[outcome.case])
        yield outcome
