"""What the tests of strategies share: candidates, patches, and a training on small networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_core.segment.runtime import Runtime
from flare_core.train.batches import Patch
from flare_core.train.strategies import build_strategy
from flare_core.train.strategies.candidate import Candidate, OrganEvidence
from flare_core.train.training_step import TrainingStep
from tiny_training import tiny_config

SHAPE = (1, 1, 12, 12, 12)
SURE = OrganEvidence(
    volume_ml=900.0,
    confidence=0.97,
    border_entropy=0.2,
    disagreement=0.05,
    fold_agreement=0.95,
    volume_plausible=True,
    pieces=1,
)


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    """Make a candidate of organ -> changes to evidence that nothing speaks against."""

    def make(name: str = "a", disagreement: float | None = None, **organs: dict) -> Candidate:
        evidence = {key: replace(SURE, **changes) for key, changes in organs.items()}
        return Candidate(name, Path(name), evidence=evidence, disagreement=disagreement)

    return make


@pytest.fixture
def patch() -> Callable[..., Patch]:
    """Make a patch: a bright block of class 1, annotated as told."""

    def make(annotated: tuple[bool, ...] = (True, True, True), seed: int = 0) -> Patch:
        image = 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
        image[:, :, 3:9, 3:9, 3:9] += 1.0
        classes = torch.zeros(SHAPE, dtype=torch.uint8)
        if annotated[1]:
            classes[:, :, 3:9, 3:9, 3:9] = 1
        return Patch(image, classes, annotated, plain=image.clone())

    return make


@pytest.fixture
def training() -> Callable[..., TrainingStep]:
    """Make a training of a strategy's settings."""

    def make(settings: dict[str, Any], **changes: Any) -> TrainingStep:
        torch.manual_seed(0)
        config = tiny_config(Path(), strategy=settings, **changes)
        strategy = build_strategy(settings)
        made = TrainingStep(config, strategy, Runtime("cpu", "float32", 1))
        strategy.begin(made)
        return made.train()

    return make
