"""★ ADD A KIND OF TUMOUR OR DECOY: one row of `KINDS`.

HU ranges are differences to the healthy organ, or HU themselves where `absolute`, one pair for each
of `phase.PHASES`. They are chosen by hand from what such tumours commonly show, and judged by eye
beside real scans; none was fitted to measured lesions. Hu et al. 2023 use 30 to 145 HU below the
liver for all.

A decoy is what is mistaken for a tumour: it changes the image and leaves the lesion mask empty.
"""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]

NEVER = (0.0, 0.0)
ROUND = (1.0, 1.0, 1.0)

BOWEL = "bowel"
"""Wall of a gas-filled loop; no label map has it, so `place` looks for the gas."""
LIVER = ("liver",)
KIDNEYS = ("right_kidney", "left_kidney")
ADRENALS = ("right_adrenal_gland", "left_adrenal_gland")
TISSUES = ("lung", "bone", "lymph_node", "muscle")
"""Hosts outside the organs of the table, told from HU (see `tissue`), for the whole body."""
HOLLOW = ("stomach", BOWEL)
"""Organs whose inside is not their tissue: a tumour sits in the wall and grows into the lumen."""

LARGEST_MM: dict[str, float] = {
    "liver": 140.0,
    "right_kidney": 80.0,
    "left_kidney": 80.0,
    "spleen": 80.0,
    "pancreas": 60.0,
    "right_adrenal_gland": 60.0,
    "left_adrenal_gland": 60.0,
    "stomach": 70.0,
    BOWEL: 55.0,
    "lung": 90.0,
    "bone": 60.0,
    "lymph_node": 60.0,
    "muscle": 120.0,
}
"""Hosts of tumours, and the largest diameter there, mm."""
ABDOMEN = tuple(key for key in LARGEST_MM if key not in TISSUES)
"""Hosts of FLARE23's lesions."""
OFTEN: dict[str, float] = {
    "right_kidney": 0.8,
    "left_kidney": 0.8,
    "spleen": 0.8,
    "pancreas": 1.5,
    "right_adrenal_gland": 0.4,
    "left_adrenal_gland": 0.4,
    "stomach": 0.8,
    BOWEL: 0.5,
    "lung": 1.5,
    "bone": 1.0,
    "lymph_node": 1.5,
    "muscle": 0.7,
}
"""How often the organs beside the liver get a tumour, against each other."""
SMALLEST_MM: dict[str, float] = {"stomach": 12.0, BOWEL: 10.0}
"""A thinner thickening of a wall cannot be told from its folds."""


@dataclass(frozen=True)
class Kind:
    """How one kind of tumour or decoy looks."""

    organs: tuple[str, ...]
    """Where it occurs: keys of `LARGEST_MM`, or the gallbladder."""
    hu: tuple[Range, Range, Range, Range]
    """Lowest and highest mean of its main tissue per phase: difference to the organ, HU."""
    lesion: bool = True
    """Whether it is to be found; False for a decoy."""
    absolute: bool = False
    """Whether `hu` are HU instead of differences."""
    aspect: tuple[float, float, float] = ROUND
    """Half axes against each other; the ellipsoid is then turned at random."""
    irregular: Range = (0.4, 1.2)
    """How lobed the outline is: 0 an ellipsoid, 1 clearly lobed."""
    infiltrating: float = 0.0
    """Share with edges so soft that nobody can say where they end."""
    mosaic_hu: Range = (2.0, 9.0)
    """Standard deviation of its inner structure, HU."""
    rim: float = 0.0
    """Share with an enhancing rim (needs contrast medium)."""
    capsule: float = 0.0
    """Share with a thin bright capsule (portal and late)."""
    necrosis: float = 0.0
    """Share of those above 20 mm whose inside has died."""
    calcified: float = 0.0
    """Share of those above 12 mm with calcifications."""
    lipiodol: float = 0.0
    """Share filled with dense oil in spots or altogether, as after chemoembolisation."""
    push: Range = (0.2, 0.7)
    """Strength of the push on what surrounds it, where it pushes; below 1."""
    bulging: float = 0.15
    """Share that sit at the surface."""
    grows: bool = True
    """Whether those at the surface may grow out of the organ."""
    size_mm: Range | None = None
    """Diameter of a decoy; a lesion's is asked for."""
    weight: float = 1.0
    """How often, against the other kinds of its organ."""


