"""Bright lesions of a stage that learned dark ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flare_core.anatomy.organs import LESION, organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import ContrastLook, NetworkSpec, OrganMask, SecondLook, StageCard
from flare_core.segment import lesion_edges, second_look
from flare_core.segment.cascade import Found, Plan, add_lesions
from flare_core.segment.lesion_edges import OrganHu, smoothed
from flare_core.segment.lesion_scores import moved_card
from flare_core.segment.lesions import Piece
from flare_core.segment.second_look import (
    axes_mm,
    beyond,
    box_of_blobs,
    bright_scores,
    is_lesion,
    touches,
)
from flare_core.segment.stage import LoadedStage, SeenOrgans, run_on_organs
from stub_models import RUNTIME, stage_card

SHAPE = (40, 72, 72)
MM = (3.0, 1.5, 1.5)
LIVER_HU, LIVER_ID = 100.0, organ("liver").id
GRID = Geometry(SHAPE, MM)
Mask = np.ndarray


class Dark(nn.Module):
    """A network that learned dark lesions: 0 where the input is 20 HU below the liver."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.head = nn.Conv3d(spec.input_channels, spec.output_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, Z, Y, X) to (B, 1, Z, Y, X); air around the organs is nothing."""
        return torch.where(x < -1, -50.0, self.head(x))


def card(**changes: object) -> StageCard:
    """A lesion stage that is shown the liver alone and looks twice."""
    made = stage_card(
        "lesions", ("lesion",), regions=True, spacing_mm=MM, patch=SHAPE, least_ml=0.5, peak=0.9,
        mask=OrganMask(("liver",), outside_hu=-200.0), second_look=SecondLook(),
    )  # fmt: skip
    made = replace(made, network=replace(made.network, kind="dark"))
    return replace(made, **changes)  # type: ignore[arg-type]


def stage(made: StageCard | None = None) -> LoadedStage:
    """That stage: a logit of 0 at 80 HU, of 20 at 60 HU, of -20 at 100 HU."""
    made = made or card()
    network = Dark(made.network)
    head = {"weight": torch.full((1, 1, 1, 1, 1), -100.0), "bias": torch.tensor([80.0])}
    network.head.load_state_dict(head)
    return LoadedStage(made, (RUNTIME.place(network),), RUNTIME)


def ball(centre_mm: Sequence[float], radius_mm: float) -> Mask:
    """A ball in the grid, from its corner."""
    places = zip(np.indices(SHAPE), MM, centre_mm, strict=True)
    return np.asarray(sum((n * mm - c) ** 2 for n, mm, c in places) <= radius_mm**2)


def tube(radius_mm: float, *, z_mm: float = 60.0, y_mm: float = 75.0) -> Mask:
    """A vessel through the liver from side to side."""
    z, y, x = (n * mm for n, mm in zip(np.indices(SHAPE), MM, strict=True))
    return np.asarray(((z - z_mm) ** 2 + (y - y_mm) ** 2 <= radius_mm**2) & (x > 10) & (x < 100))


LIVER = np.zeros(SHAPE, bool)
LIVER[4:-4, 6:-6, 6:-6] = True
NODULE = ball((60, 30, 40), 9.0)
VESSEL = tube(6.0)
FEEDER = tube(6.0, y_mm=30.0)
DARK = ball((60, 60, 80), 9.0)


def scan(**parts: float) -> tuple[Volume, Volume]:
    """A liver with some of the parts above, each so many HU above it, and its labels."""
    hu = np.where(LIVER, LIVER_HU, -50.0)
    for name, change in parts.items():
        hu[globals()[name.upper()]] += change
    labels = np.where(LIVER, LIVER_ID, 0).astype(np.uint8)
    return Volume(hu.astype(np.int16), GRID), Volume(labels, GRID)


def lesions(
    image: Volume,
    organs: Volume,
    made: StageCard | None = None,
    *,
    plan: Plan | None = None,
    notify: Callable[[str, float], None] = lambda name, share: None,
) -> Mask:
    """Where the stage finds lesions."""
    found = add_lesions(image, Found(organs), stage(made), plan or Plan((LESION,)), notify)
    assert found.lesions is not None
    return np.asarray(found.lesions.array)


