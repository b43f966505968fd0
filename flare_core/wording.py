"""Counts in words, with the noun's right number: "1 case", "2 cases"."""

from __future__ import annotations


def many(count: int, noun: str, nouns: str = "") -> str:
    """Return a count with its noun.

    Parameters
    ----------
    nouns : str
        The plural, where it is not the noun with an s.

    Examples
    --------
    >>> many(1, "case"), many(0, "case"), many(2, "voxel lies", "voxels lie")
    ('1 case', '0 cases', '2 voxels lie')
    """
    return by_count(count, f"1 {noun}", f"{{count}} {nouns or noun + 's'}")


def by_count(count: int, one: str, several: str) -> str:
    """Return one of two texts; for texts that are translated as a whole.

    Parameters
    ----------
    several : str
        Said of any other number than 1; ``{count}`` in it becomes the number.

    Examples
    --------
    >>> by_count(1, "The round is done.", "All {count} rounds are done.")
    'The round is done.'
    >>> by_count(3, "The round is done.", "All {count} rounds are done.")
    'All 3 rounds are done.'
    """
    return one if count == 1 else several.replace("{count}", str(count))
