"""Numbers of other label files: each edition by hand, and what must not be guessed."""

from __future__ import annotations

import pytest

from flare_core.anatomy.label_schemes import (
    FLARE21,
    FLARE22,
    FLARE23,
    FLARE24_TASK1,
    SCHEMES,
    TOTALSEGMENTATOR,
    TOTALSEGMENTATOR_ORGANS,
    TOTALSEGMENTATOR_V1,
    TOTALSEGMENTATOR_VESSELS,
    scheme,
)
from flare_core.anatomy.organs import ALL_TARGETS, ORGANS, organ
from flare_core.errors import InputError


def test_flare22_numbers_are_ours():
    assert FLARE22.to_organ_ids(range(14)) == {n: n for n in range(14)}


def test_flare23_adds_the_lesion_and_is_partial():
    assert FLARE23.to_organ_ids([14]) == {14: 14}
    assert FLARE23.partial
    assert not FLARE22.partial
    assert set(FLARE23.annotated) - set(FLARE22.annotated) == {"lesion"}


def test_flare24_task1_has_lesions_only():
    assert FLARE24_TASK1.to_organ_ids([0, 1]) == {0: 0, 1: 14}
    assert FLARE24_TASK1.annotated == ("lesion",)
    with pytest.raises(InputError, match="label value 2"):
        FLARE24_TASK1.to_organ_ids([0, 1, 2])


def test_flare21_merges_the_kidneys_and_says_so():
    assert FLARE21.merged == {2: ("right_kidney", "left_kidney")}
    assert set(FLARE21.annotated) == {
        "liver", "right_kidney", "left_kidney", "spleen", "pancreas",
    }  # fmt: skip
    with pytest.raises(InputError, match="right_kidney and left_kidney in one"):
        FLARE21.to_organ_ids([0, 1, 2])
    assert FLARE21.to_organ_ids([0, 1, 2], sides_follow=True) == {0: 0, 1: 1, 2: 2}
    assert FLARE21.to_organ_ids([0, 1, 3, 4]) == {0: 0, 1: 1, 3: 3, 4: 4}


def test_totalsegmentator_total():
    wanted = {5: 1, 2: 2, 1: 3, 7: 4, 52: 5, 63: 6, 8: 7, 9: 8, 4: 9, 15: 10, 6: 11, 19: 12, 3: 13}
    found = TOTALSEGMENTATOR.to_organ_ids(range(118))
    assert {k: v for k, v in found.items() if v} == wanted
    assert found[117] == 0


def test_totalsegmentator_parts_and_first_version():
    organs = {k: v for k, v in TOTALSEGMENTATOR_ORGANS.to_organ_ids(range(25)).items() if v}
    assert sorted(organs.values()) == [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13]
    assert "aorta" not in TOTALSEGMENTATOR_ORGANS.annotated
    assert TOTALSEGMENTATOR_VESSELS.to_organ_ids([2, 13, 18]) == {2: 5, 13: 6, 18: 0}
    first = TOTALSEGMENTATOR_V1.to_organ_ids([7, 8, 10, 42, 56, 104])
    assert first == {7: 5, 8: 6, 10: 4, 42: 10, 56: 12, 104: 0}


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_is_sound(name):
    found = scheme(name)
    assert found.key == name
    numbers = [number for number, _ in found.organs]
    keys = [key for _, group in found.organs for key in group]
    assert len(set(numbers)) == len(numbers)
    assert len(set(keys)) == len(keys)
    assert sorted(keys) == sorted(found.annotated)
    assert all(0 < number <= found.highest for number in numbers)
    assert {organ(key).key for key in keys} == set(keys)


@pytest.mark.parametrize("name", SCHEMES)
def test_there_and_back(name):
    found = scheme(name)
    back = found.from_organ_ids()
    assert set(back) == {0} | {x.id for x in ALL_TARGETS}
    for number, keys in found.organs:
        for key in keys:
            assert back[organ(key).id] == number
    absent = {x.id for x in ALL_TARGETS} - {organ(key).id for key in found.annotated}
    assert all(back[number] == 0 for number in absent)


@pytest.mark.parametrize(("name", "value"), [("flare22", 14), ("flare22", -1), ("flare23", 15)])
def test_unknown_values_are_refused(name, value):
    with pytest.raises(InputError) as caught:
        scheme(name).to_organ_ids([0, 1, value])
    assert str(value) in caught.value.parts[1]


@pytest.mark.parametrize(
    "text", ["flare24_task1", "flare24-task1", "FLARE24-Task1", " flare24 task1"]
)
def test_a_scheme_is_known_however_its_name_is_written(text):
    assert scheme(text) is scheme("flare24_task1")


def test_unknown_scheme():
    with pytest.raises(InputError, match="flare22"):
        scheme("flare99")


def test_number_of():
    assert TOTALSEGMENTATOR.number_of("aorta") == 52
    assert FLARE22.number_of("lesion") is None
    assert [FLARE22.number_of(x.key) for x in ORGANS] == list(range(1, 14))