def seen_of(image: Volume, organs: Volume) -> SeenOrgans:
    """What the stage would be shown."""
    return SeenOrgans(image.array.astype(np.float32), LIVER, organs.array, GRID)


def overlap(one: Mask, other: Mask) -> float:
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + other.sum()))


def test_a_bright_nodule_is_found_and_a_vessel_as_bright_is_not() -> None:
    image, organs = scan(nodule=40, vessel=40)
    found = lesions(image, organs)
    assert overlap(found, NODULE) > 0.9
    assert not found[VESSEL].any()


def test_without_a_second_look_only_dark_lesions_are_found() -> None:
    image, organs = scan(nodule=40, dark=-40)
    found = lesions(image, organs, card(second_look=None))
    assert overlap(found, DARK) > 0.9 and not found[NODULE].any()
    both = lesions(image, organs)
    assert np.array_equal(both & ~NODULE, found & ~NODULE)
    assert overlap(both, NODULE | DARK) > 0.9


def test_its_probability_is_the_second_looks() -> None:
    image, organs = scan(nodule=40)
    found = add_lesions(image, Found(organs), stage(), Plan((LESION,)), lambda name, share: None)
    (likely,) = found.lesion_probability
    inside = likely.geometry.voxel_to_lps(np.argwhere(np.asarray(likely.array, np.float32) > 0.5))
    there = np.rint(GRID.lps_to_voxel(inside)).astype(int)
    assert NODULE[tuple(there.T)].mean() > 0.9 and len(there) > 0.9 * NODULE.sum()


