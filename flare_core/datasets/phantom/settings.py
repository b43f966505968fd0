"""Who is scanned by the phantom scanner, and how (light: the command line lists these choices)."""

from __future__ import annotations

from dataclasses import dataclass

from flare_core.anatomy.organs import organ
from flare_core.datasets.lesions.kinds import LARGEST_MM
from flare_core.datasets.lesions.settings import SIZES_MM
from flare_core.errors import InputError

PHASES = ("native", "arterial", "portal", "late")
"""Contrast phases."""
FIELDS_MM: dict[str, tuple[float, float]] = {
    "abdomen": (-112.0, 166.0),
    "upper-abdomen": (10.0, 166.0),
    "lower-abdomen": (-150.0, 40.0),
    "abdomen-pelvis": (-310.0, 166.0),
    "chest-abdomen": (-112.0, 330.0),
    "chest-to-pelvis": (-310.0, 330.0),
    "chest-only": (205.0, 345.0),
    "pelvis-only": (-330.0, -125.0),
}
"""Lowest and highest height z of each field of view, mm (0 is L2)."""


@dataclass(frozen=True)
class PhantomSettings:
    """Who is scanned, and how."""

    seed: int = 0
    """The person: shapes, sizes, volumes."""
    spacing_mm: tuple[float, float, float] = (2.5, 0.8, 0.8)
    """Voxel spacing z, y, x, mm."""
    field: str = "abdomen"
    """Which heights are scanned: a key of `FIELDS_MM`."""
    phase: str = "portal"
    """Contrast phase: one of `PHASES`."""
    noise_hu: float = 12.0
    """Standard deviation of the noise, HU."""
    lesions: int = 0
    """How many lesions there are (label 14); fewer where so many have no room."""
    lesion_organs: tuple[str, ...] = ("liver",)
    """Organs that have them: keys of `LARGEST_MM` in `lesions.kinds`."""
    lesion_sizes: tuple[str, ...] = ("small", "medium")
    """Their size classes: keys of `SIZES_MM` in `lesions.settings`."""
    lesion_push: bool = False
    """Whether lesions push and grow out of their organs; else the organs' volumes with their
    lesions stay as they are without."""
    decoys: int = 0
    """How many things that only look like lesions there are (cysts, fissures, stones, ...)."""
    absent: tuple[str, ...] = ()
    """Organs that were removed."""
    oblique_degrees: float = 0.0
    """Tilt of the grid against the patient, about an axis between all three, degrees."""
    table: bool = True
    """Whether the patient lies on a table."""
    size_scale: float = 1.0
    """Size of the whole person; volumes grow with its cube."""

    def __post_init__(self) -> None:
        """Refuse settings that no scan has."""
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(self.field in FIELDS_MM, "field", self.field, f"one of {', '.join(FIELDS_MM)}")
        _require(self.phase in PHASES, "phase", self.phase, f"one of {', '.join(PHASES)}")
        fine = len(self.spacing_mm) == 3 and all(0.3 <= s <= 20 for s in self.spacing_mm)
        _require(fine, "spacing", self.spacing_mm, "three values z, y, x of 0.3 to 20 mm")
        _require(0 <= self.noise_hu <= 500, "noise", self.noise_hu, "0 to 500 HU")
        _require(0 <= self.lesions <= 30, "lesions", self.lesions, "0 to 30")
        _require(0 <= self.decoys <= 30, "decoys", self.decoys, "0 to 30")
        for organs in self.lesion_organs:
            legal = ", ".join(LARGEST_MM)
            _require(organs in LARGEST_MM, "lesion organs", organs, f"of {legal}")
        for size in self.lesion_sizes:
            _require(size in SIZES_MM, "lesion sizes", size, f"of {', '.join(SIZES_MM)}")
        _require(
            abs(self.oblique_degrees) <= 45, "oblique", self.oblique_degrees, "-45 to 45 degrees"
        )
        _require(0.6 <= self.size_scale <= 1.5, "size scale", self.size_scale, "0.6 to 1.5")
        for name in self.absent:
            organ(name)


def _require(fine: bool, argument: str, came: object, legal: str) -> None:
    """Raise a four-part error unless the value is fine."""
    if not fine:
        raise InputError(f"phantom {argument}", str(came), legal, "Give a value that is legal.")
