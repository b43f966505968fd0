"""A data set in numbers: resolution, HU and volume of every label, as the FLARE papers' tables.

Records of cases come one after another and are added up; what grows with the number of cases is a
line of volumes each, so thousands of scans need no more memory than a few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.datasets.flare.dataset import FlareCase, FlareDataset
from flare_core.datasets.flare.folders import Finding
from flare_core.datasets.flare.processes import Outcome, map_cases
from flare_core.datasets.summary.case import (
    CaseRecord,
    fingerprint,
    load_record,
    measure_case,
    save_record,
)
from flare_core.datasets.summary.numbers import BINS, LOWEST_HU, Counts
from flare_core.imaging.geometry import Index, Triple

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

    def add(self, number: int, record: CaseRecord) -> None:
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
    workers: int = 1,
    keep_in: Path | None = None,
    on_done: OnDone | None = None,
) -> Summary:
    """Measure every case and add them up.

    Parameters
    ----------
    dataset : FlareDataset
        From `flare.find_dataset`.
    workers : int
        Processes.
    keep_in : Path, optional
        A folder where records of finished cases are kept, so that a run that was stopped goes on
        with the others; those of changed files are made again.
    on_done : callable, optional
        Told (cases done, cases in all).
    """
    builder = SummaryBuilder()
    left_out: list[Finding] = []
    for done, (number, outcome) in enumerate(_records(dataset.cases, workers, keep_in), 1):
        if outcome.error is None:
            builder.add(number, outcome.value)
        else:
            came = outcome.error.parts[1]
            left_out.append(Finding("unreadable", dataset.cases[number].name, came))
        if on_done:
            on_done(done, len(dataset.cases))
    return builder.finished(dataset, sorted(left_out, key=lambda finding: finding.where))


def _records(
    cases: Sequence[FlareCase], workers: int, keep_in: Path | None
) -> Iterator[tuple[int, Outcome]]:
    """Yield every case's record: the kept ones first, then the others as they are made."""
    if keep_in is None:
        yield from map_cases(measure_case, cases, workers)
        return
    keep_in.mkdir(parents=True, exist_ok=True)
    paths = [keep_in / f"{fingerprint(case)}.npz" for case in cases]
    waiting = []
    for number, path in enumerate(paths):
        record = load_record(path)
        if record is None:
            waiting.append(number)
        else:
            yield number, Outcome(record)
    for place, outcome in map_cases(measure_case, [cases[n] for n in waiting], workers):
        if outcome.error is None:
            save_record(outcome.value, paths[waiting[place]])
        yield waiting[place], outcome
