"""Random changes keep image and labels together, and change what they say they change."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from core.datasets.augment.unchanged import NO_AUGMENTATION
from flare_core.datasets.augment import patch as augment
from flare_core.datasets.augment.patch import AIR_HU, Augmentation, augmented_patch
from flare_core.datasets.cache import Sample
from flare_core.datasets.case import Case
from flare_core.datasets.sampling import PatchLocation
from sample_arrays import sample_of_arrays

CPU = torch.device("cpu")
SPACING = (4.0, 2.0, 1.5)
SHAPE = (30, 60, 80)
PATCH = (12, 24, 32)
DEVICES = [
    CPU,
    pytest.param(
        torch.device("cuda"),
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    ),
]


def sample(image: np.ndarray, labels: np.ndarray | None = None) -> Sample:
    if labels is None:
        labels = np.zeros(image.shape, np.uint8)
    return sample_of_arrays(Case("a", Path("a")), image.astype(np.int16), labels, SPACING)


def noise() -> Sample:
    random = np.random.default_rng(0)
    labels = random.integers(0, 14, SHAPE).astype(np.uint8)
    return sample(random.integers(-1000, 1500, SHAPE), labels)


def organ_block() -> Sample:
    """A body of 0 HU with an organ of 500 HU, lopsided in every direction."""
    image, labels = np.zeros(SHAPE), np.zeros(SHAPE, np.uint8)
    for block in (
        (slice(10, 20), slice(20, 40), slice(30, 56)),
        (slice(13, 16), slice(30, 34), slice(56, 66)),
    ):
        image[block], labels[block] = 500, 6
    return sample(image, labels)


def cut(
    which: Sample,
    settings: Augmentation = NO_AUGMENTATION,
    *,
    start: tuple[int, int, int] = (9, 18, 24),
    patch: tuple[int, int, int] = PATCH,
    seed: int = 0,
    device: torch.device = CPU,
) -> tuple[np.ndarray, np.ndarray]:
    centre = np.array(start) + (np.array(patch) - 1) / 2
    random = np.random.default_rng(seed)
    made = augmented_patch(PatchLocation(which, centre), patch, settings, random, device)
    image, labels = made.image, made.labels
    assert image.shape == labels.shape == (1, 1, *patch)
    assert image.dtype == torch.float32 and labels.dtype == torch.uint8
    assert image.device.type == labels.device.type == device.type
    return image[0, 0].cpu().numpy(), labels[0, 0].cpu().numpy()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("start", [(9, 18, 24), (0, 0, 0), (18, 36, 48)])
def test_without_augmentation_a_patch_is_the_block(
    start: tuple[int, int, int], device: torch.device
) -> None:
    which = noise()
    image, labels = cut(which, start=start, device=device)
    block = tuple(slice(a, a + n) for a, n in zip(start, PATCH, strict=True))
    assert np.abs(image - which.image[block]).max() < 0.1
    assert np.array_equal(labels, which.labels[block])


def test_outside_the_scan_is_air() -> None:
    which = noise()
    patch = (34, 64, 90)
    image, labels = cut(which, start=(-2, -3, -6), patch=patch)
    inside = (slice(2, 32), slice(3, 63), slice(6, 86))
    assert np.abs(image[inside] - which.image).max() < 0.1
    assert np.array_equal(labels[inside], which.labels)
    border = np.ones(patch, bool)
    border[inside] = False
    assert np.abs(image[border] - AIR_HU).max() < 0.1 and not labels[border].any()


MOVING = {
    "rotation": replace(NO_AUGMENTATION, rotation_degrees=(25.0, 15.0, 15.0)),
    "zoom": replace(NO_AUGMENTATION, zoom=0.3),
    "bend": replace(NO_AUGMENTATION, bend_mm=6.0, bend_probability=1.0),
    "all": replace(
        NO_AUGMENTATION,
        rotation_degrees=(12.0, 6.0, 6.0),
        zoom=0.18,
        bend_mm=6.0,
        bend_probability=1.0,
    ),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("what", MOVING)
def test_labels_follow_the_image(what: str, device: torch.device) -> None:
    which = organ_block()
    moved = 0
    straight = cut(which, start=(6, 12, 16), patch=(18, 36, 52))[1]
    for seed in range(12):
        image, labels = cut(
            which, MOVING[what], start=(6, 12, 16), patch=(18, 36, 52), seed=seed, device=device
        )
        bright, organ = image > 250, labels == 6
        assert (bright & organ).sum() / (bright | organ).sum() > 0.97
        assert set(np.unique(labels)) == {0, 6}
        moved += int((organ != (straight == 6)).sum() > 100)
    assert moved >= 10


def test_a_rotation_is_rigid_in_millimetres() -> None:
    """Voxels are anisotropic: turned as if they were cubes, the block's volume would change."""
    which = organ_block()
    settings = replace(NO_AUGMENTATION, rotation_degrees=(40.0, 0.0, 0.0))
    volume = (which.labels == 6).sum()
    for seed in range(6):
        labels = cut(which, settings, start=(4, 0, 10), patch=(22, 60, 70), seed=seed)[1]
        assert (labels == 6).sum() == pytest.approx(volume, rel=0.02)
        z = np.flatnonzero((labels == 6).any(axis=(1, 2)))
        assert (z[0], z[-1]) == (6, 15)  # around z, slices stay where they are


