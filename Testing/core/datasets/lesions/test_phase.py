"""The phase is told from organs, as in the scans it was looked at in."""

from __future__ import annotations

import pytest

from flare_core.datasets.lesions.phase import PHASES, phase_of
from flare_core.datasets.phantom import settings as phantom_settings


@pytest.mark.parametrize(
    ("phase", "seen"),
    [
        ("portal", {"aorta": 129, "liver": 101, "spleen": 118, "right_kidney": 152}),
        ("portal", {"aorta": 165, "liver": 123, "spleen": 139}),
        ("arterial", {"aorta": 324, "liver": 67, "spleen": 87}),
        ("arterial", {"aorta": 200, "liver": 90, "spleen": 139}),
        ("native", {"aorta": 41, "liver": 56, "spleen": 47}),
        ("native", {"liver": 56}),
        ("native", {"right_kidney": 32}),
        ("native", {"spleen": 47, "liver": 56}),
        ("late", {"aorta": 111, "liver": 98, "spleen": 100}),
        ("arterial", {"spleen": 125, "liver": 68}),
        ("portal", {"liver": 108}),
        ("portal", {}),
    ],
)
def test_phase(phase: str, seen: dict[str, float]) -> None:
    assert phase_of(seen) == phase


def test_phantoms_have_the_same_phases() -> None:
    assert phantom_settings.PHASES == PHASES
