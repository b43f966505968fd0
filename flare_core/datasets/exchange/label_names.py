"""Which of our organs a label of somebody else's is, by its name.

Understood are our own names and synonyms, one name for both of a pair, and those of radiotherapy's
nomenclature (AAPM TG-263: ``Kidney_L``, ``Glnd_Adrenal_R``, ``A_Aorta``, ``V_Venacava_I``). A name
that says that something was taken away or added is nobody's.
"""

from __future__ import annotations

import re

from flare_core.anatomy.organs import LESION, parse_organs
from flare_core.errors import InputError

LESION_WORDS = re.compile(
    r"(?<![a-z])(lesion|tumou?r|cancer|metastas|carcinoma|hcc\b)"
    r"|(?<!peri)(?<!non)(?<!pre)(?<!anti)(tumou?r|cancer|carcinoma)",
    re.IGNORECASE,
)
"""What makes a label's name that of a lesion: ``liver tumor`` is no liver."""

CHANGED = re.compile(
    r"\bminus\b|\bwithout\b|\bsans\b|\bw/?o\b|\bexcl|\bnon[ _-]|-[gcpi]tv|\bprv|\bexp\b|\bring\b"
    r"|\bfree\b|\bbed\b|\bmargins?\b|\bnegative\b|\bperi|\bno[ -](?=\w*(lesion|tum|cancer|metas))",
    re.IGNORECASE,
)
"""What makes it a part of something, or something and its surroundings."""

SIDES = {"l": "left", "lt": "left", "left": "left", "r": "right", "rt": "right", "right": "right"}
KINDS = ("a", "v", "glnd", "gland", "organ")
"""Words that say of which kind something is, not what."""
WHOLE_NAMES = {
    "kidney": "kidneys",
    "adrenal": "adrenals",
    "adrenals": "adrenals",
    "venacavai": "inferior_vena_cava",
    "venacavainf": "inferior_vena_cava",
    "arota": "aorta",  # AMOS's own spelling
    "abdominal aorta": "aorta",
    "pancreatic tissue": "pancreas",
    "bowelduodenum": "duodenum",
}
"""Names without side and kind that the organ table does not have."""


def organs_called(name: str) -> tuple[str, ...]:
    """Return the organs a label's name stands for; two where sides share it, none if unknown.

    Examples
    --------
    >>> organs_called("Kidney_L"), organs_called("kidneys"), organs_called("Liver-GTV")
    (('left_kidney',), ('right_kidney', 'left_kidney'), ())
    """
    words = name.replace("_", " ").strip().lower()
    if CHANGED.search(words) or not re.search("[a-z]", words):  # a number is nobody's name
        return ()
    if LESION_WORDS.search(words):
        return (LESION.key,)
    return _named(words) or _named(_respelt(words))


def _named(words: str) -> tuple[str, ...]:
    """Return what the organ table knows under a name: an organ, or both of a pair."""
    try:
        found = parse_organs([WHOLE_NAMES.get(words, words)])
    except InputError:
        return ()
    return tuple(each.key for each in found) if len(found) <= 2 else ()


def _respelt(words: str) -> str:
    """Return a name with its side in front, in full, and without words for its kind."""
    parts = [part for part in re.split(r"[\s\-.,()]+", words) if part]
    sides = [SIDES[part] for part in parts if part in SIDES]
    rest = "".join(part for part in parts if part not in SIDES and part not in KINDS)
    if len(sides) == 1:
        return f"{sides[0]} {rest}"
    return WHOLE_NAMES.get(rest, rest) if not sides else words
