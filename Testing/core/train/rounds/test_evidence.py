"""Evidence on label maps and scores small enough to work out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from flare_core.anatomy.organs import organ
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.confidence import Evidence
from flare_core.segment.pipeline import Labelled
from flare_core.segment.stage import Scores
from flare_core.segment.statistics import organ_statistics
from flare_core.train.rounds.evidence import (
    MOST_DISAGREEMENT,
    border_band,
    case_evidence,
    certainty,
    compared,
    disagreement,
    fold_agreement,
    pieces_of,
    scan_features,
)
from flare_core.train.strategies.candidate import CaseEvidence, read_evidence, write_evidence
from stub_models import ORGANS as STAGE

LIVER, SPLEEN = organ("liver"), organ("spleen")
GRID = Geometry((6, 40, 40), (10.0, 10.0, 10.0))
IDS = {"liver": 1, "spleen": 3}


def scores(labels: np.ndarray, sure: float, grid: Geometry = GRID) -> Scores:
    """Scores whose best class has probability `sure` everywhere, the others share the rest."""
    channels = {0: 0, 1: 1, 3: 2}
    best = torch.from_numpy(np.vectorize(channels.get)(labels).astype(np.int64))
    p = torch.full((3, *labels.shape), (1 - sure) / 2)
    p.scatter_(0, best[None], sure)
    return Scores(p.log(), grid, STAGE)


def labelled(labels: Volume, *folds: Scores) -> Labelled:
    """What a model says, with its scores."""
    return Labelled(labels, labels, folds=folds)


def halves(sure: float = 0.9) -> Labelled:
    """A liver of 1200 mL and a spleen of 200 mL, each certain by `sure`."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1:5, 5:20, 3:23] = 1
    labels[1:5, 5:15, 30:35] = 3
    return labelled(Volume(labels, GRID), scores(labels, sure))


def image() -> Volume:
    return Volume(np.full(GRID.shape, 40, np.int16), GRID)


def bits(p: float) -> float:
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p))


def test_disagreement_is_blackbeans_formula():
    one = np.array([1, 1, 1, 0, 0, 0])
    two = np.array([1, 1, 0, 0, 0, 0])
    three = np.array([1, 2, 0, 3, 0, 0])
    expected = 0.5 * (1 / 2 + 2 / 3)
    assert disagreement([one, two, three]) == pytest.approx(expected)


def test_disagreement_of_nothing_is_nothing_and_of_a_lost_organ_is_most():
    empty, there = np.zeros(4, np.uint8), np.array([1, 0, 0, 0], np.uint8)
    assert disagreement([empty, empty]) == 0
    assert disagreement([there, empty]) == MOST_DISAGREEMENT


def test_confidence_and_border_entropy_are_those_of_the_scores():
    found = certainty(halves(0.8).mean)
    inside, entropy = found["liver"]
    assert inside == pytest.approx(0.8, abs=1e-4)
    # Inside the band p is .8; outside it .1. Both sides of the border are counted.
    mask = halves().labels.array == 1
    band = border_band(np.pad(mask, 1))
    within = int((band & np.pad(mask, 1)).sum())
    outside = int(border_band(mask).sum()) - within
    expected = (within * bits(0.8) + outside * bits(0.1)) / (within + outside)
    assert entropy == pytest.approx(expected, abs=1e-3)


def test_border_entropy_does_not_see_what_is_far_away():
    sure = halves(0.95).mean
    logits = sure.logits.clone()
    logits[:, :, 30:, 30:] = 0.0  # nobody knows anything there; spleen and liver are elsewhere
    doubtful = certainty(replace(sure, logits=logits))
    assert doubtful["liver"] == certainty(sure)["liver"]


def test_evidence_of_a_plausible_case():
    found = case_evidence("a", "m-1.0.0", image(), halves(), (LIVER, SPLEEN))
    liver, spleen = found.organs["liver"], found.organs["spleen"]
    assert liver.volume_ml == pytest.approx(1200) and spleen.volume_ml == pytest.approx(200)
    assert liver.volume_plausible and spleen.volume_plausible
    assert (liver.pieces, spleen.pieces) == (1, 1)
    assert liver.fold_agreement is None and liver.disagreement is None
    assert found.remarks == {}


def test_an_organ_in_pieces_or_of_impossible_size_is_remarked():
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1:3, 5:7, 5:9] = 1  # 16 mL
    labels[1:3, 20:22, 5:9] = 1  # and as much again
    scored = labelled(Volume(labels, GRID), scores(labels, 0.9))
    found = case_evidence("a", "m", image(), scored, (LIVER, SPLEEN))
    assert found.organs["liver"].pieces == 2
    assert found.organs["liver"].volume_plausible is False
    assert found.remarks["liver"] == "32 mL, usual are 825 to 2010, 2 pieces"
    assert found.remarks["spleen"] == "not found" and found.organs["spleen"].volume_ml == 0


