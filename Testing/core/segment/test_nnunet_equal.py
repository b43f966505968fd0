"""The same labels as nnU-Net's own predictor gives, voxel by voxel, where nnunetv2 is installed.

Most networks are nnU-Net's own, untrained: nothing leads by much, so every rounding would show. Two
are trained by nnU-Net for a few steps and label a real CT.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny_nnunet
from flare_core.datasets.phantom.make import PhantomSettings, make_phantom
from flare_core.home import open_home
from flare_core.imaging.files import read_volume, write_volume
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.models.nnunet.convert import About, import_nnunet
from nnunet_agreement import agreement, loaded, our_labels, their_labels

pytest.importorskip(
    "nnunetv2.inference.predict_from_raw_data", reason="pip install nnunetv2 to compare with it"
)


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


@pytest.mark.parametrize("variant", tiny_nnunet.VARIANTS)
def test_labels_are_nnunets(made: Path, tmp_path: Path, image: Volume, variant: str) -> None:
    package = import_nnunet(made / variant, home=open_home(tmp_path / "home"))
    theirs = their_labels(package, np.load(made / f"{variant}.npy"))
    found = agreement(our_labels(loaded(package), image), theirs)
    assert found.holds, found


@pytest.mark.parametrize("variant", ["plain", "turned"])
def test_labels_of_a_trained_network_on_a_real_ct_are_nnunets(
    tmp_path: Path, real_data: Path, variant: str
) -> None:
    """Two variants, shortly trained; benchmarks/nnunet_equal.py does all of them for longer."""
    scan = real_data / "ct" / "hcc009thick.nii.gz"
    model = tiny_nnunet.train(tmp_path, variant, epochs=2, iterations=100)
    folds = [str(fold) for fold in range(tiny_nnunet.VARIANTS[variant].folds)]
    tiny_nnunet.predict(tmp_path, model, scan, tmp_path / "labels.npy", *folds)
    package = import_nnunet(model, home=open_home(tmp_path / "home"))
    theirs = their_labels(package, np.load(tmp_path / "labels.npy"))
    found = agreement(our_labels(loaded(package), read_volume(scan)), theirs)
    assert found.holds, found


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
        mine = our_labels(loaded(package), flipped)
        found[orientation] = np.mean(mine == their_labels(package, theirs))
    assert found["SAR"] >= 0.999 > found["SPL"]


def test_bf16_is_close(made: Path, tmp_path: Path, image: Volume) -> None:
    package = import_nnunet(made / "flat", home=open_home(tmp_path / "home"))
    theirs = their_labels(package, np.load(made / "flat.npy"))
    assert np.mean(our_labels(loaded(package, "bf16"), image) == theirs) >= 0.97
