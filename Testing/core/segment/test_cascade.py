from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION, ORGANS, Organ, organ
from flare_core.errors import NothingFound
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.cascade import (
    Plan,
    Stages,
    believable,
    nothing_found,
    run_cascade,
)
from stub_models import (
    HU,
    LIVER,
    LOCALISER,
    SPLEEN,
    Looks,
    boxes,
    dsc,
    loaded,
    quiet,
    scene,
    stage_card,
    stages_with,
)
from stub_models import LESIONS as LESION_CARD
from stub_models import ORGANS as ORGAN_CARD

LIVER_ID, SPLEEN_ID = organ("liver").id, organ("spleen").id
BOTH = (organ("liver"), organ("spleen"))


def test_organs_are_found_where_they_are(looks: Looks) -> None:
    image, truth = scene((2.5, 1.5, 1.5))
    found = run_cascade(image, stages_with(), Plan(BOTH), quiet).organs
    assert found.geometry == image.geometry and found.array.dtype == np.uint8
    assert min(dsc(found, truth, n) for n in (LIVER_ID, SPLEEN_ID)) > 0.95
    assert [name for name, _, _ in looks] == ["localiser", "organs"]


def test_the_localiser_sees_all_and_the_organ_stage_the_box_with_its_margin(looks: Looks) -> None:
    image, truth = scene()
    run_cascade(image, stages_with(), Plan(BOTH), quiet)
    assert looks[0][1] == Box.of_shape(image.geometry.shape)
    (region,) = boxes(looks)
    needed = Box.of_mask(truth.array)
    assert needed is not None
    assert region.intersect(needed) == needed
    for axis, spacing in enumerate(image.geometry.spacing_mm):
        for gap in (
            needed.start[axis] - region.start[axis],
            region.stop[axis] - needed.stop[axis],
        ):
            assert 8 <= gap * spacing <= 32  # margin 16 mm, localiser's voxels 8 mm


def test_margins_are_taken_from_the_card_each_side_its_own(looks: Looks) -> None:
    card = stage_card(
        "organs", ORGAN_CARD.labels, margin_mm=((0.0, 40.0), (16.0, 16.0), (16.0, 16.0))
    )
    image, truth = scene()
    run_cascade(image, Stages(loaded(LOCALISER), loaded(card)), Plan(BOTH), quiet)
    needed, region = Box.of_mask(truth.array), boxes(looks)[0]
    assert needed is not None
    assert (needed.start[0] - region.start[0]) * 4 <= 8
    assert (region.stop[0] - needed.stop[0]) * 4 >= 32


def test_a_subset_of_organs_restricts_the_box(looks: Looks) -> None:
    image, truth = scene()
    found = run_cascade(image, stages_with(), Plan((organ("spleen"),)), quiet).organs
    (region,) = boxes(looks)
    spleen = Box.of_mask(truth.array == SPLEEN_ID)
    assert spleen is not None and region.intersect(spleen) == spleen
    assert region.start[2] * 3 > 100 and dsc(found, truth, SPLEEN_ID) > 0.95


def test_an_organ_the_localiser_does_not_see_is_looked_for_among_the_others(looks: Looks) -> None:
    """An adrenal gland is smaller than a voxel or two of the localiser."""
    labels = ("background", "liver", "spleen", "left_adrenal_gland")
    levels = {**HU, "left_adrenal_gland": 400.0}
    blocks = {
        "liver": LIVER,
        "spleen": SPLEEN,
        "left_adrenal_gland": ((90, 100, 120), (110, 112, 132)),
    }
    image, truth = scene(blocks=blocks, hu=levels)
    stages = Stages(loaded(LOCALISER), loaded(stage_card("organs", labels), levels))
    wanted = organ("left_adrenal_gland")
    found = run_cascade(image, stages, Plan((wanted,)), quiet).organs
    assert dsc(found, truth, wanted.id) > 0.8
    everything = Box.of_mask(truth.array)
    assert everything is not None and boxes(looks)[0].intersect(everything) == everything


def test_without_a_localiser_the_organ_stage_sees_the_body(looks: Looks) -> None:
    image, truth = scene()
    array = image.array.copy()
    array[:, :12] = array[:, :, -16:] = -1000  # air in front and beside
    cut = Volume(array, image.geometry)
    stages = Stages(None, loaded(ORGAN_CARD), None)
    found = run_cascade(cut, stages, Plan((organ("liver"),)), quiet).organs
    assert [name for name, _, _ in looks] == ["organs"] and dsc(found, truth, LIVER_ID) > 0.97
    (region,) = boxes(looks)
    assert region.start[1] >= 4 and region.stop[2] <= image.geometry.shape[2] - 8


