"""What is known about one predicted label map, as it lies on disk; `evidence` measures it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.json_fields import read_json
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
    def from_json(cls, row: Mapping[str, Any]) -> CaseEvidence:
        """Return the evidence that `to_json` wrote."""
        organs = {key: OrganEvidence(**values) for key, values in row["organs"].items()}
        return cls(**(dict(row) | {"organs": organs, "notes": tuple(row["notes"])}))


def write_evidence(path: Path, evidence: CaseEvidence) -> None:
    """Write one case's evidence, whole or not at all."""
    atomic.write_json(path, evidence.to_json())


def read_evidence(path: Path) -> CaseEvidence:
    """Read one case's evidence.

    Raises
    ------
    InputError
        If the file is no JSON.
    """
    return CaseEvidence.from_json(read_json(path.read_text("utf-8"), str(path)))
