"""How far training patches are changed: every knob of `augment`, and no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """How far patches are changed. All ranges are half-widths unless said otherwise."""

    rotation_degrees: tuple[float, float, float] = (12.0, 6.0, 6.0)
    """Around z, y, x."""
    zoom: float = 0.18
    """Natural logarithm of the scale, each axis partly on its own."""
    bend_mm: float = 6.0
    """Standard deviation of a smooth random displacement."""
    bend_probability: float = 0.4
    """Share of patches that are bent."""
    offset_hu: float = 12.0
    """Standard deviation of a shift of all values."""
    contrast: float = 0.15
    """Natural logarithm of a gain around 40 HU."""
    organ_offset_hu: float = 25.0
    """Standard deviation of each organ's own shift (another contrast phase)."""
    organ_probability: float = 0.35
    """Share of patches whose organs are shifted."""
    noise_hu: float = 30.0
    """Largest standard deviation of added noise."""
    noise_probability: float = 0.4
    """Share of patches with noise."""
    blur_probability: float = 0.2
    """Share of patches smoothed in plane."""
    thick_probability: float = 0.25
    """Share of patches whose slices are thickened."""
    thick_mm: float = 10.0
    """Largest imitated slice thickness."""
    window_probability: float = 0.0
    """Share of patches of which only some slices are left, as if the scan were short; the rest is
    air. Teaches a localiser what a chest or a pelvis alone looks like."""
    window_mm: float = 60.0
    """Least height of what is left."""
    ascites_probability: float = 0.0
    """Share of patches in which the fat around the organs becomes fluid (`augment_anatomy`)."""
    filled_probability: float = 0.0
    """Share of patches whose stomach and duodenum hold something else: gas, water, contrast."""
    excretion_probability: float = 0.0
    """Share of patches whose kidneys excrete contrast."""
    removed_probability: float = 0.0
    """Share of patches from which a gallbladder, kidney or spleen is taken out."""
