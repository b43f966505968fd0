"""What a model is: its card. A card says how to run the weights beside it, and whether to.

A card is JSON. Its stages can express networks of this project and stages trained by nnU-Net v2
(plain or residual encoder, CT normalisation, axis transpose, several folds, regions) as they are.
Every dataclass here checks itself, so a card that exists can be run. The stages are in
`stage_card`; their names are importable from here too.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from flare_core.errors import InputError
from flare_core.json_fields import decode, read_json, to_text
from flare_core.models.stage_card import (
    BACKGROUND,
    NAME,
    OTHER,
    ContrastLook,
    NetworkSpec,
    Normalisation,
    OrganMask,
    SecondLook,
    StageCard,
    WeightsFile,
    require,
)

__all__ = [
    "BACKGROUND", "CARD_FILE", "CATALOGUE", "FORMAT_VERSION", "OTHER", "ContrastLook",
    "KnownModel", "ModelCard", "NetworkSpec", "Normalisation", "OrganMask", "SecondLook",
    "StageCard", "TrainingSource", "WeightsFile",
]  # fmt: skip

FORMAT_VERSION = 5
"""Newest card format this library reads, and the one it writes. Since 2 a stage may have a `mask`,
since 3 `second_look` and `growth_mm`, since 4 `contrast_look`, since 5 `hosts` and further lesion
stages."""

CARD_FILE = "card.json"
"""File name of the card inside a package."""

LOCALISER, LESIONS = "localiser", "lesions"
"""Names of stages: the first finds nothing that is reported, the last may have a mask."""

_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}(-[a-z0-9]{1,20})?")


@dataclass(frozen=True)
class TrainingSource:
    """A data set the weights were trained on."""

    name: str
    """Its name."""
    cases: int
    """How many of its cases were used."""
    licence: str
    """Under which terms."""
    citation: str
    """Paper or page to cite."""
    url: str = ""
    """Where it is."""
    note: str = ""
    """What labels were used and what else matters."""

    def __post_init__(self) -> None:
        require(self.cases >= 0, f"training data {self.name}: cases", self.cases, "0 or more")


@dataclass(frozen=True)
class ModelCard:
    """A model: its stages in the order they run, and what a person should know before using it."""

    name: str
    """Name: a-z, 0-9, _ and -."""
    version: str
    """Such as ``1.2.0``; a package never changes under the same version."""
    description: str
    """One or two sentences."""
    _: KW_ONLY
    stages: tuple[StageCard, ...]
    """The networks, first to last."""
    licence: str
    """SPDX identifier or text of the weights' licence."""
    intended_use: str
    """What it was made for."""
    limitations: str
    """Where it fails or was not tried."""
    training_data: tuple[TrainingSource, ...]
    """What it learned from."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """How good it is, with the command that made the table; free JSON."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Who made it, when, by which command and code; free JSON."""
    format_version: int = FORMAT_VERSION
    """Format of the card."""

    def __post_init__(self) -> None:
        _check_format(self.format_version)
        require(NAME.fullmatch(self.name), "card: name", self.name, "a-z, 0-9, _ and -")
        legal = "numbers and dots such as 1.2.0, perhaps -beta1"
        require(_VERSION.fullmatch(self.version), "card: version", self.version, legal)
        names = [stage.name for stage in self.stages]
        fits = bool(names) and len(set(names)) == len(names)
        require(fits, "card: stages", names, "one or more, each name once")
        files = [weights.file.lower() for weights in self.weights_files]
        require(len(set(files)) == len(files), "card: weights", files, "each file once")
        self._check_masks()

    @property
    def found_organs(self) -> tuple[str, ...]:
        """Organ keys that a run gives; what the localiser alone knows is only looked around for."""
        stages = [stage for stage in self.stages if stage.name != LOCALISER]
        return tuple(dict.fromkeys(key for stage in stages for _, key in stage.organ_channels))

    @property
    def lesion_stages(self) -> tuple[StageCard, ...]:
        """The stages ``lesions``, ``lesions_2`` ..., first to last."""
        return tuple(stage for stage in self.stages if _is_lesion_stage(stage))

    def _check_masks(self) -> None:
        """Refuse a stage that needs organs which no stage before it finds."""
        known: set[str] = set()
        for stage in self.stages:
            seen = () if stage.mask is None else stage.mask.organs
            for name, needed in (("mask: organs", seen), ("hosts", stage.hosts)):
                legal = ", ".join(sorted(known)) or "none: no stage before it finds an organ"
                where = f"stage {stage.name}: {name}"
                require(known.issuperset(needed), where, needed, legal)
                fits = not needed or _is_lesion_stage(stage)
                require(fits, f"stage {stage.name}: {name}", "some", "none")
            known.update(key for _, key in stage.organ_channels if stage.name != LOCALISER)

    @classmethod
    def from_json(cls, text: str, *, where: str = CARD_FILE) -> ModelCard:
        """Read a card.

        Raises
        ------
        InputError
            If the text is not JSON, a field is unknown, missing or mistyped, a value is out of
            range, an organ is unknown, or the card's format is newer than this library's.
        """
        value = read_json(text, where)
        if isinstance(value, dict) and type(value.get("format_version")) is int:
            _check_format(value["format_version"])  # first, as newer cards may hold new fields
        note = f"; the newest card format known here is {FORMAT_VERSION}"
        return decode(cls, value, where, note=note)

    def to_json(self) -> str:
        """Write the card as JSON text; the same values give the same text."""
        return to_text(self, f"card of {self.name}")

    def stage(self, name: str) -> StageCard | None:
        """Stage of that name, None if the model has none."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def weights_files(self) -> tuple[WeightsFile, ...]:
        """All weights of all stages."""
        return tuple(weights for stage in self.stages for weights in stage.weights_files)


@dataclass(frozen=True)
class KnownModel:
    """A model this library knows by name."""

    summary: str
    """What it is, in one line."""
    folder: Path
    """Its package, inside the installed library."""


CATALOGUE: dict[str, KnownModel] = {
    "default": KnownModel(
        "13 abdominal organs and tumours of the liver on CT, small enough for a CPU",
        Path(__file__).resolve().parent.parent / "resources" / "default_model",
    ),
}
"""Known models by name."""


def _is_lesion_stage(stage: StageCard) -> bool:
    return stage.name == LESIONS or stage.name.startswith(f"{LESIONS}_")


def _check_format(version: int) -> None:
    if not 1 <= version <= FORMAT_VERSION:
        raise InputError(
            "card: format_version", str(version), f"1 to {FORMAT_VERSION}",
            f"Update FLARESeg: the newest card format known here is {FORMAT_VERSION}.",
        )  # fmt: skip
