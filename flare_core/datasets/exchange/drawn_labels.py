"""Contours (RTSTRUCT) and segmentations (SEG) of DICOM as label maps on the scan's grid.

Regions are matched to organs by their codes, else by their names; those of no organ of ours are
left out and named. The files are read by a process of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.anatomy.organs import LESION, organ
from flare_core.anatomy.terminology import organ_of_terminology
from flare_core.cases.checks import organs_in
from flare_core.datasets.exchange.label_names import organs_called
from flare_core.datasets.flare.labels import convert
from flare_core.errors import InputError
from flare_core.imaging import apart
from flare_core.imaging.dicom.region import Drawn, DrawnRegion, PaintedRegions
from flare_core.imaging.files import write_labels
from flare_core.imaging.volume import Volume
from flare_core.wording import many

Keys = tuple[str, ...]


@dataclass(frozen=True)
class DrawnLabels:
    """What came of a structure set or a segmentation."""

    annotated: Keys
    """Organs that it has voxels of."""
    kind: str
    """``pseudo`` if the file says that a program drew one of them alone, else ``expert``."""
    label: str
    """What the file calls itself."""
    notes: tuple[str, ...]
    """What was left out, and what is odd."""


def read_drawn(path: Path) -> Drawn:
    """Return what a structure set or a segmentation holds.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    drawn: Drawn = apart.call("flare_core.imaging.dicom.drawn:read_drawn", path)
    return drawn


def write_drawn_labels(path: Path, image: Path, target: Path) -> DrawnLabels:
    """Write what a structure set or a segmentation draws on a scan as a label map.

    Parameters
    ----------
    path : Path
        The RTSTRUCT or SEG file.
    image : Path
        The scan, as a file.
    target : Path
        ``.nii.gz`` in our organ ids, on the scan's grid.

    Raises
    ------
    InputError
        If it cannot be read, lies on another grid, or has none of our organs.
    """
    drawn = read_drawn(path)
    matched = {region: organs_of(region) for region in drawn.regions}
    scheme, values = _numbered(drawn.label, matched)
    unknown = [region.name for region, keys in matched.items() if not keys]
    if not values:
        raise _nothing(path, f"regions called {', '.join(unknown) or 'nothing at all'}")
    grid = apart.read_geometry(image)
    painted: PaintedRegions = apart.call("flare_core.imaging.dicom.drawn:paint", path, grid, values)
    write_labels(target, convert(Volume(painted.labels, grid), scheme, image), like=image)
    there = organs_in(target)
    annotated = tuple(key for key in scheme.annotated if key in there)
    if not annotated:
        raise _nothing(path, "regions without a voxel in the scan: " + "; ".join(painted.notes))
    told = [f"{name!r} is none of our organs: left out" for name in unknown]
    told += [
        f"{organ(key).name}: no voxel, so not annotated"
        for key in scheme.annotated
        if key not in there
    ]
    told += [*_overlaps(scheme, painted), *_joined(matched)]
    automatic = any(region.automatic for region, keys in matched.items() if keys)
    kind = "pseudo" if automatic else "expert"
    return DrawnLabels(annotated, kind, drawn.label, (*painted.notes, *told))


def organs_of(region: DrawnRegion) -> Keys:
    """Return the organs that a region is, by its codes, else by its name; none if of no organ.

    Examples
    --------
    >>> organs_of(DrawnRegion(1, "Leber", (None, ("SCT", "10200004", "Liver"), None)))
    ('liver',)
    >>> organs_of(DrawnRegion(2, "PTV"))
    ()
    """
    category, kind, side = region.codes
    if kind is not None:
        anatomical = ("SCT", "123037004", "")
        text = "~".join(
            f"{code[0]}^{code[1]}^" if code else "^^"
            for code in (category or anatomical, kind, side)
        )
        found = organ_of_terminology(f"~{text}")
        if found is not None:
            return (found.key,)
    return organs_called(region.name)


def _numbered(
    title: str, matched: dict[DrawnRegion, Keys]
) -> tuple[LabelScheme, list[tuple[int, int]]]:
    """Return a value for each kind of region, and the regions with theirs in the order of painting.

    Pairs under one name come first and lesions last: what is more exact lies on top.
    """
    groups = {keys for keys in matched.values() if keys}
    order = sorted(groups, key=lambda keys: (keys == (LESION.key,), -len(keys), organ(keys[0]).id))
    value_of = {keys: number for number, keys in enumerate(order, 1)}
    annotated = tuple(dict.fromkeys(key for keys in order for key in keys))
    pairs = tuple((number, keys) for keys, number in value_of.items())
    scheme = LabelScheme("dicom", title, pairs, annotated, len(order))
    found = [(region.number, value_of[keys]) for region, keys in matched.items() if keys]
    return scheme, sorted(found, key=lambda pair: pair[1])


def _overlaps(scheme: LabelScheme, painted: PaintedRegions) -> Iterator[str]:
    """Yield which organs were drawn on the same voxels; lesions lie on organs, as they should."""
    keys_of = dict(scheme.organs)
    for (below, above), voxels in painted.covered.items():
        lower, upper = keys_of[below], keys_of[above]
        if upper != (LESION.key,) and not set(lower) & set(upper):
            names = _called(lower), _called(upper)
            both = f"drawn as {names[0]} and as {names[1]}"
            one, several = f"is {both}: it is {names[1]}", f"are {both}: they are {names[1]}"
            yield many(voxels, f"voxel {one}", f"voxels {several}")


def _joined(matched: Mapping[DrawnRegion, Keys]) -> Iterator[str]:
    """Yield which organs were drawn in several regions; several lesions are nothing odd."""
    names: dict[Keys, list[str]] = {}
    for region, keys in matched.items():
        names.setdefault(keys, []).append(repr(region.name))
    for keys, called in names.items():
        if keys not in ((), (LESION.key,)) and len(called) > 1:
            yield f"{_called(keys)}: {' and '.join(called)} together"


def _called(keys: Keys) -> str:
    return " with ".join(organ(key).name for key in keys)


def _nothing(path: Path, came: str) -> InputError:
    return InputError(
        str(path),
        came,
        "at least one region with the name of one of our organs, such as Liver or Kidney_L",
        "Rename the regions, or export those of the organs.",
    )
