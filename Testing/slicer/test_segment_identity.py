from __future__ import annotations

import pytest
from FLARESegLib.scene.segment_identity import (
    ORGAN_TAG,
    extra_names,
    identify,
    make_lesion,
    organ_of_segment,
    terminology_of,
    write_identity,
)

import slicer
from flare_core.anatomy.organs import ALL_TARGETS, organ
from flare_core.anatomy.terminology import terminology_text
from flare_core.errors import InputError

CYST = (
    "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered "
    "Structure~SCT^367643001^Cyst~^^~Anatomic codes - DICOM master list~^^~^^|"
)
TISSUE = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~"
    "SCT^85756007^Tissue~^^~Anatomic codes - DICOM master list~^^~^^|"
)


def segment(name, *, written=None, code=""):
    """A segment: its name, the organ this module wrote into it, a terminology chosen since."""
    made = slicer.vtkSegment()
    made.SetName(name)
    if written:
        write_identity(made, organ(written))
    if code:
        text = code if "~" in code else terminology_text(organ(code))
        made.SetTag(made.GetTerminologyEntryTagName(), text)
    return made


def key_of(made):
    found = organ_of_segment(made)
    return found.key if found else None


@pytest.mark.parametrize("target", ALL_TARGETS, ids=lambda target: target.key)
def test_what_is_written_is_read(target):
    made = segment("whatever", written=target.key)
    assert organ_of_segment(made) is target
    assert terminology_of(made) == terminology_text(target)


@pytest.mark.parametrize(
    ("made", "key"),
    [
        (segment("Leber", written="liver"), "liver"),  # renamed to no organ of the table
        (segment("Segment_1", written="liver"), "liver"),
        (segment("2", written="liver"), "liver"),  # a number is no name
        (segment("Right kidney", written="left_kidney"), "right_kidney"),  # sides put right
        (segment("Left kidney", written="left_kidney", code="right_kidney"), "right_kidney"),
        (segment("Spleen", written="liver", code="spleen"), "spleen"),
        (segment("Liver", written="liver", code=CYST), None),  # coded as something else
        (segment("Liver", written="liver", code=TISSUE), "liver"),  # the code was only reset
        (segment("liver"), "liver"),  # drawn by hand: the name counts
        (segment("Liver", code=TISSUE), "liver"),  # as the Segment Editor makes them
        (segment("IVC"), "inferior_vena_cava"),
        (segment("Tumor"), "lesion"),
        (segment("Segment_1"), None),
        (segment("1"), None),
        (segment(""), None),
        (segment("My segment", code="pancreas"), "pancreas"),  # by another program
        (segment("My cyst", code=CYST), None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_last_thing_that_was_changed_counts(made, key):
    assert key_of(made) == key


@pytest.mark.parametrize(
    "made",
    [
        segment("Spleen", written="liver", code="pancreas"),
        segment("Spleen", code="pancreas"),
        segment("Spleen", code=CYST),
    ],
)
def test_a_contradiction_is_told(made):
    with pytest.raises(InputError, match="Spleen"):
        organ_of_segment(made)


def test_a_tag_of_a_newer_version_is_no_reason_to_fail():
    made = segment("Something")
    made.SetTag(ORGAN_TAG, "organ_of_2030")
    assert organ_of_segment(made) is None


@pytest.fixture
def node(scene):
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode")


def add(node, number, made):
    node.GetSegmentation().AddSegment(made, number)


def test_extras_and_doubts_are_listed(node):
    add(node, "a", segment("Liver", written="liver"))
    add(node, "b", segment("My cyst", code=CYST))
    add(node, "c", segment("Spleen", code="pancreas"))
    found = identify(node)
    assert found.segments == {"liver": "a"}
    assert found.extras == ("b", "c")
    assert len(found.doubts) == 1
    assert "'Spleen'" in found.doubts[0]


def test_a_copy_is_not_taken_for_the_organ(node):
    add(node, "copy", segment("Liver copy", written="liver"))
    add(node, "real", segment("Liver", written="liver"))
    found = identify(node)
    assert found.segments == {"liver": "real"}
    assert found.extras == ("copy",)
    assert found.doubts == ()


def test_two_that_claim_to_be_the_organ_are_a_doubt(node):
    add(node, "a", segment("Liver left part", written="liver"))
    add(node, "b", segment("Liver right part", written="liver"))
    found = identify(node)
    assert len(found.doubts) == 1
    assert "2 segments are the liver" in found.doubts[0]


def test_a_patient_may_have_many_lesions(node):
    for number, name in enumerate(("Metastasis", "Tumor", "Lesion 3")):
        add(node, str(number), segment(name, written="lesion"))
    found = identify(node)
    assert found.lesions == ("0", "1", "2") and found.segments == {"lesion": "0"}
    assert found.extras == found.doubts == ()


@pytest.mark.parametrize(
    ("name", "called"), [("Metastasis", "Metastasis"), ("Liver", "Lesion (Liver)")]
)
def test_a_segment_becomes_a_lesion(node, name, called):
    add(node, "a", segment("Liver", written="liver"))
    add(node, "b", segment(name))
    make_lesion(node, "b")
    assert node.GetSegmentation().GetSegment("b").GetName() == called
    assert identify(node).lesions == ("b",)
    assert extra_names(node) == {}


def test_extras_are_told_by_name(node):
    add(node, "a", segment("My cyst", code=CYST))
    add(node, "b", segment("", code=CYST))
    assert extra_names(node) == {"a": "My cyst", "b": "b"}
