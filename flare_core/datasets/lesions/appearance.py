"""The appearance of one lesion, drawn from its kind's row before any voxel is touched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flare_core.datasets.lesions.kinds import HOLLOW, KINDS, Kind, Range
from flare_core.datasets.lesions.phase import PHASES
from flare_core.datasets.lesions.settings import LesionSettings

Random = np.random.Generator

SMALL_MM = 24.0
"""Below this diameter the least contrast is raised: fewer voxels to see it by, and all blurred."""
SMALL_GAIN = 2.5
LEAST_NOISE = 1.1
"""Least contrast against the scan's noise."""
MOSAIC_SHARE = 0.4
"""Most inner structure against the contrast: more would hide parts of the lesion."""


@dataclass(frozen=True)
class Host:
    """The organ a lesion goes to, and the scan around it."""

    organ: str
    """Its key."""
    id: int
    """Its value in the labels; 0 for bowel, which has none."""
    hu: float
    """Median of its healthy tissue."""
    noise_hu: float
    """Noise of the scan there."""
    phase: str
    """One of `PHASES`."""


@dataclass(frozen=True)
class Appearance:
    """How one lesion looks."""

    kind: str
    """Key of `kinds.KINDS`."""
    diameter_mm: float
    """Mean of its three diameters."""
    level_hu: float
    """Mean of its main tissue."""
    axes: tuple[float, float, float]
    """Half axes against half the diameter."""
    irregular: float
    """How lobed, 0 to 2."""
    edge_mm: float
    """Width of the edge, beside the scanner's blur."""
    mosaic_hu: float
    """Standard deviation of its inner structure."""
    rim_hu: float = 0.0
    """Of the rim, above the main tissue; 0: none."""
    rim_mm: float = 0.0
    """Thickness of rim or capsule."""
    capsule: bool = False
    """Whether the rim is a capsule: outermost, and thin."""
    necrosis: float = 0.0
    """Where the dead core begins, as a share of the way in; 0: none."""
    necrosis_hu: float = 0.0
    """Of the dead core."""
    calcified: float = 0.0
    """Share of it that is calcium."""
    lipiodol: float = 0.0
    """Share of it that is oil."""
    dense_hu: float = 0.0
    """Of calcium or oil, above the rest."""
    push: float = 0.0
    """Strength of the push on its surroundings."""
    shallow: bool = False
    """Whether it sits at the organ's surface."""
    bulging: bool = False
    """Whether it may grow out of the organ there."""

    @property
    def radius_mm(self) -> float:
        """Half the diameter."""
        return self.diameter_mm / 2

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what is special about it."""
        facts = {
            "rim": self.rim_hu != 0 and not self.capsule,
            "capsule": self.capsule,
            "necrosis": self.necrosis > 0,
            "calcification": self.calcified > 0,
            "lipiodol": self.lipiodol > 0,
            "infiltration": self.edge_mm > 3,
            "push": self.push > 0,
            "bulge": self.bulging,
        }
        return tuple(name for name, there in facts.items() if there)


def draw_appearance(
    name: str, diameter_mm: float, host: Host, settings: LesionSettings, random: Random
) -> Appearance:
    """Draw the appearance of a lesion or decoy of kind `name` in an organ."""
    kind = KINDS[name]
    soft = random.random() < kind.infiltrating
    share = random.uniform(0.1, 0.3) if soft else 0.0
    edge_mm = max(share * diameter_mm, random.uniform(0.8, 2.0 if kind.lesion else 1.6))
    pushes = random.random() < settings.pushing and diameter_mm >= 8
    axes = np.asarray(kind.aspect) * random.uniform(0.78, 1.22, 3)
    if name == "cyst":
        axes = 1 + (axes - 1) * 0.4
    if kind.lesion:
        axes /= np.cbrt(np.prod(axes))
    shallow = bool(random.random() < kind.bulging)
    level = _level(kind, diameter_mm, host, settings, random)
    mosaic = random.uniform(*kind.mosaic_hu) * min(1.0, diameter_mm / 25)
    if kind.lesion and host.organ not in HOLLOW:
        mosaic = min(mosaic, MOSAIC_SHARE * abs(level - host.hu) + 2.0)
    rim = _rim(kind, diameter_mm, host, random)
    return Appearance(
        kind=name,
        diameter_mm=diameter_mm,
        level_hu=level,
        axes=(float(axes[0]), float(axes[1]), float(axes[2])),
        irregular=random.uniform(*kind.irregular),
        edge_mm=float(min(edge_mm, 14.0)),
        mosaic_hu=mosaic,
        rim_hu=rim[0],
        rim_mm=rim[1],
        capsule=bool(rim[2]),
        **_core(kind, diameter_mm, host, random),
        **_dense(kind, diameter_mm, random),
        push=random.uniform(*kind.push) * pushes,
        shallow=shallow,
        bulging=shallow and kind.grows and settings.growing_out,
    )


def _level(
    kind: Kind, diameter_mm: float, host: Host, settings: LesionSettings, random: Random
) -> float:
    """Draw the main tissue's HU, at least a little off the organ's."""
    value = _between(kind.hu[PHASES.index(host.phase)], random)
    if kind.absolute:
        return value
    # What cannot be seen cannot be learned.
    least = max(settings.least_contrast_hu, LEAST_NOISE * host.noise_hu) if kind.lesion else 0.0
    least *= 1.0 + SMALL_GAIN * max(0.0, 1.0 - diameter_mm / SMALL_MM)
    if abs(value) < least:
        value = least if value > 0 else -least
    # A fatty liver is darker than its tumours.
    if host.organ == "liver" and kind.lesion and value < 0 and host.hu < 35:
        value = -value
    # No tumour of an organ is fat; one of the lung may be mostly air.
    return max(host.hu + value, min(-5.0, host.hu)) if kind.lesion else host.hu + value


def _rim(kind: Kind, size_mm: float, host: Host, random: Random) -> tuple[float, float, bool]:
    """Draw a rim's HU and mm, and whether it is a capsule."""
    dice = random.random(2)
    if host.phase in {"portal", "late"} and dice[0] < kind.capsule and size_mm > 10:
        return random.uniform(18, 50), random.uniform(1.2, 2.4), True
    if host.phase != "native" and dice[1] < kind.rim and size_mm > 9:
        return random.uniform(12, 45), random.uniform(0.08, 0.2) * size_mm, False
    return 0.0, 0.0, False


def _core(kind: Kind, size_mm: float, host: Host, random: Random) -> dict[str, float]:
    """Draw how far a dead core reaches, and its HU."""
    if size_mm < 20 or random.random() >= kind.necrosis or host.organ in HOLLOW and size_mm < 35:
        return {}
    return {"necrosis": random.uniform(0.3, 0.75), "necrosis_hu": random.uniform(12, 38)}


def _dense(kind: Kind, size_mm: float, random: Random) -> dict[str, float]:
    """Draw calcium or oil."""
    dice = random.random(2)
    if dice[0] < kind.lipiodol:
        full = size_mm < 35 and random.random() < 0.4
        share = random.uniform(0.6, 0.95) if full else random.uniform(0.08, 0.4)
        return {"lipiodol": share, "dense_hu": random.uniform(150, 450 if full else 1100)}
    if dice[1] < kind.calcified and size_mm >= 12:
        return {"calcified": random.uniform(0.01, 0.06), "dense_hu": random.uniform(120, 500)}
    return {}


def _between(span: Range, random: Random) -> float:
    """Draw from a range."""
    return float(random.uniform(*span))
