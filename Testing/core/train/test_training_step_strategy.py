from __future__ import annotations

import pytest

from flare_core.train.strategies import STRATEGIES
from flare_core.train.training_step import Strategy

METHODS = [name for name in vars(Strategy) if not name.startswith("_")]


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
def test_every_strategy_does_what_the_protocol_says(kind: str) -> None:
    strategy = STRATEGIES[kind]()
    named = {"select", "networks", "check", "begin", "patch_loss", "after_step", "uses_unlabelled"}
    assert named == set(METHODS)
    for name in METHODS:
        assert hasattr(strategy, name)
    assert isinstance(strategy.uses_unlabelled, bool)
    assert hash(strategy) == hash(STRATEGIES[kind]())  # frozen, with settings only
    assert set(type(strategy).LIMITS) <= set(vars(strategy))
