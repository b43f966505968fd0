from __future__ import annotations

from flare_core.train.config import LEAST_DEPTH
from flare_core.train.recipes.nnunet_defaults import stages, unet


def test_a_thick_axis_is_halved_once_the_others_are_as_thick() -> None:
    strides, kernels = stages((48, 192, 192), (2.5, 0.8, 0.8), 6)
    assert strides == ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert kernels == ((1, 3, 3),) + ((3, 3, 3),) * 5


def test_no_axis_becomes_shorter_than_training_allows_and_kernels_never_flatten_again() -> None:
    patch = (32, 192, 192)
    strides, kernels = stages(patch, (2.5, 1.5, 1.5), 6)
    left = list(patch)
    for stride in strides:
        left = [n // s for n, s in zip(left, stride, strict=True)]
        assert min(left) >= LEAST_DEPTH
    assert all(k == (3, 3, 3) for k in kernels)


def test_stages_for_which_the_patch_is_too_small_fall_away() -> None:
    spec = unet("plain_unet", (8, 16, 32, 64, 128), (12, 24, 24), (5, 5, 5), classes=2, encoder=1)
    assert spec.features_per_stage == (8, 16, 32, 64) and spec.divisor == (4, 8, 8)
    assert len(spec.convolutions_per_stage_decoder) == 3


def test_a_stem_halves_at_once() -> None:
    strides, _ = stages((96, 96, 96), (2, 1.5, 1.5), 4, (2, 2, 2))
    assert strides == ((2, 2, 2),) * 4
