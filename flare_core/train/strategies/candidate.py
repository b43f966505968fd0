"""What a strategy chooses from, and what it answers: predicted cases with their evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.errors import InputError
from flare_core.json_fields import decode
from flare_core.train.rounds.state import read_of_run
from flare_core.wording import many


@dataclass(frozen=True)
class OrganEvidence:
    """What speaks for and against one organ's predicted label. None is "not measured", not 0."""

    volume_ml: float | None = None
    """Volume of the prediction, mL; 0 if the organ was not found."""
    confidence: float | None = None
    """Mean probability of the organ over the voxels that were given to it, 0 to 1."""
    border_entropy: float | None = None
    """Mean entropy over the organ's own border region, as a share of the most possible, 0 to 1.
    Over the whole volume, sure background would hide every doubt."""
    disagreement: float | None = None
    """Voxels that changed between the last rounds over voxels of the organ (blackbean's u for one
    organ); 0 is none, may exceed 1."""
    fold_agreement: float | None = None
    """Mean pairwise DSC of several models' predictions, 0 to 1 (brananas)."""
    volume_plausible: bool | None = None
    """Whether the volume is one a person can have, or the scan's edge cuts the organ."""
    pieces: int | None = None
    """Connected components that are larger than a speck."""
    expected_dsc: float | None = None
    """DSC to expect, 0 to 1 (`segment.confidence`): of all measures that need no second look, the
    one that follows the truth best."""

    def __post_init__(self) -> None:
        for name in ("confidence", "border_entropy", "fold_agreement", "expected_dsc"):
            came = getattr(self, name)
            _require(came is None or 0 <= came <= 1, f"evidence: {name}", came, "0 to 1, or None")
        for name in ("volume_ml", "disagreement", "pieces"):
            came = getattr(self, name)
            _require(came is None or came >= 0, f"evidence: {name}", came, "0 or more, or None")


@dataclass(frozen=True)
class CaseEvidence:
    """What is known about one predicted label map; `rounds.evidence` measures it."""

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


@dataclass(frozen=True)
class Candidate:
    """One case that a teacher has labelled."""

    case: str
    """Name of the case."""
    image: Path
    """The CT."""
    labels: Path | None = None
    """The predicted label map, organ ids."""
    evidence: dict[str, OrganEvidence] = field(default_factory=dict)
    """Organ key -> evidence, of every organ the teacher knows."""
    disagreement: float | None = None
    """Voxels that changed between the last rounds over foreground voxels, whole case: blackbean's
    u = 1/2 [#(it1 != it2) / #(it2 > 0) + #(it2 != it3) / #(it3 > 0)]. None in the first round."""


@dataclass(frozen=True)
class Decision:
    """What becomes of one candidate, and why."""

    case: str
    """Name of the case."""
    accepted: bool
    """Whether the case is trained on."""
    organs: tuple[str, ...]
    """Keys of the organs whose labels are trained on; empty if not accepted."""
    weight: float
    """How often the case is drawn, relative to an expert's; 0 if not accepted."""
    reason: str
    """One sentence for people."""
    refused: dict[str, str] = field(default_factory=dict)
    """Organ key -> why its label is not trained on."""

    def __post_init__(self) -> None:
        fits = self.accepted == bool(self.organs) == (self.weight > 0)
        legal = "organs and a weight above 0 exactly where accepted"
        _require(fits, f"decision on {self.case}", (self.accepted, self.organs, self.weight), legal)

    @classmethod
    def from_json(cls, row: object, where: str = "decisions.json") -> Decision:
        """Return the decision that ``dataclasses.asdict`` turned into plain values.

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


def decide(
    candidate: Candidate, doubt: Callable[[OrganEvidence], str], *, weight: float
) -> Decision:
    """Accept the organs of a case that `doubt` has nothing against.

    Labels may be partial, so a case with one bad organ still teaches the others.

    Parameters
    ----------
    candidate : Candidate
    doubt : callable
        Evidence -> why the organ's label is not believed; empty if it is.
    weight : float
        Of the case if an organ is accepted.

    Examples
    --------
    >>> liver, spleen = OrganEvidence(volume_ml=1500.0), OrganEvidence(volume_ml=0.0)
    >>> case = Candidate("a", Path("a"), evidence={"liver": liver, "spleen": spleen})
    >>> decide(case, lambda e: "" if e.volume_ml else "not found", weight=1.0).reason
    '1 of 2 organs accepted; refused: spleen (not found)'
    """
    answers = {key: doubt(evidence) for key, evidence in candidate.evidence.items()}
    refused = {key: why for key, why in answers.items() if why}
    organs = tuple(key for key in answers if key not in refused)
    reason = f"{len(organs)} of {many(len(answers), 'organ')} accepted"
    if refused:
        reason += "; refused: " + ", ".join(f"{key} ({why})" for key, why in refused.items())
    accepted = bool(organs)
    return Decision(candidate.case, accepted, organs, weight if accepted else 0.0, reason, refused)


def refuse(candidate: Candidate, reason: str) -> Decision:
    """Leave a whole case out, for one reason."""
    why = dict.fromkeys(candidate.evidence, reason)
    return Decision(candidate.case, False, (), 0.0, reason, why)


def implausible(evidence: OrganEvidence) -> str:
    """Return why no strategy should believe a label: it is empty, or of an impossible volume.

    An organ that was not found may be absent or missed; a label that claims either is a guess.
    """
    if evidence.volume_ml == 0:
        return "not found"
    return "implausible volume" if evidence.volume_plausible is False else ""


def _require(fits: bool, where: str, came: object, legal: str) -> None:
    if not fits:
        raise InputError(where, str(came), legal, "Correct the code that made it.")
