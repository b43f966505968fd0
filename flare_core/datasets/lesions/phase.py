"""Contrast phase of a scan, told from the HU of its organs."""

from __future__ import annotations

from collections.abc import Mapping

PHASES = ("native", "arterial", "portal", "late")
"""Contrast phases; tables in `kinds` have one entry for each, in this order."""

AORTA_NATIVE_HU = 75.0
"""An aorta below this has no contrast in it."""
AORTA_LEAD_HU = 85.0
"""In the arterial phase the aorta is this much brighter than the liver (or, without one, than the
spleen less what that takes up earlier)."""
AORTA_LATE_HU = 118.0
"""Below this, and enhanced, the contrast has spread."""
KIDNEY_NATIVE_HU = 65.0
LIVER_NATIVE_HU = 76.0
SPLEEN_NATIVE_HU = 68.0


def phase_of(organ_hu: Mapping[str, float]) -> str:
    """Tell the phase from organs' median HU.

    Parameters
    ----------
    organ_hu : mapping of organ key to HU
        Whatever is in view; the aorta tells most, then kidneys, spleen and liver.

    Returns
    -------
    str
        One of `PHASES`; ``portal``, the most frequent one, if nothing tells.

    Examples
    --------
    >>> phase_of({"aorta": 40, "liver": 55})
    'native'
    >>> phase_of({"aorta": 310, "liver": 70}), phase_of({"aorta": 155, "liver": 110})
    ('arterial', 'portal')
    """
    aorta = organ_hu.get("aorta")
    if aorta is None:
        return _without_aorta(organ_hu)
    if aorta < AORTA_NATIVE_HU:
        return "native"
    if aorta - organ_hu.get("liver", organ_hu.get("spleen", 100.0)) > AORTA_LEAD_HU:
        return "arterial"
    return "late" if aorta < AORTA_LATE_HU else "portal"


def _without_aorta(organ_hu: Mapping[str, float]) -> str:
    """Tell the phase of a part of a scan that does not show the aorta."""
    kidneys = [organ_hu[k] for k in ("right_kidney", "left_kidney") if k in organ_hu]
    if kidneys and max(kidneys) < KIDNEY_NATIVE_HU:
        return "native"
    if "spleen" in organ_hu:
        if organ_hu["spleen"] < SPLEEN_NATIVE_HU:
            return "native"
        if organ_hu["spleen"] - organ_hu.get("liver", organ_hu["spleen"]) > 35:
            return "arterial"
    if not kidneys and "spleen" not in organ_hu and organ_hu.get("liver", 999) < LIVER_NATIVE_HU:
        return "native"
    return "portal"