def test_a_volume_cut_by_the_scan_is_not_called_impossible():
    labels = np.zeros(GRID.shape, np.uint8)
    labels[0:2, 5:9, 5:9] = 1
    scored = labelled(Volume(labels, GRID), scores(labels, 0.9))
    assert case_evidence("a", "m", image(), scored, (LIVER,)).organs["liver"].volume_plausible


def test_a_kidney_on_the_wrong_side_is_implausible():
    labels = np.zeros((6, 40, 60), np.uint8)
    labels[1:5, 5:20, 3:23] = 1
    labels[1:5, 5:15, 50:58] = 3
    labels[1:5, 25:30, 8:12] = organ("left_kidney").id  # where the right one belongs
    grid = Geometry(labels.shape, (10.0, 10.0, 10.0))
    raw = Volume(labels, grid)
    stage = replace(
        STAGE,
        labels=("background", "liver", "spleen", "left_kidney"),
        network=replace(STAGE.network, output_channels=4),
    )
    channel = np.select([labels == 1, labels == 3, labels == 13], [1, 2, 3], 0)
    logits = torch.nn.functional.one_hot(torch.from_numpy(channel), 4).movedim(-1, 0) * 5.0
    scored = labelled(raw, Scores(logits, grid, stage))
    targets = (LIVER, SPLEEN, organ("left_kidney"))
    found = case_evidence("a", "m", Volume(np.zeros(labels.shape, np.int16), grid), scored, targets)
    assert found.organs["left_kidney"].volume_plausible is False
    assert "other side" in found.remarks["left_kidney"]


def test_fold_agreement_is_the_mean_of_all_pairs():
    one = np.zeros(GRID.shape, np.uint8)
    one[1, 1, :4] = 1
    two = np.zeros(GRID.shape, np.uint8)
    two[1, 1, 2:6] = 1
    folds = (scores(one, 0.9), scores(one, 0.9), scores(two, 0.9))
    # Pairs: same (1), half (.5), half (.5)
    assert fold_agreement(folds, (LIVER,))["liver"] == pytest.approx(2 / 3)
    assert fold_agreement(folds[:1], (LIVER,)) == {}


def test_folds_that_find_nothing_agree_on_nothing():
    none, one = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.uint8)
    one[1, 1, :4] = 1
    folds = (scores(none, 0.9), scores(none, 0.9), scores(one, 0.9))
    assert fold_agreement(folds, (LIVER, SPLEEN)) == {"liver": 0.0}  # the two without do not count


def test_compared_fills_in_the_disagreement_of_case_and_organs():
    found = case_evidence("a", "m", image(), halves(), (LIVER, SPLEEN))
    now = halves().labels.array
    before = now.copy()
    before[before == 3] = 0
    filled = compared(found, [before, now], IDS)
    assert filled.organs["liver"].disagreement == 0
    assert filled.organs["spleen"].disagreement == 1
    assert filled.disagreement == pytest.approx(200 / 1400)
    assert compared(found, [now], IDS) == found


def test_nothing_found_is_evidence_too():
    nothing = Volume(np.zeros(GRID.shape, np.uint8), GRID)
    empty = Labelled(nothing, nothing, notes=("no abdomen",))
    found = case_evidence("a", "m", image(), empty, (LIVER,))
    assert found.organs == {} and found.notes == ("no abdomen",)


def test_evidence_survives_its_file(tmp_path):
    found = case_evidence("a", "m", image(), halves(), (LIVER, SPLEEN))
    write_evidence(tmp_path / "a.json", found)
    assert read_evidence(tmp_path / "a.json") == found
    assert isinstance(found, CaseEvidence)


def test_features_tell_size_and_contrast():
    facts = scan_features(image(), halves().labels)
    assert facts["ml_1"] == pytest.approx(1200) and facts["hu_3"] == 40
    assert facts["height"] == 60


def test_specks_are_no_pieces():
    mask = np.zeros((1, 1, 100), bool)
    mask[..., :60] = mask[..., 70] = True
    assert pieces_of(mask) == 1
    assert pieces_of(np.zeros((2, 2, 2), bool)) == 0


def test_the_dsc_to_expect_is_the_segmentations_confidence():
    """What a person reads beside a result is what `rounds next` asks."""
    labels = halves().labels
    said = replace(halves(), evidence={"liver": Evidence(1200.0, 0.97, 0.96)})
    found = case_evidence("a", "m", image(), said, (LIVER, SPLEEN))
    rows = organ_statistics(image(), labels, (LIVER,), evidence=said.evidence)
    (confidence,) = (row.value for row in rows if row.measure == "confidence")
    assert found.organs["liver"].expected_dsc == pytest.approx(confidence, abs=1e-4)
    assert found.organs["spleen"].expected_dsc is None
    assert case_evidence("a", "m", image(), halves(), (LIVER,)).organs["liver"].expected_dsc is None
