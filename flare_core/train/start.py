"""What the weights a run starts from mean: each output channel an organ, on axes of some order."""

from __future__ import annotations

import json
from pathlib import Path

from flare_core.errors import InputError
from flare_core.models.card import CARD_FILE
from flare_core.models.package import read_card
from flare_core.models.stage_card import OTHER, StageCard
from flare_core.train.checkpoint import CHECKPOINT, WEIGHTS, load_checkpoint
from flare_core.train.config import TrainConfig


def require_start(config: TrainConfig) -> str:
    """Refuse to start from weights that mean something else; return a note where nobody knows.

    A checkpoint has its run's configuration, weights of a run lie beside its checkpoint, and those
    of a model beside its card.

    Raises
    ------
    InputError
        If another organ belongs to a channel of `init_from`, or it has other axes.
    """
    if not config.init_from:
        return ""
    path = Path(config.init_from)
    stage = _stage_of(path)
    organs = _organs_of_run(path) if stage is None else None
    if stage is not None:
        came = other_meaning(stage, config)
    elif organs is not None and organs != config.organs:
        came = f"channels background, {', '.join(organs)}"
    else:
        came = ""
    if came:
        raise InputError(
            f"init_from: {path}",
            came,
            f"channels background, {', '.join(config.organs)}, axes as they are",
            "Name the organs in the order of these weights, or start from others.",
        )
    known = stage is not None or organs is not None
    note = "no card or run beside it says which organ each of its channels is; those of the "
    return "" if known else f"init_from: {path.name}: {note}configuration were taken for them."


def other_meaning(stage: StageCard, config: TrainConfig) -> str:
    """Return what keeps a model's stage from being a run's start; nothing if it fits."""
    labels = tuple(label.removeprefix(f"{OTHER}:") for label in stage.labels)
    if labels != ("background", *config.organs) or stage.regions:
        return f"channels {', '.join(stage.labels)}"
    if stage.orientation != "SPL" or stage.transpose != (0, 1, 2):
        return f"a network whose axes are those of {stage.orientation}, in order {stage.transpose}"
    return ""


def _stage_of(path: Path) -> StageCard | None:
    """Return the stage of the model beside whose card these weights lie; None without one."""
    if not (path.parent / CARD_FILE).is_file():
        return None
    stages = read_card(path.parent).stages
    named = (s for s in stages if path.name in [each.file for each in s.weights_files])
    return next(named, None)


def _organs_of_run(path: Path) -> tuple[str, ...] | None:
    """Return the organs, in their order, that a run's weights were trained on; None if unknown."""
    beside = path.parent / CHECKPOINT
    if path.suffix != ".safetensors":
        beside = path  # is one itself
    elif path.name != WEIGHTS or not beside.is_file():
        return None
    organs = json.loads(load_checkpoint(beside)["config"]).get("organs")
    return tuple(map(str, organs)) if isinstance(organs, list) else None
