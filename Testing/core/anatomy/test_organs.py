"""The organ table against Slicer's terminology, and finding organs by name."""

from __future__ import annotations

import ast
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import flare_core.anatomy
from flare_core.anatomy.organs import (
    ALL_TARGETS,
    LEFT,
    LESION,
    ORGANS,
    RIGHT,
    counterpart,
    organ,
    parse_organs,
)
from flare_core.errors import InputError

R, L = "24028007", "7771000"
# id, key, SNOMED type, modifier, colour: Slicer's DICOM master list and GenericAnatomyColors.
SLICER = [
    (1, "liver", "10200004", None, (221, 130, 101)),
    (2, "right_kidney", "64033007", R, (185, 102, 83)),
    (3, "spleen", "78961009", None, (157, 108, 162)),
    (4, "pancreas", "15776009", None, (249, 180, 111)),
    (5, "aorta", "15825003", None, (224, 97, 76)),
    (6, "inferior_vena_cava", "64131007", None, (0, 151, 206)),
    (7, "right_adrenal_gland", "23451007", R, (249, 186, 150)),
    (8, "left_adrenal_gland", "23451007", L, (249, 186, 150)),
    (9, "gallbladder", "28231008", None, (139, 150, 98)),
    (10, "esophagus", "32849002", None, (211, 171, 143)),
    (11, "stomach", "69695003", None, (216, 132, 105)),
    (12, "duodenum", "38848004", None, (255, 253, 229)),
    (13, "left_kidney", "64033007", L, (185, 102, 83)),
    (14, "lesion", "4147007", None, (144, 238, 144)),
]


def test_table_is_slicers():
    ours = [
        (x.id, x.key, x.type_code.value, x.modifier and x.modifier.value, x.colour)
        for x in ALL_TARGETS
    ]
    assert ours == SLICER


def test_categories_and_scheme():
    assert {x.category.value for x in ORGANS} == {"123037004"}
    assert LESION.category.value == "49755003"
    codes = [c for x in ALL_TARGETS for c in (x.category, x.type_code, x.modifier) if c]
    assert {code.scheme for code in codes} == {"SCT"}
    assert all(code.meaning for code in codes)


def test_side_in_the_name_is_the_side_in_the_code():
    for target in ALL_TARGETS:
        side = {"right": RIGHT, "left": LEFT}.get(target.key.split("_")[0])
        assert target.modifier == side
        assert target.name == target.key.replace("_", " ").capitalize()


@pytest.mark.parametrize("name", ["kidney", "adrenal_gland"])
def test_counterparts(name):
    right, left = organ(f"right_{name}"), organ(f"left_{name}")
    assert counterpart(right) == left
    assert counterpart(left) == right


def test_only_paired_organs_have_a_counterpart():
    assert [x.id for x in ALL_TARGETS if counterpart(x)] == [2, 7, 8, 13]


def test_clean_up_rules():
    rules = {x.key: (x.clean_up.keep, x.clean_up.fraction) for x in ALL_TARGETS}
    largest = {key for key, rule in rules.items() if rule[0] == "largest"}
    assert largest == {"liver", "spleen", "right_adrenal_gland", "left_adrenal_gland"}
    for key in ("right_kidney", "gallbladder", "left_kidney", "aorta", "esophagus"):
        assert rules[key] == ("fraction", 0.1)
    assert rules["lesion"] == ("all", 0.0)


def test_ranges_hold_what_everybody_knows_and_name_their_source():
    normal_ml = {"liver": 1500, "spleen": 200, "pancreas": 75, "right_kidney": 160}
    for key, volume in normal_ml.items():
        low, high = organ(key).volume_range_ml
        assert low < volume < high
    for target in ALL_TARGETS:
        if target.volume_range_ml is None:
            assert target.range_source.startswith("No range")
        else:
            low, high = target.volume_range_ml
            assert 0 < low < high < 3 * 1500
            assert "20" in target.range_source  # a year


def test_organs_whose_volume_depends_on_the_scan_or_a_meal_have_no_range():
    missing = {x.key for x in ORGANS if x.volume_range_ml is None}
    cut = {"aorta", "inferior_vena_cava", "esophagus"}
    assert missing == cut | {"stomach", "duodenum", "gallbladder"}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("IVC", "inferior_vena_cava"),
        ("Inferior Vena-Cava", "inferior_vena_cava"),
        ("left kidney", "left_kidney"),
        ("kidney_left", "left_kidney"),
        ("OESOPHAGUS", "esophagus"),
        ("tumor", "lesion"),
        (" 9 ", "gallbladder"),
        (13, "left_kidney"),
        (ORGANS[0], "liver"),
    ],
)
def test_organ_understands(name, key):
    assert organ(name).key == key


@pytest.mark.parametrize("name", [0, 15, -3, "-3", "", "3.0", "lung"])
def test_organ_refuses(name):
    with pytest.raises(InputError) as caught:
        organ(name)
    assert "right_adrenal_gland" in caught.value.parts[2]


@pytest.mark.parametrize(
    ("name", "nearest"), [("livr", "liver"), ("splean", "spleen"), ("kidney", "kidneys")]
)
def test_organ_suggests_the_nearest(name, nearest):
    with pytest.raises(InputError, match=f"Did you mean '{nearest}'"):
        organ(name)


def test_no_two_targets_share_a_name():
    names = [n.replace("_", "").lower() for x in ALL_TARGETS for n in (x.key, *x.synonyms)]
    assert len(names) == len(set(names))


def test_parse_organs_orders_and_removes_repeats():
    found = parse_organs("left_kidney, liver,kidneys,1")
    assert [x.id for x in found] == [1, 2, 13]
    assert parse_organs(["spleen", 1]) == (organ(1), organ(3))
    assert parse_organs("all") == ALL_TARGETS
    assert parse_organs("organs") == ORGANS


@pytest.mark.parametrize("text", ["", " , ", []])
def test_parse_organs_wants_at_least_one(text):
    with pytest.raises(InputError, match="at least one"):
        parse_organs(text)


def test_parse_organs_names_the_unknown_one():
    with pytest.raises(InputError, match="splen"):
        parse_organs("liver,splen")


def test_a_group_where_one_organ_is_wanted_is_not_suggested_again():
    with pytest.raises(InputError, match="2 organs: name them one by one"):
        organ("kidneys")


def test_rows_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        LESION.id = 15


def test_anatomy_imports_nothing_but_the_standard_library():
    allowed = sys.stdlib_module_names | {"flare_core"}
    files = list(Path(flare_core.anatomy.__file__).parent.glob("*.py"))
    assert len(files) >= 4
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {name.name.split(".")[0] for name in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in allowed
