"""What the numbers in other people's label files mean, and which organs they looked for.

Two different questions, kept apart: what a number *is* (`LabelScheme.organs`), and what a missing
organ *means* (`LabelScheme.annotated`): background where the edition annotated that organ, unknown
where it did not.

Sources: the FLARE challenge papers (Ma et al., Med Image Anal 2022; Lancet Digit Health 2024) and
data descriptions; TotalSegmentator's class maps (Wasserthal et al., Radiol Artif Intell 2023).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flare_core.anatomy.organs import ALL_TARGETS, BACKGROUND_ID, LESION, ORGANS, organ
from flare_core.errors import InputError

ORGAN_KEYS: tuple[str, ...] = tuple(row.key for row in ORGANS)


@dataclass(frozen=True)
class LabelScheme:
    """The numbers of one kind of label file."""

    key: str
    """Name in options and files."""

    title: str
    """Name for people."""

    organs: tuple[tuple[int, tuple[str, ...]], ...]
    """Pairs of a label value and the organ keys it covers; more than one where sides are merged."""

    annotated: tuple[str, ...]
    """Organs the edition annotated: where such a label is missing, the organ is not there."""

    highest: int
    """Largest legal label value; a legal value without an organ of ours becomes background."""

    partial: bool = False
    """Whether a file may annotate only some of `annotated` (then the case says which)."""

    partly: tuple[str, ...] = ()
    """Organs of which a file may label only some, such as the main one of several lesions."""

    def number_of(self, key: str) -> int | None:
        """Return the label value that covers organ `key`, or None.

        Examples
        --------
        >>> FLARE21.number_of("left_kidney"), FLARE21.number_of("aorta")
        (2, None)
        """
        return next((number for number, keys in self.organs if key in keys), None)

    @property
    def merged(self) -> dict[int, tuple[str, ...]]:
        """Label values that cover more than one organ, and these organs.

        Which voxel belongs to which side is a question of geometry, not of numbers.
        """
        return {number: keys for number, keys in self.organs if len(keys) > 1}

    @property
    def has_our_ids(self) -> bool:
        """Whether its label values are this project's organ ids as they are.

        Examples
        --------
        >>> FLARE23.has_our_ids, FLARE21.has_our_ids
        (True, False)
        """
        return all(len(keys) == 1 and organ(keys[0]).id == n for n, keys in self.organs)

    def to_organ_ids(self, values: Iterable[int], *, sides_follow: bool = False) -> dict[int, int]:
        """Map the label values found in a file to our organ ids; legal others to 0.

        Parameters
        ----------
        values : iterable of int
            Label values present (with or without 0).
        sides_follow : bool
            The caller divides merged organs into right and left afterwards: a merged value then
            becomes the first of its organs.  Without it a merged value is refused, because calling
            both kidneys "right" is wrong.

        Raises
        ------
        InputError
            If a value is not of this scheme, or merges organs and `sides_follow` is not set.

        Examples
        --------
        >>> TOTALSEGMENTATOR.to_organ_ids([0, 5, 90])
        {0: 0, 5: 1, 90: 0}
        """
        plain = sorted({int(value) for value in values})
        for value in plain:
            self._check(value, sides_follow)
        first = {number: organ(keys[0]).id for number, keys in self.organs}
        return {value: first.get(value, BACKGROUND_ID) for value in plain}

    def from_organ_ids(self) -> dict[int, int]:
        """Map each of our ids (0 to 14) to this scheme's value, or to 0 if it has none.

        Examples
        --------
        >>> FLARE21.from_organ_ids()[13], FLARE21.from_organ_ids()[5]
        (2, 0)
        """
        numbers = {row.id: self.number_of(row.key) or BACKGROUND_ID for row in ALL_TARGETS}
        return {BACKGROUND_ID: BACKGROUND_ID, **numbers}

    def _check(self, value: int, sides_follow: bool) -> None:
        """Refuse a value that has no one meaning."""
        if not 0 <= value <= self.highest:
            raise InputError(
                "labels",
                f"label value {value}",
                f"0 to {self.highest} ({self.title})",
                f"Name the scheme the file really follows: {', '.join(SCHEMES)}.",
            )
        if value in self.merged and not sides_follow:
            raise InputError(
                "labels",
                f"label value {value}, which is {' and '.join(self.merged[value])} in one",
                "values of one organ each",
                "Divide it into right and left by position first (sides_follow=True).",
            )


def scheme(key: str) -> LabelScheme:
    """Return the label scheme called `key`.

    Raises
    ------
    InputError
        If there is none of that name.

    Examples
    --------
    >>> scheme("flare23").highest
    14
    """
    found = as_listed(key, SCHEMES)
    if found not in SCHEMES:
        raise InputError(
            "label scheme", repr(key), f"one of {', '.join(SCHEMES)}", "Choose one of these."
        )
    return SCHEMES[found]


def as_listed(text: str, keys: Iterable[str]) -> str:
    """Return the key that a person means, who writes it with capitals or other dashes.

    Label schemes, editions and layouts name the same competitions, but not in the same letters.

    Parameters
    ----------
    text : str
        What was typed.
    keys : iterable of str
        What there is.

    Returns
    -------
    str
        One of the keys, or `text` if none is meant.

    Examples
    --------
    >>> as_listed("FLARE24-Task1", SCHEMES), as_listed("flare24_task1", ["flare24-task1"])
    ('flare24_task1', 'flare24-task1')
    >>> as_listed("flare20", SCHEMES)
    'flare20'
    """
    return next((key for key in keys if _plain(key) == _plain(text)), text)


def _plain(text: str) -> str:
    return text.strip().lower().replace("-", "_").replace(" ", "_")


def _single(numbers: dict[int, str]) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return `LabelScheme.organs` for values of one organ each."""
    return tuple((number, (key,)) for number, key in sorted(numbers.items()))


