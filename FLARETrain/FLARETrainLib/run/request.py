"""What a person wants trained, as the files that ``flare rounds start`` reads.

The student is, unless a configuration of its own is given, a network like the teacher's: the same
stage, voxel size, patch and organs, and it begins with the teacher's weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.anatomy.organs import ALL_TARGETS
from flare_core.errors import InputError
from flare_core.home import Home, ensure_folder
from flare_core.json_fields import encode
from flare_core.models.card import ModelCard
from flare_core.models.package import installed_models, load_package
from flare_core.models.stage_card import BACKGROUND, NAME, StageCard
from FLARETrainLib.run.strategies import FOLDS

REQUEST, STUDENT = "request.json", "request-student.json"
"""Files in the run's folder; the run copies what it needs of them."""
STAGE = "organs"
MANY_STEPS = 1_000_000
"""The budget is time; this many steps are never reached."""
FINE_TUNING_RATE = 3e-4
VALIDATE_EVERY = 100
"""Steps between two points of the DSC curve."""
CHECKPOINT_MINUTES = 2.0


@dataclass(frozen=True)
class RunRequest:
    """A self-training run that somebody wants."""

    name: str
    """Name of the model that comes out: a-z, 0-9, _ and -."""
    store: Path
    """The training set."""
    teacher: str
    """``default``, ``name@version`` or a package folder."""
    strategy: str = "iterative"
    """One of `strategies.STRATEGIES`."""
    minutes: float = 60.0
    """Training time of each network."""
    rounds: int = 1
    """How often teacher, student, comparison are repeated."""
    student: Path | None = None
    """Training configuration of the student; None: a network like the teacher's."""
    promote: bool = False
    """Whether a model that is not worse is put into use at once, without asking."""
    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""


def write_request(request: RunRequest, home: Home) -> Path:
    """Make the folder of a new run with the files it starts from; return the folder.

    Raises
    ------
    InputError
        If a value is not legal, the teacher is not installed or its network cannot be trained, or
        the folder cannot be made.
    """
    check_name(request.name, home)
    student = str(request.student.expanduser().resolve()) if request.student else ""
    config = {} if student else student_of(load_package(request.teacher, home=home).card)
    folder = ensure_folder(new_folder(home.runs, request.name))
    if not student:
        atomic.write_json(folder / STUDENT, config)
        student = STUDENT
    atomic.write_json(folder / REQUEST, settings_of(request, home, student))
    return folder


def settings_of(request: RunRequest, home: Home, student: str) -> dict[str, Any]:
    """Return the settings of the rounds."""
    if request.minutes <= 0:
        raise InputError("minutes", f"{request.minutes:g}", "more than 0", "Give it some time.")
    return {
        "name": request.name,
        "store": str(request.store.expanduser().resolve()),
        "student": student,
        "teacher": request.teacher,
        "rounds": request.rounds,
        "strategy": {"kind": request.strategy},
        "folds": FOLDS.get(request.strategy, 1),
        "minutes": request.minutes,
        "warm_start": request.student is None,
        "promote": request.promote,
        "home": str(home.path),
        "device": request.device,
    }


def student_of(card: ModelCard) -> dict[str, Any]:
    """Return the training configuration of a network like a model's own.

    Raises
    ------
    InputError
        If the model's network is not one that this library trains.
    """
    stage = card.stage(STAGE) or card.stages[-1]
    _check_trainable(card, stage)
    phase = {
        "spacing_mm": list(stage.spacing_mm),
        "patch": list(stage.patch),
        "steps": MANY_STEPS,
        "learning_rate": FINE_TUNING_RATE,
    }
    return {
        "name": card.name,
        "stage": stage.name,
        "data": [],
        "network": encode(stage.network),
        "normalisation": encode(stage.normalisation),
        "phases": [phase],
        "organs": list(stage.labels[1:]),
        "validate_every": VALIDATE_EVERY,
        "checkpoint_minutes": CHECKPOINT_MINUTES,
    }


def check_name(name: str, home: Home) -> None:
    """Refuse a name that cannot be that of a new model.

    Raises
    ------
    InputError
        If it is not legal.
    """
    if not NAME.fullmatch(name) or name == "default":
        raise InputError(
            "name of the new model",
            repr(name),
            "a-z, 0-9, _ and -, and not default",
            "Choose another name; installed are: "
            + (", ".join(sorted({each for each, _ in installed_models(home)})) or "none")
            + ".",
        )


def new_folder(runs: Path, name: str) -> Path:
    """Return a folder for a run that is not there yet."""
    stem = f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{n}" for n in range(2, 100))]
    return next(runs / each for each in names if not (runs / each).exists())


def model_name(text: str) -> str:
    """Return a legal model name that is like a text.

    Examples
    --------
    >>> model_name("Our Clinic's model"), model_name("")
    ('our-clinic-s-model', 'self-trained')
    """
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:60] or "self-trained"


def _check_trainable(card: ModelCard, stage: StageCard) -> None:
    known = {target.key for target in ALL_TARGETS}
    wrong = [label for label in stage.labels[1:] if label not in known]
    along = stage.transpose == (0, 1, 2) and stage.orientation == "SPL"
    straight = along and not stage.regions and stage.nnunet is None
    if wrong or stage.labels[0] != BACKGROUND or not straight:
        raise InputError(
            "teacher",
            f"{card.name} {card.version}, whose network has another layout"
            + (f" (labels such as {wrong[0]})" if wrong else ""),
            "a model that was trained with this library, or a training configuration of your own",
            "It can still teach: choose a student configuration (JSON) under More, such as one of "
            "benchmarks/default_model/.",
        )
