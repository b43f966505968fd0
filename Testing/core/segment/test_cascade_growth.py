"""An organ that the box would cut makes it grow; the localiser is made blind to a faint part."""

from __future__ import annotations

import pytest

from flare_core.anatomy.organs import organ
from flare_core.segment.cascade import GROWTH_MM, MOST_GROWTHS, Plan, run_cascade
from stub_models import (
    FIELD_MM,
    HU,
    LIVER,
    LOCALISER,
    SPLEEN,
    Block,
    Looks,
    boxes,
    dsc,
    loaded,
    quiet,
    scene,
    stages_with,
)

LIVER_ID = organ("liver").id
BOTH = (organ("liver"), organ("spleen"))

FAINT = {**HU, "liver:faint": 120.0}
BLIND = loaded(LOCALISER, {**HU, "liver": 300.0})
"""A localiser whose liver begins at 150 HU."""


def test_the_box_grows_until_no_organ_is_cut(looks: Looks) -> None:
    """The faint part reaches 130 mm beyond what the localiser believes to be liver."""
    blocks = {"liver": ((10, 40, 30), (60, 110, 100)), "liver:faint": ((60, 60, 50), (190, 90, 80))}
    image, truth = scene(blocks=blocks, hu=FAINT, field_mm=(260.0, *FIELD_MM[1:]))
    found = run_cascade(image, stages_with(BLIND), Plan(BOTH), quiet).organs
    assert dsc(found, truth, LIVER_ID) > 0.95
    grown = boxes(looks)
    assert 2 < len(grown) <= 1 + MOST_GROWTHS
    for before, after in zip(grown, grown[1:], strict=False):
        assert before.start == after.start and before.stop[1:] == after.stop[1:]
        assert (after.stop[0] - before.stop[0]) * 4 == GROWTH_MM
    assert grown[-1].stop[0] * 4 > 150


def test_growth_ends_after_a_few_looks(looks: Looks) -> None:
    blocks = {"liver": ((0, 40, 30), (60, 110, 100)), "liver:faint": ((60, 60, 50), (596, 90, 80))}
    image, _ = scene((8.0, 6.0, 6.0), blocks=blocks, hu=FAINT, field_mm=(600.0, 180.0, 240.0))
    run_cascade(image, stages_with(BLIND), Plan(BOTH), quiet)
    assert len(boxes(looks)) == 1 + MOST_GROWTHS


def test_the_scans_edge_does_not_grow(looks: Looks) -> None:
    blocks = {"liver": ((0, 0, 0), (FIELD_MM[0], FIELD_MM[1], 100))}  # cut on five sides
    image, truth = scene(blocks=blocks)
    found = run_cascade(image, stages_with(), Plan((organ("liver"),)), quiet).organs
    assert dsc(found, truth, LIVER_ID) > 0.97
    assert len(boxes(looks)) == 1


def test_a_voxel_at_a_face_is_no_reason_to_look_again(looks: Looks) -> None:
    blocks = {"liver": LIVER, "spleen": SPLEEN, "liver:faint": ((30, 70, 60), (50, 73, 63))}
    image, _ = scene(blocks=blocks, hu=FAINT)  # 3 x 3 mm across the lower face
    run_cascade(image, stages_with(BLIND), Plan(BOTH), quiet)
    assert len(boxes(looks)) == 1


def test_an_organ_nobody_wants_does_not_make_the_box_grow(looks: Looks) -> None:
    blocks = {"liver": LIVER, "spleen": SPLEEN, "liver:faint": ((60, 50, 100), (120, 80, 235))}
    image, _ = scene(blocks=blocks, hu=FAINT)
    run_cascade(image, stages_with(BLIND), Plan((organ("spleen"),)), quiet)
    assert len(boxes(looks)) == 1


@pytest.mark.parametrize(
    ("faint", "axis", "up"),
    [
        (((10, 74, 104), (80, 106, 136)), 0, False),
        (((120, 74, 104), (190, 106, 136)), 0, True),
        (((84, 10, 104), (116, 70, 136)), 1, False),
        (((84, 110, 104), (116, 170, 136)), 1, True),
        (((84, 74, 20), (116, 106, 100)), 2, False),
        (((84, 74, 140), (116, 106, 220)), 2, True),
    ],
)
def test_every_face_can_grow(looks: Looks, faint: Block, axis: int, up: bool) -> None:
    blocks = {"liver": ((80, 70, 100), (120, 110, 140)), "liver:faint": faint}
    image, truth = scene(blocks=blocks, hu=FAINT)
    found = run_cascade(image, stages_with(BLIND), Plan((organ("liver"),)), quiet).organs
    assert dsc(found, truth, LIVER_ID) > 0.93
    first, last = boxes(looks)[0], boxes(looks)[-1]
    moved = last.stop[axis] - first.stop[axis] if up else first.start[axis] - last.start[axis]
    assert moved > 0
    others = [a for a in range(3) if a != axis]
    assert [first.start[a] for a in others] == [last.start[a] for a in others]
    assert [first.stop[a] for a in others] == [last.stop[a] for a in others]