def test_zoom_changes_the_size_as_told() -> None:
    which = organ_block()
    settings = replace(NO_AUGMENTATION, zoom=0.3)
    sizes = [
        (cut(which, settings, start=(1, 2, 2), patch=(28, 56, 76), seed=s)[1] == 6).sum()
        for s in range(20)
    ]
    ratio = np.array(sizes) / (which.labels == 6).sum()
    assert ratio.min() < 0.8 and ratio.max() > 1.25
    assert np.all(np.abs(np.log(ratio)) < 3 * 0.3 + 3 * 0.1 + 0.05)


@pytest.mark.parametrize("what", MOVING)
def test_left_and_right_are_never_mirrored(what: str) -> None:
    """The thin spur points to the left (high x) and stays there; also up stays up."""
    which = organ_block()
    for seed in range(12):
        labels = cut(which, MOVING[what], start=(2, 6, 6), patch=(26, 48, 70), seed=seed)[1]
        z, _, x = np.nonzero(labels == 6)
        spur = x > x.min() + 0.8 * (x.max() - x.min())
        assert spur.sum() < 0.15 * len(x)
        assert np.median(x) < (x.min() + x.max()) / 2
        assert np.median(z[spur]) < np.median(z) + 4


def test_a_bend_does_not_pull_air_into_the_patch() -> None:
    """The block that is cut leaves room for what the bend may reach."""
    which = sample(np.full((60, 120, 160), 40))
    settings = replace(NO_AUGMENTATION, bend_mm=8.0, bend_probability=1.0)
    for seed in range(30):
        image, _ = cut(which, settings, start=(24, 48, 64), seed=seed)
        assert np.abs(image - 40).max() < 0.1


def test_a_rotated_patch_sees_no_air_inside_the_scan() -> None:
    which = sample(np.full((60, 120, 160), 40))
    settings = replace(NO_AUGMENTATION, rotation_degrees=(45.0, 30.0, 30.0), zoom=0.3)
    for seed in range(30):
        image, _ = cut(which, settings, start=(24, 48, 64), seed=seed)
        assert np.abs(image - 40).max() < 0.1


def test_gain_and_offset_are_the_same_for_all_voxels() -> None:
    which = noise()
    straight = cut(which)[0]
    settings = replace(NO_AUGMENTATION, contrast=0.3, offset_hu=30.0)
    for seed in range(5):
        image = cut(which, settings, seed=seed)[0]
        gain, offset = np.polyfit(straight.ravel(), image.ravel(), 1)
        assert np.abs(image - (gain * straight + offset)).max() < 0.1
        assert np.exp(-0.3) <= gain <= np.exp(0.3) and abs(gain - 1) > 1e-3
        assert abs(offset - 40 * (1 - gain)) < 150


