"""What is known about one predicted label map, as it lies on disk; `evidence` measures it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.json_fields import decode
from flare_core.train.rounds.state import read_of_run
from flare_core.train.strategies.candidate import OrganEvidence


@dataclass(frozen=True)
class CaseEvidence:
    """What is known about one predicted label map."""

    case: str
    """Name of the case."""
    model: str
    """Name and version of the model that predicted."""
    organs: dict[str, OrganEvidence] = field(default_factory=dict)
    """Organ key -> evidence, of every organ the model knows."""
    disagreement: float | None = None
    """Of the whole case, between the last rounds; None in the first."""
    remarks: dict[str, str] = field(default_factory=dict)
    """Organ key -> what is not plausible about it, for people."""
    features: dict[str, float] = field(default_factory=dict)
    """What the scan is like (mL, HU, mm): used to choose scans that differ from one another."""
    notes: tuple[str, ...] = ()
    """About the whole scan."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: object, where: str = "candidates.json") -> CaseEvidence:
        """Return the evidence that `to_json` wrote.

        Raises
        ------
        InputError
            If it is none; it names `where`, a file.
        """
        return decode(cls, row, where)


def write_evidence(path: Path, evidence: CaseEvidence) -> None:
    """Write one case's evidence, whole or not at all."""
    atomic.write_json(path, evidence.to_json())


def read_evidence(path: Path) -> CaseEvidence:
    """Read one case's evidence.

    Raises
    ------
    InputError
        If the file cannot be read, or holds something else.
    """
    return CaseEvidence.from_json(read_of_run(path), str(path))
