"""Official and fixed mode, on maps counted by hand: blocks of 4 x 2 voxels a slice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.evaluate.label_folders import GRID, labels
from flare_core.errors import InputError
from flare_core.evaluate.protocols import Mode, edition
from flare_core.evaluate.scoring import ScoringRules, label_boxes, score_labels
from flare_core.imaging.geometry import AxisMap, Box
from flare_core.imaging.volume import Volume

BOTH: tuple[Mode, ...] = ("official", "fixed")


def scores(
    prediction: np.ndarray | None, reference: np.ndarray, mode: Mode = "fixed", key: str = "flare22"
) -> dict[str, dict[str, float]]:
    found = score_labels(prediction, reference, GRID, ScoringRules(edition(key), mode))
    return {one.target: dict(one.values) for one in found}


def test_the_last_labelled_slice_of_the_aorta() -> None:
    """Reference: slices 1 to 4. The prediction lacks slice 4 and goes on where nothing is labelled:
    official compares slices 1 to 3 only; fixed has 3 of 4 slices: DSC 6 / 7."""
    reference, prediction = labels(v5=(1, 5, 2, 4)), labels(v5=(0, 4, 2, 4))
    assert scores(prediction, reference, "official")["aorta"]["dsc"] == 1.0
    assert scores(prediction, reference, "fixed")["aorta"]["dsc"] == pytest.approx(6 / 7)
    # an organ that is compared everywhere: slices 0 to 3 against 1 to 4
    reference, prediction = labels(v1=(1, 5, 2, 4)), labels(v1=(0, 4, 2, 4))
    for mode in BOTH:
        assert scores(prediction, reference, mode)["liver"]["dsc"] == pytest.approx(6 / 8)


def test_nsd_follows_the_cut() -> None:
    reference, prediction = labels(v10=(1, 5, 2, 4)), labels(v10=(0, 6, 2, 4))
    for mode in BOTH:
        assert scores(prediction, reference, mode)["esophagus"]["nsd"] == 1.0


def test_a_reference_of_one_slice() -> None:
    one = labels(v5=(2, 3, 2, 4), v1=(2, 3, 5, 7))
    official, fixed = (scores(one, one, mode) for mode in BOTH)
    assert math.isnan(official["aorta"]["dsc"]) and math.isnan(official["aorta"]["nsd"])
    assert fixed["aorta"]["dsc"] == fixed["aorta"]["nsd"] == 1.0
    assert official["liver"]["dsc"] == fixed["liver"]["dsc"] == 1.0


def test_emptiness_is_judged_before_the_cut() -> None:
    """The scripts look at the whole map first, so one slice against nothing is 0, not NaN; and a
    prediction beside the labelled slices is no empty one, but overlaps nothing."""
    one, away = labels(v5=(2, 3, 2, 4)), labels(v5=(4, 6, 2, 4))
    for mode in BOTH:
        assert scores(labels(), one, mode)["aorta"]["dsc"] == 0.0
        assert scores(one, labels(), mode)["aorta"]["nsd"] == 0.0
    two = labels(v5=(0, 2, 2, 4))
    assert scores(away, two, "fixed")["aorta"]["dsc"] == 0.0


@pytest.mark.parametrize("mode", BOTH)
def test_empty_policy(mode: Mode) -> None:
    only = labels(v1=(1, 4, 2, 4))
    assert scores(only, only, mode)["spleen"]["dsc"] == 1.0
    assert scores(only, only, mode)["spleen"]["nsd"] == 1.0
    assert scores(only, labels(), mode)["liver"]["dsc"] == 0.0
    assert scores(labels(), only, mode)["liver"]["nsd"] == 0.0


def test_official_rounds_dsc_and_nsd_only() -> None:
    """DSC 2 * 16 / (24 + 16); the volumes are 24 and 16 voxels of 6 mm3."""
    reference, prediction = labels(v1=(0, 3, 2, 4)), labels(v1=(0, 2, 2, 4))
    reference[0, 0, 0] = 1  # 25 against 16
    official, fixed = (scores(prediction, reference, mode)["liver"] for mode in BOTH)
    assert official["dsc"] == 0.7805 and fixed["dsc"] == pytest.approx(32 / 41)
    assert official["volume_error_ml"] == fixed["volume_error_ml"] == pytest.approx(-0.054)


def test_gate_of_the_edition() -> None:
    """DSC 2 / 17 is below 0.2; FLARE21 has no gate."""
    reference, prediction = labels(v1=(0, 2, 2, 4)), np.zeros((6, 8, 10), np.uint8)
    prediction[0, 2, 2] = 1
    assert scores(prediction, reference, key="flare22")["liver"]["nsd"] == 0.0
    assert scores(prediction, reference, key="flare21")["liver"]["nsd"] > 0.0


def test_fixed_cuts_along_the_body_whatever_the_axis_order() -> None:
    reference, prediction = labels(v5=(1, 5, 2, 4)), labels(v5=(0, 4, 2, 4))
    turn = AxisMap((2, 0, 1), (True, False, True))
    grid = GRID.permuted(turn)
    rules = ScoringRules(edition("flare22"), "fixed")
    maps = [np.ascontiguousarray(turn.apply(each)) for each in (prediction, reference)]
    found = {one.target: one for one in score_labels(*maps, grid, rules)}
    assert found["aorta"].values["dsc"] == pytest.approx(6 / 7)
    straight = {one.target: one for one in score_labels(prediction, reference, GRID, rules)}
    for key, one in straight.items():
        for metric, value in one.values.items():
            assert found[key].values[metric] == pytest.approx(value, nan_ok=True), metric


def test_without_a_prediction_everything_is_worst() -> None:
    reference = labels(v1=(0, 2, 2, 4), v14=(3, 4, 2, 4))
    found = scores(None, reference, key="flare23")
    assert found["liver"]["dsc"] == found["spleen"]["dsc"] == found["spleen"]["nsd"] == 0.0
    assert found["liver"]["hd95"] == math.inf and math.isnan(found["liver"]["volume_error_ml"])
    lesion = found["lesion"]
    assert lesion["lesion_sensitivity"] == lesion["lesion_precision"] == lesion["lesion_f1"] == 0.0
    assert (lesion["true_lesions"], lesion["predicted_lesions"]) == (1.0, 0.0)


def test_volumes_of_what_is_compared() -> None:
    reference, prediction = labels(v1=(0, 3, 2, 4)), labels(v1=(0, 2, 2, 4))
    first = score_labels(prediction, reference, GRID, ScoringRules(edition("flare22")))[0]
    assert first.true_ml == pytest.approx(0.144) and first.predicted_ml == pytest.approx(0.096)
    missing = score_labels(None, reference, GRID, ScoringRules(edition("flare22")))[0]
    assert missing.true_ml == pytest.approx(0.144) and math.isnan(missing.predicted_ml)


def test_lesion_metrics_are_for_lesions() -> None:
    found = scores(labels(v14=(0, 2, 2, 4)), labels(v14=(0, 2, 2, 4)), key="flare23")
    assert found["lesion"]["lesion_f1"] == 1.0 and "lesion_f1" not in found["liver"]


def test_chosen_metrics_and_targets() -> None:
    rules = ScoringRules(edition("flare22"), metrics=("nsd",))
    found = score_labels(labels(), labels(), GRID, rules, rules.edition.targets[:2])
    assert [(one.target, dict(one.values)) for one in found] == [
        ("liver", {"nsd": 1.0}),
        ("right_kidney", {"nsd": 1.0}),
    ]


def test_boxes() -> None:
    assert label_boxes(labels(v3=(1, 2, 4, 7))) == {3: Box((1, 2, 4), (2, 6, 7))}
    assert label_boxes(labels()) == {}


def test_bad_rules() -> None:
    rules = edition("flare22")
    for bad in ({"mode": "best"}, {"metrics": ("dice",)}, {"lesion_iou": 1.0}, {"lesion_iou": -1}):
        with pytest.raises(InputError):
            ScoringRules(rules, **bad)  # type: ignore[arg-type]


def test_a_volume_is_scored_whole() -> None:
    """Two label maps of one grid, as `Volume.array` gives them: any integer that fits."""
    volume = Volume(labels(v2=(1, 4, 1, 5)), GRID)
    found = score_labels(
        volume.array.astype(np.uint8), volume.array.astype(np.uint8), GRID,
        ScoringRules(edition("flare22")),
    )  # fmt: skip
    assert [one.values["dsc"] for one in found] == [1.0] * 13
