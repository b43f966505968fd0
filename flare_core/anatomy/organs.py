"""The organ table: one row feeds labels, names, codes, colours, clean-up and reference volumes.

To add an organ, append a row to `ORGANS`; nothing else in the project lists organs.  Label values
follow FLARE22 (1-13) and FLARE23 (14).  Codes are SNOMED CT as DICOM and 3D Slicer write them
(scheme ``SCT``); colours are those of Slicer's "GenericAnatomyColors".

Volumes are of adults, in mL.  Most sources are cohorts without disease of the organ, measured on
CT or MRI.  An organ that scans cut (aorta, vena cava, esophagus) or that fills and empties
(stomach, duodenum, gallbladder) has no range: its volume tells of the field of view or the meal.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from flare_core.errors import InputError
from flare_core.wording import many


@dataclass(frozen=True)
class Code:
    """One coded concept."""

    scheme: str
    """Coding scheme designator, such as ``SCT`` (SNOMED CT), ``DCM``, ``UCUM``."""

    value: str
    """Code value within the scheme."""

    meaning: str
    """English words for a reader."""


@dataclass(frozen=True)
class CleanUp:
    """Which connected components of an organ are believed."""

    keep: Literal["largest", "fraction", "all"]
    """``largest``: one component; ``fraction``: each that is big enough; ``all``: every one."""

    fraction: float = 0.0
    """For ``fraction``: least size, as a share (0 to 1) of the largest component."""


@dataclass(frozen=True)
class Organ:
    """One structure that can be segmented."""

    id: int
    """Label value in every file this project writes."""

    key: str
    """Name in options, tables and JSON: lower case, underscores."""

    name: str
    """Name for people."""

    type_code: Code
    """What it is; paired organs share it and differ by `modifier`."""

    modifier: Code | None
    """Side (right or left) of a paired organ."""

    colour: tuple[int, int, int]
    """Red, green, blue, 0 to 255."""

    clean_up: CleanUp
    """Rule for stray components."""

    volume_range_ml: tuple[float, float] | None
    """Lowest and highest usual volume of an adult, or None where none is meaningful."""

    least_ml: float
    """A whole organ of less is none: a speck that a network mistook. Far below any adult's, since
    what is dropped nobody sees; a tenth of it is enough where the scan's edge cuts the organ."""

    range_source: str
    """Where the range comes from and what it is; why there is none, if there is none."""

    synonyms: tuple[str, ...]
    """Other names `organ` understands (case, spaces, ``-`` and ``_`` do not matter)."""

    category: Code
    """Anatomical structure, or morphologically altered structure."""


ANATOMICAL_STRUCTURE = Code("SCT", "123037004", "Anatomical Structure")
ALTERED_STRUCTURE = Code("SCT", "49755003", "Morphologically Altered Structure")
RIGHT = Code("SCT", "24028007", "Right")
LEFT = Code("SCT", "7771000", "Left")
KIDNEY = Code("SCT", "64033007", "Kidney")
ADRENAL_GLAND = Code("SCT", "23451007", "Adrenal gland")

ONE_PIECE = CleanUp("largest")
FEW_PIECES = CleanUp("fraction", 0.1)
"""For organs a scan's edge, a resection or a thin stretch can leave in more than one true piece."""
LARGE_PIECES = CleanUp("fraction", 0.25)
"""For pancreas and stomach.  FLARE23's winner keeps their largest piece only; on 21 real label maps
that lost up to half a pancreas at a scan's edge and a quarter of a stomach narrow in the middle."""
EVERY_PIECE = CleanUp("all")

CUT_BY_SCAN = "No range: the measured length depends on the field of view."
KIDNEY_RANGE = (
    "Mean - 2 SD of women (154 - 2 x 33) to mean + 2 SD of men (202 + 2 x 36), one kidney on MRI, "
    "Cheong et al., Clin J Am Soc Nephrol 2007."
)
FILLED = "No range: the volume depends on what the organ holds."

