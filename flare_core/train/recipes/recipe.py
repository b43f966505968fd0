"""What a recipe is: a winner's system as data, every knob with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from flare_core.errors import InputError
from flare_core.models.stage_card import Margin, Skipping
from flare_core.train.config import TrainConfig

CARD_STAGES = {
    "region": "localiser",
    "teacher": "organs",
    "student": "organs",
    "lesions": "lesions",
}
"""Training of a recipe -> stage of the model card that it becomes."""


@dataclass(frozen=True)
class SelfTraining:
    """How scans without labels help the organ network by labels predicted before training."""

    strategy: dict[str, Any]
    """Which predicted labels are believed: ``kind`` is a key of `strategies.STRATEGIES`."""
    rounds: int = 1
    """How often labels are predicted and a network is trained on them; the last trains the
    student, those before it the teacher's network again."""
    folds: int = 1
    """Teachers trained on different parts of the labelled patients; their agreement counts."""

    def __post_init__(self) -> None:
        _require(1 <= self.rounds <= 10, "rounds", self.rounds, "1 to 10")
        _require(1 <= self.folds <= 10, "folds", self.folds, "1 to 10")


@dataclass(frozen=True)
class Inference:
    """How a trained stage is run."""

    tile_step: float = 0.5
    """Distance between tiles as a fraction of the patch."""
    margin_mm: tuple[Margin, Margin, Margin] = ((20.0, 20.0), (20.0, 20.0), (20.0, 20.0))
    """Around the box that the stage before found: (low, high) along z, y, x."""
    threshold: float = 0.5
    """Lesion stage: probability above which a voxel is a lesion."""
    least_ml: float = 0.0
    """Lesion stage: a smaller finding is none."""
    least_certainty: float = 0.85
    """Region stage: mean probability of an organ that is believed to be there."""
    skipping: Skipping | None = None
    """Which tiles are not run."""
    whole: bool = False
    """Whether the region is resized to one patch."""


@dataclass(frozen=True)
class Departure:
    """Where a recipe differs from the paper."""

    paper: str
    """What the team did."""
    here: str
    """What this recipe does."""
    why: str
    """The reason."""


@dataclass(frozen=True)
class Recipe:
    """A whole system: region, teacher, pseudo labels, student, lesions, and how each is run.

    Its trainings are `TrainConfig`s without data: the run fills in cases, device and name.
    """

    key: str
    """Name in commands: a-z, 0-9 and -."""
    title: str
    """For people."""
    _: KW_ONLY
    team: str
    """Who did it."""
    edition: str
    """In which challenge, and at what place."""
    reference: str
    """Paper or code it was read from."""
    summary: str
    """In two sentences."""
    teacher: TrainConfig
    """The organ network, or the one that teaches the student."""
    region: TrainConfig | None = None
    """Finds the organs roughly on the whole scan; None: the organ network sees the whole body."""
    student: TrainConfig | None = None
    """The organ network of the last round; None: the teacher's."""
    self_training: SelfTraining | None = None
    """None: the organ network learns from labels, or its own strategy takes bare scans."""
    lesions: TrainConfig | None = None
    """The lesion network; None: the organ network has a channel for lesions, or nobody has."""
    inference: dict[str, Inference] = field(default_factory=dict)
    """Stage of the card -> how it is run."""
    clean_up: str
    """What becomes of the label map, in words: the organ table's rules do it."""
    sources: dict[str, str] = field(default_factory=dict)
    """Knob -> where its value is from; ``teacher.phases``, or ``*.phases`` for all trainings."""
    departures: tuple[Departure, ...] = ()
    """What is not as in the paper."""

    def __post_init__(self) -> None:
        for name, config in self.trainings.items():
            _require(
                config.stage == CARD_STAGES[name], f"{name}: stage", config.stage, CARD_STAGES[name]
            )
        legal = "self_training where there is a student"
        fits = self.student is None or self.self_training is not None
        _require(fits, "student", self.key, legal)

    @property
    def trainings(self) -> Mapping[str, TrainConfig]:
        """The networks that are trained, by their names here, in order."""
        each = {name: getattr(self, name) for name in CARD_STAGES}
        return {name: config for name, config in each.items() if config is not None}

    @property
    def wants_lesions(self) -> bool:
        """Whether it learns lesions."""
        return any("lesion" in config.organs for config in self.trainings.values())

    def run_of(self, stage: str) -> Inference:
        """Return how a stage of the card is run."""
        return self.inference.get(stage, Inference())


def _require(fits: bool, where: str, came: object, legal: str) -> None:
    if not fits:
        raise InputError(f"recipe: {where}", str(came), legal, "Correct the recipe.")
