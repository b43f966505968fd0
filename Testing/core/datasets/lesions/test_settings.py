"""Settings that cannot be drawn are refused; presets are legal and of their class."""

from __future__ import annotations

import pytest

from flare_core.datasets.lesions.settings import PRESETS, SIZES_MM, LesionSettings
from flare_core.errors import InputError


@pytest.mark.parametrize(
    "wrong",
    [
        {"lesions": (3, 1)},
        {"lesions": (-1, 1)},
        {"sizes": ()},
        {"sizes": ("huge",)},
        {"organs": ("knee",)},
        {"kinds": ("cyst",)},
        {"decoy_kinds": ()},
        {"decoy_kinds": ("metastasis",)},
        {"phase": "delayed"},
        {"pushing": 1.5},
        {"liver_share": -0.1},
        {"least_contrast_hu": -1.0},
        {"gap_mm": -1.0},
    ],
)
def test_settings_that_cannot_be_drawn(wrong: dict) -> None:
    with pytest.raises(InputError) as caught:
        LesionSettings(**wrong)
    assert len(caught.value.parts) == 4


def test_there_is_a_preset_for_each_size_class() -> None:
    assert set(SIZES_MM) <= set(PRESETS)
    for name in SIZES_MM:
        assert PRESETS[name].sizes == (name,)
    assert PRESETS["none"].lesions == (0, 0)


def test_size_classes_follow_one_another() -> None:
    ends = list(SIZES_MM.values())
    assert all(a[1] == b[0] for a, b in zip(ends, ends[1:], strict=False))
