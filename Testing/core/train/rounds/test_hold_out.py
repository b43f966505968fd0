"""Scores on the hold-out, worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flare_core.datasets.case import Case
from flare_core.imaging.files import write_labels
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.pipeline import Labelled
from flare_core.spread.cases import Outcome
from flare_core.train.processes import ALONE
from flare_core.train.rounds import hold_out
from flare_core.train.rounds.comparison import CaseScores
from flare_core.train.rounds.hold_out import (
    read_scores,
    score_case,
    score_labels,
    score_model,
)

GRID = Geometry((10, 20, 20), (5.0, 5.0, 5.0))  # a voxel is 1/8 mL


def volume(*blocks: tuple[int, slice, slice, slice]) -> Volume:
    array = np.zeros(GRID.shape, np.uint8)
    for label, z, y, x in blocks:
        array[z, y, x] = label
    return Volume(array, GRID)


LIVER = (1, slice(2, 6), slice(2, 10), slice(2, 10))
HALF = (1, slice(2, 6), slice(2, 10), slice(2, 6))


def test_the_same_labels_score_one():
    found = score_labels(volume(LIVER), volume(LIVER), ["liver"])
    assert found == {"liver": {"dsc": 1.0, "nsd": 1.0}}


def test_half_an_organ_scores_two_thirds():
    found = score_labels(volume(HALF), volume(LIVER), ["liver"])
    assert found["liver"]["dsc"] == pytest.approx(2 / 3, abs=1e-4)
    assert 0 < found["liver"]["nsd"] < 1


def test_absent_organs_count_as_flare_counts_them():
    found = score_labels(volume(LIVER), volume(), ["liver", "spleen"])
    assert found == {"liver": {"dsc": 0.0, "nsd": 0.0}, "spleen": {"dsc": 1.0, "nsd": 1.0}}


def test_a_remnant_of_an_organ_is_not_scored():
    remnant = (1, slice(0, 1), slice(0, 1), slice(0, 7))  # 7/8 mL
    assert score_labels(volume(), volume(remnant), ["liver"]) == {}


def test_a_lesion_is_scored_however_small():
    lesion = (14, slice(3, 4), slice(3, 4), slice(3, 5))  # a quarter of a mL
    found = score_labels(volume(LIVER), volume(LIVER, lesion), ["liver", "lesion"])
    assert found["lesion"] == {"dsc": 0.0, "nsd": 0.0}


def test_a_lesion_is_no_hole_in_an_organ_where_nobody_marked_lesions(tmp_path):
    """Else whoever finds lesions loses against a model that finds none."""
    lesion = (14, slice(3, 5), slice(4, 8), slice(4, 8))
    said = Labelled(volume(LIVER, lesion), volume(LIVER))
    predictor = SimpleNamespace(segment=lambda *_: (volume(), said))
    scores = {}
    for annotated in (("liver",), ("liver", "lesion")):
        marked = (lesion,) if "lesion" in annotated else ()
        write_labels(tmp_path / "r.nii.gz", volume(LIVER, *marked))
        case = Case("c", Path("x"), tmp_path / "r.nii.gz", annotated)
        scores[annotated] = score_case(predictor, case, lambda _: None).organs
    assert scores["liver",] == {"liver": {"dsc": 1.0, "nsd": 1.0}}
    assert {row["dsc"] for row in scores["liver", "lesion"].values()} == {1.0}


def test_organs_nobody_annotated_are_not_scored():
    assert score_labels(volume(LIVER), volume(LIVER), ["spleen"])["spleen"]["dsc"] == 1.0
    assert set(score_labels(volume(LIVER), volume(LIVER), ["spleen"])) == {"spleen"}


def test_a_model_is_scored_again_where_the_persons_labels_were_corrected(tmp_path, monkeypatch):
    """Else the old model stands on the old labels and the new one on the new."""
    asked: list[str] = []

    def scores(_: object, __: object, cases: Sequence[Case], *___: object) -> Iterator[Outcome]:
        for case in cases:
            asked.append(case.name)
            name = case.labels.name if case.labels else ""
            yield Outcome(case.name, CaseScores(case.name, "p", {}, name), None)

    monkeypatch.setattr(hold_out, "_scores", scores)
    run = SimpleNamespace(score_of=lambda _, case: tmp_path / f"{case}.json")
    model = SimpleNamespace(fingerprint="f" * 64)

    def score(*labels: str) -> None:
        cases = [Case(f"c{i}", Path("x"), Path(name)) for i, name in enumerate(labels)]
        score_model(run, model, cases, processes=ALONE, tell=lambda _: None)
        assert [each.reference for each in read_scores(run, model, cases)] == list(labels)

    score("v0001-a.nii.gz", "v0001-b.nii.gz")
    score("v0001-a.nii.gz", "v0001-b.nii.gz")
    assert asked == ["c0", "c1"]
    score("v0001-a.nii.gz", "v0002-c.nii.gz")
    assert asked == ["c0", "c1", "c1"]