def water() -> Volume:
    """A bottle of water in air."""
    geometry = Geometry((40, 50, 60), (5.0, 4.0, 4.0))
    array = np.full(geometry.shape, -1000, np.int16)
    array[4:36, 10:40, 10:50] = 0
    return Volume(array, geometry)


def air() -> Volume:
    geometry = Geometry((40, 50, 60), (5.0, 4.0, 4.0))
    noise = np.random.default_rng(0).normal(-1000, 5, geometry.shape)
    return Volume(noise.astype(np.int16), geometry)


def chest() -> Volume:
    """Tissue, lungs, and a few bright vessels too small for any organ."""
    image, _ = scene(blocks={"liver": ((20, 60, 100), (180, 66, 106))})
    array = image.array.copy()
    array[:, 20:40, 10:30] = array[:, 20:40, 50:70] = -850
    return Volume(array, image.geometry)


def stages_for_air(*, localiser: bool) -> Stages:
    """Only liver: here air is farther from it than from background."""
    labels = ("background", "liver")
    first = loaded(stage_card("localiser", labels)) if localiser else None
    return Stages(first, loaded(stage_card("organs", labels)))


@pytest.mark.parametrize("make", [water, air, chest])
def test_a_scan_without_organs_is_told_and_costs_one_look(
    looks: Looks, make: Callable[[], Volume]
) -> None:
    with pytest.raises(NothingFound, match="No abdominal organ"):
        run_cascade(make(), stages_for_air(localiser=True), Plan(ORGANS), quiet)
    assert [name for name, _, _ in looks] == ["localiser"]


@pytest.mark.parametrize("make", [water, air])
def test_so_is_one_without_the_localiser(make: Callable[[], Volume]) -> None:
    with pytest.raises(NothingFound, match="No abdominal organ"):
        run_cascade(make(), stages_for_air(localiser=False), Plan(ORGANS), quiet)


def test_small_pieces_are_not_believed() -> None:
    geometry = Geometry((30, 30, 30), (5.0, 5.0, 5.0))  # 0.125 mL a voxel
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2:12, 2:12, 2:12] = LIVER_ID
    labels[2:12, 2:12, 12:13] = SPLEEN_ID  # 12.5 mL beside the liver
    labels[20:22, 20:22, 20:23] = LIVER_ID  # 1.5 mL on its own
    labels[25:27, 5:7, 5:9] = SPLEEN_ID  # 2 mL on its own
    kept = believable(Volume(labels, geometry)).array
    assert np.array_equal(kept[:15], labels[:15])
    assert not kept[20:22, 20:22, 20:23].any() and np.count_nonzero(kept[25:27]) == 16


def test_lesions_are_found_apart_from_the_organs(looks: Looks) -> None:
    spot = ((80, 60, 50), (100, 80, 70))
    image, truth = scene((2.0, 2.0, 2.0), {"liver": LIVER, "spleen": SPLEEN, "lesion": spot})
    plan = Plan((*BOTH, LESION))
    found = run_cascade(image, stages_with(lesions=True), plan, quiet)
    assert found.lesions is not None
    lesions = found.lesions.with_array(found.lesions.array * np.uint8(LESION.id))
    assert dsc(lesions, truth, LESION.id) > 0.9
    without = run_cascade(image, stages_with(), plan, quiet)
    assert without.lesions is None and without.lesion_probability == ()
    assert np.array_equal(found.organs.array, without.organs.array)


def test_the_lesions_stage_ends_when_they_are_on_the_scans_grid() -> None:
    """What is told before that is the network's; the clean-up's time is not theirs."""
    image, _ = scene((2.0, 2.0, 2.0), {"liver": LIVER, "spleen": SPLEEN})
    told: list[tuple[str, float]] = []
    run_cascade(
        image, stages_with(lesions=True), Plan((*BOTH, LESION)), lambda *step: told.append(step)
    )
    assert told[-2:] == [("lesions", 1.0)] * 2  # by the network, and after it


FAINT = 243.0
"""HU of a lesion whose logit is 8 (5 x 2.43 - 12.5) = -2.8: its probability is .057."""


def lesion_voxels(sensitivity: float | None, threshold: float = 0.5, hu: float = FAINT) -> int:
    """How much of a faint lesion is found."""
    levels = {**HU, "liver": -100.0, "lesion:faint": hu}  # liver far from it
    spot = ((80, 60, 50), (100, 80, 70))
    image, _ = scene(blocks={"liver": LIVER, "spleen": SPLEEN, "lesion:faint": spot}, hu=levels)
    card = replace(LESION_CARD, threshold=threshold)
    stages = Stages(None, loaded(ORGAN_CARD, levels), loaded(card, {**levels, "lesion": 500.0}))
    plan = Plan((*BOTH, LESION), lesion_sensitivity=sensitivity)
    found = run_cascade(image, stages, plan, quiet)
    assert found.lesions is not None
    return int(np.count_nonzero(found.lesions.array))


