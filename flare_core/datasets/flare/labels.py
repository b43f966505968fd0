"""Label maps of any edition: which values, which organs they annotate, and all in our numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.anatomy.label_schemes import scheme as scheme_of
from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.flare.sides import split_sides
from flare_core.errors import InputError
from flare_core.imaging.apart import read_geometry, read_labels, read_volume
from flare_core.imaging.files import write_labels
from flare_core.imaging.label_map import check_same_grid
from flare_core.imaging.volume import Volume

FIRST_FOUR = ("liver", "right_kidney", "left_kidney", "spleen", "pancreas")
"""What FLARE23's sources with few organs annotate together (they come from AbdomenCT-1K)."""


class LabelledCase(Protocol):
    """What is needed of a case; `flare.FlareCase` is one."""

    @property
    def image(self) -> Path:
        """The scan."""

    @property
    def labels(self) -> Path | None:
        """Its label map."""

    @property
    def scheme(self) -> str:
        """Which numbers it uses."""

    @property
    def lesion_free(self) -> bool:
        """Whether it is known to show no lesion."""


def annotated_in(scheme: LabelScheme, values: Iterable[int]) -> tuple[str, ...]:
    """Return the organs that a label map with these values annotates.

    A partly labelled edition does not say so in a list; FLARE23's files annotate all 13 organs, or
    liver, kidneys, spleen and pancreas, or lesions alone, so one organ of a group tells the group.
    Then a missing gallbladder of a fully annotated case is removed, not unknown.  Lesions count as
    annotated only where one is: the others' scans were not searched for any.

    Examples
    --------
    >>> from flare_core.anatomy.label_schemes import FLARE23
    >>> annotated_in(FLARE23, [0, 14]), annotated_in(FLARE23, [0]), len(annotated_in(FLARE23, [5]))
    (('lesion',), (), 13)
    """
    if not scheme.partial:
        return scheme.annotated
    keys = {key for number, keys in scheme.organs if number in set(values) for key in keys}
    organs = keys - {LESION.key}
    everything = [key for key in scheme.annotated if key != LESION.key]
    group = FIRST_FOUR if organs <= set(FIRST_FOUR) else everything
    found = set(group) if organs else set()
    return tuple(key for key in scheme.annotated if key in found | (keys & {LESION.key}))


def has_our_numbers(scheme: str) -> bool:
    """Whether label maps of a scheme hold this project's organ ids as they are.

    Examples
    --------
    >>> has_our_numbers("flare23"), has_our_numbers("flare21"), has_our_numbers("flare24_task1")
    (True, False, False)
    """
    return scheme_of(scheme).has_our_ids


def organ_labels(case: LabelledCase) -> Volume:
    """Return a case's label map in this project's organ ids, on the scan's grid, (Z, Y, X) uint8.

    Kidneys that share one number are told apart by where they lie.

    Raises
    ------
    InputError
        If the case has no labels, the map lies on another grid than the scan, or it holds a value
        that its scheme does not know.
    """
    if case.labels is None and case.lesion_free:
        geometry = read_geometry(case.image)
        return Volume(np.zeros(geometry.shape, np.uint8), geometry)
    if case.labels is None:
        raise InputError(
            "labels", f"nothing for {case.image.name}", "a labelled case", "Leave this case out."
        )
    labels = read_labels(case.labels)
    check_same_grid(case.labels, labels, case.image)
    return convert(labels, scheme_of(case.scheme), case.image)


def convert(labels: Volume, scheme: LabelScheme, image: Path) -> Volume:
    """Return a label map of `scheme` in this project's organ ids.

    Parameters
    ----------
    labels : Volume
        Values of the scheme (Z, Y, X).
    image : Path
        The scan; read only if a lone kidney's side cannot be told from the labels.

    Raises
    ------
    InputError
        If a value is not of the scheme.
    """
    values = np.flatnonzero(_present(labels.array))
    table = np.zeros(256, np.uint8)
    for value, organ_id in scheme.to_organ_ids(values.tolist(), sides_follow=True).items():
        table[value] = organ_id
    ours = labels.with_array(table[labels.array])
    for value, keys in scheme.merged.items():
        if value in values:
            right, left = (organ(key) for key in keys)
            ours = split_sides(ours, (right.id, left.id), lambda: read_volume(image))
    return ours


def write_organ_labels(case: LabelledCase, path: Path) -> None:
    """Write a case's label map in this project's organ ids, on the scan's own affine.

    Raises
    ------
    InputError
        As `organ_labels`, or if the file cannot be written.
    """
    write_labels(path, organ_labels(case), like=case.image)


def _present(array: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Return which of the values 0 to 255 occur in a label map (Z, Y, X)."""
    found = np.zeros(256, bool)
    for plane in array:
        found |= np.bincount(plane.ravel(), minlength=256) > 0
    return found
