"""Lesions come as asked: same by seed, in their organ, of their size, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from core.datasets.lesions.made_organs import PORTAL_HU, SPACING, made_scan
from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.lesions import generate
from flare_core.datasets.lesions.generate import LesionScan, add_lesions
from flare_core.datasets.lesions.kinds import DECOYS, DOME, KINDS, LESION_KINDS, TISSUES
from flare_core.datasets.lesions.paint import Painted
from flare_core.datasets.lesions.settings import SIZES_MM, LesionSettings
from flare_core.errors import InputError

ONE = LesionSettings(
    lesions=(1, 1), sizes=("small",), decoys=(0, 0), pushing=0.0, growing_out=False, phase="portal"
)
ABDOMEN = {
    "liver": ((45.0, 50.0, 36.0), 34.0),
    "spleen": ((45.0, 60.0, 104.0), 24.0),
    "right_kidney": ((45.0, 105.0, 40.0), 19.0),
    "pancreas": ((45.0, 26.0, 88.0), 13.0),
    "aorta": ((45.0, 96.0, 74.0), 8.0),
}
SHAPE = (36, 88, 88)


def made(settings: LesionSettings, seed: int = 0) -> LesionScan:
    """Return the one-liver scan with lesions."""
    image, labels = made_scan()
    return add_lesions(image, labels, SPACING, np.random.default_rng(seed), settings)


def test_the_same_seed_gives_the_same_voxels() -> None:
    settings = LesionSettings(lesions=(2, 2), sizes=("small",), decoys=(1, 1))
    first, again, other = made(settings, 3), made(settings, 3), made(settings, 4)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.instances, again.instances)
    assert (first.records, first.decoys) == (again.records, again.decoys)
    assert not np.array_equal(first.image, other.image)


def test_what_comes_in_is_not_changed() -> None:
    image, labels = made_scan()
    kept = image.copy(), labels.copy()
    add_lesions(image, labels, SPACING, np.random.default_rng(0), replace(ONE, pushing=1.0))
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(labels, kept[1])


@pytest.mark.parametrize("seed", range(4))
def test_records_agree_with_the_masks(seed: int) -> None:
    image, labels = made_scan(ABDOMEN, shape=SHAPE)
    settings = LesionSettings(lesions=(4, 4), sizes=("tiny", "small"), phase="portal")
    done = add_lesions(image, labels, SPACING, np.random.default_rng(seed), settings)
    assert [each.id for each in done.records] == list(range(1, len(done.records) + 1))
    assert set(np.unique(done.instances)) == {0, *range(1, len(done.records) + 1)}
    for each in done.records:
        mask = done.instances == each.id
        assert ndimage.label(mask)[1] == 1
        assert each.volume_ml == pytest.approx(mask.sum() * np.prod(SPACING) / 1000, abs=1e-3)
        assert each.diameter_mm == pytest.approx(np.cbrt(each.volume_ml * 6000 / np.pi), abs=0.2)
        np.testing.assert_allclose(each.centre, ndimage.center_of_mass(mask), atol=0.51)
        assert each.hu == pytest.approx(done.image[mask].mean(), abs=0.1)
        assert each.organ_hu == pytest.approx(PORTAL_HU[each.organ], abs=6)
        # The organ keeps its lesion; FLARE's 14 comes on top.
        assert (done.labels[mask] == organ(each.organ).id).all()
        assert (done.with_lesion_label()[mask] == LESION.id).all()
    assert ((done.with_lesion_label() == LESION.id) == (done.instances > 0)).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_lesion_stays_inside_its_organ_where_it_may_not_grow(seed: int) -> None:
    image, labels = made_scan()
    done = add_lesions(image, labels, SPACING, np.random.default_rng(seed), ONE)
    assert len(done.records) == 1
    assert (labels[done.instances > 0] == 1).all()
    np.testing.assert_array_equal(done.labels, labels)


@pytest.mark.parametrize("size", ["tiny", "small", "medium"])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (5.0, 1.0, 1.0)])
def test_sizes_are_as_asked_on_any_grid(size: str, spacing: tuple[float, float, float]) -> None:
    shape = tuple(round(120 / s) for s in spacing)
    organs = {"liver": ((60.0, 60.0, 60.0), 58.0)}
    image, labels = made_scan(organs, shape=(shape[0], shape[1], shape[2]), spacing=spacing)
    low, high = SIZES_MM[size]
    for seed in range(4):
        settings = replace(ONE, sizes=(size,), kinds=("metastasis",))
        done = add_lesions(image, labels, spacing, np.random.default_rng(seed), settings)
        (one,) = done.records
        assert low <= one.asked_mm <= high
        if one.asked_mm > 2.5 * max(spacing):
            assert 0.7 * one.asked_mm <= one.diameter_mm <= 1.12 * one.asked_mm


def test_thick_slices_do_not_stretch_a_lesion() -> None:
    spacing = (5.0, 1.0, 1.0)
    image, labels = made_scan(
        {"liver": ((60.0, 60.0, 60.0), 58.0)}, shape=(24, 120, 120), spacing=spacing
    )
    ratios = []
    for seed in range(7):
        settings = replace(ONE, sizes=("medium",), kinds=("metastasis",))
        done = add_lesions(image, labels, spacing, np.random.default_rng(seed), settings)
        box = ndimage.find_objects((done.instances > 0).astype(np.uint8))[0]
        z, y, x = ((s.stop - s.start) * mm for s, mm in zip(box, spacing, strict=True))
        ratios.append(2 * z / (y + x))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.15)


def test_nothing_changes_outside_the_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[Painted] = []

    def noted(*given: object) -> Painted | None:
        done = real(*given)  # type: ignore[arg-type]
        boxes.extend([done] if done else [])
        return done

    real = generate.paint
    monkeypatch.setattr(generate, "paint", noted)
    image, labels = made_scan(ABDOMEN, shape=SHAPE)
    decoys = tuple(name for name in DECOYS if name != DOME)
    settings = LesionSettings(lesions=(3, 3), sizes=("small",), decoys=(2, 2), decoy_kinds=decoys)
    done = add_lesions(image, labels, SPACING, np.random.default_rng(1), settings)
    outside = np.ones(image.shape, bool)
    for each in boxes:
        outside[each.window.slices] = False
    assert outside.mean() > 0.2
    changed = done.image != image
    assert changed.any() and not changed[outside].any()
    assert not (done.labels != labels)[outside].any()


@pytest.mark.parametrize("kind", DECOYS)
def test_decoys_leave_the_mask_empty(kind: str) -> None:
    organs = {**ABDOMEN, "gallbladder": ((45.0, 26.0, 60.0), 12.0)}
    image, labels = made_scan(organs, shape=SHAPE, hu={"gallbladder": 10})
    settings = LesionSettings(lesions=(0, 0), decoys=(2, 2), decoy_kinds=(kind,))
    done = add_lesions(image, labels, SPACING, np.random.default_rng(2), settings)
    assert {each.kind for each in done.decoys} == {kind}
    assert not done.records and not done.instances.any()
    assert (done.image != image).any()
    np.testing.assert_array_equal(done.with_lesion_label(), done.labels)


@pytest.mark.parametrize("kind", [k for k in LESION_KINDS if KINDS[k].organs[0] not in TISSUES])
def test_each_kind_shows_the_contrast_of_its_row(kind: str) -> None:
    key = KINDS[kind].organs[0]
    image, labels = made_scan({key: ((50.0, 54.0, 54.0), 44.0)}, noise=4.0)
    settings = replace(ONE, organs=(key,), kinds=(kind,), sizes=("medium",))
    host = float(np.median(image[labels > 0]))
    low, high = KINDS[kind].hu[2]
    if not KINDS[kind].absolute:
        low, high = host + low, host + high
    means = []
    for seed in range(4):
        done = add_lesions(image, labels, SPACING, np.random.default_rng(seed), settings)
        plain = [r for r in done.records if not {"necrosis", "lipiodol", "rim"} & {*r.features}]
        means += [record.hu for record in plain]
    # Edges and an inner structure are in the mean.
    assert all(low - 22 < mean < high + 22 for mean in means)


def test_decoy_cysts_hold_water() -> None:
    image, labels = made_scan(noise=3.0)
    settings = LesionSettings(lesions=(0, 0), decoys=(1, 1), decoy_kinds=("cyst",))
    for seed in range(4):
        done = add_lesions(image, labels, SPACING, np.random.default_rng(seed), settings)
        (cyst,) = done.decoys
        if cyst.diameter_mm > 12:
            z, y, x = cyst.centre
            assert -8 < done.image[z, y - 1 : y + 2, x - 1 : x + 2].mean() < 28


def test_the_noise_inside_is_the_scans() -> None:
    for noise in (4.0, 20.0):
        image, labels = made_scan(noise=noise)
        settings = replace(ONE, sizes=("medium",), kinds=("papillary",), organs=("right_kidney",))
        labels[labels == 1] = 2
        done = add_lesions(image, labels, SPACING, np.random.default_rng(0), settings)
        inside = ndimage.binary_erosion(done.instances > 0, iterations=2)
        rough = np.diff(done.image.astype(float), axis=2)[inside[..., 1:]].std() / np.sqrt(2)
        assert rough == pytest.approx(noise, rel=0.35)


def test_a_push_moves_organs_outwards() -> None:
    organs = {"liver": ((50.0, 54.0, 54.0), 20.0)}
    image, labels = made_scan(organs)
    settings = replace(ONE, sizes=("medium",), kinds=("metastasis",), pushing=1.0)
    done = add_lesions(image, labels, SPACING, np.random.default_rng(5), settings)
    assert "push" in done.records[0].features
    assert (done.labels == 1).sum() > 1.03 * (labels == 1).sum()


def test_a_scan_without_organs_stays_as_it_is() -> None:
    image, labels = made_scan()
    done = add_lesions(image, labels * 0, SPACING, np.random.default_rng(0))
    np.testing.assert_array_equal(done.image, image)
    assert done.records == done.decoys == () and not done.instances.any()


def test_float_scans_stay_float() -> None:
    image, labels = made_scan()
    done = add_lesions(image.astype(np.float32), labels, SPACING, np.random.default_rng(0), ONE)
    assert done.image.dtype == np.float32 and done.records


@pytest.mark.parametrize(
    ("image", "labels", "spacing"),
    [
        (np.zeros((4, 4), np.int16), np.zeros((4, 4), np.uint8), (1, 1, 1)),
        (np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 5), np.uint8), (1, 1, 1)),
        (np.zeros((4, 4, 4), np.uint16), np.zeros((4, 4, 4), np.uint8), (1, 1, 1)),
        (np.full((4, 4, 4), np.nan), np.zeros((4, 4, 4), np.uint8), (1, 1, 1)),
        (np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4)), (1, 1, 1)),
        (np.zeros((4, 4, 4), np.int16), np.full((4, 4, 4), 15), (1, 1, 1)),
        (np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.uint8), (1, 1)),
        (np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.uint8), (0, 1, 1)),
    ],
)
def test_what_is_no_scan_is_refused(
    image: np.ndarray, labels: np.ndarray, spacing: tuple[float, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        add_lesions(image, labels, spacing, np.random.default_rng(0))
    assert len(caught.value.parts) == 4


def test_the_lesion_label_comes_on_top() -> None:
    labels = np.array([[[1, 1, 0, 3]]], np.uint8)
    instances = np.array([[[0, 2, 1, 0]]], np.uint16)
    scan = LesionScan(labels.astype(np.int16), labels, instances, (), (), "portal")
    marked = scan.with_lesion_label()
    assert marked.tolist() == [[[1, LESION.id, LESION.id, 3]]] and marked.dtype == np.uint8
    assert labels.tolist() == [[[1, 1, 0, 3]]]
