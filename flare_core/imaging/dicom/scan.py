"""The DICOM series in a folder: every file looked at once, copies and strays left out by name.

1. pass over what is no image by its SOP class, count what cannot be read (`scan`);
2. group by series UID; copies of an image, alike in UID, place and pixels, count once (`_single`);
3. in a series of CT slices, leave out screenshots and scouts that lie in it (`volume_images`).

Anonymisers give two slices one SOP instance UID: that alone makes no copy.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from flare_core.errors import InputError
from flare_core.imaging.dicom.elements import no_image, read_elements
from flare_core.imaging.dicom.headers import (
    CT_CLASS,
    SliceHeader,
    Vector,
    first_number,
    image_header,
    is_dicom,
    refuse_broken_slice,
    regular_files,
)

BLOCK = 1 << 20
"""Bytes of pixel data that are compared at a time."""
TURNED = 0.1
"""Directions that differ by more (cosines) are another view, not rounding."""
MOST_STRAYS = 3
"""Scouts that a series may hold beside its slices; more are another series in one UID."""


@dataclass(frozen=True)
class SeriesFiles:
    """The images of one series, each once."""

    slices: tuple[SliceHeader, ...]
    """In the order of their paths."""
    notes: tuple[str, ...]
    """What was left out, and what is odd about the files."""


@dataclass(frozen=True)
class _Passed:
    """Files of a folder that are not used though they might have been meant."""

    empty: list[Path] = field(default_factory=list)
    """Of no bytes."""
    closed: list[Path] = field(default_factory=list)
    """Not to be opened, folders too."""
    unknown: list[Path] = field(default_factory=list)
    """DICOM, but too damaged to say of what kind."""

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each kind that came up."""
        kinds = (
            (self.empty, "empty files"),
            (self.closed, "files or folders that cannot be opened"),
            (self.unknown, "damaged DICOM files that do not say what they are"),
        )
        return tuple(
            f"Passed over: {words} ({len(paths)}, first: {paths[0].name})."
            for paths, words in kinds
            if paths
        )


def scan(folder: Path) -> list[SeriesFiles]:
    """Return the series in a folder and its sub-folders, in the order of their series number.

    Raises
    ------
    InputError
        If there is no DICOM image, or a CT slice is damaged.
    """
    groups: dict[str, list[SliceHeader]] = {}
    passed = _Passed()
    for path in regular_files(folder, passed.closed):
        header = _image(path, passed)
        if header is not None:
            groups.setdefault(header.tags["series"], []).append(header)
    if not groups:
        raise InputError(
            str(folder),
            "a folder without DICOM images",
            "a folder with the files of one DICOM CT series",
            "Check the path; unpack archives first.",
        )
    series = [_single(group) for group in groups.values()]
    series = [replace(s, notes=(*passed.notes(), *s.notes)) for s in series]
    return sorted(
        series,
        key=lambda s: (
            first_number(s.slices[0].tags["number"], np.inf),
            s.slices[0].tags["series"],
        ),
    )


def volume_images(slices: Sequence[SliceHeader]) -> tuple[list[SliceHeader], tuple[str, ...]]:
    """Return the images that may make a volume, and what was left out of them.

    Left out are scouts that say so, screenshots among CT slices (by their SOP class), and up to
    `MOST_STRAYS` images of another view that do not claim to be axial: scouts without a type.
    """
    images = [s for s in slices if not s.localiser]
    notes = _left_out(len(slices) - len(images), "scout images")
    if any(s.sop_class == CT_CLASS for s in images):
        slices_only = [s for s in images if s.sop_class in (CT_CLASS, "")]
        notes += _left_out(
            len(images) - len(slices_only), "images that are no CT slices by their SOP class"
        )
        images = slices_only
    straight = _without_strays(images)
    notes += _left_out(
        len(images) - len(straight), "images of another view, such as untyped scouts"
    )
    return straight, notes


def _image(path: Path, passed: _Passed) -> SliceHeader | None:
    """Return a file's image, or None and perhaps a mark in `passed`."""
    try:
        if path.stat().st_size == 0:
            passed.empty.append(path)
            return None
        with open(path, "rb"):
            pass
        if not is_dicom(path):
            return None
        elements = read_elements(path)
    except OSError:
        passed.closed.append(path)
        return None
    header = image_header(path, elements)
    if header is None and not no_image(elements.sop_class):
        refuse_broken_slice(path, elements)
        if not elements.sop_class:
            passed.unknown.append(path)
    return header


def _single(group: list[SliceHeader]) -> SeriesFiles:
    """Return a series without copies: same SOP instance UID, same place, same pixels and scale."""
    by_place: dict[tuple[str, ...], list[SliceHeader]] = {}
    for header in group:
        names = ("instance", "position", "orientation", "rows", "slope", "intercept", "padding")
        by_place.setdefault(tuple(header.tags[name] for name in names), []).append(header)
    kept: list[SliceHeader] = []
    for alike in by_place.values():
        if len(alike) == 1 or not alike[0].tags["instance"]:
            kept += alike
        else:
            kept += {_digest(header): header for header in reversed(alike)}.values()
    order = {id(header): index for index, header in enumerate(group)}
    kept.sort(key=lambda header: order[id(header)])
    return SeriesFiles(tuple(kept), _copy_notes(len(group) - len(kept), kept))


def _copy_notes(copies: int, kept: Sequence[SliceHeader]) -> tuple[str, ...]:
    """Return what there is to say about copies, and about one UID for several images."""
    notes: tuple[str, ...] = (f"Left out: copies of images ({copies}).",) if copies else ()
    uids = Counter(h.tags["instance"] for h in kept if h.tags["instance"])
    shared = sum(count for count in uids.values() if count > 1)
    if shared:
        notes += (f"All were used: images that share a SOP instance UID ({shared}).",)
    return notes


def _digest(header: SliceHeader) -> bytes:
    """Return a check sum of a file's pixel data."""
    digest, left = hashlib.sha256(), header.pixels.length
    try:
        with open(header.path, "rb") as stream:
            stream.seek(header.pixels.start)
            while left and (block := stream.read(min(left, BLOCK))):
                digest.update(block)
                left -= len(block)
    except OSError as error:
        raise InputError(
            str(header.path),
            f"a file that cannot be read: {error.strerror or error}",
            "complete DICOM files",
            "Copy or export the series again.",
        ) from error
    return digest.digest()


def _without_strays(images: list[SliceHeader]) -> list[SliceHeader]:
    """Leave out the few images of another view that are not typed as axial."""
    placed = [s for s in images if s.axes is not None]
    if len(placed) < MOST_STRAYS:
        return images
    middle = np.median([s.axes for s in placed if s.axes is not None], axis=0)
    strays = {id(s) for s in placed if _is_stray(s, middle)}
    few = len(strays) <= MOST_STRAYS and 2 * len(strays) < len(placed)
    return [s for s in images if id(s) not in strays] if few else images


def _is_stray(header: SliceHeader, usual: Vector) -> bool:
    """Whether an image shows another view than most, and does not say that it is axial."""
    if header.axes is None or np.abs(header.axes - usual).max() <= TURNED:
        return False
    return "AXIAL" not in header.tags["kind"].upper().split("\\")


def _left_out(count: int, what: str) -> tuple[str, ...]:
    """Return a note about images that are not used, none for none."""
    return (f"Left out of the series: {what} ({count}).",) if count else ()
