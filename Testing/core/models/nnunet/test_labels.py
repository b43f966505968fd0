from __future__ import annotations

from typing import Any

import pytest

from flare_core.anatomy.organs import ORGANS
from flare_core.errors import InputError
from flare_core.models.nnunet.labels import channels_of, mapped, organ_of
from nnunet_folders import dataset


def test_labels_become_organs_by_name_whatever_their_order() -> None:
    found = channels_of(
        dataset(labels={"Pancreas": 3, "background": 0, "lung_left": 1, "kidney_left": [2]})
    )
    assert found.labels == ("background", "other:lung_left", "left_kidney", "pancreas")
    assert found.values == (0, 1, 2, 3) and not found.regions
    assert found.organs == ("left_kidney", "pancreas")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("IVC", "inferior_vena_cava"),
        ("postcava", "inferior_vena_cava"),
        ("gall_bladder", "gallbladder"),
        ("adrenal_gland_left", "left_adrenal_gland"),
        ("Right-Kidney", "right_kidney"),
        ("tumor", "lesion"),
        ("Kidney (R)", "right_kidney"),
        ("kidney right", "right_kidney"),
        ("Kidney, left", "left_kidney"),
        ("L. Kidney", "left_kidney"),
        ("KidneyRight", "right_kidney"),
        ("Adrenal gland [left]", "left_adrenal_gland"),
        ("Rt_suprarenal_gland", "right_adrenal_gland"),
        ("Inferior vena cava (IVC)", "inferior_vena_cava"),
        ("vena cava, inferior", "inferior_vena_cava"),
        ("Liver (Hepar)", "liver"),
        ("Liver (segment 4)", None),
        ("liver_left", None),
        ("kidney cyst (R)", None),
        ("Kidneys (L+R)", None),
        ("left right kidney", None),
        ("aorta (liver)", None),
        ("Leber", None),
        ("(", None),
        ("", None),
        ("5", None),
        ("kidney", None),
        ("heart", None),
    ],
)
def test_names_seen_in_public_models(name: str, key: str | None) -> None:
    assert organ_of(name) == key


def test_every_organ_is_known_by_its_own_name() -> None:
    assert [organ_of(each.name) for each in ORGANS] == [each.key for each in ORGANS]


def test_a_person_corrects_the_map_by_name_or_number() -> None:
    labels = {"background": 0, "leber": 1, "spleen": 2, "thing": 3}
    label_map = {"leber": "liver", "2": None, "3": "ivc"}
    found = channels_of(dataset(labels=labels), label_map)
    assert found.labels == ("background", "liver", "other:spleen", "inferior_vena_cava")


def test_regions_keep_their_order_and_what_is_painted_last() -> None:
    labels = {"background": 0, "kidney_right": [1, 2], "cyst": 2, "ignore": 3}
    found = channels_of(dataset(labels=labels, regions_class_order=[1, 2]))
    assert found.regions and found.labels == ("right_kidney", "other:cyst")
    assert found.values == (1, 2)


@pytest.mark.parametrize(
    ("described", "label_map", "named"),
    [
        (dataset(labels={"background": 0, "heart": 1}), None, "heart"),
        (dataset(labels={"background": 0, "liver": 2}), None, "without gaps"),
        (dataset(labels={"background": 0, "liver": 1}), {"spleen": "spleen"}, "label map"),
        (dataset(labels={"background": 0, "liver": 1}), {"liver": "lever"}, "liver"),
        (dataset(labels={"background": 0, "liver": 1, "hepar": 2}), None, "liver for liver, hepar"),
        (dataset(labels={"background": 0, "a": [1, 2], "b": 2}), None, "regions_class_order"),
        (dataset(channel_names={"0": "T1", "1": "T2"}), None, "one channel"),
        (dataset(labels={"background": 0, "liver": "1"}), None, "whole number"),
        ({"channel_names": {"0": "CT"}}, None, "no field labels"),
    ],
)
def test_what_does_not_make_sense_is_refused(
    described: dict[str, Any], label_map: dict[str, str | None] | None, named: str
) -> None:
    with pytest.raises(InputError) as error:
        channels_of(described, label_map)
    assert named in str(error.value)


def test_no_organ_at_all_says_which_labels_there_are() -> None:
    with pytest.raises(InputError, match="label map") as error:
        mapped(["background", "label 1"], [0, 1])
    assert error.value.parts[1] == "background, label 1"
    assert mapped(["background", "label 1"], [0, 1], {"1": "liver"}).organs == ("liver",)
