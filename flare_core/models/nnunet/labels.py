"""What the channels of an nnU-Net model mean, and which of our organs they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flare_core.anatomy.organs import ALL_TARGETS, organ
from flare_core.errors import InputError
from flare_core.models.nnunet.fields import fields, items, need, refusal, whole
from flare_core.models.stage_card import BACKGROUND, OTHER
from flare_core.wording import many

LabelMap = Mapping[str, str | None]
"""A model's own label name (or its number as text) -> organ key; None: not one of our organs."""

MORE_NAMES = {
    "postcava": "inferior_vena_cava",
    "ivc": "inferior_vena_cava",
    "inferior vena cava ivc": "inferior_vena_cava",
    "vena cava": "inferior_vena_cava",
    "arota": "aorta",
    "abdominal aorta": "aorta",
    "gall bladder": "gallbladder",
    "bladder gall": "gallbladder",
    "oesophagus": "esophagus",
    "pancreatic tissue": "pancreas",
    "tumours": "lesion",
    "tumors": "lesion",
    "lesions": "lesion",
    "tumour": "lesion",
}
"""Spellings seen in public data sets, beyond the organ table's own synonyms. The order of words
does not matter."""

SIDES = {
    "right": "right", "r": "right", "rt": "right", "dexter": "right", "dextra": "right",
    "left": "left", "l": "left", "lt": "left", "sinister": "left", "sinistra": "left",
}  # fmt: skip
"""Words for a side, as in "Kidney (R)"."""

PAIRED = {
    "kidney": "kidney", "ren": "kidney",
    "adrenal": "adrenal_gland", "adrenal gland": "adrenal_gland", "adrenals": "adrenal_gland",
    "suprarenal": "adrenal_gland", "suprarenal gland": "adrenal_gland",
}  # fmt: skip
"""Names of paired organs without their side."""

BRACKETS = re.compile(r"[(\[{<]([^()\[\]{}<>]*)[)\]}>]")
"""A part of a name in brackets."""

LONGEST_NAME = 200
"""Letters of a name that are looked at."""


@dataclass(frozen=True)
class Channels:
    """The output channels of a network."""

    names: tuple[str, ...]
    """The model's own name of each channel."""
    values: tuple[int, ...]
    """Label value that nnU-Net writes for each channel."""
    labels: tuple[str, ...]
    """As in a StageCard: organ key, ``background``, or ``other:name``."""
    regions: bool
    """Whether each channel is a sigmoid of its own."""

    @property
    def organs(self) -> tuple[str, ...]:
        """Keys of the organs among them."""
        return tuple(label for label in self.labels if not label.startswith((BACKGROUND, OTHER)))


def channels_of(dataset: Mapping[str, Any], label_map: LabelMap | None = None) -> Channels:
    """Read the labels of a v2 dataset.json.

    Parameters
    ----------
    dataset : mapping
        The parsed dataset.json: labels by name, perhaps regions.
    label_map : mapping, optional
        Corrections by a person.

    Raises
    ------
    InputError
        If the file is not for one CT channel, its labels are not as nnU-Net writes them, a name in
        `label_map` is not the model's, or nothing maps to an organ.
    """
    stated = fields(need(dataset, "labels", "dataset.json"), "dataset.json: labels")
    _check_one_ct(dataset)
    stated.pop("ignore", None)
    regions = any(isinstance(value, list) and len(value) > 1 for value in stated.values())
    if not regions:
        found = {name: _single(name, value) for name, value in stated.items()}
        by_value = sorted((value, name) for name, value in found.items())
        return mapped([n for _, n in by_value], [v for v, _ in by_value], label_map)
    names = [name for name, value in stated.items() if any(v != 0 for v in _list(value))]
    where = "dataset.json: regions_class_order"
    stated_order = items(need(dataset, "regions_class_order", "dataset.json"), where)
    order = [whole(value, where) for value in stated_order]
    if len(order) != len(names):
        legal = f"{len(names)} entries, one for each region"
        raise refusal(where, str(order), legal)
    return mapped(names, order, label_map, regions=True)


def mapped(
    names: list[str],
    values: list[int],
    label_map: LabelMap | None = None,
    *,
    regions: bool = False,
) -> Channels:
    """Give each channel its organ.

    Raises
    ------
    InputError
        If values of exclusive labels have gaps, or nothing maps to an organ, or two do to one.
    """
    if not regions and values != list(range(len(values))):
        raise refusal("labels", str(values), "0 (background), 1, 2, ... without gaps")
    asked = {str(name): key for name, key in (label_map or {}).items()}
    known = {*names, *map(str, values)}
    strange = sorted(set(asked) - known)
    if strange:
        legal = ", ".join(names)
        action = "Name labels as the model does, or by number."
        raise InputError("label map", ", ".join(strange), legal, action)
    labels = [
        BACKGROUND if value == 0 and not regions else _label(name, value, asked)
        for name, value in zip(names, values, strict=True)
    ]
    found = Channels(tuple(names), tuple(values), tuple(labels), regions)
    _check_organs(found)
    return found


