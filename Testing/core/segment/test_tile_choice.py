"""Tiles that are not run: which, and that nothing is lost or invented by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flare_core.anatomy.organs import organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import NnunetGrids, Skipping
from flare_core.segment.cascade import Plan, Region, Stages, run_cascade, run_organs
from flare_core.segment.sliding_window import Tiling, predict_scores
from flare_core.segment.stage import run_stage
from flare_core.segment.tile_choice import own_parts, with_a_middle
from stub_models import LIVER, LOCALISER, ORGANS, RUNTIME, SPLEEN, Looks, dsc, loaded, quiet, scene

LIVER_ID = organ("liver").id
PATCH = (8, 8, 8)


class Bright(nn.Module):
    """Class 1 above 0; it remembers how many tiles it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.tiles = 0

    def forward(self, x: Tensor) -> Tensor:
        self.tiles += 1
        return torch.cat((-x, x), dim=1)


def image_with(*places: tuple[int, int, int], size: tuple[int, int, int] = (16, 24, 24)) -> Tensor:
    """Tissue of -1 in air's place, -2 at one corner, bright cubes of 4 voxels."""
    image = torch.full(size, -1.0)
    image[0, 0, 0] = -2.0
    for z, y, x in places:
        image[z : z + 4, y : y + 4, x : x + 4] = 1.0
    return image


def run(image: Tensor, **how: object) -> tuple[Tensor, int]:
    network = Bright()
    wanted = how.pop("wanted", None)
    tiling = Tiling(skipping=Skipping(**how) if how else None)
    scores = predict_scores([network], image, PATCH, 1.0, RUNTIME, tiling=tiling, wanted=wanted)
    return scores.argmax(dim=0), network.tiles


@pytest.mark.parametrize("size", [8, 9, 20, 57])
def test_own_parts_are_the_whole_and_each_lies_in_its_tile(size: int) -> None:
    starts = with_a_middle([0] if size == 8 else [0, size - 8])
    parts = own_parts(starts, 8, size)
    assert [i for a, b in parts.values() for i in range(a, b)] == list(range(size))
    if size < 24:
        assert all(start <= a and b <= start + 8 for start, (a, b) in parts.items())


def test_only_tiles_whose_own_part_is_wanted_are_run_and_the_rest_is_background() -> None:
    image = image_with((2, 2, 2), (2, 18, 18))
    everything, all_tiles = run(image)
    assert all_tiles == 18 and int(everything.sum()) == 128
    asked: list[Box] = []

    def wanted(box: Box) -> bool:
        asked.append(box)
        return not Box((0, 0, 0), (4, 4, 4)).intersect(box).empty

    found, tiles = run(image, wanted=wanted)
    assert tiles == 1 and int(found.sum()) == 64 and bool(found[2:6, 2:6, 2:6].all())
    assert sum(box.shape[0] * box.shape[1] * box.shape[2] for box in asked) == image.numel()


def test_boxes_that_are_asked_about_are_the_image_s_own_where_it_was_padded() -> None:
    asked: list[Box] = []
    image = image_with((0, 2, 2), size=(4, 24, 8))
    run(image, wanted=lambda box: asked.append(box) or True)
    assert [(box.start[1], box.stop[1]) for box in asked] == [(0, 8), (8, 16), (16, 24)]
    assert all(box.start[0] <= 0 and box.stop[0] >= 4 for box in asked)


def test_an_image_of_which_nothing_is_wanted_is_background() -> None:
    found, tiles = run(image_with((2, 2, 2)), wanted=lambda _: False)
    assert int(found.sum()) == 0 and tiles == 1


def test_the_middle_tile_decides_on_those_beside_it() -> None:
    corner, middle = (2, 2, 2), (10, 10, 10)
    found, tiles = run(image_with(corner, middle), centre_first="any", least_voxels=10)
    assert tiles == 2 + 8  # both middle tiles, and all beside the upper one
    assert int(found[:8].sum()) == 0 and int(found[8:].sum()) == 64
    few, tiles = run(image_with(corner, middle), centre_first="any", least_voxels=65)
    assert tiles == 2 and int(few.sum()) == 64


def test_edge_asks_for_something_that_leaves_the_middle_tile() -> None:
    inside, across = image_with((2, 10, 10)), image_with((2, 14, 10))
    assert run(inside, centre_first="edge", least_voxels=4)[1] == 2
    found, tiles = run(across, centre_first="edge", least_voxels=4)
    assert tiles == 2 + 8 and int(found.sum()) == 64


def test_there_is_a_middle_tile_where_there_were_two() -> None:
    found, tiles = run(image_with((2, 6, 6), size=(8, 16, 16)), centre_first="any", least_voxels=10)
    assert tiles == 9 and int(found.sum()) == 64


def test_where_the_middle_tile_is_not_wanted_it_decides_nothing() -> None:
    def wanted(box: Box) -> bool:
        return box.start == (0, 0, 0)

    found, tiles = run(image_with((2, 2, 2)), wanted=wanted, centre_first="any")
    assert tiles == 1 and int(found.sum()) == 64


