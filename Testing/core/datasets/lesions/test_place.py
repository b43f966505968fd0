"""Places lie in the organ, off the vessels, at the depth that is wanted; bowel is found by gas."""

from __future__ import annotations

import numpy as np
import pytest

from core.datasets.lesions.made_organs import SPACING, made_scan
from flare_core.datasets.lesions.kinds import BOWEL
from flare_core.datasets.lesions.look import Look
from flare_core.datasets.lesions.place import Places, find_place

LOOK = Look("metastasis", 10.0, 60.0, (1.0, 1.0, 1.0), 1.0, 0.8, 5.0)


def test_noise_and_medians_are_the_scans() -> None:
    image, labels = made_scan(noise=15.0)
    places = Places(image, labels, SPACING)
    assert places.noise_hu == pytest.approx(15, rel=0.2)
    assert places.organ_hu == {"liver": pytest.approx(105, abs=3)}
    site = places.site("liver")
    assert site is not None and site.deepest_mm == pytest.approx(44, abs=5)
    assert places.site("spleen") is None


def test_vessels_and_what_is_taken_are_avoided() -> None:
    image, labels = made_scan()
    image[:, :36][labels[:, :36] == 1] = 160
    places = Places(image, labels, SPACING, "portal")
    site = places.site("liver")
    assert site is not None
    low = site.host.hu < 130
    found = [find_place(places, site, LOOK, [], np.random.default_rng(n)) for n in range(8)]
    assert all(f is None or (f[1] >= 34) == low for f in found) and any(found)
    taken = [((20, 36, 36), 200.0)]
    assert find_place(places, site, LOOK, taken, np.random.default_rng(0)) is None


def test_an_organ_cut_by_the_patch_is_deep_at_the_patchs_edge() -> None:
    labels = np.ones((24, 40, 40), np.uint8)
    image = np.full(labels.shape, 100, np.int16)
    site = Places(image, labels, SPACING).site("liver")
    assert site is not None and site.voxels.min() == 0
    assert site.depth_mm.min() > 3


def test_bowel_is_a_pocket_of_gas_among_the_organs() -> None:
    organs = {
        "liver": ((50.0, 30.0, 30.0), 20.0),
        "spleen": ((50.0, 80.0, 80.0), 20.0),
    }
    image, labels = made_scan(organs)
    assert Places(image, labels, SPACING).site(BOWEL) is None
    image[14:26, 30:40, 30:40] = -985
    labels[14:26, 30:40, 30:40] = 0
    site = Places(image, labels, SPACING).site(BOWEL)
    assert site is not None and site.host.id == 0
    z, y, x = site.voxels.T
    assert z.min() >= 10 and z.max() <= 30 and y.min() >= 24 and x.max() <= 46
    # Air that a side of the scan cuts is the room's or a lung's.
    image[:, 30:40, 30:40] = -985
    assert Places(image, labels, SPACING).site(BOWEL) is None