ORGANS: tuple[Organ, ...] = (
    Organ(
        id=1,
        key="liver",
        name="Liver",
        type_code=Code("SCT", "10200004", "Liver"),
        modifier=None,
        colour=(221, 130, 101),
        clean_up=ONE_PIECE,
        volume_range_ml=(825.0, 2010.0),
        least_ml=50.0,
        range_source=(
            "Widest of two CT cohorts without liver disease: low end, 2.5th percentile of 2989 "
            "donors, Kim DW et al., Radiology 2021; high end, mean + 2 SD (1510 + 2 x 250) of 77 "
            "adults, Linguraru et al., Acad Radiol 2012."
        ),
        synonyms=("hepar",),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=2,
        key="right_kidney",
        name="Right kidney",
        type_code=KIDNEY,
        modifier=RIGHT,
        colour=(185, 102, 83),
        clean_up=FEW_PIECES,
        volume_range_ml=(88.0, 274.0),
        least_ml=8.0,
        range_source=KIDNEY_RANGE,
        synonyms=("kidney_right", "rkidney", "rk"),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=3,
        key="spleen",
        name="Spleen",
        type_code=Code("SCT", "78961009", "Spleen"),
        modifier=None,
        colour=(157, 108, 162),
        clean_up=ONE_PIECE,
        volume_range_ml=(81.0, 374.0),
        least_ml=3.0,
        range_source=(
            "Widest of two CT cohorts without spleen disease: low end, 2.5th percentile of 2989 "
            "donors, Kim DW et al., Radiology 2021; high end, mean + 2 SD (198 + 2 x 88) of 212 "
            "adults, Caglar et al., Folia Morphol 2014."
        ),
        synonyms=("lien",),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=4,
        key="pancreas",
        name="Pancreas",
        type_code=Code("SCT", "15776009", "Pancreas"),
        modifier=None,
        colour=(249, 180, 111),
        clean_up=LARGE_PIECES,
        volume_range_ml=(21.0, 124.0),
        least_ml=2.0,
        range_source=(
            "Mean +- 2 SD (72.4 +- 2 x 25.8) at age 20 to 60 on CT, fat between the lobules "
            "included, Saisho et al., Clin Anat 2007. Declines in older age."
        ),
        synonyms=(),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=5,
        key="aorta",
        name="Aorta",
        type_code=Code("SCT", "15825003", "Aorta"),
        modifier=None,
        colour=(224, 97, 76),
        clean_up=FEW_PIECES,
        volume_range_ml=None,
        least_ml=2.0,
        range_source=CUT_BY_SCAN,
        synonyms=(),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=6,
        key="inferior_vena_cava",
        name="Inferior vena cava",
        type_code=Code("SCT", "64131007", "Inferior vena cava"),
        modifier=None,
        colour=(0, 151, 206),
        clean_up=FEW_PIECES,
        volume_range_ml=None,
        least_ml=1.0,
        range_source=CUT_BY_SCAN,
        synonyms=("ivc", "vena_cava_inferior", "postcava"),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=7,
        key="right_adrenal_gland",
        name="Right adrenal gland",
        type_code=ADRENAL_GLAND,
        modifier=RIGHT,
        colour=(249, 186, 150),
        clean_up=ONE_PIECE,
        volume_range_ml=(0.8, 6.1),
        least_ml=0.2,
        range_source=(
            "Mean +- 2 SD (3.47 +- 2 x 1.33) of 115 adults on CT, "
            "Sisli Etfal Hastan Tip Bul 2021;55:333-338 (PMID 34712074)."
        ),
        synonyms=("right_adrenal", "adrenal_gland_right", "adrenal_right", "rag"),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=8,
        key="left_adrenal_gland",
        name="Left adrenal gland",
        type_code=ADRENAL_GLAND,
        modifier=LEFT,
        colour=(249, 186, 150),
        clean_up=ONE_PIECE,
        volume_range_ml=(2.1, 7.4),
        least_ml=0.2,
        range_source=(
            "Mean +- 2 SD (4.77 +- 2 x 1.33) of 115 adults on CT, "
            "Sisli Etfal Hastan Tip Bul 2021;55:333-338 (PMID 34712074)."
        ),
        synonyms=("left_adrenal", "adrenal_gland_left", "adrenal_left", "lag"),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=9,
        key="gallbladder",
        name="Gallbladder",
        type_code=Code("SCT", "28231008", "Gallbladder"),
        modifier=None,
        colour=(139, 150, 98),
        clean_up=FEW_PIECES,
        volume_range_ml=None,
        least_ml=0.3,
        range_source=FILLED,
        synonyms=("gb",),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=10,
        key="esophagus",
        name="Esophagus",
        type_code=Code("SCT", "32849002", "Esophagus"),
        modifier=None,
        colour=(211, 171, 143),
        clean_up=FEW_PIECES,
        volume_range_ml=None,
        least_ml=0.5,
        range_source=CUT_BY_SCAN,
        synonyms=("oesophagus", "gullet"),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=11,
        key="stomach",
        name="Stomach",
        type_code=Code("SCT", "69695003", "Stomach"),
        modifier=None,
        colour=(216, 132, 105),
        clean_up=LARGE_PIECES,
        volume_range_ml=None,
        least_ml=3.0,
        range_source=FILLED,
        synonyms=("gaster", "ventriculus"),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=12,
        key="duodenum",
        name="Duodenum",
        type_code=Code("SCT", "38848004", "Duodenum"),
        modifier=None,
        colour=(255, 253, 229),
        clean_up=FEW_PIECES,
        volume_range_ml=None,
        least_ml=1.0,
        range_source=FILLED,
        synonyms=(),
        category=ANATOMICAL_STRUCTURE,
    ),
    Organ(
        id=13,
        key="left_kidney",
        name="Left kidney",
        type_code=KIDNEY,
        modifier=LEFT,
        colour=(185, 102, 83),
        clean_up=FEW_PIECES,
        volume_range_ml=(88.0, 274.0),
        least_ml=8.0,
        range_source=KIDNEY_RANGE,
        synonyms=("kidney_left", "lkidney", "lk"),
        category=ANATOMICAL_STRUCTURE,
    ),
)
"""The 13 abdominal organs, in the order of their label values."""

