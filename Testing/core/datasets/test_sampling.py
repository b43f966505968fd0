"""Patches: organs evenly, annotated ones only, inside the scan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flare_core.datasets.cache import Sample
from flare_core.datasets.case import Case
from flare_core.datasets.sampling import REMNANT, PatchSampler
from flare_core.errors import InputError
from sample_arrays import sample_of_arrays

SHAPE = (40, 60, 64)
PATCH = (8, 12, 16)
LIVER, SPLEEN, ADRENAL, LESION = 1, 3, 7, 14
BLOCKS = {
    LIVER: (slice(5, 30), slice(5, 40), slice(4, 28)),
    SPLEEN: (slice(10, 25), slice(40, 55), slice(44, 60)),
    ADRENAL: (slice(20, 22), slice(30, 32), slice(36, 38)),
}


def sample(name: str, organs: dict, annotated: tuple[str, ...], weight: float = 1.0) -> Sample:
    labels = np.zeros(SHAPE, np.uint8)
    for organ_id, block in organs.items():
        labels[block] = organ_id
    case = Case(name, Path(name), annotated=annotated, weight=weight)
    return sample_of_arrays(case, np.zeros(SHAPE, np.int16), labels, (3.0, 2.0, 2.0))


ALL_THREE = ("liver", "spleen", "right_adrenal_gland")


def nearest_organ(centre: np.ndarray) -> int:
    """The organ whose block is nearest; jitter keeps a patch within a quarter of its size."""

    def away(block: tuple[slice, ...]) -> float:
        gaps = [max(b.start - c, c - (b.stop - 1), 0.0) for b, c in zip(block, centre, strict=True)]
        return float(np.linalg.norm(gaps))

    return min(BLOCKS, key=lambda organ_id: away(BLOCKS[organ_id]))


def test_organs_are_drawn_evenly_whatever_their_size() -> None:
    """The adrenal has a thousandth of the liver's voxels and as many patches."""
    patch = (1, 1, 1)  # no jitter to speak of
    random = np.random.default_rng(3)
    sampler = PatchSampler([sample("a", BLOCKS, ALL_THREE)], patch, centred=1.0)
    seen = Counter(nearest_organ(sampler.draw(random).centre) for _ in range(1200))
    assert all(seen[o] == pytest.approx(400, abs=70) for o in BLOCKS)


@pytest.mark.parametrize("centred", [0.0, 0.7, 1.0])
def test_the_rest_lies_anywhere(centred: float) -> None:
    one = sample("a", {ADRENAL: BLOCKS[ADRENAL]}, ALL_THREE)
    random = np.random.default_rng(3)
    sampler = PatchSampler([one], (1, 1, 1), centred=centred)
    centres = np.array([sampler.draw(random).centre for _ in range(1000)])
    hits = np.all((centres >= (19.5, 29.5, 35.5)) & (centres <= (22.5, 32.5, 38.5)), axis=1)
    assert hits.mean() == pytest.approx(centred, abs=0.05)
    others = centres[~hits]
    if len(others):
        assert np.all(others.min(axis=0) <= 5) and np.all(others.max(axis=0) >= np.array(SHAPE) - 6)


def test_only_annotated_organs_are_centred_on() -> None:
    """A label of an organ that the case does not annotate is no truth."""
    cases = [
        sample("a", BLOCKS, ("liver",)),
        sample("b", {SPLEEN: BLOCKS[SPLEEN]}, ("spleen", "liver")),
    ]
    random = np.random.default_rng(3)
    sampler = PatchSampler(cases, (1, 1, 1), centred=1.0)
    seen = Counter()
    for _ in range(400):
        location = sampler.draw(random)
        seen[location.sample.case.name, nearest_organ(location.centre)] += 1
    assert set(seen) == {("a", LIVER), ("b", SPLEEN)}


def test_remnants_do_not_count_as_holding_an_organ() -> None:
    z, y, x = BLOCKS[LIVER]
    rest = {LIVER: (slice(z.start, z.start + 1), y, x)}
    assert 1 / (z.stop - z.start) < REMNANT
    cases = [sample("whole", BLOCKS, ALL_THREE), sample("rest", rest, ALL_THREE)]
    random = np.random.default_rng(3)
    sampler = PatchSampler(cases, PATCH, centred=1.0)
    assert {sampler.draw(random).sample.case.name for _ in range(200)} == {"whole"}


