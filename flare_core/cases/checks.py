"""What comes into a case store is what it says: scans are scans, labels hold what they claim."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from flare_core.anatomy.organs import ALL_TARGETS, organ
from flare_core.cases.records import LabelFacts
from flare_core.errors import InputError

COMPRESSED = ".nii.gz"
"""What label maps, and scans that come as DICOM folders, are kept as."""


@contextmanager
def scan_file(image: Path, scratch: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield a scan as one file, its suffix, and its grid as text; a DICOM folder becomes NIfTI.

    Parameters
    ----------
    scratch : Path
        Folder for the NIfTI file.

    Raises
    ------
    InputError
        If it is no scan that can be read.
    """
    from flare_core.imaging.apart import read_volume
    from flare_core.imaging.files import write_volume
    from flare_core.imaging.inputs import suffix_of

    if not os.path.isdir(image):  # False for a name that is too long
        yield image, suffix_of(image), grid_of(image)
        return
    file = scratch / f"image{COMPRESSED}"
    write_volume(file, read_volume(image))
    yield file, COMPRESSED, grid_of(file)


def check_hu(image: Path, *, assume_hu: bool = False) -> None:
    """Refuse a scan that is no CT in HU, as segmentation and training would.

    Raises
    ------
    InputError
        If it is none, or cannot be read.
    """
    from flare_core.imaging.apart import read_volume
    from flare_core.imaging.checks import NotHU, check_ct

    try:
        check_ct(read_volume(image), argument=str(image), assume_hu=assume_hu)
    except NotHU as error:
        argument, came, legal, action = error.parts
        say = " If they are HU all the same, say so: --assume-hu."
        raise InputError(argument, came, legal, action + say) from error


def grid_of(image: Path) -> str:
    """Return shape and spacing (z, y, x; mm) of a scan, from its header, as six numbers."""
    from flare_core.imaging.apart import read_geometry

    grid = read_geometry(image)
    return " ".join(f"{n:g}" for n in (*grid.shape, *grid.spacing_mm))


@contextmanager
def label_file(labels: Path, image: Path, scratch: Path) -> Iterator[Path]:
    """Yield a label map as ``.nii.gz``: the file itself, or one made of another format.

    Parameters
    ----------
    scratch : Path
        Folder for the file that is made.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    from flare_core.imaging.apart import read_geometry, read_labels
    from flare_core.imaging.files import write_labels
    from flare_core.imaging.volume import Volume

    if labels.name.endswith(COMPRESSED):
        yield labels
        return
    file = scratch / f"labels{COMPRESSED}"
    # The scan's own grid, bit by bit: `check_labels` has seen that they agree
    write_labels(file, Volume(read_labels(labels).array, read_geometry(image)), like=image)
    yield file


def check_labels(labels: Path, image: Path, facts: LabelFacts) -> tuple[str, ...]:
    """Refuse labels that are off the scan's grid, hold unknown values, or not what they claim.

    Returns
    -------
    tuple of str
        Organs that the map has voxels of.

    Raises
    ------
    InputError
        If so; each with what to do.
    """
    from flare_core.imaging.label_map import counts_on_scan

    if not facts.annotated:
        raise InputError(
            "annotated",
            "no organ",
            "at least one organ key",
            "Say which organs the label map annotates: where it is 0 they are not.",
        )
    counts = counts_on_scan(labels, image)
    check_values(labels, [value for value, n in enumerate(counts) if n])
    present = tuple(row.key for row in ALL_TARGETS if counts[row.id])
    _check_unclaimed(labels, present, facts)
    _check_claims(labels, present, facts)
    return present


def organs_in(labels: Path) -> tuple[str, ...]:
    """Return the organs that a label map in this project's numbers has voxels of.

    Raises
    ------
    InputError
        If it cannot be read or holds a number that is none of ours.
    """
    from flare_core.imaging.label_map import label_counts

    counts = label_counts(labels)
    check_values(labels, [value for value, n in enumerate(counts) if n])
    return tuple(row.key for row in ALL_TARGETS if counts[row.id])


def check_values(labels: Path, values: Sequence[int]) -> None:
    """Refuse numbers in a label map that are none of ours: they would count as background.

    Raises
    ------
    InputError
        If there are any.
    """
    known = {0, *(row.id for row in ALL_TARGETS)}
    unknown = [value for value in values if value not in known]
    if unknown:
        raise InputError(
            str(labels),
            f"label value {', '.join(map(str, unknown))}",
            f"0 (background) to {max(known)}: liver is 1, ... lesion is {max(known)}",
            "Convert the numbers first (`flare cases import` does for known data sets), or remove"
            " these voxels.",
        )


def with_absent(
    facts: LabelFacts, stated: Sequence[str], present: Sequence[str], labels: Path
) -> LabelFacts:
    """Return a model's facts with what a person has said is absent from the scan.

    Raises
    ------
    InputError
        If the model's map has voxels of such an organ.
    """
    wrong = [key for key in stated if key in present]
    if wrong:
        raise InputError(
            str(labels),
            f"voxels of {', '.join(wrong)}, which a person said are not in the scan",
            "a model's labels that agree with the person's",
            "Set these voxels to 0; if the person was wrong, reject those labels first.",
        )
    absent = dict.fromkeys((*facts.absent, *stated))
    annotated = dict.fromkeys((*facts.annotated, *stated))
    return replace(facts, annotated=tuple(annotated), absent=tuple(absent))


def edited_ml(before: Path, after: Path) -> dict[str, float]:
    """Return the volume of each organ that differs between two label maps of a scan, mL."""
    from flare_core.imaging.label_map import changed_ml

    return {organ(value).key: round(ml, 6) for value, ml in changed_ml(before, after).items()}


def check_space(folder: Path, size: int) -> None:
    """Refuse to start a copy that cannot fit.

    Raises
    ------
    InputError
        If the disk has less free space than the file needs.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            "case store",
            f"{folder}, whose disk has {free / 2**20:.0f} MiB free",
            f"{size / 2**20:.0f} MiB for this file",
            "Free space, or link scans instead of copying them (--link).",
        )


def _check_unclaimed(labels: Path, present: Sequence[str], facts: LabelFacts) -> None:
    surplus = [key for key in present if key not in facts.annotated or key in facts.absent]
    if surplus:
        raise InputError(
            str(labels),
            f"voxels of {', '.join(surplus)}, which the facts do not claim to be there",
            f"voxels of those annotated: {', '.join(facts.annotated)}",
            "Name these organs as annotated (and not as absent), or set their voxels to 0.",
        )


def _check_claims(labels: Path, present: Sequence[str], facts: LabelFacts) -> None:
    missing = [key for key in facts.annotated if key not in present and key not in facts.absent]
    if not missing:
        return
    came = "no voxel of any organ" if not present else f"no voxel of {', '.join(missing)}"
    raise InputError(
        str(labels),
        f"{came}, though {'these are' if present else 'some are'} said to be annotated",
        "voxels of every annotated organ that is in the scan",
        f"Leave {', '.join(missing)} out of annotated if nobody looked for it; if it is known not"
        " to be in the scan, name it as absent too.",
    )
