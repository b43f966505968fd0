from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from core.report.scene_builder import ALL_STORAGE_ORDERS, LIVER, SPLEEN, lopsided, stored
from flare_core.anatomy.organs import ORGANS, organ
from flare_core.errors import InputError
from flare_core.imaging.files import read_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.report.case import overlay, sheet
from flare_core.report.case.overlay import overlay_montage, write_png
from flare_core.report.case.panel import AXIAL, CORONAL, FILL, SAGITTAL, Plane
from flare_core.segment.lesion_list import list_lesions


def near(pixels: np.ndarray, colour: tuple[int, int, int], opacity: float) -> np.ndarray:
    """Pixels that show `colour` over the body's grey (40 HU)."""
    expected = np.multiply(colour, opacity) + 127 * (1 - opacity)
    return (np.abs(pixels.astype(int) - expected) <= 2).all(axis=2)


def below_title(pixels: np.ndarray) -> np.ndarray:
    """Without the line that names size and spacing in storage order."""
    return pixels[sheet.TITLE_HEIGHT :]


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return overlay_montage(*lopsided(tilt_degrees=12), ORGANS)


def test_the_montage_is_an_rgb_picture_of_fixed_width(reference):
    assert reference.dtype == np.uint8
    assert reference.shape[1:] == (sheet.WIDTH + 300 + 3 * sheet.MARGIN, 3)
    assert 600 < reference.shape[0] < 2200


@pytest.mark.parametrize("order", ALL_STORAGE_ORDERS[5::6], ids=str)
def test_how_a_scan_is_stored_does_not_change_the_picture(reference, order):
    image, labels = lopsided(tilt_degrees=12)
    drawn = overlay_montage(stored(image, order), stored(labels, order), ORGANS)
    assert np.array_equal(below_title(drawn), below_title(reference))


def test_the_patients_right_is_left_in_every_panel_and_front_is_on_top(reference):
    image, labels = lopsided(tilt_degrees=12)
    cells = [cell for cell in shown_cells(image, labels) if cell.plane.axis != SAGITTAL]
    seen = 0
    for cell in cells:
        panel = reference[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width]
        liver = np.argwhere(near(panel, organ(LIVER).colour, FILL))
        spleen = np.argwhere(near(panel, organ(SPLEEN).colour, FILL))
        if len(liver) > 50 and len(spleen) > 50:
            seen += 1
            assert liver[:, 1].max() < cell.width / 2 < spleen[:, 1].min()
            assert cell.plane.axis == CORONAL or liver[:, 0].mean() < spleen[:, 0].mean()
    assert seen >= 4


def shown_cells(image: Volume, labels: Volume) -> list[sheet.Cell]:
    """The panels' places, found by drawing with a spy in the sheet's place."""
    kept: list[sheet.Cell] = []
    original = sheet.lay_out

    def spy(geometry: Geometry, planes: list[Plane]) -> list[sheet.Cell]:
        kept.extend(original(geometry, planes))
        return kept

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sheet, "lay_out", spy)
        overlay_montage(image, labels, ORGANS)
    return kept


@pytest.mark.parametrize("spacing", [(10.0, 0.7, 0.7), (0.5, 1.5, 1.0), (3.0, 0.8, 2.5)])
def test_a_ball_stays_round_in_all_three_directions(spacing):
    shape = tuple(round(200 / mm) for mm in spacing)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    parts = [((at + 0.5) * mm - 100) ** 2 for at, mm in zip((z, y, x), spacing, strict=True)]
    ball = sum(parts) < 60**2
    geometry = Geometry(shape, spacing)
    image = Volume(np.full(shape, 40, np.int16), geometry)
    labels = Volume(ball.astype(np.uint8) * LIVER, geometry)
    drawn = overlay_montage(image, labels, ORGANS)
    widest = {}
    for cell in shown_cells(image, labels):
        panel = drawn[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width]
        where = np.argwhere(near(panel, organ(LIVER).colour, FILL))
        height, width = np.ptp(where, axis=0) + 1
        best = widest.get(cell.plane.axis, (0, 0))
        widest[cell.plane.axis] = max(best, (int(width), int(height)))
    assert set(widest) == {AXIAL, CORONAL, SAGITTAL}
    for axis, (width, height) in widest.items():
        # A ball in voxels is round to a voxel, and 10 mm of 120 mm is 8 %.
        assert width == pytest.approx(height, rel=0.1), axis


def test_nothing_found_is_said_and_nothing_is_tinted():
    image, labels = lopsided()
    empty = labels.with_array(np.zeros_like(labels.array))
    drawn = overlay_montage(image, empty, ORGANS)
    cells = shown_cells(image, empty)
    assert len(cells) == 17
    left = drawn[cells[0].top :, : sheet.MARGIN + sheet.WIDTH].astype(int)
    assert np.ptp(left, axis=2).max() <= 45  # the pale letters, no organ's colour
    assert drawn[:, sheet.MARGIN + sheet.WIDTH :].max() > 200


def test_the_same_input_gives_the_same_pixels_and_is_left_as_it_was():
    image, labels = lopsided()
    before = image.array.copy(), labels.array.copy()
    first = overlay_montage(image, labels, ORGANS, case="a", notes=["b"])
    second = overlay_montage(image, labels, ORGANS, case="a", notes=["b"])
    assert np.array_equal(first, second)
    assert np.array_equal(image.array, before[0])
    assert np.array_equal(labels.array, before[1])


