"""START HERE: a scan and its organs in, the same scan with synthetic lesions and their truth out.

Steps (`add_lesions`): look at the organs (`place`), draw decoys, then lesions: organ, kind, size,
appearance, place; paint each in its own box (`appearance`, `paint`); measure each.

Invariant: the same scan, settings and state of the generator give the same voxels; outside the
boxes nothing changes; decoys leave the lesion mask empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.anatomy.organs import LESION
from flare_core.datasets.lesions.appearance import Appearance, Host, draw_appearance
from flare_core.datasets.lesions.kinds import (
    BOWEL,
    DOME,
    KINDS,
    LARGEST_MM,
    OFTEN,
    SMALLEST_MM,
    TISSUES,
)
from flare_core.datasets.lesions.paint import LesionCanvas, Painted, paint, paint_dome
from flare_core.datasets.lesions.place import Index, OrganSites, Site, find_place, largest_mm
from flare_core.datasets.lesions.settings import SIZES_MM, LesionSettings, can_have
from flare_core.errors import InputError


@dataclass(frozen=True)
class LesionRecord:
    """One synthetic lesion."""

    id: int
    """Its value in `LesionScan.instances`, from 1."""
    organ: str
    """Its host: a key of `kinds.LARGEST_MM`."""
    kind: str
    """Key of `kinds.KINDS`."""
    asked_mm: float
    """Diameter that was drawn, before an organ's surface cut it, mm."""
    diameter_mm: float
    """Diameter of the ball that has its volume, mm."""
    volume_ml: float
    """Volume of its mask."""
    centre: Index
    """The mask's centre of mass, voxel z, y, x."""
    hu: float
    """Mean under its mask, noise and partial volume included."""
    organ_hu: float
    """Median of the healthy organ before."""
    features: tuple[str, ...] = ()
    """Of rim, capsule, necrosis, calcification, lipiodol, infiltration, push, bulge."""


@dataclass(frozen=True)
class DecoyRecord:
    """One thing that is no lesion."""

    organ: str
    """Key of the organ it is in."""
    kind: str
    """One of `kinds.DECOYS`."""
    diameter_mm: float
    """Diameter that was drawn, mm."""
    centre: Index
    """Where, voxel z, y, x."""


@dataclass(frozen=True, eq=False)
class LesionScan:
    """A scan with synthetic lesions."""

    image: npt.NDArray[Any]
    """HU (Z, Y, X), of the type that came."""
    labels: npt.NDArray[np.uint8]
    """Organ ids (Z, Y, X); a lesion is part of its organ, and pushed organs moved."""
    instances: npt.NDArray[np.uint16]
    """Lesion ids (Z, Y, X), 0 where there is none."""
    records: tuple[LesionRecord, ...]
    """The lesions, in the order of their ids."""
    decoys: tuple[DecoyRecord, ...]
    """What was added and is no lesion."""
    phase: str
    """Contrast phase that was used."""

    def with_lesion_label(self) -> npt.NDArray[np.uint8]:
        """Return the labels with FLARE23's 14 over the organs."""
        return np.where(self.instances > 0, np.uint8(LESION.id), self.labels)


Random = np.random.Generator

TRIES = 6
"""How often a lesion without room is drawn anew, before there is one less."""
DOME_SLICES = 4
"""A dome is within so many coarse slices of the organ's upper or lower end."""


@dataclass(frozen=True, eq=False)
class Work:
    """What the steps share."""

    canvas: LesionCanvas
    """The scan being changed."""
    sites: OrganSites
    """Its organs, as they were."""
    settings: LesionSettings
    """What is wanted."""
    random: Random
    """Where every draw comes from."""
    taken: list[tuple[Index, float]] = field(default_factory=list)
    """Centres of all that was painted, and how far others stay away, mm."""