def test_sensitivity_finds_more_and_never_less() -> None:
    sizes = [lesion_voxels(s) for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert sizes == sorted(sizes) and sizes[0] == 0 < sizes[-1]
    assert lesion_voxels(None) == sizes[2]


def test_the_cards_threshold_is_what_a_model_starts_from() -> None:
    assert lesion_voxels(None, 0.05) > 0 == lesion_voxels(None, 0.07)
    assert lesion_voxels(0.75, 0.1) > 0 == lesion_voxels(0.5, 0.1)


def test_the_probability_of_a_lesion_is_kept_as_the_network_gives_it() -> None:
    spot = ((80, 60, 50), (100, 80, 70))
    image, _ = scene(blocks={"liver": LIVER, "spleen": SPLEEN, "lesion": spot})
    kept = []
    for sensitivity in (0.5, 0.9):
        plan = Plan((*BOTH, LESION), lesion_sensitivity=sensitivity)
        (likely,) = run_cascade(image, stages_with(lesions=True), plan, quiet).lesion_probability
        kept.append(likely.array)
    assert np.array_equal(*kept) and 0.99 < kept[0].max() <= 1 and kept[0].min() < 0.01


def test_the_lesion_stage_sees_the_box_of_the_organs(looks: Looks) -> None:
    image, truth = scene()
    run_cascade(image, stages_with(lesions=True), Plan((LESION,)), quiet)
    needed, region = Box.of_mask(truth.array), boxes(looks, "lesions")[0]
    assert needed is not None and region.intersect(needed) == needed
    assert region != Box.of_shape(image.geometry.shape)


def test_the_plans_step_is_that_of_organs_and_lesions(looks: Looks) -> None:
    image, _ = scene()
    run_cascade(image, stages_with(lesions=True), Plan(BOTH, 1.0), quiet)
    assert [(name, step) for name, _, step in looks] == [
        ("localiser", None),
        ("organs", 1.0),
        ("lesions", 1.0),
    ]


def test_stages_are_told_in_order_each_up_to_one() -> None:
    told: list[tuple[str, float]] = []
    stages = stages_with(lesions=True)
    image, _ = scene()
    run_cascade(image, stages, Plan(BOTH), lambda *step: told.append(step))
    names = list(dict.fromkeys(name for name, _ in told))
    assert tuple(names) == stages.stage_names == ("localise", "organs", "labels", "lesions")
    for name in names:
        shares = [share for stage, share in told if stage == name]
        assert shares == sorted(shares) and shares[-1] == 1.0


def test_what_stops_a_run_comes_through() -> None:
    class Stop(Exception):
        pass

    def stop(stage: str, share: float) -> None:
        del share
        if stage == "organs":
            raise Stop

    with pytest.raises(Stop):
        run_cascade(scene()[0], stages_with(), Plan(BOTH), stop)


@pytest.mark.parametrize("thick", [1.0, 2.0, 5.0, 7.5, 10.0])
def test_slices_of_1_to_10_mm(thick: float) -> None:
    image, truth = scene((thick, 2.5, 2.5))
    found = run_cascade(image, stages_with(), Plan(BOTH), quiet).organs
    for number in (LIVER_ID, SPLEEN_ID):
        assert dsc(found, truth, number) > 0.9


def test_part_of_an_abdomen_is_enough() -> None:
    image, truth = scene()
    half = Box((0, 0, 0), (22, image.geometry.shape[1], image.geometry.shape[2]))
    found = run_cascade(image.crop(half), stages_with(), Plan(BOTH), quiet).organs
    assert dsc(found, truth.crop(half), LIVER_ID) > 0.95


def groups() -> Iterator[tuple[tuple[Organ, ...], str]]:
    yield ORGANS, "No abdominal organ"
    yield (*ORGANS, LESION), "No abdominal organ"
    yield (organ("liver"), organ("left_kidney")), "liver, left kidney"


@pytest.mark.parametrize(("organs", "words"), list(groups()))
def test_what_was_not_found_is_named(organs: tuple[Organ, ...], words: str) -> None:
    told = str(nothing_found(organs, Geometry((100, 400, 400), (5.0, 0.8, 0.8))))
    assert words in told and told.endswith("nothing was written.")


def test_a_scan_too_short_to_judge_says_so_where_nothing_was_found() -> None:
    told = str(nothing_found(ORGANS, Geometry((2, 400, 400), (10.0, 0.8, 0.8))))
    assert "nothing was written. The scan is only 20 mm long: below 80 mm" in told
