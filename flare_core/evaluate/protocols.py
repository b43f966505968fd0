"""What each FLARE edition scores, and how.

The rules are those of the organisers' scripts (JunMa11/FLARE, the newest version of each file):

- Two modes. `official` gives the scripts' numbers to 4 decimals, their two slips included: of an
  organ that is compared on the labelled slices only, the last labelled slice is left out
  (``[zmin:zmax]``), and a reference of one slice gives NaN, which spreads into every mean. `fixed`
  compares all labelled slices, along the body's axis whatever the file's axis order, and rounds
  nothing. Nothing else differs.
- Reference and prediction both without the organ: 1. Exactly one without it: 0.
- NSD is 0 where DSC is below a gate.

Where the scripts disagree among themselves (FLARE21, 22 and 24 loop over the predictions, so a
missing case vanishes; none compares the affine) this project has one rule for all, said in
`evaluate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flare_core.anatomy.label_schemes import (
    FLARE21,
    FLARE22,
    FLARE23,
    FLARE24_TASK1,
    LabelScheme,
    as_listed,
)
from flare_core.anatomy.organs import LESION, organ
from flare_core.errors import InputError

Mode = Literal["official", "fixed"]
MODES: tuple[Mode, ...] = ("official", "fixed")

TOLERANCE_MM: dict[str, float] = {
    "liver": 5.0,
    "right_kidney": 3.0,
    "spleen": 3.0,
    "pancreas": 5.0,
    "aorta": 2.0,
    "inferior_vena_cava": 2.0,
    "right_adrenal_gland": 2.0,
    "left_adrenal_gland": 2.0,
    "gallbladder": 2.0,
    "esophagus": 3.0,
    "stomach": 5.0,
    "duodenum": 7.0,
    "left_kidney": 3.0,
    "lesion": 2.0,
}
"""NSD tolerance by organ key, FLARE22 on."""

LONG_ORGANS = ("aorta", "inferior_vena_cava", "esophagus")
"""Annotated on a part of their length only, so compared on the labelled slices only."""

NSD_GATE_DSC = 0.2
"""FLARE22 on; during the FLARE23 challenge itself the script had 0.1."""

MERGED_NAMES: dict[tuple[str, ...], tuple[str, str]] = {
    ("right_kidney", "left_kidney"): ("kidneys", "Kidneys")
}
"""Key and name of organs that share a label value."""


@dataclass(frozen=True)
class Target:
    """One structure that an edition scores."""

    key: str
    """Name in tables."""
    name: str
    """Name for people."""
    value: int
    """Its label value in the edition's files."""
    organs: tuple[str, ...]
    """Organ keys it consists of; empty for a structure that is not in the organ table."""
    tolerance_mm: float
    """For NSD."""
    labelled_slices: bool = False
    """Whether it is compared only on the slices that the reference labels."""
    lesion: bool = False
    """Whether it gets the lesion-wise metrics and counts apart from the organs."""


@dataclass(frozen=True)
class Limits:
    """What an edition allows a run over one case."""

    tolerated_s: float | None = None
    """Run times up to this count as equal in the ranking; None: every second counts."""
    tolerated_gpu_gb: float | None = None
    """Likewise the GPU memory, GB."""
    ram_gb: float | None = None
    """Memory of the container, GB; None: the machine's."""
    gpu: bool = True
    """Whether a GPU may be used."""


@dataclass(frozen=True)
class Edition:
    """The rules of one edition."""

    key: str
    """Name in options and files."""
    title: str
    """Name for people."""
    scheme: LabelScheme
    """What the label values mean."""
    targets: tuple[Target, ...]
    """What is scored, in the order of tables."""
    limits: Limits
    """Run time and memory."""
    nsd_gate_dsc: float = NSD_GATE_DSC
    """Where DSC is below this, NSD is 0."""
    strict_labels: bool = False
    """Whether a label value that the edition does not have makes the whole prediction score 0;
    otherwise it counts as background, and is named."""

    @property
    def organ_targets(self) -> tuple[Target, ...]:
        """The targets of the organ score."""
        return tuple(target for target in self.targets if not target.lesion)

    @property
    def lesion_targets(self) -> tuple[Target, ...]:
        """The targets of the lesion score."""
        return tuple(target for target in self.targets if target.lesion)


def edition(key: str) -> Edition:
    """Return the edition called `key`.

    Raises
    ------
    InputError
        If there is none of that name.

    Examples
    --------
    >>> [target.key for target in edition("flare21").targets]
    ['liver', 'kidneys', 'spleen', 'pancreas']
    >>> edition("flare23").targets[11].tolerance_mm
    7.0
    """
    found = as_listed(key, EDITIONS)
    if found not in EDITIONS:
        raise InputError("--edition", repr(key), f"one of {', '.join(EDITIONS)}", "Choose one.")
    return EDITIONS[found]


def target_of(
    value: int, organs: tuple[str, ...], *, tolerance_mm: float | None = None, long: bool = True
) -> Target:
    """Return the target for a label value.

    Parameters
    ----------
    value : int
        Label value.
    organs : tuple of str
        Organ keys it covers.
    tolerance_mm : float, optional
        For NSD; as from FLARE22 on if left out.
    long : bool
        Whether aorta, inferior vena cava and esophagus are compared on labelled slices only.

    Examples
    --------
    >>> target_of(5, ("aorta",)).labelled_slices
    True
    """
    key, name = MERGED_NAMES.get(organs, (organs[0], organ(organs[0]).name))
    return Target(
        key=key,
        name=name,
        value=value,
        organs=organs,
        tolerance_mm=TOLERANCE_MM[organs[0]] if tolerance_mm is None else tolerance_mm,
        labelled_slices=long and organs[0] in LONG_ORGANS,
        lesion=organs == (LESION.key,),
    )


def _targets(scheme: LabelScheme) -> tuple[Target, ...]:
    return tuple(target_of(value, organs) for value, organs in scheme.organs)


_EDITIONS = (
    Edition(
        key="flare21",
        title="FLARE 2021: four abdominal organs",
        scheme=FLARE21,
        targets=tuple(
            target_of(value, organs, tolerance_mm=1.0) for value, organs in FLARE21.organs
        ),
        limits=Limits(),
        nsd_gate_dsc=0.0,
    ),
    Edition(
        key="flare22",
        title="FLARE 2022: 13 abdominal organs",
        scheme=FLARE22,
        targets=_targets(FLARE22),
        limits=Limits(),
    ),
    Edition(
        key="flare23",
        title="FLARE 2023: 13 abdominal organs and lesions",
        scheme=FLARE23,
        targets=_targets(FLARE23),
        limits=Limits(tolerated_s=15.0, tolerated_gpu_gb=4.0, ram_gb=28.0),
    ),
    Edition(
        key="flare24-task1",
        title="FLARE 2024 task 1: lesions in the whole body",
        scheme=FLARE24_TASK1,
        targets=_targets(FLARE24_TASK1),
        limits=Limits(tolerated_s=15.0, tolerated_gpu_gb=4.0, ram_gb=28.0),
        strict_labels=True,
    ),
    Edition(
        key="flare24-task2",
        title="FLARE 2024 task 2: 13 abdominal organs without a GPU",
        scheme=FLARE22,
        targets=_targets(FLARE22),
        limits=Limits(tolerated_s=15.0, ram_gb=8.0, gpu=False),
    ),
)

EDITIONS: dict[str, Edition] = {one.key: one for one in _EDITIONS}
"""Every edition by its key."""
