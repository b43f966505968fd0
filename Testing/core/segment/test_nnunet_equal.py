"""The same labels as nnU-Net's own predictor gives, voxel by voxel, where nnunetv2 is installed.

The networks are nnU-Net's own, untrained: nothing leads by much, so every rounding would show.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny_nnunet
from flare_core.anatomy.organs import organ
from flare_core.datasets.phantom import PhantomSettings, make_phantom
from flare_core.imaging.files import write_volume
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.runtime import Runtime
from flare_core.segment.stage import load_stage, run_stage
from flare_core.store.home import open_home
from flare_core.store.nnunet_import import About, import_nnunet
from flare_core.store.package import Package

pytest.importorskip(
    "nnunetv2.inference.predict_from_raw_data", reason="pip install nnunetv2 to compare with it"
)

RUNTIME = Runtime("cpu", "float32", 1)


@pytest.fixture(scope="module")
def image() -> Volume:
    """Part of a phantom, rounded to the header's float32 and with a border of zeros."""
    case = make_phantom(PhantomSettings(seed=3, spacing_mm=(5.0, 3.25, 3.5)))
    z, y, x = case.image.geometry.shape
    part = case.image.crop(Box((15, y // 4, x // 4), (z - 10, 3 * y // 4, 3 * x // 4)))
    array = np.array(part.array)
    array[:2], array[:, -3:] = 0, 0
    return Volume(array, Geometry(array.shape, part.geometry.spacing_mm, (0.0, 0.0, -400.0)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, image: Volume) -> Path:
    """A folder with a model of every variant and nnU-Net's labels of the image."""
    folder = tmp_path_factory.mktemp("nnunet")
    write_volume(folder / "image.nii.gz", image)
    tiny_nnunet.fresh(folder / "models", folder / "image.nii.gz")
    return folder / "models"


def our_labels(package: Package, image: Volume, precision: str = "float32") -> np.ndarray:
    stage = load_stage(package, "organs", Runtime("cpu", precision, 1))
    assert stage is not None
    canonical, axis_map = image.canonical()
    scores = run_stage(stage, canonical, Box.of_shape(canonical.geometry.shape))
    return axis_map.undo(scores.labels_on(canonical.geometry).array)


def their_labels(package: Package, found: np.ndarray) -> np.ndarray:
    """nnU-Net's labels as our organ ids."""
    told = package.card.provenance
    table = np.zeros(256, np.uint8)
    for name, key in told["labels"].items():
        if not key.startswith(("background", "other")):
            table[told["values"][name]] = organ(key).id
    return table[found]


@pytest.mark.parametrize("variant", tiny_nnunet.VARIANTS)
def test_labels_are_nnunets(made: Path, tmp_path: Path, image: Volume, variant: str) -> None:
    package = import_nnunet(made / variant, home=open_home(tmp_path / "home"))
    mine = our_labels(package, image)
    theirs = their_labels(package, np.load(made / f"{variant}.npy"))
    assert len(np.unique(theirs)) > 1, "a comparison of nothing"
    assert np.mean(mine == theirs) >= 0.999
    for value in np.unique(theirs):
        a, b = mine == value, theirs == value
        assert 2 * np.sum(a & b) >= 0.999 * (a.sum() + b.sum()) - 2


def test_an_image_stored_backwards_needs_its_orientation(
    made: Path, tmp_path: Path, image: Volume
) -> None:
    """nnU-Net does not know directions: what it saw as an array is the RAS image's to us."""
    flipped = Volume(
        image.array,
        Geometry(
            image.geometry.shape,
            image.geometry.spacing_mm,
            (0.0, 0.0, 0.0),
            ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)),
        ),
    )
    theirs = np.load(made / "plain.npy")
    found = {}
    for orientation in ("SAR", "SPL"):
        about = About(orientation=orientation)
        home = open_home(tmp_path / orientation)
        package = import_nnunet(made / "plain", home=home, about=about)
        found[orientation] = np.mean(our_labels(package, flipped) == their_labels(package, theirs))
    assert found["SAR"] >= 0.999 > found["SPL"]


def test_bf16_is_close(made: Path, tmp_path: Path, image: Volume) -> None:
    package = import_nnunet(made / "flat", home=open_home(tmp_path / "home"))
    theirs = their_labels(package, np.load(made / "flat.npy"))
    assert np.mean(our_labels(package, image, "bf16") == theirs) >= 0.97