def test_each_organ_has_its_own_shift_and_the_rest_none() -> None:
    which = noise()
    straight, labels = cut(which)
    settings = replace(NO_AUGMENTATION, organ_offset_hu=25.0, organ_probability=1.0)
    change = cut(which, settings, seed=3)[0] - straight
    shifts = [change[labels == c] for c in range(14)]
    assert all(np.ptp(s) < 0.1 for s in shifts)
    assert abs(shifts[0].mean()) < 0.1
    assert 8 < np.std([s.mean() for s in shifts[1:]]) < 60


def test_noise_is_noise() -> None:
    which = sample(np.zeros(SHAPE))
    settings = replace(NO_AUGMENTATION, noise_hu=30.0, noise_probability=1.0)
    for seed in range(5):
        image = cut(which, settings, seed=seed)[0]
        assert 0 < image.std() <= 31 and abs(image.mean()) < 0.1 * image.std()
        assert abs(np.corrcoef(image[:, :, 1:].ravel(), image[:, :, :-1].ravel())[0, 1]) < 0.05


def test_blur_is_in_plane_and_keeps_the_mean() -> None:
    which = noise()
    settings = replace(NO_AUGMENTATION, blur_probability=1.0)
    straight, image = cut(which)[0], cut(which, settings)[0]
    by_hand = sum(
        w * straight[:, 1 + dy : PATCH[1] - 1 + dy, 1 + dx : PATCH[2] - 1 + dx]
        for dy, a in ((-1, 1), (0, 2), (1, 1))
        for dx, b in ((-1, 1), (0, 2), (1, 1))
        if (w := a * b / 16)
    )
    assert np.abs(image[:, 1:-1, 1:-1] - by_hand).max() < 0.1


def test_thick_slices_are_smooth_along_z_only() -> None:
    which = noise()
    settings = replace(NO_AUGMENTATION, thick_probability=1.0, thick_mm=12.0)
    straight = cut(which)[0]
    image = cut(which, settings, seed=1)[0]
    steps = [np.abs(np.diff(a, axis=0)).mean() for a in (straight, image)]
    assert steps[1] < 0.7 * steps[0]
    assert image.mean() == pytest.approx(straight.mean(), abs=25)
    thin = replace(settings, thick_mm=2.0)  # thinner than the slices are
    assert np.abs(cut(which, thin)[0] - straight).max() < 0.1


def test_a_short_scan_is_a_window_of_slices_in_air() -> None:
    which = noise()
    straight, straight_labels = cut(which)
    settings = replace(NO_AUGMENTATION, window_probability=1.0, window_mm=5 * SPACING[0])
    heights, starts = set(), set()
    for seed in range(60):
        image, labels = cut(which, settings, seed=seed)
        left = np.flatnonzero((image != AIR_HU).any(axis=(1, 2)))
        window = slice(left[0], left[-1] + 1)
        assert np.array_equal(image[window], straight[window])
        assert np.array_equal(labels[window], straight_labels[window])
        outside = np.setdiff1d(np.arange(PATCH[0]), left)
        assert np.all(image[outside] == AIR_HU) and not labels[outside].any()
        heights.add(len(left))
        starts.add(int(left[0]))
    assert heights == set(range(5, PATCH[0] + 1)) and len(starts) > 4


def test_the_seed_decides() -> None:
    which, settings = noise(), Augmentation()
    a, b, c = (cut(which, settings, seed=s) for s in (7, 7, 8))
    assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
    assert not np.array_equal(a[0], c[0])


def test_none_means_none() -> None:
    values = {field.name: getattr(NO_AUGMENTATION, field.name) for field in fields(Augmentation)}
    assert not any(np.any(v) for name, v in values.items() if name != "window_mm")
    random = np.random.default_rng(0)
    location = PatchLocation(noise(), np.array([14.5, 29.5, 39.5]))
    patches = [
        augmented_patch(location, PATCH, NO_AUGMENTATION, random, CPU).image for _ in range(3)
    ]
    assert torch.equal(patches[0], patches[1]) and torch.equal(patches[0], patches[2])


