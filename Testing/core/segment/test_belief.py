from __future__ import annotations

import numpy as np
import pytest
import torch

from flare_core.imaging.geometry import Geometry
from flare_core.segment import belief
from flare_core.segment.belief import ClassScores, kept_scores
from flare_core.segment.pipeline import segment_ct
from flare_core.segment.stage import Scores
from stub_models import scene, settings, stage_card

GRID = Geometry((1, 1, 3), (3.0, 2.0, 2.0))


def test_an_organ_stands_against_the_best_other_class() -> None:
    each = np.array([[0.6, 0.1, 0.3], [0.3, 0.6, 0.3], [0.1, 0.3, 0.4]], np.float16)
    scores = ClassScores(each.reshape(3, 1, 1, 3), (0, 1, 3), GRID)
    spleen = scores.belief(3)
    assert spleen is not None and spleen.geometry == GRID
    assert spleen.array.ravel() == pytest.approx([1 / 7, 1 / 3, 4 / 7], abs=1e-3)
    assert ((spleen.array > 0.5).ravel() == (each.argmax(axis=0) == 2)).all()


def test_an_organ_that_the_network_does_not_know_has_no_belief() -> None:
    scores = ClassScores(np.ones((2, 1, 1, 3), np.float16), (0, 1), GRID)
    assert scores.belief(3) is None and scores.belief(0) is None


def test_scores_are_kept_as_probabilities_unless_they_are_too_large(monkeypatch) -> None:
    card = stage_card("organs", ("background", "liver", "spleen"))
    logits = torch.randn(len(card.labels), 1, 1, 3)
    kept = kept_scores(Scores(logits, GRID, card))
    assert kept is not None and kept.probabilities.dtype == np.float16
    assert kept.probabilities.sum(axis=0) == pytest.approx(1.0, abs=1e-2)
    assert kept.organs == (0, 1, 3)
    monkeypatch.setattr(belief, "MOST_BYTES", 10)
    assert kept_scores(Scores(logits, GRID, card)) is None


def test_a_run_keeps_scores_only_if_asked_and_they_say_what_it_decided(model) -> None:
    scan = scene()[0]
    assert segment_ct(scan, settings(model)).scores is None
    run = segment_ct(scan, settings(model), keep_scores=True)
    assert run.scores is not None
    liver = run.scores.belief(1)
    assert liver is not None
    voxel_ml = liver.geometry.voxel_ml
    believed_ml = np.count_nonzero(liver.array > 0.5) * voxel_ml
    found_ml = np.count_nonzero(run.labels.array == 1) * scan.geometry.voxel_ml
    assert believed_ml == pytest.approx(found_ml, rel=0.1)