FLARE21 = LabelScheme(
    key="flare21",
    title="FLARE21: liver, both kidneys in one, spleen, pancreas",
    organs=(
        (1, ("liver",)),
        (2, ("right_kidney", "left_kidney")),
        (3, ("spleen",)),
        (4, ("pancreas",)),
    ),
    annotated=("liver", "right_kidney", "left_kidney", "spleen", "pancreas"),
    highest=4,
)

FLARE22 = LabelScheme(
    key="flare22",
    title="FLARE22, FLARE24 and FLARE25 task 2: 13 organs",
    organs=_single({row.id: row.key for row in ORGANS}),
    annotated=ORGAN_KEYS,
    highest=13,
)

FLARE23 = LabelScheme(
    key="flare23",
    title="FLARE23: 13 organs and lesions, each file annotating some of them",
    organs=_single({row.id: row.key for row in ALL_TARGETS}),
    annotated=(*ORGAN_KEYS, LESION.key),
    highest=14,
    partial=True,
    partly=(LESION.key,),  # its training set took over the lesions that its sources had labelled
)

FLARE24_TASK1 = LabelScheme(
    key="flare24_task1",
    title="FLARE24 task 1: lesions only",
    organs=_single({1: LESION.key}),
    annotated=(LESION.key,),
    highest=1,
    partial=True,
    partly=(LESION.key,),
)

TOTALSEGMENTATOR = LabelScheme(
    key="totalsegmentator",
    title="TotalSegmentator 2, task 'total' (117 structures)",
    organs=_single(
        {
            1: "spleen",
            2: "right_kidney",
            3: "left_kidney",
            4: "gallbladder",
            5: "liver",
            6: "stomach",
            7: "pancreas",
            8: "right_adrenal_gland",
            9: "left_adrenal_gland",
            15: "esophagus",
            19: "duodenum",
            52: "aorta",
            63: "inferior_vena_cava",
        }
    ),
    annotated=ORGAN_KEYS,
    highest=117,
)

TOTALSEGMENTATOR_ORGANS = LabelScheme(
    key="totalsegmentator_organs",
    title="TotalSegmentator 2, model 291 (24 organs)",
    organs=tuple(pair for pair in TOTALSEGMENTATOR.organs if pair[0] <= 24),
    annotated=tuple(key for key in ORGAN_KEYS if key not in ("aorta", "inferior_vena_cava")),
    highest=24,
)

TOTALSEGMENTATOR_VESSELS = LabelScheme(
    key="totalsegmentator_vessels",
    title="TotalSegmentator 2, model 293 (18 structures of heart and vessels)",
    organs=_single({2: "aorta", 13: "inferior_vena_cava"}),
    annotated=("aorta", "inferior_vena_cava"),
    highest=18,
)

TOTALSEGMENTATOR_V1 = LabelScheme(
    key="totalsegmentator_v1",
    title="TotalSegmentator 1 and STU-Net (104 structures)",
    organs=_single(
        {
            1: "spleen",
            2: "right_kidney",
            3: "left_kidney",
            4: "gallbladder",
            5: "liver",
            6: "stomach",
            7: "aorta",
            8: "inferior_vena_cava",
            10: "pancreas",
            11: "right_adrenal_gland",
            12: "left_adrenal_gland",
            42: "esophagus",
            56: "duodenum",
        }
    ),
    annotated=ORGAN_KEYS,
    highest=104,
)

SCHEMES: dict[str, LabelScheme] = {
    row.key: row
    for row in (
        FLARE21,
        FLARE22,
        FLARE23,
        FLARE24_TASK1,
        TOTALSEGMENTATOR,
        TOTALSEGMENTATOR_ORGANS,
        TOTALSEGMENTATOR_VESSELS,
        TOTALSEGMENTATOR_V1,
    )
}
"""Every label scheme by its key."""
