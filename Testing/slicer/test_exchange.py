from __future__ import annotations

import threading

import numpy as np
import pytest
from FLARESegLib.run.exchange import read_raw_labels, write_raw

from flare_core.errors import Cancelled, InputError
from flare_core.imaging.files import read_volume, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

OBLIQUE = ((0.0, -0.6, 0.8), (0.0, 0.8, 0.6), (-1.0, 0.0, 0.0))


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32", "float64"]
)
def test_what_we_write_itk_reads(tmp_path, dtype):
    geometry = Geometry((3, 4, 5), (2.5, 0.7, 1 / 3), (-12.5, 1e-3, 700.25), OBLIQUE)
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    write_raw(tmp_path / "a.nrrd", array, geometry, threading.Event())
    back = read_volume(tmp_path / "a.nrrd")
    assert np.array_equal(back.array, array)
    assert back.geometry.same_grid(geometry)
    assert np.allclose(back.geometry.origin_mm, geometry.origin_mm, atol=1e-9)


def test_a_64_bit_volume_in_the_other_byte_order(tmp_path):
    geometry = Geometry((3, 4, 5), (1.0, 1.0, 1.0))
    array = np.arange(60).reshape(3, 4, 5).astype(">i8")
    write_raw(tmp_path / "a.nrrd", array, geometry, threading.Event())
    assert np.array_equal(read_volume(tmp_path / "a.nrrd").array, array)


def test_writing_stops_when_asked(tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        write_raw(tmp_path / "a.nrrd", np.zeros((2, 2, 2)), Geometry((2, 2, 2), (1.0,) * 3), stop)


def test_what_itk_writes_we_read(tmp_path):
    geometry = Geometry((3, 4, 5), (2.5, 0.7, 0.5), (1.0, 2.0, 3.0), OBLIQUE)
    labels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    write_volume(tmp_path / "labels.nrrd", Volume(labels, geometry), compressed=False)
    assert np.array_equal(read_raw_labels(tmp_path / "labels.nrrd", (3, 4, 5)), labels)
    with pytest.raises(InputError, match="5 4 4"):
        read_raw_labels(tmp_path / "labels.nrrd", (4, 4, 5))
    write_volume(tmp_path / "packed.nrrd", Volume(labels, geometry), compressed=True)
    with pytest.raises(InputError, match="gz"):
        read_raw_labels(tmp_path / "packed.nrrd", (3, 4, 5))
    whole = (tmp_path / "labels.nrrd").read_bytes()
    (tmp_path / "cut.nrrd").write_bytes(whole[:-1])
    with pytest.raises(InputError):
        read_raw_labels(tmp_path / "cut.nrrd", (3, 4, 5))
