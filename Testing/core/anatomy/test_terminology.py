"""Texts and items as Slicer and DICOM read them."""

from __future__ import annotations

import pytest

from flare_core.anatomy.organs import ALL_TARGETS, LESION, organ
from flare_core.anatomy.terminology import (
    dicom_item,
    dicom_segment,
    organ_of_terminology,
    terminology_text,
)

LIST = "Segmentation category and type - DICOM master list"
PLACES = "Anatomic codes - DICOM master list"


def test_liver_text_is_exactly_slicers():
    assert terminology_text(organ("liver")) == (
        f"{LIST}~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~{PLACES}~^^~^^|"
    )


def test_paired_organ_has_its_side_as_type_modifier():
    assert terminology_text(organ("right_kidney")) == (
        f"{LIST}~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^24028007^Right"
        f"~{PLACES}~^^~^^|"
    )


def test_lesion_is_a_mass_in_the_abdomen():
    assert terminology_text(LESION) == (
        f"{LIST}~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^"
        f"~{PLACES}~SCT^113345001^Abdomen~^^|"
    )


def test_lesion_in_an_organ_names_organ_and_side():
    parts = terminology_text(LESION, region=organ("left_kidney")).rstrip("|").split("~")
    assert parts[5:] == ["SCT^64033007^Kidney", "SCT^7771000^Left"]


@pytest.mark.parametrize("target", ALL_TARGETS, ids=lambda x: x.key)
def test_text_has_seven_parts_and_leads_back(target):
    text = terminology_text(target)
    assert text.endswith("|")
    assert len(text.rstrip("|").split("~")) == 7
    assert organ_of_terminology(text) == target


def test_reading_needs_only_the_codes():
    foreign = "Own list~SCT^123037004^x~SCT^64033007^Niere~SCT^7771000^links~~^^~^^|"
    assert organ_of_terminology(foreign) == organ("left_kidney")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a~b",
        f"{LIST}~SCT^123037004^x~SCT^64033007^Kidney~^^~{PLACES}~^^~^^|",  # which kidney?
        f"{LIST}~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~{PLACES}~^^~^^|",  # Slicer's default
    ],
)
def test_reading_does_not_guess(text):
    assert organ_of_terminology(text) is None


def test_dicom_item():
    assert dicom_item(organ("liver").type_code) == {
        "CodeValue": "10200004",
        "CodingSchemeDesignator": "SCT",
        "CodeMeaning": "Liver",
    }


def test_dicom_segment_leaves_absent_codes_out():
    liver = dicom_segment(organ("liver"))
    assert liver["labelID"] == 1
    assert liver["recommendedDisplayRGBValue"] == [221, 130, 101]
    assert liver["SegmentedPropertyTypeCodeSequence"]["CodeValue"] == "10200004"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in liver
    assert "AnatomicRegionSequence" not in liver


def test_dicom_segment_of_a_lesion_in_a_kidney():
    found = dicom_segment(LESION, region=organ("right_kidney"))
    assert found["SegmentedPropertyCategoryCodeSequence"]["CodeValue"] == "49755003"
    assert found["AnatomicRegionSequence"]["CodeValue"] == "64033007"
    assert found["AnatomicRegionModifierSequence"]["CodeValue"] == "24028007"