@pytest.mark.parametrize(
    ("parts", "looks"), [({}, 1), ({"vessel": 40}, 1), ({"dark": -40}, 1), ({"nodule": 40}, 2)]
)
def test_only_a_scan_with_something_bright_and_compact_is_looked_at_again(
    parts: dict[str, float], looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[float] = []
    original = Dark.forward

    def counted(self: Dark, x: Tensor) -> Tensor:
        ran.append(float(x.mean()))
        return original(self, x)

    monkeypatch.setattr(Dark, "forward", counted)
    lesions(*scan(**parts))
    assert len(ran) == looks


def test_a_bright_part_below_the_least_rise_is_none() -> None:
    assert lesions(*scan(nodule=40), card(second_look=SecondLook(least_rise_hu=30.0))).any()
    assert not lesions(*scan(nodule=40), card(second_look=SecondLook(least_rise_hu=39.0))).any()


def test_what_goes_on_may_be_allowed() -> None:
    """A vessel as bright as half a nodule goes through it; the network marks the nodule alone."""
    image, organs = scan(feeder=19)
    image.array[NODULE] = LIVER_HU + 34
    rows = [card(second_look=SecondLook(most_beyond=share)) for share in (0.25, 100.0)]
    assert [bool(lesions(image, organs, row)[NODULE].any()) for row in rows] == [False, True]


def test_a_small_one_is_none() -> None:
    assert not lesions(*scan(nodule=40), card(least_ml=5.0)).any()


def test_what_touches_a_first_lesion_is_left_to_it() -> None:
    """A dark tumour with a bright rim is one lesion, of the first look; a nodule is another."""
    image, organs = scan(dark=-40, nodule=40)
    rim = ball((60, 60, 80), 13.0) & ~DARK
    image.array[rim] += 60
    found = lesions(image, organs)
    assert overlap(found, DARK | NODULE) > 0.85 and not found[rim].any()


def test_sensitivity_moves_its_peak() -> None:
    """The nodule's probability is .95: enough in the card's way, too little for a cautious one."""
    rise = 20 + math.log(0.95 / 0.05)
    image, organs = scan(nodule=rise)
    image = image.with_array(np.where(NODULE, LIVER_HU + rise, image.array).astype(np.float32))
    assert lesions(image, organs).any()
    assert not lesions(image, organs, plan=Plan((LESION,), lesion_sensitivity=0.2)).any()
    moved = moved_card(card(), 0.2)
    assert moved.second_look is not None and 0.9 < moved.second_look.peak < 1
    assert moved_card(card(), None) == card()
    assert moved_card(card(second_look=None), 0.2).second_look is None


def test_progress_never_falls_and_a_stop_in_the_second_look_comes_through() -> None:
    told: list[float] = []
    lesions(*scan(nodule=40), notify=lambda name, share: told.append(share))
    assert told == sorted(told) and told[-1] == 1.0 and 0.5 in told

    class Stopped(Exception):
        pass

    def stop(name: str, share: float) -> None:
        if share > 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        lesions(*scan(nodule=40), notify=stop)


def test_growth_and_both_looks_share_what_they_need_of_the_hu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Smoothing a liver takes a second or two of a slow core."""
    asked: list[str] = []

    def counted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def told(*given: object) -> object:
            asked.append(name)
            return real(*given)

        return told

    for name in ("smoothed", "median_hu"):
        monkeypatch.setattr(lesion_edges, name, counted(name, getattr(lesion_edges, name)))
    made = card(growth_mm=6.0, contrast_look=ContrastLook(median_hu=110.0, below_hu=105.0))
    assert lesions(*scan(nodule=40, dark=-40), made).any()
    assert sorted(asked) == ["median_hu", "smoothed"]


def test_threads_change_nothing() -> None:
    image, organs = scan(nodule=40, vessel=40, dark=-40)
    before = torch.get_num_threads()
    made = card(growth_mm=6.0, patch=(24, 32, 32))
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            runs = replace(stage(made), runtime=replace(RUNTIME, threads=threads))
            one = add_lesions(image, Found(organs), runs, Plan((LESION,)), lambda name, share: None)
            assert one.lesions is not None
            found.append((one.lesions.array, one.lesion_probability[0].array))
    finally:
        torch.set_num_threads(before)
    assert found[0][0][NODULE | DARK].mean() > 0.8
    assert np.array_equal(found[0][0], found[1][0]) and np.array_equal(found[0][1], found[1][1])


def test_nothing_is_found_where_its_organ_is_not() -> None:
    image, organs = scan(nodule=40)
    seen = replace(seen_of(image, organs), organs=np.zeros(SHAPE, np.uint8))
    assert bright_scores(stage(), OrganHu(seen, stage().card), np.zeros(SHAPE, bool)) is None


def test_scores_of_what_is_not_found_are_minus_infinity() -> None:
    image, organs = scan(nodule=40)
    hu = OrganHu(seen_of(image, organs), stage().card)
    scores = bright_scores(stage(), hu, np.zeros(SHAPE, bool))
    assert scores is not None
    above = (scores > 0).numpy()
    assert np.array_equal(above, NODULE)
    finite = torch.isfinite(scores).numpy()
    assert finite[above].all() and 1 < finite.sum() / above.sum() < 3


@pytest.mark.parametrize(("around_mm", "everywhere"), [(12.0, False), (45.0, True)])
def test_it_looks_around_what_is_bright_and_compact_or_where_that_is_much_everywhere(
    monkeypatch: pytest.MonkeyPatch, around_mm: float, everywhere: bool
) -> None:
    """For one nodule the second look had cost as much as the first."""
    shown: list[tuple[int, ...]] = []
    real = lesion_edges.run_on_organs

    def noted(stage: LoadedStage, seen: SeenOrgans, **given: object) -> object:
        shown.append(seen.hu.shape)
        return real(stage, seen, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(lesion_edges, "run_on_organs", noted)
    monkeypatch.setattr(second_look, "AROUND_MM", around_mm)
    seen = seen_of(*scan(nodule=40))
    scores = bright_scores(stage(), OrganHu(seen, stage().card), np.zeros(SHAPE, bool))
    assert scores is not None and scores.shape == SHAPE
    assert np.array_equal((scores > 0).numpy(), NODULE)
    box = Box.of_mask(NODULE)
    assert box is not None
    (size,) = shown
    if everywhere:
        assert size == SHAPE
        return
    reach = [math.ceil(around_mm / mm) for mm in MM]
    blurred = [round(9.0 / mm) for mm in MM]  # the smoothed nodule is larger than itself
    for n, own, far, more in zip(size, box.shape, reach, blurred, strict=True):
        assert own + far <= n <= own + 2 * (far + more)


def test_two_nodules_far_apart_are_both_looked_at() -> None:
    one, other = NODULE, ball((90, 70, 70), 9.0)
    box = box_of_blobs(
        rise_of(one | other), LIVER, np.zeros(SHAPE, bool), spacing_mm=MM, least_ml=0.5
    )
    assert box is not None
    inside = np.zeros(SHAPE, bool)
    inside[box.slices] = True
    assert inside[one].mean() > 0.9 and inside[other].mean() > 0.9


def test_the_first_look_at_what_is_seen_is_run_stages() -> None:
    seen = seen_of(*scan(dark=-40))
    logits = run_on_organs(stage(), seen).logits[0]
    assert np.array_equal((logits > 0).numpy(), DARK)
    assert logits[~torch.from_numpy(LIVER)].max() < -100


def rise_of(mask: Mask, hu: float = 40.0) -> np.ndarray:
    return smoothed(np.where(mask, np.float32(hu), np.float32(0)), LIVER, MM)


def piece_of(mask: Mask) -> Piece:
    start, stop = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0) + 1
    z, y, x = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return Piece((z, y, x), mask[z, y, x])


def test_what_goes_on_is_told_from_the_pieces_own_edge() -> None:
    assert beyond(piece_of(NODULE), rise_of(NODULE), MM) == 0
    part = VESSEL.copy()
    part[:, :, :30] = part[:, :, 40:] = False  # 15 of 90 mm
    goes_on = beyond(piece_of(part), rise_of(VESSEL), MM)
    assert 1.5 < goes_on < 2.5  # 20 mm to each side but for the first 4, of a piece of 15 mm
    assert not is_lesion(piece_of(part), rise_of(VESSEL), seen_of(*scan()), SecondLook())


@pytest.mark.parametrize(
    ("mask", "inside", "first", "expected"),
    [
        (NODULE, LIVER, None, True),
        (VESSEL, LIVER, None, False),
        (ball((60, 30, 40), 3.0), LIVER, None, False),  # .1 mL
        (NODULE, LIVER & ~ball((60, 30, 40), 12.0), None, False),
        (NODULE, LIVER, NODULE, False),
        (ball((60, 55, 55), 40.0), LIVER, None, False),  # most of the liver
    ],
)
def test_a_blob_is_bright_compact_in_the_organ_and_not_found_yet(
    mask: Mask, inside: Mask, first: Mask | None, expected: bool
) -> None:
    known = np.zeros(SHAPE, bool) if first is None else first
    found = box_of_blobs(rise_of(mask), inside, known, spacing_mm=MM, least_ml=0.5)
    assert (found is not None) is expected
    low = box_of_blobs(rise_of(mask, 8.0), inside, known, spacing_mm=MM, least_ml=0.5)
    assert low is None


def test_the_axes_of_an_ellipsoid_are_nine_tenths_of_its_own() -> None:
    long, broad, thin = axes_mm(NODULE, MM)
    assert long >= broad >= thin
    assert (long * broad * thin) ** (1 / 3) == pytest.approx(0.894 * 18, rel=0.05)


def test_pieces_touch_across_edges_and_corners() -> None:
    one, other = np.zeros((2, *SHAPE), bool)
    one[10:12, 10:12, 10:12] = True
    other[12, 12, 12] = True
    assert touches(piece_of(one), other)
    assert not touches(piece_of(one), np.roll(other, 1, axis=0))


@pytest.mark.parametrize(
    ("field", "value"),
    [("peak", 1.0), ("peak", 0.0), ("least_rise_hu", 0.0), ("most_beyond", -0.1)],
)
def test_a_card_says_what_is_legal(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"second_look: {field}"):
        SecondLook(**{field: value})