def organ_of(name: str) -> str | None:
    """Return the key of the organ a label of another model is, None if it is none of ours.

    The order of words, brackets, dots and capitals do not matter; every word has to be understood:
    a cyst of the left kidney is no left kidney.

    Examples
    --------
    >>> organ_of("kidney_right"), organ_of("Postcava"), organ_of("lung_upper_lobe_left")
    ('right_kidney', 'inferior_vena_cava', None)
    >>> organ_of("Kidney (R)"), organ_of("Inferior vena cava (IVC)"), organ_of("kidney_cyst_left")
    ('right_kidney', 'inferior_vena_cava', None)
    """
    inside = BRACKETS.findall(name)
    outside = BRACKETS.sub(" ", name)
    if inside and _words(outside):
        also = [_named(each) for each in inside]
        if also[0] is not None and also == [_named(outside)] * len(also):
            return also[0]
    return _named(name)


def _named(name: str) -> str | None:
    """Return the key of the organ whose words these are, in whatever order."""
    words = _words(name)
    sides = {SIDES[word] for word in words if word in SIDES}
    rest = " ".join(word for word in words if word not in SIDES)
    if len(sides) == 1:
        paired = _by_words(PAIRED).get(_sorted(rest))
        return None if paired is None else f"{sides.pop()}_{paired}"
    if sides or not rest or rest.isdigit():
        return None
    known = _by_words(MORE_NAMES).get(_sorted(rest))
    if known is not None:
        return known
    try:
        return organ(rest).key
    except InputError:
        return _by_words({each.name: each.key for each in ALL_TARGETS}).get(_sorted(rest))


def _words(name: str) -> list[str]:
    """Return the words of a name, the same of "KidneyRight", "kidney_right", "Kidney, right"."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name[:LONGEST_NAME])
    return [word.casefold() for word in re.split(r"[^\w]+|_", parted) if word]


def _by_words(names: Mapping[str, str]) -> dict[str, str]:
    return {_sorted(name.casefold()): key for name, key in names.items()}


def _sorted(words: str) -> str:
    return " ".join(sorted(words.split()))


def not_ours(found: Channels, label_map: LabelMap | None = None) -> tuple[str, ...]:
    """Return what to say about labels that are none of our organs, unless a person said so."""
    said = {str(name) for name, key in (label_map or {}).items() if key is None}
    pairs = zip(found.names, found.values, found.labels, strict=True)
    names = [
        name
        for name, value, label in pairs
        if label.startswith(OTHER) and not {name, str(value)} & said
    ]
    if not names:
        return ()
    count = many(len(names), "label is no organ", "labels are no organs")
    action = f'If one is an organ under another name, say so: --map "{names[0]}=ORGAN".'
    return (f"{count} of ours and will not be shown: {', '.join(names)}. {action}",)


def _label(name: str, value: int, asked: Mapping[str, str | None]) -> str:
    """Return a channel's label in the card: what a person said, else what its name says."""
    for said in (name, str(value)):
        if said in asked:
            key = asked[said]
            return f"{OTHER}:{name}" if key is None else organ(key).key
    key = organ_of(name)
    return f"{OTHER}:{name}" if key is None else key


def _check_organs(found: Channels) -> None:
    keys = found.organs
    if not keys:
        raise InputError(
            "labels",
            ", ".join(found.names),
            f"at least one of {', '.join(each.key for each in ALL_TARGETS)}",
            "If one of the labels is such an organ under another name, say so in a label map: "
            'flare models import FOLDER --map "Leber=liver"',
        )
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        names = [n for n, la in zip(found.names, found.labels, strict=True) if la == twice[0]]
        action = (
            "Choose one in a label map and give the others no organ: "
            f'flare models import FOLDER --map "{names[-1]}="'
        )
        raise InputError("labels", f"{twice[0]} for {', '.join(names)}", "each organ once", action)


def _check_one_ct(dataset: Mapping[str, Any]) -> None:
    named = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(named, Mapping) or len(named) != 1:
        raise refusal("dataset.json: channel_names", str(named), "one channel, a CT")


def _single(name: str, value: Any) -> int:
    values = _list(value)
    if len(values) != 1:
        raise refusal(f"dataset.json: label {name}", str(value), "a whole number")
    return whole(values[0], f"dataset.json: label {name}")


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