def add_lesions(
    image: npt.NDArray[Any],
    labels: npt.NDArray[np.integer[Any]],
    spacing_mm: Sequence[float],
    random: Random,
    settings: LesionSettings | None = None,
) -> LesionScan:
    """Paint synthetic lesions and decoys into a copy of a scan.

    Parameters
    ----------
    image : array (Z, Y, X)
        HU, any integer or float type; a whole scan or a patch.
    labels : array of int (Z, Y, X)
        Organ ids of the organ table; 14 (lesion) may be there and is left alone.
    spacing_mm : three floats
        Voxel size z, y, x, mm.
    random : Generator
        The same state gives the same lesions.
    settings : LesionSettings, optional
        How many, how large, where; see `settings.PRESETS`.

    Returns
    -------
    LesionScan
        Fewer lesions than wanted if there is no room; none if none of the organs is in view.

    Raises
    ------
    InputError
        If the arrays are not one 3D grid, or spacing or labels are none.

    Examples
    --------
    >>> liver = np.ones((24, 48, 48), np.uint8)
    >>> scan = np.full(liver.shape, 100, np.int16)
    >>> wanted = LesionSettings(lesions=(1, 1), sizes=("small",), decoys=(0, 0))
    >>> made = add_lesions(scan, liver, (2.0, 1.5, 1.5), np.random.default_rng(0), wanted)
    >>> made.records[0].organ, int(made.instances.max())
    ('liver', 1)
    """
    settings = settings or LesionSettings()
    spacing = _checked(image, labels, spacing_mm)
    organs = labels.astype(np.uint8)
    canvas = LesionCanvas(image.copy(), organs, np.zeros(image.shape, np.uint16), spacing)
    sites = OrganSites(image, organs.copy(), spacing, settings.phase)
    work = Work(canvas, sites, settings, random)
    decoys = _repeat(_decoy, work, settings.decoys)
    records = _repeat(_lesion, work, settings.lesions)
    return LesionScan(
        canvas.image, canvas.labels, canvas.instances, tuple(records), tuple(decoys), sites.phase
    )


def _repeat(make: Any, work: Work, span: tuple[int, int]) -> list[Any]:
    """Draw a number and make so many, each with a few tries."""
    made: list[Any] = []
    for _ in range(int(work.random.integers(span[0], span[1] + 1))):
        for _ in range(TRIES):
            one = make(work, len(made) + 1)
            if one is not None:
                made.append(one)
                break
    return made


def _lesion(work: Work, number: int) -> LesionRecord | None:
    """Draw and paint one lesion."""
    random, settings = work.random, work.settings
    site = _draw_site(work)
    if site is None:
        return None
    kind = _draw_kind(site.host.organ, settings.kinds, random)
    size = _draw_size(site, kind, settings, random)
    if size is None:
        return None
    appearance = draw_appearance(kind, size, site.host, settings, random)
    done, centre = _painted(work, site, appearance)
    if done is None:
        return None
    work.canvas.instances[done.window.slices][done.mask] = number
    work.taken.append((centre, size / 2 * max(appearance.axes) + settings.gap_mm))
    return _record(work.canvas, done, appearance, site.host, number)


def _draw_site(work: Work) -> Site | None:
    """Draw an organ that is in view: the liver by its share, else any other."""
    sites, settings = work.sites, work.settings
    usable = [key for key in settings.organs if any(can_have(key, k) for k in settings.kinds)]
    there = [key for key in usable if _in_view(sites, key)]
    others = [key for key in there if key != "liver"]
    liver = "liver" in there and (not others or work.random.random() < settings.liver_share)
    if liver:
        return sites.site("liver")
    if not others:
        return None
    weights = np.array([OFTEN[key] for key in others])
    return sites.site(str(work.random.choice(others, p=weights / weights.sum())))


def _in_view(sites: OrganSites, key: str) -> bool:
    """Tell whether an organ, or a host without a label, is in view."""
    hidden = key == BOWEL or key in TISSUES
    return sites.site(key) is not None if hidden else key in sites.organ_hu


def _draw_kind(organ: str, kinds: Sequence[str], random: Random) -> str:
    """Draw one of the kinds that occur in an organ."""
    fit = [name for name in kinds if can_have(organ, name)]
    weights = np.array([KINDS[name].weight for name in fit])
    return str(random.choice(fit, p=weights / weights.sum()))


def _draw_size(site: Site, kind: str, settings: LesionSettings, random: Random) -> float | None:
    """Draw a diameter that the organ can have, mm; None if its size class is too large or small."""
    low, high = SIZES_MM[str(random.choice(settings.sizes))]
    low = max(low, SMALLEST_MM.get(site.host.organ, 0.0))
    thick = largest_mm(site, kind, growing_out=settings.growing_out)
    high = min(high, LARGEST_MM[site.host.organ], thick)
    return float(random.uniform(low, high)) if low <= high else None


