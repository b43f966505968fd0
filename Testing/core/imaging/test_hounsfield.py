"""A CT in HU passes whatever its padding and window; other values are refused, and named."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.imaging import checks, hounsfield
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

Change = Callable[[np.ndarray], np.ndarray]
SHAPE = (24, 60, 60)

NOT_HU: dict[str, tuple[Change, str]] = {
    "plus 1024": (lambda a: a + 1024, "subtract 1024"),
    "plus 1000": (lambda a: a + 1000, "subtract 10"),
    "minus 1024": (lambda a: a - 1024, "add (10|it)"),
    "plus 500": (lambda a: a + 500, "added"),
    "minus 500": (lambda a: a - 500, "subtracted"),
    "ten times": (lambda a: a * 10, "divide every voxel by 10"),
    "twice": (lambda a: a * 2, "divide every voxel by 2"),
    "half": (lambda a: a / 2, "multiply by 2"),
    "negated": (lambda a: -a, "change the sign"),
    "1024 minus": (lambda a: 1024 - a, "subtract every voxel from 10"),
    "plus 32768": (lambda a: a + 32768, "rescale slope"),
    "no sign": (np.abs, "rescale slope|negated|added"),
}


@lru_cache
def body() -> np.ndarray:
    """Air, lung, fat, organs and bone with noise, HU as float."""
    chance = np.random.default_rng(1)
    z, y, x = np.ogrid[-1:1:24j, -1:1:60j, -1:1:60j]
    far = y**2 / 0.5 + x**2 / 0.8 + 0 * z
    array = np.where(far < 1, -100.0, -1000.0)
    array[far < 0.6] = 55
    array[(far < 0.4) & (z > 0.6)] = -850
    array[(np.abs(x) < 0.1) & (np.abs(y - 0.4) < 0.1) & (z > -2)] = 400
    return array + chance.normal(0, 14, SHAPE)


def padded(array: np.ndarray, value: float = -2000) -> np.ndarray:
    """Set what lies outside the circle of the scanner to one value."""
    y, x = np.ogrid[-1:1:60j, -1:1:60j]
    return np.where(y**2 + x**2 > 1, value, array)


def check(array: np.ndarray, *, assume_hu: bool = False) -> tuple[str, ...]:
    volume = Volume(array.astype(np.float32), Geometry(array.shape, (5.0, 6.0, 6.0)))
    return checks.check_ct(volume, argument="scan", assume_hu=assume_hu)


@pytest.mark.parametrize("padding", [None, -2000, -3024, -1024, -2048])
def test_hu_pass(padding: int | None) -> None:
    array = body() if padding is None else padded(body(), padding)
    assert hounsfield.doubt(array) is None
    assert hounsfield.doubt(array.astype(np.int16)) is None
    check(array)


@pytest.mark.parametrize(
    ("low", "high"), [(-160, 240), (-200, 300), (-1000, 1000), (-1024, 3071), (-500, 500)]
)
def test_windows_pass(low: int, high: int) -> None:
    check(body().clip(low, high))
    check(padded(body().clip(low, high)))


def test_a_drawing_of_two_values_is_judged_by_the_denser() -> None:
    drawing = np.full((8, 32, 32), -1000.0)
    drawing[:, 8:24, 8:24] = 60
    check(drawing)
    for name in ("plus 1024", "ten times", "negated", "minus 500"):
        with pytest.raises(InputError):
            check(NOT_HU[name][0](drawing))


def test_a_tight_crop_passes() -> None:
    check(body()[:, 12:-12, 12:-12])


@pytest.mark.parametrize("with_padding", [False, True])
@pytest.mark.parametrize("name", NOT_HU)
def test_other_values_are_named(name: str, with_padding: bool) -> None:
    change, words = NOT_HU[name]
    array = padded(change(body())) if with_padding else change(body())
    array.flat[7] = -3000  # one odd voxel decides nothing
    with pytest.raises(checks.NotHU, match=words) as caught:
        check(array)
    assert "assume" not in str(caught.value), "only who has that option may offer it"
    (note, *_) = check(array, assume_hu=True)
    assert note.startswith("Taken for HU as was asked, though")


def test_what_was_measured_is_said() -> None:
    with pytest.raises(InputError) as caught:
        check(padded(body() + 1024))
    assert "the densest tissue's peak at 10" in caught.value.parts[1]
    assert "padding of -2000 set aside" in caught.value.parts[1]


def test_padding_that_looks_like_metal_is_refused() -> None:
    with pytest.raises(InputError, match="padding above tissue"):
        check(padded(body(), 31000))


def test_what_cannot_be_a_scan_is_refused_however_sure_a_person_is() -> None:
    array = body().copy()
    array[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        check(array, assume_hu=True)


@pytest.mark.parametrize(
    ("field", "phase"),
    [("abdomen", "native"), ("chest-only", "arterial"), ("pelvis-only", "late")],
)
def test_phantoms_pass(field: str, phase: str) -> None:
    from flare_core.datasets.phantom.make import PhantomSettings, make_phantom

    settings = PhantomSettings(field=field, phase=phase, spacing_mm=(12.0, 8.0, 8.0))
    image = make_phantom(settings).image
    checks.check_ct(image)
    for name, (change, _) in NOT_HU.items():
        changed = change(image.array.astype(np.float32))
        assert hounsfield.doubt(padded_like(changed)) is not None, name


def padded_like(array: np.ndarray) -> np.ndarray:
    wide = array.copy()
    wide[:, :6] = -2000
    return wide


def test_real_scans_pass_and_their_changes_do_not(real_data: Path) -> None:
    from flare_core.imaging.files import read_volume

    for name in ("hcc009thick", "cptac189", "totalseg_ct", "crlm1004"):
        array = read_volume(real_data / "ct" / f"{name}.nii.gz").array[::3, ::4, ::4]
        values = array.astype(np.float32)
        assert hounsfield.doubt(array) is None
        for change, _ in NOT_HU.values():
            assert hounsfield.doubt(np.where(values < -1500, -2000, change(values))) is not None