LESION = Organ(
    id=14,
    key="lesion",
    name="Lesion",
    type_code=Code("SCT", "4147007", "Mass"),
    modifier=None,
    colour=(144, 238, 144),
    clean_up=EVERY_PIECE,
    volume_range_ml=None,
    least_ml=0.0,
    range_source="No range: any volume is a finding.",
    synonyms=("tumour", "tumor", "mass", "cancer"),
    category=ALTERED_STRUCTURE,
)
"""A lesion of any kind in any organ (FLARE23's fourteenth label)."""

ALL_TARGETS: tuple[Organ, ...] = (*ORGANS, LESION)
"""Everything that can be asked for: the organs and the lesion."""

BACKGROUND_ID = 0
"""Label value of everything that is not a target."""


def organ(name: int | str | Organ) -> Organ:
    """Find a target by label value, key, name or synonym.

    Parameters
    ----------
    name : int or str or Organ
        Case, spaces, hyphens and underscores in a string do not matter; ``"5"`` is label value 5.

    Raises
    ------
    InputError
        If nothing has that name; the nearest known key is suggested.

    Examples
    --------
    >>> organ("IVC").key
    'inferior_vena_cava'
    >>> organ(13).name
    'Left kidney'
    >>> organ("Right Kidney").id
    2
    """
    if isinstance(name, Organ):
        return name
    found = _BY_NAME.get(_plain(str(name)))
    if found is None:
        raise InputError("organ", repr(name), f"one of {known_keys()}", _suggestion(str(name)))
    return found


def parse_organs(text: str | Iterable[int | str | Organ]) -> tuple[Organ, ...]:
    """Turn ``"liver,spleen"``, or a sequence of names, into organs in label order, each once.

    ``"all"`` is the 13 organs and the lesion, ``"kidneys"`` and ``"adrenal_glands"`` both sides.

    Raises
    ------
    InputError
        If a name is unknown or nothing is named.

    Examples
    --------
    >>> [found.key for found in parse_organs("spleen, liver")]
    ['liver', 'spleen']
    >>> [found.id for found in parse_organs("kidneys")]
    [2, 13]
    """
    names = text.split(",") if isinstance(text, str) else list(text)
    wanted = [name for name in names if not isinstance(name, str) or name.strip()]
    if not wanted:
        raise InputError(
            "organs", repr(text), f"names out of {known_keys()}", "Name at least one organ."
        )
    chosen = {target.id: target for name in wanted for target in _one_or_group(name)}
    return tuple(chosen[number] for number in sorted(chosen))


def counterpart(of: Organ) -> Organ | None:
    """Return the same organ of the other side, or None for an organ without one.

    Examples
    --------
    >>> counterpart(organ("left_kidney")).key
    'right_kidney'
    >>> counterpart(organ("liver")) is None
    True
    """
    if of.modifier is None:
        return None
    return next(x for x in ALL_TARGETS if x.type_code == of.type_code and x.id != of.id)


def known_keys() -> str:
    """Return all keys, separated by commas, for messages."""
    return ", ".join(target.key for target in ALL_TARGETS)


def _plain(name: str) -> str:
    """Return `name` without the spelling differences that do not matter.

    A leading hyphen stays: ``-3`` must not become organ 3.
    """
    return re.sub(r"(?!^)[\s_-]+", "", name.strip()).casefold()


def _names_of(target: Organ) -> tuple[str, ...]:
    """Return everything `target` is called."""
    return (str(target.id), target.key, target.name, *target.synonyms)


_BY_NAME = {_plain(name): target for target in ALL_TARGETS for name in _names_of(target)}

_GROUPS: dict[str, tuple[Organ, ...]] = {
    "all": ALL_TARGETS,
    "organs": ORGANS,
    "kidneys": tuple(x for x in ORGANS if x.type_code == KIDNEY),
    "adrenalglands": tuple(x for x in ORGANS if x.type_code == ADRENAL_GLAND),
    "adrenals": tuple(x for x in ORGANS if x.type_code == ADRENAL_GLAND),
}


def _one_or_group(name: int | str | Organ) -> tuple[Organ, ...]:
    """Return the organs of a group's name, or the one organ `name` stands for."""
    group = _GROUPS.get(_plain(name)) if isinstance(name, str) else None
    return group if group is not None else (organ(name),)


def _suggestion(name: str) -> str:
    """Return what to do about an unknown name: the nearest key or group, else synonym, if near."""
    if group := _GROUPS.get(_plain(name)):  # known, but not where one organ is wanted
        return f"{name!r} are {many(len(group), 'organ')}: name them one by one."
    keys = {_plain(target.key): target.key for target in ALL_TARGETS} | {g: g for g in _GROUPS}
    synonyms = {word: target.key for word, target in _BY_NAME.items() if not word.isdigit()}
    for words in (keys, synonyms):
        close = difflib.get_close_matches(_plain(name), words, n=1, cutoff=0.6)
        if close:
            return f"Did you mean {words[close[0]]!r}?"
    return "Choose one of the names above."