def test_cases_are_drawn_by_weight() -> None:
    cases = [sample(n, BLOCKS, ALL_THREE, w) for n, w in (("a", 1.0), ("b", 3.0), ("c", 0.0))]
    for centred in (0.0, 1.0):
        random = np.random.default_rng(3)
        sampler = PatchSampler(cases, PATCH, centred=centred)
        seen = Counter(sampler.draw(random).sample.case.name for _ in range(1000))
        assert seen["b"] == pytest.approx(750, abs=50) and seen["c"] == 0


def test_nothing_to_draw_from_is_refused() -> None:
    for cases in ([], [sample("c", BLOCKS, ALL_THREE, 0.0)]):
        with pytest.raises(InputError, match="weight above 0"):
            PatchSampler(cases, PATCH)


def test_without_a_labelled_organ_patches_lie_anywhere() -> None:
    random = np.random.default_rng(3)
    sampler = PatchSampler([sample("a", {}, ALL_THREE)], PATCH, centred=1.0)
    centres = np.array([sampler.draw(random).centre for _ in range(100)])
    assert np.all(centres.std(axis=0) > 5)


@pytest.mark.parametrize("patch", [PATCH, (40, 60, 64), (1, 61, 90), (7, 11, 15)])
def test_patches_stay_inside_and_begin_at_a_voxel(patch: tuple[int, int, int]) -> None:
    random = np.random.default_rng(3)
    sampler = PatchSampler([sample("a", BLOCKS, ALL_THREE)], patch, centred=0.5)
    for _ in range(200):
        start = sampler.draw(random).centre - (np.array(patch) - 1) / 2
        assert np.array_equal(start, np.rint(start))
        room = np.array(SHAPE) - patch
        assert np.all(np.where(room >= 0, (start >= 0) & (start <= room), start == room // 2))


def test_centred_patches_show_their_organ() -> None:
    one = sample("a", {ADRENAL: BLOCKS[ADRENAL]}, ALL_THREE)
    random = np.random.default_rng(3)
    sampler = PatchSampler([one], PATCH, centred=1.0)
    starts = []
    for _ in range(200):
        start = np.rint(sampler.draw(random).centre - (np.array(PATCH) - 1) / 2).astype(int)
        block = tuple(slice(a, a + n) for a, n in zip(start, PATCH, strict=True))
        assert (one.labels[block] == ADRENAL).any()
        starts.append(start)
    assert np.all(np.std(starts, axis=0) > 0.5)  # jittered


def test_the_seed_decides() -> None:
    cases = [sample("a", BLOCKS, ALL_THREE), sample("b", BLOCKS, ALL_THREE)]

    def draws(seed: int) -> list:
        sampler, random = PatchSampler(cases, PATCH), np.random.default_rng(seed)
        return [(d.sample.case.name, *d.centre) for d in (sampler.draw(random) for _ in range(20))]

    assert draws(4) == draws(4) != draws(5)


def test_organs_that_the_network_does_not_learn_draw_nothing() -> None:
    cases = [sample("a", BLOCKS, ALL_THREE)]
    random = np.random.default_rng(1)
    sampler = PatchSampler(cases, (1, 1, 1), organs=("spleen", "lesion"), centred=1.0)
    seen = {nearest_organ(sampler.draw(random).centre) for _ in range(100)}
    assert seen == {SPLEEN}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_unlabelled_scans_are_drawn_as_often_as_asked_and_anywhere(share: float) -> None:
    """Whatever is written in their label array: nobody annotated it."""
    cases = [sample("a", BLOCKS, ALL_THREE), sample("bare", BLOCKS, ())]
    random = np.random.default_rng(4)
    sampler = PatchSampler(cases, (1, 1, 1), centred=1.0, unlabelled_share=share)
    draws = [sampler.draw(random) for _ in range(800)]
    bare = np.array([d.centre for d in draws if d.sample.case.name == "bare"])
    assert len(bare) / 800 == pytest.approx(share, abs=0.05)
    if len(bare):
        assert np.all(bare.std(axis=0) > 0.25 * np.array(SHAPE))


def test_a_case_with_other_organs_only_counts_as_unlabelled() -> None:
    cases = [sample("a", BLOCKS, ("liver",)), sample("b", BLOCKS, ("spleen",))]
    sampler = PatchSampler(cases, PATCH, organs=("liver",))
    assert [s.case.name for s in sampler.unlabelled.samples] == ["b"]


def test_a_small_lesion_is_no_remnant() -> None:
    large = {LESION: BLOCKS[LIVER]}
    small = {LESION: BLOCKS[ADRENAL]}
    cases = [sample(name, blocks, ("lesion",)) for name, blocks in (("a", large), ("b", small))]
    random = np.random.default_rng(2)
    sampler = PatchSampler(cases, PATCH, centred=1.0)
    seen = Counter(sampler.draw(random).sample.case.name for _ in range(200))
    assert seen["b"] > 60


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.25)])
def test_complete_labels_are_drawn_as_often_as_asked(share: float, expected: float) -> None:
    """Without being asked, by weight: here liver and spleen are as often drawn as each other."""
    cases = [sample("full", BLOCKS, ("liver", "spleen"))]
    cases += [sample(str(n), BLOCKS, (key,)) for n, key in enumerate(("liver", "spleen") * 3)]
    random = np.random.default_rng(4)
    organs = ("liver", "spleen")
    sampler = PatchSampler(cases, PATCH, organs=organs, centred=1.0, full_share=share)
    seen = [sampler.draw(random).sample.case.name == "full" for _ in range(800)]
    assert np.mean(seen) == pytest.approx(expected, abs=0.05)
    alone = PatchSampler(cases[1:], PATCH, organs=organs, full_share=share)
    assert {alone.draw(random).sample.case.name for _ in range(200)} == set("012345")


