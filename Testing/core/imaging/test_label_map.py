from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.label_map import (
    absorbed,
    changed_ml,
    counts_on_scan,
    label_counts,
    part_of_host,
)
from flare_core.imaging.volume import Volume

GRID = Geometry((2, 3, 4), (5.0, 2.0, 1.0))  # 0.01 mL a voxel


def write(path: Path, values: list[int], grid: Geometry = GRID) -> Path:
    flat = np.zeros(int(np.prod(grid.shape)), np.uint8)
    flat[: len(values)] = values
    write_labels(path, Volume(flat.reshape(grid.shape), grid))
    return path


def test_counts_of_every_value(tmp_path: Path):
    counts = label_counts(write(tmp_path / "l.nii.gz", [1, 1, 255]))
    assert (counts[0], counts[1], counts[255], sum(counts)) == (21, 2, 1, 24)


def test_counts_only_on_the_scans_grid(tmp_path: Path):
    image = tmp_path / "i.nii.gz"
    write_volume(image, Volume(np.zeros(GRID.shape, np.int16), GRID))
    assert counts_on_scan(write(tmp_path / "l.nii.gz", [7]), image)[7] == 1
    other = Geometry((2, 3, 4), (5.0, 2.0, 1.5))
    with pytest.raises(InputError, match="spacing 5 x 2 x 1.5 mm instead of 5 x 2 x 1 mm"):
        counts_on_scan(write(tmp_path / "o.nii.gz", [7], other), image)


def test_what_changed_in_ml(tmp_path: Path):
    before = write(tmp_path / "a.nii.gz", [1, 1, 2, 0])
    after = write(tmp_path / "b.nii.gz", [1, 3, 0, 2])
    # 1 lost a voxel, 2 lost one and gained one, 3 gained one
    assert changed_ml(before, after) == pytest.approx({1: 0.01, 2: 0.02, 3: 0.01})
    assert changed_ml(before, before) == {}
    with pytest.raises(InputError, match="same scan"):
        changed_ml(before, write(tmp_path / "c.nii.gz", [1], Geometry((3, 3, 4), (5.0, 2.0, 1.0))))


def test_a_piece_becomes_what_it_lies_in_and_not_what_it_touches() -> None:
    array = np.zeros((7, 9, 9), np.uint8)
    array[1:6, 1:6, 1:6], array[2:4, 2:4, 2:4] = 1, 14  # within 1
    array[3, 7, 7], array[3, 7, 6] = 14, 3  # beside 3, else in the open
    whole = part_of_host(array, 14)
    assert (whole[1:6, 1:6, 1:6] == 1).all()
    assert whole[3, 7, 7] == 0 and whole[3, 7, 6] == 3
    assert absorbed(array, 14)[3, 7, 7] == 3
    assert (array == 14).sum() == 9, "the caller's array is unchanged"
