"""What the tests of segmentation share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.segment import cascade
from flare_core.segment.stage import LoadedStage, Scores, run_stage
from stub_models import Looks, stub_package


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that finds liver and spleen."""
    return stub_package(tmp_path_factory.mktemp("models") / "stub").folder


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Which stage of the cascade looked at which box, in order, with which tile step."""
    seen: Looks = []

    def watched(
        stage: LoadedStage,
        image: Volume,
        region: Box,
        *,
        organs: Volume | None = None,
        tile_step: float | None = None,
        rough: Volume | None = None,
        notify: Callable[[float], None] | None = None,
    ) -> Scores:
        seen.append((stage.card.name, region, tile_step))
        return run_stage(
            stage, image, region, organs=organs, tile_step=tile_step, rough=rough, notify=notify
        )

    monkeypatch.setattr(cascade, "run_stage", watched)
    return seen
