"""From an organ's codes to the texts other programs read: 3D Slicer's terminology, DICOM items.

Slicer keeps one text per segment, parts joined by ``~``, codes written ``scheme^value^meaning``::

    context ~ category ~ type ~ type modifier ~ region context ~ region ~ region modifier |

DICOM wants the same codes as items of a sequence.  Source: Slicer's developer guide (modules,
segmentations, terminology) and DICOM PS3.3 C.8.20.2 (segment description).
"""

from __future__ import annotations

from flare_core.anatomy.organs import ALL_TARGETS, LESION, Code, Organ

TYPE_CONTEXT = "Segmentation category and type - DICOM master list"
"""The one list that has every code of the organ table (Slicer's general list lacks the IVC)."""

REGION_CONTEXT = "Anatomic codes - DICOM master list"
"""Slicer's list of the places a finding can be in."""

ABDOMEN = Code("SCT", "113345001", "Abdomen")
"""Where a lesion is when no organ is named."""


def terminology_text(target: Organ, region: Organ | None = None) -> str:
    """Return the text Slicer's ``segment.SetTerminology`` (or tag) takes.

    Parameters
    ----------
    target : Organ
        What the segment is.
    region : Organ or None
        The organ a lesion lies in; without it a lesion is somewhere in the abdomen.

    Examples
    --------
    >>> from flare_core.anatomy.organs import organ
    >>> terminology_text(organ("left_kidney")).split("~")[2:4]
    ['SCT^64033007^Kidney', 'SCT^7771000^Left']
    >>> terminology_text(LESION, region=organ("liver")).split("~")[5]
    'SCT^10200004^Liver'
    """
    place, side = _region_codes(target, region)
    parts = (
        TYPE_CONTEXT,
        code_text(target.category),
        code_text(target.type_code),
        code_text(target.modifier),
        REGION_CONTEXT,
        code_text(place),
        code_text(side),
    )
    return "~".join(parts) + "|"


def organ_of_terminology(text: str) -> Organ | None:
    """Return the organ whose type and side `text` names, or None.

    Only code values count: other programs write other contexts and meanings.

    Examples
    --------
    >>> from flare_core.anatomy.organs import organ
    >>> organ_of_terminology(terminology_text(organ("spleen"))).key
    'spleen'
    >>> organ_of_terminology("no~such~text") is None
    True
    """
    parts = text.rstrip("|").split("~")
    if len(parts) < 4:
        return None
    wanted = tuple(_scheme_and_value(part) for part in parts[1:4])
    return next((target for target in ALL_TARGETS if _identity(target) == wanted), None)


def dicom_item(code: Code) -> dict[str, str]:
    """Return one item of a DICOM code sequence.

    Examples
    --------
    >>> dicom_item(ABDOMEN)["CodeValue"]
    '113345001'
    """
    return {
        "CodeValue": code.value,
        "CodingSchemeDesignator": code.scheme,
        "CodeMeaning": code.meaning,
    }


def dicom_segment(target: Organ, region: Organ | None = None) -> dict[str, object]:
    """Return the DICOM attributes that say what a segment is, keyed as DICOM keywords.

    Each sequence of these has one item and is given as that item; absent codes are left out, as
    DICOM forbids empty ones.  ``labelID`` and ``recommendedDisplayRGBValue`` are dcmqi's names.

    Examples
    --------
    >>> from flare_core.anatomy.organs import organ
    >>> sorted(dicom_segment(organ("liver")))[:2]
    ['SegmentAlgorithmType', 'SegmentDescription']
    """
    place, side = _region_codes(target, region)
    codes = {
        "SegmentedPropertyCategoryCodeSequence": target.category,
        "SegmentedPropertyTypeCodeSequence": target.type_code,
        "SegmentedPropertyTypeModifierCodeSequence": target.modifier,
        "AnatomicRegionSequence": place,
        "AnatomicRegionModifierSequence": side,
    }
    return {
        "labelID": target.id,
        "SegmentLabel": target.name,
        "SegmentDescription": target.name,
        "SegmentAlgorithmType": "AUTOMATIC",
        "recommendedDisplayRGBValue": list(target.colour),
        **{keyword: dicom_item(code) for keyword, code in codes.items() if code is not None},
    }


def code_text(code: Code | None) -> str:
    """Return ``scheme^value^meaning``; empty fields for None.

    Examples
    --------
    >>> code_text(ABDOMEN), code_text(None)
    ('SCT^113345001^Abdomen', '^^')
    """
    return "^^" if code is None else f"{code.scheme}^{code.value}^{code.meaning}"


def _region_codes(target: Organ, region: Organ | None) -> tuple[Code | None, Code | None]:
    """Return place and side; an organ needs none, as its type already says where it is."""
    if region is not None:
        return region.type_code, region.modifier
    return (ABDOMEN, None) if target == LESION else (None, None)


def _identity(target: Organ) -> tuple[tuple[str, str], ...]:
    """Return what tells one target's codes from another's: category, type and side."""
    codes = (target.category, target.type_code, target.modifier)
    return tuple(("", "") if code is None else (code.scheme, code.value) for code in codes)


def _scheme_and_value(text: str) -> tuple[str, str]:
    """Split ``scheme^value^meaning``; the meaning is for people only."""
    scheme, _, rest = text.partition("^")
    return scheme, rest.partition("^")[0]
