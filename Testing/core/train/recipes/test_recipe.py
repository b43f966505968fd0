from __future__ import annotations

from dataclasses import replace

import pytest

from flare_core.errors import InputError
from flare_core.train.recipes import RECIPES
from flare_core.train.recipes.recipe import Inference, SelfTraining

CITI = RECIPES["flare23-citi"]


def test_trainings_are_those_there_are_in_order() -> None:
    assert list(CITI.trainings) == ["teacher"]
    assert list(RECIPES["flare23-aladdin5"].trainings) == ["region", "teacher", "lesions"]


def test_who_learns_lesions() -> None:
    assert CITI.wants_lesions and RECIPES["flare23-aladdin5"].wants_lesions
    assert not RECIPES["flare22-blackbean"].wants_lesions


def test_a_stage_of_which_nothing_is_said_is_run_as_usual() -> None:
    assert CITI.run_of("organs").tile_step == 0.6 and CITI.run_of("localiser") == Inference()


def test_a_training_for_another_stage_is_refused() -> None:
    with pytest.raises(InputError, match="region: stage"):
        replace(CITI, region=CITI.teacher)
    with pytest.raises(InputError, match="student"):
        replace(CITI, student=CITI.teacher, self_training=None)


@pytest.mark.parametrize("changes", [{"rounds": 0}, {"folds": 11}])
def test_rounds_and_folds_have_limits(changes: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        SelfTraining({"kind": "iterative"}, **changes)
