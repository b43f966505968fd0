"""Several lesion stages, each for the lesions of its own organs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from flare_core.anatomy.organs import LESION, organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.models.package import write_package
from flare_core.segment.cascade import Found, Plan, Stages, add_lesions, run_cascade
from flare_core.segment.pipeline import segment_ct
from flare_core.segment.stage import LoadedStage
from stub_models import (
    HU,
    LIVER,
    LOCALISER,
    ORGANS,
    SPLEEN,
    Looks,
    boxes,
    level_weights,
    loaded,
    model_card,
    quiet,
    scene,
    settings,
    stage_card,
)

OF_LIVER = stage_card("lesions", ("background", "lesion"), hosts=("liver",))
OF_SPLEEN = stage_card("lesions_2", ("background", "lesion"), hosts=("spleen",))
IN_LIVER, IN_SPLEEN = ((80, 60, 50), (100, 80, 70)), ((84, 96, 165), (104, 116, 185))
PLAN = Plan((organ("liver"), organ("spleen"), LESION))
HU_OF_SPLEEN = {"background": -200.0, "lesion": -300.0}
"""What the second network finds: to the stub of the organs it still is spleen, as the first's
lesions are liver."""


def scan() -> tuple[Volume, Volume]:
    """A scan with a lesion in the liver and a darker one in the spleen, and its organs."""
    organs = {"liver": LIVER, "spleen": SPLEEN}
    blocks = {**organs, "lesion": IN_LIVER, "lesion:spleen": IN_SPLEEN}
    spacing = (2.0, 2.0, 2.0)
    image = scene(spacing, blocks, hu={**HU, "lesion:spleen": -300.0})[0]
    return image, scene(spacing, organs)[1]


def sides(mask: npt.NDArray[np.bool_]) -> tuple[bool, bool]:
    """Whether lesions are in the half of the liver, and in that of the spleen."""
    middle = mask.shape[2] // 2
    return bool(mask[..., :middle].any()), bool(mask[..., middle:].any())


def found_by(*stages: LoadedStage) -> tuple[bool, bool]:
    """Where these lesion stages find something, one after another."""
    image, organs = scan()
    found = Found(organs)
    for stage in stages:
        found = add_lesions(image, found, stage, PLAN, quiet)
    assert found.lesions is not None and len(found.lesion_probability) == len(stages)
    return sides(found.lesions.array)


def bright(*hosts: str) -> LoadedStage:
    """A stage that finds the liver's lesion wherever it looks."""
    return loaded(replace(OF_LIVER, hosts=hosts))


def dark(*hosts: str) -> LoadedStage:
    """A stage that finds the spleen's."""
    return loaded(replace(OF_SPLEEN, hosts=hosts), HU_OF_SPLEEN)


def test_a_stage_counts_the_lesions_of_its_organs_only() -> None:
    assert found_by(bright()) == found_by(bright("liver", "spleen")) == (True, False)
    assert found_by(dark()) == found_by(dark("spleen")) == (False, True)
    wide = {"margin_mm": ((200.0, 200.0),) * 3}
    assert found_by(loaded(replace(OF_LIVER, hosts=("spleen",), **wide))) == (False, False)


def test_a_further_stage_adds_those_of_its_own() -> None:
    assert found_by(bright("liver"), dark("spleen")) == (True, True)
    assert found_by(dark("spleen"), bright("liver")) == (True, True)


def test_it_looks_around_its_organs_only(looks: Looks) -> None:
    found_by(bright("liver"), loaded(replace(OF_SPLEEN, margin_mm=((10.0, 10.0),) * 3)))
    (seen,) = boxes(looks, "lesions_2")
    needed = Box.of_mask(scan()[1].array == organ("spleen").id)
    assert needed is not None and seen.intersect(needed) == needed
    assert seen.start[2] > LIVER[1][2] / 2  # no voxel of the liver's


def test_without_its_organs_there_is_nothing_to_look_at(looks: Looks) -> None:
    image = scene((2.0, 2.0, 2.0), {"liver": LIVER, "lesion": IN_LIVER})[0]
    stages = Stages(
        loaded(LOCALISER), loaded(ORGANS), bright("liver"), further_lesions=(dark("spleen"),)
    )
    found = run_cascade(image, stages, PLAN, quiet)
    assert not boxes(looks, "lesions_2")
    assert found.lesions is not None and sides(found.lesions.array) == (True, False)


def test_a_package_with_two_runs_both_and_tells_of_both(tmp_path: Path) -> None:
    cards = (LOCALISER, ORGANS, OF_LIVER, OF_SPLEEN)
    levels = {card.name: HU for card in cards} | {"lesions_2": HU_OF_SPLEEN}
    tensors = {
        card.name: level_weights([levels[card.name][n] for n in card.labels]) for card in cards
    }
    model = write_package(tmp_path / "two", model_card(cards), tensors).folder
    told: list[str] = []
    found = segment_ct(
        scan()[0], settings(model), progress=lambda progress: told.append(progress.stage)
    )
    assert found.lesions is not None
    assert sorted(each.organ for each in found.lesions) == ["liver", "spleen"]
    assert {"lesions", "lesions_2"} <= set(found.timings) and "lesions_2" in told
    organs = segment_ct(scan()[0], settings(model, organs=("liver", "spleen")))
    assert not {"lesions", "lesions_2"} & set(organs.timings)


def test_hosts_are_organs_that_a_stage_before_finds_and_belong_to_lesion_stages() -> None:
    with pytest.raises(InputError, match=r"lesions: hosts(.|\n)*stomach"):
        model_card((LOCALISER, ORGANS, replace(OF_LIVER, hosts=("stomach",))))
    with pytest.raises(InputError, match="organ key right_kidney"):
        replace(OF_LIVER, hosts=("kidney_right",))
    with pytest.raises(InputError, match="organs_2: hosts"):
        model_card((LOCALISER, ORGANS, replace(OF_LIVER, name="organs_2")))
