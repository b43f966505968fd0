"""The model that a round's students become."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flare_core.errors import InputError
from flare_core.models.card import TrainingSource
from flare_core.models.stage_card import StageCard
from flare_core.train.rounds.student import require_warm_start, student_card
from stub_models import LESIONS, LOCALISER, ORGANS, model_card, stage_card
from tiny_training import NETWORK, tiny_config

VESSELS = stage_card("organs_2", ("background", "aorta", "inferior_vena_cava", "other:heart"))


def stages_of(organs: tuple[str, ...], *theirs: StageCard) -> dict[str, tuple[str, ...]]:
    """Return the labels of a student's model, by stage, where the teacher has these stages."""
    network = replace(NETWORK, output_channels=1 + len(organs))
    config = replace(tiny_config(Path()), organs=organs, network=network)
    teacher = SimpleNamespace(card=model_card(theirs)) if theirs else None
    source = TrainingSource("store", 3, "ours", "ours")
    card = student_card(config, teacher, name="s", version="1.0.0", folds=1, source=source)
    return {stage.name: stage.labels for stage in card.stages}


def test_a_teachers_further_stage_does_not_answer_for_the_student() -> None:
    """What TotalSegmentator's second part says would be taken, and scored as the student's."""
    found = stages_of(("liver", "spleen", "aorta"), LOCALISER, ORGANS, VESSELS)
    assert found["organs"] == ("background", "liver", "spleen", "aorta")
    assert found["organs_2"] == ("background", "other:aorta", "inferior_vena_cava", "other:heart")
    found = stages_of(("liver", "aorta", "inferior_vena_cava"), LOCALISER, ORGANS, VESSELS)
    assert list(found) == ["localiser", "organs"] and found["localiser"] == LOCALISER.labels


@pytest.mark.parametrize("learnt", [False, True])
def test_a_teachers_lesion_stage_stays_where_the_student_learns_none(learnt: bool) -> None:
    organs = ("liver", "spleen", *["lesion"] * learnt)
    assert ("lesions" in stages_of(organs, LOCALISER, ORGANS, LESIONS)) != learnt


@pytest.mark.parametrize(
    ("changes", "came"),
    [
        ({"labels": ("background", "spleen", "liver")}, "channels background, spleen, liver"),
        ({"orientation": "SAR"}, "axes are those of SAR"),
        ({"name": "lesions"}, "no stage organs"),
        ({}, ""),
    ],
)
def test_no_student_begins_with_weights_that_mean_something_else(
    changes: dict[str, Any], came: str
) -> None:
    teacher: Any = SimpleNamespace(card=model_card((replace(ORGANS, **changes),)))
    config = tiny_config(Path())
    assert config.organs == ("liver", "spleen")
    with pytest.raises(InputError, match=came) if came else nullcontext():
        require_warm_start(config, teacher)


def test_without_a_teacher_the_student_is_the_model() -> None:
    assert list(stages_of(("liver", "spleen"))) == ["organs"]