KINDS: dict[str, Kind] = {
    "metastasis": Kind(
        organs=("liver", "spleen"),
        hu=((-26, -10), (-48, -18), (-68, -24), (-50, -16)),
        rim=0.35, necrosis=0.45, calcified=0.12, infiltrating=0.25, weight=1.4,
    ),
    "hepatocellular": Kind(
        organs=LIVER,
        hu=((-24, -8), (18, 70), (-42, -12), (-46, -14)),
        capsule=0.45, necrosis=0.5, infiltrating=0.2, mosaic_hu=(5.0, 16.0), irregular=(0.4, 1.4),
        calcified=0.04, weight=1.4,
    ),
    "cholangiocarcinoma": Kind(
        organs=LIVER,
        hu=((-22, -10), (-36, -14), (-46, -16), (-26, -10)),
        rim=0.3, infiltrating=0.65, mosaic_hu=(3.0, 11.0), irregular=(0.9, 1.8), push=(0.0, 0.2),
        weight=0.7,
    ),
    "treated": Kind(
        organs=LIVER,
        hu=((-32, -10), (-45, -15), (-66, -26), (-52, -20)),
        lipiodol=0.75, necrosis=0.4, irregular=(0.4, 1.3), push=(0.0, 0.3), weight=0.6,
    ),
    "clear cell": Kind(
        organs=KIDNEYS,
        hu=((-8, 10), (-45, 25), (-90, -32), (-78, -26)),
        necrosis=0.6, calcified=0.12, mosaic_hu=(8.0, 24.0), bulging=0.65, push=(0.3, 0.75),
    ),
    "papillary": Kind(
        organs=KIDNEYS,
        hu=((2, 16), (-115, -65), (-130, -75), (-110, -55)),
        mosaic_hu=(2.0, 8.0), irregular=(0.2, 0.8), bulging=0.6, calcified=0.08, push=(0.3, 0.75),
        weight=0.6,
    ),
    "ductal adenocarcinoma": Kind(
        organs=("pancreas",),
        hu=((-14, -8), (-62, -22), (-52, -16), (-34, -12)),
        infiltrating=0.7, irregular=(0.7, 1.6), mosaic_hu=(3.0, 9.0), bulging=0.6, push=(0.1, 0.5),
    ),
    "neuroendocrine": Kind(
        organs=("pancreas",),
        hu=((-10, 12), (28, 85), (12, 45), (8, 22)),
        rim=0.2, necrosis=0.2, calcified=0.15, irregular=(0.2, 0.8), bulging=0.5, weight=0.5,
    ),
    "adenoma": Kind(
        organs=ADRENALS,
        absolute=True,
        hu=((-10, 28), (30, 80), (45, 90), (25, 65)),
        irregular=(0.1, 0.6), mosaic_hu=(2.0, 6.0), bulging=1.0, push=(0.3, 0.8),
    ),
    "adrenal metastasis": Kind(
        organs=ADRENALS,
        absolute=True,
        hu=((25, 42), (40, 75), (55, 95), (50, 85)),
        necrosis=0.4, irregular=(0.4, 1.1), mosaic_hu=(4.0, 12.0), bulging=1.0, push=(0.3, 0.8),
    ),
    "wall tumour": Kind(
        organs=HOLLOW,
        absolute=True,
        hu=((32, 48), (55, 95), (68, 108), (62, 98)),
        aspect=(1.25, 1.25, 0.7), irregular=(0.6, 1.4), mosaic_hu=(3.0, 10.0), necrosis=0.15,
        push=(0.0, 0.2), bulging=0.3,
    ),
    "lung nodule": Kind(
        organs=("lung",),
        absolute=True,
        hu=((5, 50), (25, 85), (25, 80), (20, 75)),
        irregular=(0.3, 1.5), infiltrating=0.15, calcified=0.1, necrosis=0.2, push=(0.0, 0.3),
        bulging=0.3, grows=False,
    ),
    "ground glass": Kind(
        organs=("lung",),
        hu=((140, 380), (150, 400), (150, 400), (150, 400)),
        irregular=(0.6, 1.6), infiltrating=1.0, mosaic_hu=(10.0, 50.0), push=NEVER,
        bulging=0.3, grows=False, weight=0.3,
    ),
    "lytic": Kind(
        organs=("bone",),
        absolute=True,
        hu=((25, 60), (35, 85), (35, 85), (35, 80)),
        irregular=(0.5, 1.4), mosaic_hu=(4.0, 14.0), push=NEVER, bulging=0.2, grows=False,
    ),
    "sclerotic": Kind(
        organs=("bone",),
        absolute=True,
        hu=((380, 850), (380, 850), (380, 850), (380, 850)),
        irregular=(0.5, 1.4), mosaic_hu=(20.0, 80.0), push=NEVER, bulging=0.2, grows=False,
    ),
    "lymph node": Kind(
        organs=("lymph_node",),
        absolute=True,
        hu=((22, 45), (45, 90), (60, 110), (55, 95)),
        aspect=(1.3, 0.9, 0.85), irregular=(0.0, 0.7), necrosis=0.2, push=(0.2, 0.7),
        bulging=0.2, grows=False,
    ),
    "soft tissue mass": Kind(
        organs=("muscle",),
        hu=((-28, -15), (-25, 45), (-35, 40), (-30, 35)),
        rim=0.3, necrosis=0.45, calcified=0.1, infiltrating=0.2, mosaic_hu=(4.0, 15.0),
        bulging=0.2, grows=False,
    ),
    "cyst": Kind(
        organs=("liver", "right_kidney", "left_kidney", "pancreas", "spleen"),
        hu=((0, 18), (0, 18), (0, 18), (0, 20)),
        lesion=False, absolute=True, irregular=(0.1, 0.45), mosaic_hu=NEVER, bulging=0.4,
        size_mm=(5.0, 45.0), weight=1.5,
    ),
    "vessel end": Kind(
        organs=LIVER,
        hu=((-16, -8), (-12, 12), (25, 60), (12, 35)),
        lesion=False, aspect=(0.45, 0.45, 2.6), irregular=(0.1, 0.5), mosaic_hu=NEVER,
        push=NEVER, bulging=0.0, size_mm=(8.0, 18.0),
    ),
    "fissure": Kind(
        organs=LIVER,
        hu=((-70, 10), (-70, 10), (-70, 10), (-70, 10)),
        lesion=False, absolute=True, aspect=(2.2, 1.6, 0.14), irregular=(0.2, 0.5),
        mosaic_hu=(0.0, 8.0), push=NEVER, bulging=1.0, grows=False,
        size_mm=(16.0, 34.0),
    ),
    "focal fat": Kind(
        organs=LIVER,
        hu=((-42, -14), (-40, -14), (-44, -16), (-42, -14)),
        lesion=False, aspect=(1.5, 0.8, 0.8), irregular=(0.9, 1.7), infiltrating=1.0,
        mosaic_hu=(0.0, 4.0), push=NEVER, bulging=1.0, grows=False,
        size_mm=(10.0, 34.0),
    ),
    "stone": Kind(
        organs=("gallbladder",),
        hu=((45, 260), (45, 260), (45, 260), (45, 260)),
        lesion=False, absolute=True, irregular=(0.4, 1.2), mosaic_hu=(0.0, 40.0), push=NEVER,
        bulging=0.0, size_mm=(3.0, 12.0),
    ),
}  # fmt: skip
"""Name to row; the order is that of drawing, so new rows go to the end of lesions or decoys."""
DOME = "dome"
"""The decoy that is no body; see `dome`."""
DECOYS = (*(name for name, kind in KINDS.items() if not kind.lesion), DOME)
LESION_KINDS = tuple(name for name, kind in KINDS.items() if kind.lesion)
