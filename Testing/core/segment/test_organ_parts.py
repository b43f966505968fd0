"""Organ models in parts, as TotalSegmentator's: each network knows some of the organs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flare_core.anatomy.organs import organ
from flare_core.errors import InputError
from flare_core.segment.cascade import Plan, Stages, run_cascade
from flare_core.segment.pipeline import Progress, segment_ct
from stub_models import LOCALISER, Looks, boxes, dsc, loaded, quiet, scene, settings, stub_package
from stub_models import stage_card as card

LIVER_ONLY = card("organs", ("background", "liver"))
SPLEEN_TOO = card("organs_2", ("background", "spleen"))
LIVER_ID, SPLEEN_ID = organ("liver").id, organ("spleen").id
HU_OF_PARTS = {"background": 0.0, "liver": 200.0, "spleen": -200.0}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "parts"
    return stub_package(folder, (LOCALISER, LIVER_ONLY, SPLEEN_TOO)).folder


def test_each_part_sees_the_same_box_and_adds_its_organs(looks: Looks) -> None:
    image, truth = scene()
    stages = Stages(
        loaded(LOCALISER), loaded(LIVER_ONLY, HU_OF_PARTS), further_organs=(loaded(SPLEEN_TOO),)
    )
    found = run_cascade(image, stages, Plan((organ("liver"), organ("spleen"))), quiet).organs
    assert [name for name, _, _ in looks] == ["localiser", "organs", "organs_2"]
    assert boxes(looks) == boxes(looks, "organs_2")
    assert min(dsc(found, truth, n) for n in (LIVER_ID, SPLEEN_ID)) > 0.95


def test_a_later_part_paints_over_an_earlier_one() -> None:
    image, truth = scene()
    same = card("organs_2", ("background", "spleen"))
    stages = Stages(
        None, loaded(LIVER_ONLY), further_organs=(loaded(same, {"background": 0, "spleen": 200}),)
    )
    found = run_cascade(image, stages, Plan((organ("liver"), organ("spleen"))), quiet).organs
    assert LIVER_ID not in found.array
    assert np.mean(found.array[truth.array == LIVER_ID] == SPLEEN_ID) > 0.9


def test_only_the_parts_that_are_asked_for_run(parts: Path, looks: Looks) -> None:
    both = segment_ct(scene()[0], settings(parts))
    assert {row.organ for row in both.rows} == {"liver", "spleen"}
    assert {"organs", "labels", "organs_2", "labels_2"} <= set(both.timings)
    looks.clear()
    segment_ct(scene()[0], settings(parts, organs=("liver",)))
    assert [name for name, _, _ in looks] == ["localiser", "organs"]


def test_progress_goes_forward_through_the_parts(parts: Path) -> None:
    told: list[Progress] = []
    segment_ct(scene()[0], settings(parts), progress=told.append)
    fractions = [step.fraction for step in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    names = list(dict.fromkeys(step.stage for step in told))
    assert names.index("labels") < names.index("organs_2") < names.index("labels_2")


def test_an_organ_that_no_part_knows_is_refused(parts: Path) -> None:
    with pytest.raises(InputError, match="liver, spleen"):
        segment_ct(scene()[0], settings(parts, organs=("aorta",)))