def _painted(work: Work, site: Site, appearance: Appearance) -> tuple[Painted | None, Index]:
    """Find a place for a lesion or decoy and paint it."""
    centre = find_place(work.sites, site, appearance, work.taken, work.random)
    if centre is None:
        return None, (0, 0, 0)
    return paint(work.canvas, appearance, site.host, centre, work.random), centre


def _record(
    canvas: LesionCanvas, done: Painted, appearance: Appearance, host: Host, number: int
) -> LesionRecord:
    """Measure a lesion that was painted."""
    voxel_ml = float(np.prod(canvas.spacing_mm)) / 1000
    volume = float(done.mask.sum()) * voxel_ml
    middle = ndimage.center_of_mass(done.mask)
    z, y, x = (int(round(m)) + s.start for m, s in zip(middle, done.window.slices, strict=True))
    return LesionRecord(
        id=number,
        organ=host.organ,
        kind=appearance.kind,
        asked_mm=round(appearance.diameter_mm, 1),
        diameter_mm=round(float(np.cbrt(volume * 6000 / np.pi)), 1),
        volume_ml=round(volume, 3),
        centre=(z, y, x),
        hu=round(float(canvas.image[done.window.slices][done.mask].mean()), 1),
        organ_hu=round(host.hu, 1),
        features=appearance.features,
    )


def _decoy(work: Work, number: int) -> DecoyRecord | None:
    """Draw and paint one thing that is no lesion."""
    kind = str(work.random.choice(work.settings.decoy_kinds))
    if kind == DOME:
        return _dome(work)
    row = KINDS[kind]
    there = [key for key in row.organs if key in work.sites.organ_hu]
    site = work.sites.site(str(work.random.choice(there))) if there else None
    if site is None or row.size_mm is None:
        return None
    low, high = row.size_mm
    size = float(work.random.uniform(low, max(low, min(high, 1.6 * site.deepest_mm))))
    appearance = draw_appearance(kind, size, site.host, work.settings, work.random)
    done, centre = _painted(work, site, appearance)
    if done is None:
        return None
    work.taken.append((centre, size / 2 * max(appearance.axes) + work.settings.gap_mm))
    return DecoyRecord(site.host.organ, kind, round(size, 1), centre)


def _dome(work: Work) -> DecoyRecord | None:
    """Mix slices at the liver's or spleen's upper or lower end."""
    there = [key for key in ("liver", "spleen") if key in work.sites.organ_hu]
    site = work.sites.site(str(work.random.choice(there))) if there else None
    if site is None:
        return None
    height = site.voxels[:, 0]
    near = DOME_SLICES * work.sites.step[0]
    ends = (height < height.min() + near) | (height > height.max() - near)
    fit = np.flatnonzero(ends & (site.depth_mm < 8))
    z, y, x = (int(v) for v in site.voxels[int(work.random.choice(fit))])
    size = paint_dome(work.canvas, (z, y, x), work.random)
    return None if size is None else DecoyRecord(site.host.organ, DOME, round(size, 1), (z, y, x))


def _checked(
    image: npt.NDArray[Any], labels: npt.NDArray[Any], spacing_mm: Sequence[float]
) -> tuple[float, float, float]:
    """Refuse what is no scan; return the spacing."""
    if image.ndim != 3 or image.shape != labels.shape or not image.size:
        came = f"image {image.shape}, labels {labels.shape}"
        raise InputError("image", came, "two arrays (Z, Y, X) of one shape", "Pass one 3D scan.")
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or labels.min() < 0 or labels.max() > LESION.id:
        came = f"{labels.dtype} from {labels.min()} to {labels.max()}"
        raise InputError("labels", came, f"whole numbers 0 to {LESION.id}", "Pass organ ids.")
    if np.issubdtype(image.dtype, np.unsignedinteger) or not np.isfinite(image).all():
        came = f"{image.dtype}, {image.min()} to {image.max()}"
        raise InputError("image", came, "finite HU of a signed type", "Pass HU.")
    steps = tuple(float(s) for s in spacing_mm)
    if len(steps) != 3 or not all(0.05 <= s <= 30 for s in steps):
        legal = "three values z, y, x of 0.05 to 30 mm"
        raise InputError("spacing_mm", str(spacing_mm), legal, "Pass the voxel size in mm.")
    return steps[0], steps[1], steps[2]
