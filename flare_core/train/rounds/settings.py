"""Every knob of a self-training run. One JSON file holds them, beside the student's own."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

from flare_core.errors import InputError
from flare_core.json_fields import decode, read_json_file, to_text
from flare_core.models.stage_card import NAME
from flare_core.paths import usable_path
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.rounds.comparison import Rule

MOST_SEED = 2**31
"""A student's seed is the run's and a thousand for each round, and numpy takes 32 bits."""


@dataclass(frozen=True)
class RoundSettings:
    """A self-training run: who teaches whom, on which cases, and when the pupil takes over."""

    name: str
    """Name of the model that comes out: a-z, 0-9, _ and -."""
    store: str
    """Folder of the case store."""
    student: str
    """Training configuration (JSON) of the students; data, held-out patients and name are filled
    in by the run."""
    _: KW_ONLY
    teacher: str = ""
    """Model that labels the first round: name, ``name@version`` or package folder. Empty: the first
    round trains on people's labels alone, and its model is the teacher of the second."""
    rounds: int = 1
    """How many."""
    last_student: str = ""
    """Configuration of the last round's students, if they are to be smaller than the teachers
    (FLARE22's winner); empty: the same."""
    strategy: dict[str, Any] = field(default_factory=dict)
    """Such as ``{"kind": "iterative", "keep": 0.9}``; empty: the student configuration's own."""
    folds: int = 1
    """Networks trained in each round, on different parts of the labelled patients; from 2 on their
    agreement is measured, and the model is all of them together."""
    minutes: float = 0.0
    """Training time of one network; 0 leaves the configuration's limits."""
    steps: int = 0
    """Steps of one network; 0 leaves the configuration's."""
    warm_start: bool = False
    """Whether a student begins with the teacher's weights; both need the same network. The smaller
    students of `last_student` begin with none."""
    students_teach: bool = False
    """True: the next round's teacher is this round's student, promoted or not (as FLARE22's winner
    did). False: a student that was not promoted ends the run, as the next round would repeat it."""
    promote: bool = True
    """Whether a student that is not worse is put into use at once; False leaves that to a person
    (``flare rounds promote``)."""
    rule: Rule = field(default_factory=Rule)
    """What "not worse" means."""
    home: str | None = None
    """Folder of installed models; None is ~/.flareseg."""
    device: str = "auto"
    """Where teachers predict: ``auto``, ``cpu``, ``cuda`` or ``mps``."""
    precision: str = "auto"
    """``auto``, ``float32``, ``bf16`` or ``fp16``."""
    threads: int = 0
    """CPU threads; 0 is all."""
    seed: int = 0
    """Of every random draw."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run, or could not be hours later."""
        legal = "a-z, 0-9, _ and -, at most 64"
        _require(bool(NAME.fullmatch(self.name)), "name", repr(self.name), legal)
        _require(0 <= self.seed < MOST_SEED, "seed", self.seed, f"0 to {MOST_SEED - 1}")
        _require(self.rounds >= 1, "rounds", self.rounds, "1 or more")
        _require(1 <= self.folds <= 10, "folds", self.folds, "1 to 10")
        _require(self.minutes >= 0, "minutes", self.minutes, "0 or more")
        _require(self.steps >= 0, "steps", self.steps, "0 or more")
        for where in ("store", "student", "last_student", "teacher"):
            path = str(getattr(self, where) or "")
            _require("\0" not in path, where, path, "a path without a NUL in it")

    def to_json(self) -> str:
        """Return the settings as JSON text."""
        return to_text(self, "settings of the rounds")

    def resolved(self, base: Path) -> RoundSettings:
        """Return the settings with paths that do not hang on the working folder.

        Raises
        ------
        InputError
            If one is no path that a file may have.
        """
        found = {
            key: str(usable_path(base / value, key).resolve()) if value else value
            for key, value in (
                ("store", self.store),
                ("student", self.student),
                ("last_student", self.last_student),
            )
        }
        folder = usable_path(base / self.teacher, "teacher")
        if self.teacher and (folder / "card.json").is_file():
            found["teacher"] = str(folder.resolve())
        return replace(self, **found)  # type: ignore[arg-type]


def load_round_settings(path: str | Path) -> RoundSettings:
    """Read settings; paths are relative to the file's folder.

    Raises
    ------
    InputError
        If the file is missing, not JSON, or a field is unknown, missing or illegal.
    """
    file = Path(path)
    value = read_json_file(
        file,
        argument="settings of the rounds",
        legal="a JSON file with the fields of RoundSettings",
        action="Check the path; docs/training.md shows an example.",
    )
    found = decode(RoundSettings, value, str(file))
    return found.resolved(file.resolve().parent)


def with_budget(config: TrainConfig, settings: RoundSettings) -> TrainConfig:
    """Return the configuration with the run's budget dealt out over its phases.

    Each phase keeps its share of the steps.
    """
    total = sum(phase.steps for phase in config.phases)
    phases = tuple(_limited(phase, phase.steps / total, settings) for phase in config.phases)
    return replace(config, phases=phases)


def _limited(phase: Phase, share: float, settings: RoundSettings) -> Phase:
    steps = max(1, round(share * settings.steps)) if settings.steps else phase.steps
    minutes = share * settings.minutes if settings.minutes else phase.minutes
    return replace(phase, steps=steps, minutes=minutes)


def _require(fits: bool, where: str, came: object, legal: str) -> None:
    if not fits:
        raise InputError(where, str(came), legal, "Correct the settings of the rounds.")
