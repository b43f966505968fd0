"""How many synthetic lesions, how large, where: one frozen object."""

from __future__ import annotations

from dataclasses import dataclass

from flare_core.datasets.lesions.kinds import ABDOMEN, DECOYS, KINDS, LARGEST_MM, LESION_KINDS
from flare_core.datasets.lesions.phase import PHASES
from flare_core.errors import InputError

SIZES_MM: dict[str, tuple[float, float]] = {
    "tiny": (5.0, 10.0),
    "small": (10.0, 20.0),
    "medium": (20.0, 50.0),
    "large": (50.0, 90.0),
}
"""Diameters of each size class, mm; results are reported by the same classes."""


@dataclass(frozen=True)
class LesionSettings:
    """What `add_lesions` adds to a scan."""

    lesions: tuple[int, int] = (1, 4)
    """Fewest and most lesions."""
    sizes: tuple[str, ...] = ("tiny", "small", "small", "medium", "medium", "large")
    """Size classes drawn from, keys of `SIZES_MM`; one named twice comes twice as often."""
    organs: tuple[str, ...] = ABDOMEN
    """Organs that may get them (keys of `kinds.LARGEST_MM`), those in view."""
    kinds: tuple[str, ...] = LESION_KINDS
    """Kinds of lesion that may come, keys of `kinds.KINDS`."""
    liver_share: float = 0.5
    """Share of lesions that go to the liver where it is in view; the rest falls to all others."""
    decoys: tuple[int, int] = (0, 3)
    """Fewest and most things that are no lesions."""
    decoy_kinds: tuple[str, ...] = DECOYS
    """Kinds of decoy that may come, of `kinds.DECOYS`."""
    phase: str | None = None
    """Contrast phase, one of `phase.PHASES`; None: told from the scan."""
    pushing: float = 0.6
    """Share of lesions that push their surroundings outwards."""
    growing_out: bool = True
    """Whether lesions may leave the organ's old mask, into fat (the organ's mask then grows)."""
    least_contrast_hu: float = 15.0
    """Least difference to the healthy organ; raised in noisy scans, so that it can be seen."""
    gap_mm: float = 3.0
    """Least distance between two lesions' surfaces, about."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for name, (low, high) in (("lesions", self.lesions), ("decoys", self.decoys)):
            fine = 0 <= low <= high <= 200
            _require(fine, name, (low, high), "fewest and most, 0 to 200, in this order")
        _among("sizes", self.sizes, tuple(SIZES_MM))
        _among("organs", self.organs, tuple(LARGEST_MM))
        _among("kinds", self.kinds, LESION_KINDS)
        _among("decoy kinds", self.decoy_kinds, DECOYS, empty=self.decoys[1] == 0)
        if self.phase is not None:
            _among("phase", (self.phase,), PHASES)
        for name, share in (("liver share", self.liver_share), ("pushing", self.pushing)):
            _require(0 <= share <= 1, name, share, "a share from 0 to 1")
        fine = 0 <= self.least_contrast_hu <= 100
        _require(fine, "least contrast", self.least_contrast_hu, "0 to 100 HU")
        _require(0 <= self.gap_mm <= 100, "gap", self.gap_mm, "0 to 100 mm")


def can_have(organ: str, kind: str) -> bool:
    """Tell whether a kind occurs in an organ.

    Examples
    --------
    >>> can_have("liver", "hepatocellular"), can_have("spleen", "hepatocellular")
    (True, False)
    """
    return organ in KINDS[kind].organs


def _among(
    name: str, came: tuple[str, ...], legal: tuple[str, ...], *, empty: bool = False
) -> None:
    """Raise unless each of the names is legal, and there is one."""
    fine = all(each in legal for each in came) and (bool(came) or empty)
    _require(fine, name, ", ".join(came) or "nothing", f"of {', '.join(legal)}")


def _require(fine: bool, name: str, came: object, legal: str) -> None:
    """Raise a four-part error unless the value is fine."""
    if not fine:
        raise InputError(f"lesion {name}", str(came), legal, "Give a value that is legal.")


PRESETS: dict[str, LesionSettings] = {
    "mix": LesionSettings(),
    "tiny": LesionSettings(lesions=(3, 10), sizes=("tiny",)),
    "small": LesionSettings(lesions=(3, 10), sizes=("small",)),
    "medium": LesionSettings(lesions=(2, 5), sizes=("medium",)),
    "large": LesionSettings(lesions=(1, 3), sizes=("large",)),
    "whole body": LesionSettings(organs=tuple(LARGEST_MM), lesions=(2, 8), liver_share=0.15),
    "none": LesionSettings(lesions=(0, 0), decoys=(1, 5)),
}
"""Settings by size class, with the numbers per scan of Hu et al. 2023; ``none`` has decoys
only, ``whole body`` also the hosts of FLARE24 task 1."""