def test_case_name_and_notes_are_on_the_sheet():
    image, labels = lopsided()
    plain = overlay_montage(image, labels, ORGANS)
    named = overlay_montage(image, labels, ORGANS, case="Jörg 肝" * 40, notes=["Cut. " * 30])
    assert not np.array_equal(plain[: sheet.TITLE_HEIGHT], named[: sheet.TITLE_HEIGHT])
    legend = np.s_[sheet.TITLE_HEIGHT : plain.shape[0] - 60, sheet.MARGIN + sheet.WIDTH :]
    assert not np.array_equal(plain[legend], named[legend])


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((1, 40, 40), (5.0, 2.0, 2.0)),
        ((10, 40, 50), (30.0, 2.0, 2.0)),
        ((1500, 16, 16), (1.0, 20.0, 20.0)),
        ((40, 200, 30), (3.0, 2.0, 2.0)),
        ((2, 2, 2), (300.0, 0.1, 300.0)),
    ],
)
@pytest.mark.parametrize("kind", ["air", "one voxel", "all"])
def test_odd_scans_give_a_picture(shape, spacing, kind):
    geometry = Geometry(shape, spacing)
    array = np.zeros(shape, np.uint8)
    if kind == "one voxel":
        array[tuple(n // 2 for n in shape)] = LIVER
    if kind == "all":
        array[:] = LIVER
    value = -1024.0 if kind == "air" else 60.0
    drawn = overlay_montage(
        Volume(np.full(shape, value, np.float32), geometry), Volume(array, geometry), ORGANS[:1]
    )
    assert drawn.shape[1] == 1960
    assert drawn.shape[0] < 3000


def test_labels_of_another_scan_are_refused():
    image, labels = lopsided()
    with pytest.raises(InputError, match="grid of the image"):
        overlay_montage(image, labels.crop(labels_box(labels)), ORGANS)
    moved = Geometry(labels.geometry.shape, labels.geometry.spacing_mm)
    with pytest.raises(InputError, match="grid of the image"):
        overlay_montage(image, Volume(labels.array, moved), ORGANS)


def labels_box(labels: Volume):
    from flare_core.imaging.geometry import Box

    return Box.of_mask(labels.array == LIVER)


@pytest.mark.parametrize("order", [ALL_STORAGE_ORDERS[0], ALL_STORAGE_ORDERS[-1]], ids=str)
def test_a_large_scan_costs_little_memory(order):
    geometry = Geometry((110, 512, 512), (2.5, 0.8, 0.8)).permuted(order)
    image = np.zeros(geometry.shape, np.int16)
    labels = np.zeros(geometry.shape, np.uint8)
    labels[tuple(slice(n // 4, 3 * n // 4) for n in geometry.shape)] = LIVER
    volumes = Volume(image, geometry), Volume(labels, geometry)
    tracemalloc.start()
    overlay_montage(*volumes, ORGANS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Less than the scan itself (58 MB): no float copy, no second copy of it.
    assert peak < image.nbytes * 0.6


def test_png_holds_the_pixels_and_is_replaced_whole(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = tmp_path / "case.png"
    path.write_text("old")
    write_png(path, pixels)
    assert np.array_equal(np.asarray(Image.open(path)), pixels)
    assert [each.name for each in tmp_path.iterdir()] == ["case.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "case.png"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_png(path, np.zeros((4, 4, 3), np.uint8))
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["case.png"]


def test_a_missing_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError):
        write_png(tmp_path / "nowhere" / "case.png", np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("case", ["totalseg_ct", "hcc009thick"])  # RAS; 10 mm slices
def test_on_real_scans_the_liver_is_on_the_left_of_the_picture(real_data, case):
    image = read_volume(real_data / "ct" / f"{case}.nii.gz")
    labels = read_volume(real_data / "labels" / f"{case}.nii.gz")
    labels = labels.with_array(labels.array.astype(np.uint8))
    none = overlay_montage(image, labels, [organ("lesion")])
    liver, spleen = (
        (overlay_montage(image, labels, [organ(key)]) != none).any(axis=2)
        for key in ("liver", "spleen")
    )
    sides = []
    for cell in shown_cells(image, labels):
        here = np.s_[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width]
        if cell.plane.axis != SAGITTAL and liver[here].any() and spleen[here].any():
            sides.append(column(liver[here]) < column(spleen[here]))
    assert len(sides) >= 5
    assert all(sides)


def column(mask: np.ndarray) -> float:
    return float(np.argwhere(mask)[:, 1].mean())


@pytest.mark.parametrize("order", ALL_STORAGE_ORDERS[::7])
def test_a_lesions_slice_is_among_the_pictures_however_the_scan_is_stored(order, monkeypatch):
    image, labels = lopsided()
    labels.array[13, 30:36, 20:40] = 14
    drawn = []
    real = overlay.draw_sheet

    def spy(scene, planes, lines, heading):
        drawn.append((scene, planes))
        return real(scene, planes, lines, heading)

    monkeypatch.setattr(overlay, "draw_sheet", spy)
    here = [stored(each, order) for each in (image, labels)]
    lesions = list_lesions(*here)
    overlay_montage(*here, ORGANS, lesions=lesions)
    ((scene, planes),) = drawn
    (place,) = scene.lesions.values()
    assert Plane(AXIAL, place[0]) in planes
    assert scene.labels.array[place] == 14
