"""What a batch writes for each CT: segmentation, label map, statistics; and one table of all.

The segmentation is written last, so "CASE.seg.nrrd is there" means that the case is done.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.imaging.files import write_labels
from flare_core.segment.statistics import rows_to_csv
from FLARESegLib.correction.current_labels import current_labels
from FLARESegLib.statistics.lines import rows_of

SUMMARY_FILE = "all_cases.csv"
SUMMARY_COLUMNS = ("case", "organ", "measure", "value", "unit", "note")


@dataclass(frozen=True)
class BatchOutputs:
    """Where the files of one CT go."""

    folder: Path
    """The batch's output folder."""
    name: str
    """What the files are called."""

    @property
    def segmentation(self) -> Path:
        """Segments with names, colours and codes."""
        return self.folder / f"{self.name}.seg.nrrd"

    @property
    def labels(self) -> Path:
        """Organ ids as NIfTI."""
        return self.folder / f"{self.name}.nii.gz"

    @property
    def statistics(self) -> Path:
        """One line per organ and measure."""
        return self.folder / f"{self.name}_statistics.csv"

    @property
    def files(self) -> dict[str, Path]:
        """All of them, by key."""
        return {
            "statistics": self.statistics,
            "labels": self.labels,
            "segmentation": self.segmentation,
        }

    @property
    def done(self) -> bool:
        """Whether everything is there."""
        return all(path.is_file() for path in self.files.values())

    def tidy(self) -> None:
        """Remove what killed runs left of these files, and refuse names that are too long.

        Raises
        ------
        InputError
            If the file system would not take a name.
        """
        atomic.check_names(self.files.values())
        atomic.restore([*self.files.values()])


def write_results(
    outputs: BatchOutputs,
    nodes: tuple[Any, Any],
    rows: Sequence[Mapping[str, Any]],
    like: Path | None,
) -> None:
    """Write the files of a CT, each whole or not at all.

    Parameters
    ----------
    outputs : BatchOutputs
        Where to.
    nodes : (vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode)
        The CT and its result.
    rows : sequence of mapping
        The run's statistics.
    like : path or None
        NIfTI file whose header the label map takes over.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    volumeNode, segmentationNode = nodes
    outputs.segmentation.unlink(missing_ok=True)
    atomic.write_text(outputs.statistics, rows_to_csv(rows_of(rows)))
    write_labels(outputs.labels, current_labels(segmentationNode, volumeNode), like=like)
    with atomic.atomic_path(outputs.segmentation) as part:
        _write_segmentation(segmentationNode, part)


def _write_segmentation(segmentationNode: Any, path: Path) -> None:
    """Write a .seg.nrrd through Slicer's own writer.

    Raises
    ------
    OSError
        If it reports a failure.
    """
    import slicer

    storage = slicer.vtkMRMLSegmentationStorageNode()
    segmentationNode.GetScene().AddNode(storage)
    storage.SetFileName(str(path))
    storage.SetUseCompression(True)
    written = storage.WriteData(segmentationNode)
    segmentationNode.GetScene().RemoveNode(storage)
    if not written:
        raise OSError(f"Slicer could not write {path.name}")


def write_summary(folder: Path, done: Sequence[BatchOutputs]) -> Path | None:
    """Write the table of all cases that are done, now or before; return its path."""
    if not done:
        return None
    text = io.StringIO()
    writer = csv.DictWriter(text, SUMMARY_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for outputs in done:
        with open(outputs.statistics, encoding="utf-8", newline="") as stream:
            writer.writerows({"case": outputs.name, **row} for row in csv.DictReader(stream))
    atomic.write_text(folder / SUMMARY_FILE, text.getvalue())
    return folder / SUMMARY_FILE
