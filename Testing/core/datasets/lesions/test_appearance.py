"""Looks follow their kind's row, the phase and the scan's noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.datasets.lesions.appearance import Appearance, Host, draw_appearance
from flare_core.datasets.lesions.kinds import KINDS
from flare_core.datasets.lesions.settings import LesionSettings

LIVER = Host("liver", 1, 100.0, 10.0, "portal")


def looks(kind: str, size: float = 25.0, host: Host = LIVER) -> list[Appearance]:
    """Draw a dozen."""
    random = np.random.default_rng(0)
    return [draw_appearance(kind, size, host, LesionSettings(), random) for _ in range(12)]


def test_hepatocellular_is_bright_in_the_arterial_phase_only() -> None:
    arterial = looks("hepatocellular", host=replace(LIVER, hu=65.0, phase="arterial"))
    assert all(appearance.level_hu > 65 for appearance in arterial)
    assert all(appearance.level_hu < 100 for appearance in looks("hepatocellular"))


def test_noisy_scans_and_small_lesions_get_more_contrast() -> None:
    def least(size: float, noise: float) -> float:
        host = replace(LIVER, noise_hu=noise)
        return min(
            abs(appearance.level_hu - 100) for appearance in looks("hepatocellular", size, host)
        )

    assert least(30, 40) > least(30, 10) >= 13
    assert least(6, 10) > 1.3 * least(30, 10)


def test_dead_cores_and_calcium_only_in_larger_ones() -> None:
    assert not any({"necrosis", "calcification"} & set(x.features) for x in looks("clear cell", 9))
    assert any("necrosis" in appearance.features for appearance in looks("clear cell", 40))


def test_rims_need_contrast_medium() -> None:
    native = replace(LIVER, phase="native", hu=55.0)
    for kind in ("metastasis", "hepatocellular"):
        assert not any(appearance.rim_hu for appearance in looks(kind, host=native))
        assert any(appearance.rim_hu for appearance in looks(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_axes_keep_the_volume_of_a_lesion(kind: str) -> None:
    for appearance in looks(kind):
        if KINDS[kind].lesion:
            assert np.prod(appearance.axes) == pytest.approx(1)
        assert appearance.level_hu > -120 and appearance.push < 1 and appearance.edge_mm <= 14


def test_lesions_of_a_fatty_liver_are_brighter() -> None:
    fatty = replace(LIVER, hu=10.0, phase="native")
    assert all(appearance.level_hu > 10 for appearance in looks("metastasis", host=fatty))


def test_ground_glass_is_mostly_air() -> None:
    lung = Host("lung", 0, -840.0, 10.0, "portal")
    assert all(-700 < appearance.level_hu < -430 for appearance in looks("ground glass", host=lung))
