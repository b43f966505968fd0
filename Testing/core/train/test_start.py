"""Weights that a run starts from mean the organs of its configuration, or it does not start."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.train.checkpoint import CHECKPOINT, WEIGHTS
from flare_core.train.config import TrainConfig
from flare_core.train.loop import Trainer
from flare_core.train.start import require_start
from stub_models import LOCALISER, stage_card, stub_package
from tiny_training import tiny_config

TURNED = ("spleen", "liver")


def start(path: Path, **changes: object) -> TrainConfig:
    return replace(tiny_config(path), init_from=str(path), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, cases: Path, cache: Path) -> Path:
    """A run's folder after it was begun."""
    folder = tmp_path_factory.mktemp("runs") / "begun"
    Trainer(tiny_config(cases), folder, cache)._save()
    return folder


@pytest.mark.parametrize("name", [CHECKPOINT, WEIGHTS])
def test_a_runs_weights_with_the_organs_in_another_order_are_refused(
    ended: Path, cases: Path, cache: Path, tmp_path: Path, name: str
) -> None:
    assert require_start(start(ended / name)) == ""
    config = replace(start(ended / name, organs=TURNED), data=(str(cases),))
    with pytest.raises(InputError) as error:
        Trainer(config, tmp_path / "run", cache)
    assert error.value.parts[0] == f"init_from: {ended / name}"
    assert error.value.parts[1] == "channels background, liver, spleen"
    assert error.value.parts[2].startswith("channels background, spleen, liver")


def test_a_models_weights_with_the_organs_in_another_order_are_refused(tmp_path: Path) -> None:
    stages = (
        LOCALISER,
        stage_card("organs", ("background", "liver", "spleen")),
        stage_card("organs_2", ("background", "other:spleen", "liver")),
    )
    levels = {"background": 0.0, "liver": 120.0, "spleen": 60.0, "other:spleen": 60.0}
    levels |= dict.fromkeys(LOCALISER.labels, 0.0)
    package = stub_package(tmp_path / "model", stages, levels)
    first, second = (package.weights_path(name) for name in ("organs", "organs_2"))
    assert require_start(start(first)) == "" == require_start(start(second, organs=TURNED))
    for path, organs in ((first, TURNED), (second, ("liver", "spleen"))):
        with pytest.raises(InputError, match="channels background"):
            require_start(start(path, organs=organs))


def test_a_models_weights_for_other_axes_are_refused(tmp_path: Path) -> None:
    stage = stage_card("organs", ("background", "liver", "spleen"))
    levels = {"background": 0.0, "liver": 120.0, "spleen": 60.0}
    package = stub_package(tmp_path / "m", (replace(stage, orientation="SAR"),), levels)
    with pytest.raises(InputError, match="axes are those of SAR"):
        require_start(start(package.weights_path("organs")))


def test_weights_of_which_nobody_knows_are_taken_with_a_note(ended: Path, tmp_path: Path) -> None:
    shutil.copy(ended / WEIGHTS, tmp_path / "alone.safetensors")
    note = require_start(start(tmp_path / "alone.safetensors", organs=TURNED))
    assert note.startswith("init_from: alone.safetensors: no card or run beside it")
    assert require_start(tiny_config(tmp_path)) == ""