def with_maps() -> Sample:
    """The organ's voxels were edited, and may be a spleen by a fifth."""
    which = organ_block()
    organ = which.labels == 6
    return replace(which, edited=organ, soft=np.where(organ, 256 * 3 + 204, 255).astype(np.int16))


@pytest.mark.parametrize("what", MOVING)
def test_edits_and_soft_labels_move_with_the_labels(what: str) -> None:
    centre = np.array((15.0, 29.5, 39.5))
    for seed in range(4):
        random = np.random.default_rng(seed)
        made = augmented_patch(
            PatchLocation(with_maps(), centre), (34, 48, 64), MOVING[what], random, CPU
        )
        assert made.edited is not None and made.soft is not None
        organ = made.labels == 6
        assert bool(organ.any()) and torch.equal(made.edited == 1, organ)
        expected = torch.where(organ, 256 * 3 + 204, 255)
        assert torch.equal(made.soft.int(), expected.int())  # also outside the scan


def test_the_plain_view_is_moved_but_keeps_its_intensities() -> None:
    settings = replace(Augmentation(), noise_probability=1.0)
    which, changed = organ_block(), 0
    for seed in range(5):
        random = np.random.default_rng(seed)
        made = augmented_patch(
            PatchLocation(which, np.array((14.5, 29.5, 42.5))), PATCH, settings, random, CPU
        )
        organ = made.labels == 6
        edged = torch.nn.functional.pad(organ.float(), (2,) * 6)
        deep = -torch.nn.functional.max_pool3d(-edged, 5, 1) == 1  # away from the organ's edge
        assert int(deep.sum()) > 100 and float((made.plain[deep] - 500).abs().max()) < 1
        changed += float((made.image - made.plain)[deep].abs().mean()) > 5
    assert changed >= 4


def test_a_short_scan_is_short_in_every_view() -> None:
    settings = replace(NO_AUGMENTATION, window_probability=1.0, window_mm=2 * SPACING[0])
    blank = 0
    for seed in range(6):
        random = np.random.default_rng(seed)
        made = augmented_patch(
            PatchLocation(with_maps(), np.array((14.5, 29.5, 39.5))), PATCH, settings, random, CPU
        )
        assert made.edited is not None and made.soft is not None
        air = [(view == AIR_HU).all(-1).all(-1) for view in (made.image, made.plain)]
        assert torch.equal(*air)
        rest = air[0].flatten()
        assert not made.labels[:, :, rest].any() and not made.edited[:, :, rest].any()
        assert bool((made.soft[:, :, rest] == 255).all())
        blank += int(rest.sum())
    assert blank > 6


def test_without_edits_or_soft_labels_there_are_none() -> None:
    random = np.random.default_rng(0)
    made = augmented_patch(
        PatchLocation(noise(), np.array((15.0, 29.5, 39.5))), PATCH, NO_AUGMENTATION, random, CPU
    )
    assert made.edited is None and made.soft is None
    assert torch.allclose(made.image, made.plain, atol=0.01)


def test_blurring_and_thickening_are_torchs_own_filters() -> None:
    image = torch.randn(1, 1, 11, 6, 7, generator=torch.Generator().manual_seed(0)) * 300
    row = torch.tensor([0.25, 0.5, 0.25])
    kernel = (row[:, None] * row).view(1, 1, 1, 3, 3)
    padded = functional.pad(image, (1, 1, 1, 1, 0, 0), mode="replicate")
    blurred = functional.conv3d(padded, kernel)
    assert torch.allclose(augment._blur_in_plane(image), blurred, atol=1e-3)
    few = functional.interpolate(image, size=(4, 6, 7), mode="area")
    thick = functional.interpolate(few, size=(11, 6, 7), mode="trilinear")
    assert torch.allclose(augment._thicken(image, 3.0), thick, atol=1e-3)
    assert augment._thicken(image, 1.0) is image