def test_several_tiles_at_once_find_the_same() -> None:
    image = image_with((2, 2, 2), (10, 10, 10))
    threads = replace(RUNTIME, threads=2)
    many = Tiling(skipping=Skipping(centre_first="any", least_voxels=10), at_once=2)
    scores = predict_scores([Bright()], image, PATCH, 1.0, threads, tiling=many)
    assert torch.equal(scores.argmax(dim=0), run(image, centre_first="any", least_voxels=10)[0])


def test_progress_ends_with_one_though_tiles_were_left_out() -> None:
    told: list[float] = []
    tiling = Tiling(skipping=Skipping(centre_first="any", least_voxels=10))
    predict_scores(
        [Bright()], image_with((2, 2, 2)), PATCH, 1.0, RUNTIME, tiling=tiling, notify=told.append
    )
    assert told == sorted(told) and told[-1] == 1.0


def test_the_organ_stage_skips_what_is_far_from_the_localiser_s_organs() -> None:
    near = ((2.0, 2.0),) * 3
    plain = replace(ORGANS, patch=(16, 16, 16), tile_step=0.5, margin_mm=near)
    skips = replace(plain, skipping=Skipping(outside_region=True))
    apart = {"liver": ((20, 20, 20), (80, 70, 70)), "spleen": ((120, 110, 150), (180, 160, 210))}
    image, truth = scene((2.5, 1.5, 1.5), apart)
    plan = Plan((organ("liver"), organ("spleen")))
    counts, maps = [], []
    for card in (plain, skips):
        stage = loaded(card)
        seen: list[int] = []
        stage.networks[0].register_forward_hook(lambda *_, seen=seen: seen.append(1))
        maps.append(run_cascade(image, Stages(loaded(LOCALISER), stage), plan, quiet).organs)
        counts.append(len(seen))
    assert counts[1] < 0.7 * counts[0]
    assert np.array_equal(maps[0].array, maps[1].array)
    assert min(dsc(maps[1], truth, organ(key).id) for key in ("liver", "spleen")) > 0.95


def test_a_box_that_grew_is_looked_at_as_a_whole() -> None:
    """The localiser sees half of the liver; the other half is found where the box grew."""
    image, truth = scene()
    blind = np.array(image.array)
    blind[:, :, 20:34] = 0  # the liver's part beyond 60 mm
    rough = run_stage(loaded(LOCALISER), image.with_array(blind), Box.of_shape(image.array.shape))
    labels = rough.labels()
    cut = labels.with_array(np.where(labels.array == LIVER_ID, labels.array, 0))
    box = Box((8, 10, 6), (36, 40, 26))
    card = replace(ORGANS, patch=(16, 16, 16), skipping=Skipping(outside_region=True))
    scores, _ = run_organs(image, loaded(card), Region(box, cut), Plan((organ("liver"),)), quiet)
    found = scores.labels_on(image.geometry)
    assert dsc(found, truth, LIVER_ID) > 0.9


def test_a_whole_stage_sees_one_patch_whatever_the_region() -> None:
    card = replace(ORGANS, whole=True, patch=(48, 48, 64))
    seen: list[tuple[int, ...]] = []
    for spacing in ((4.0, 3.0, 3.0), (2.5, 1.5, 1.5)):
        stage = loaded(card)
        stage.networks[0].register_forward_hook(lambda _, x, __: seen.append(tuple(x[0].shape)))
        image, truth = scene(spacing, {"liver": LIVER, "spleen": SPLEEN})
        stages = Stages(loaded(LOCALISER), stage)
        found = run_cascade(image, stages, Plan((organ("liver"), organ("spleen"))), quiet).organs
        assert min(dsc(found, truth, organ(key).id) for key in ("liver", "spleen")) > 0.93
    assert set(seen) == {(1, 1, 48, 48, 64)} and len(seen) == 2


@pytest.mark.parametrize("changes", [{"whole": True}, {"skipping": Skipping(outside_region=True)}])
def test_nnunet_s_own_way_has_neither(changes: dict) -> None:
    with pytest.raises(InputError, match="nnunet"):
        replace(ORGANS, nnunet=NnunetGrids(), **changes)


def test_a_rule_nobody_knows_is_refused() -> None:
    with pytest.raises(InputError, match="centre_first"):
        Skipping(centre_first="corner")
    with pytest.raises(InputError, match="least_voxels"):
        Skipping(least_voxels=0)


def test_a_whole_localiser_sees_the_body_and_not_the_air_around_it(looks: Looks) -> None:
    image, _ = scene()
    wide = np.full((50, 90, 160), -1000, np.int16)
    wide[:, 20:80, 40:120] = image.array
    padded = Volume(wide, replace(image.geometry, shape=wide.shape))
    body, plan = Box((0, 20, 40), (50, 80, 120)), Plan((organ("liver"), organ("spleen")))
    for whole in (True, False):
        card = replace(LOCALISER, whole=whole)
        run_cascade(padded, Stages(loaded(card), loaded(ORGANS)), plan, quiet)
        seen = next(box for name, box, _ in reversed(looks) if name == "localiser")
        assert seen.intersect(body) == body
        assert (seen.shape == wide.shape) is not whole