def test_patches_may_be_centred_on_other_organs_than_are_learned() -> None:
    """A lesion network whose lesions are synthetic looks where they will be painted."""
    which = sample("a", BLOCKS, (*ALL_THREE, "lesion"))
    sampler = PatchSampler([which], (1, 1, 1), organs=("lesion",), centres=("spleen",), centred=1.0)
    random = np.random.default_rng(0)
    found = {nearest_organ(sampler.draw(random).centre) for _ in range(20)}
    assert found == {SPLEEN}


def test_all_patches_of_a_batch_come_from_one_set_drawn_by_its_size() -> None:
    only_liver = [sample(f"l{i}", BLOCKS, ("liver",)) for i in range(3)]
    others = [sample("s", BLOCKS, ("liver", "spleen")), sample("all", BLOCKS, ALL_THREE)]
    bare = sample("bare", {}, ())
    sampler = PatchSampler(
        [*only_liver, *others, bare], PATCH, organs=ALL_THREE, unlabelled_share=0.5
    )
    seen: Counter[tuple[str, ...]] = Counter()
    for step in range(600):
        drawn = [
            sampler.draw(np.random.default_rng((step, i)), np.random.default_rng(step))
            for i in range(3)
        ]
        (keys,) = {each.sample.case.annotated for each in drawn}
        seen[keys] += 1
    assert seen[()] == pytest.approx(300, abs=50)
    assert seen[("liver",)] == pytest.approx(180, abs=40)
    assert seen[("liver", "spleen")] == pytest.approx(60, abs=25) and seen[ALL_THREE] > 30


def test_one_set_of_the_partly_labelled_where_full_ones_have_their_share() -> None:
    cases = [sample("l", BLOCKS, ("liver",)), sample("s", BLOCKS, ("spleen",))]
    sampler = PatchSampler(
        [*cases, sample("all", BLOCKS, ALL_THREE)], PATCH, organs=ALL_THREE, full_share=0.5
    )
    names = Counter(
        sampler.draw(np.random.default_rng(i), np.random.default_rng(i)).sample.case.name
        for i in range(400)
    )
    assert names["all"] == pytest.approx(200, abs=40)
    assert names["l"] == pytest.approx(100, abs=35)
