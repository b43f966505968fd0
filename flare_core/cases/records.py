"""What the case store speaks of: cases, label versions and the facts behind them, events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flare_core.anatomy.organs import organ
from flare_core.cases.names import LONG_TEXT, SHORT_TEXT, check_text
from flare_core.errors import InputError, shown

KINDS = ("expert", "corrected", "pseudo", "soft")
"""Who made a label version: an expert from scratch, a person who corrected a model's labels, a
model (hard labels), a model (the arg-max of probabilities that are kept elsewhere)."""

BY_PEOPLE = ("expert", "corrected")
"""Kinds that no model's labels ever push aside."""

STATUSES = ("unlabelled", "pseudo", "corrected", "accepted", "rejected")
"""What is known about a case's labels; see `CaseStore` for how events change it."""


@dataclass(frozen=True)
class LabelFacts:
    """Where a label map comes from and what it claims."""

    kind: str
    """One of `KINDS`."""
    annotated: tuple[str, ...]
    """Organ keys that were looked for; a voxel of any other organ must be 0 in the map."""
    author: str = ""
    """Person who made or submitted it."""
    model: str = ""
    """Model as ``name-version``; empty if none took part."""
    settings: dict[str, Any] = field(default_factory=dict)
    """How the model was run: plain JSON values."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """Confidence, entropy, agreement, ... per organ or for the case: plain JSON values."""
    parent: int | None = None
    """Number of the version that this one was made from."""
    edited_ml: dict[str, float] = field(default_factory=dict)
    """Organ key -> volume that differs from the parent, mL; worked out if left empty."""
    note: str = ""
    """Free text."""
    absent: tuple[str, ...] = ()
    """Organs among `annotated` that are known not to be in the scan (removed, or out of the field
    of view). Without being named here, an annotated organ without a voxel is refused."""
    partly: tuple[str, ...] = ()
    """Organs among `annotated` of which the scan may show more than is labelled, as FLARE24's task
    1 has one lesion of several: far from it, 0 is unknown."""

    def __post_init__(self) -> None:
        """Check the kind and texts, and turn organ names into keys."""
        for name, longest in (("author", SHORT_TEXT), ("model", SHORT_TEXT), ("note", LONG_TEXT)):
            check_text(name, getattr(self, name), longest)
        if self.kind not in KINDS:
            raise InputError(
                "kind", repr(self.kind), f"one of {', '.join(KINDS)}", "Choose one of these."
            )
        for name in ("annotated", "absent", "partly"):
            keys = tuple(dict.fromkeys(organ(key).key for key in getattr(self, name)))
            object.__setattr__(self, name, keys)
        self._check_claims("absent", "absent means looked for and not there")
        self._check_claims("partly", "partly means some of it is labelled")
        if self.parent is not None and not 1 <= self.parent <= 10**9:
            raise InputError("parent", str(self.parent), "a version's number", "Correct it.")
        bad = [key for key, ml in self.edited_ml.items() if not _is_volume(ml)]
        if bad:
            raise InputError(
                f"edited_ml: {bad[0]}", str(self.edited_ml[bad[0]]), "mL, 0 or more", "Correct it."
            )

    def _check_claims(self, name: str, meaning: str) -> None:
        """Refuse organs of which something is said that are not annotated at all."""
        surplus = [key for key in getattr(self, name) if key not in self.annotated]
        if surplus:
            raise InputError(
                name,
                ", ".join(surplus),
                "organs among those annotated",
                f"Name them as annotated as well: {meaning}.",
            )


def _is_volume(ml: object) -> bool:
    return isinstance(ml, (int, float)) and 0 <= ml < math.inf


@dataclass(frozen=True)
class LabelVersion:
    """One label map of a case, never changed once it is there."""

    case: str
    """Name of the case."""
    number: int
    """From 1 on, in the order they came."""
    path: Path
    """The file, absolute; a restored version has the old version's file."""
    sha256: str
    """Of the file, 64 hex digits."""
    facts: LabelFacts
    """Where it comes from."""
    created: str
    """When it came into the store, ISO 8601, UTC."""


@dataclass(frozen=True)
class CaseRecord:
    """One scan of the store and where it stands."""

    name: str
    """Unique in the store (capitals do not count) and a legal file name everywhere."""
    image: Path
    """The scan, absolute."""
    image_sha256: str
    """Of the file, 64 hex digits."""
    patient: str
    """Whoever was scanned; the case's name if nothing was said."""
    source: str
    """Collection it comes from."""
    status: str
    """One of `STATUSES`."""
    linked: bool
    """Whether the scan stays where it was, outside the store."""
    added: str
    """When it came into the store, ISO 8601, UTC."""
    held_out: bool
    """Whether its patient belongs to the frozen hold-out."""
    latest: int | None
    """Number of the newest label version; None without labels."""
    chosen: int | None = None
    """Number of the version that `status`, `kind` and `organs` speak of, and that is learnt from:
    the newest one, but a model's labels never push aside those of a person."""
    kind: str = ""
    """Kind of the chosen version; empty without labels."""
    organs: tuple[str, ...] = ()
    """Organs that the chosen version annotates."""
    weight: float = 1.0
    """How often the case is drawn in training, relative to others."""
    shape: tuple[int, int, int] = (0, 0, 0)
    """Voxels of the scan, z, y, x."""
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Voxel size of the scan, z, y, x, mm."""
    labels: Path | None = None
    """File of the chosen version, absolute; None without labels."""
    absent: tuple[str, ...] = ()
    """Organs among `organs` that the chosen version says are not in the scan (removed, or out of
    the field of view)."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a case, or to the store."""

    number: int
    """In the order things happened, over the whole store."""
    case: str
    """Name of the case; empty if it concerns the store."""
    at: str
    """When, ISO 8601, UTC."""
    author: str
    """Who; may be empty."""
    what: str
    """``added``, ``labelled``, ``restored``, ``status``, ``weight`` or ``hold-out``."""
    detail: str = ""
    """Reason, or what exactly, in words."""
    version: int | None = None
    """Label version it speaks of."""
    status: str = ""
    """Status of the case afterwards."""


@dataclass(frozen=True)
class Problem:
    """Something that `CaseStore.verify` found wrong."""

    case: str
    """Name of the case; empty if it concerns the store."""
    kind: str
    """``missing``, ``changed``, ``orphan``, ``facts``, ``catalogue``, or ``repaired`` for what was
    put right on the way (a note, not a fault)."""
    what: str
    """What it is, in a sentence."""
    action: str = ""
    """What a person can do."""

    def __post_init__(self) -> None:
        """Make all of it fit for a terminal: some comes out of damaged files."""
        for name in ("case", "what", "action"):
            object.__setattr__(self, name, shown(getattr(self, name)))

    @property
    def wrong(self) -> bool:
        """Whether something still has to be put right."""
        return self.kind != "repaired"
