"""Places lie in the organ, off the vessels, at the depth that is wanted; bowel is found by gas."""

from __future__ import annotations

import numpy as np
import pytest

from core.datasets.lesions.made_organs import SPACING, made_scan
from flare_core.datasets.lesions.appearance import Appearance
from flare_core.datasets.lesions.generate import add_lesions
from flare_core.datasets.lesions.kinds import BOWEL, KINDS, TISSUES
from flare_core.datasets.lesions.place import OrganSites, below_skin, find_place, tissue_mask
from flare_core.datasets.lesions.settings import LesionSettings

LOOK = Appearance("metastasis", 10.0, 60.0, (1.0, 1.0, 1.0), 1.0, 0.8, 5.0)


def test_noise_and_medians_are_the_scans() -> None:
    image, labels = made_scan(noise=15.0)
    sites = OrganSites(image, labels, SPACING)
    assert sites.noise_hu == pytest.approx(15, rel=0.2)
    assert sites.organ_hu == {"liver": pytest.approx(105, abs=3)}
    site = sites.site("liver")
    assert site is not None and site.deepest_mm == pytest.approx(44, abs=5)
    assert sites.site("spleen") is None


def test_vessels_and_what_is_taken_are_avoided() -> None:
    image, labels = made_scan()
    image[:, :36][labels[:, :36] == 1] = 160
    sites = OrganSites(image, labels, SPACING, "portal")
    site = sites.site("liver")
    assert site is not None
    low = site.host.hu < 130
    found = [find_place(sites, site, LOOK, [], np.random.default_rng(n)) for n in range(8)]
    assert all(f is None or (f[1] >= 34) == low for f in found) and any(found)
    taken = [((20, 36, 36), 200.0)]
    assert find_place(sites, site, LOOK, taken, np.random.default_rng(0)) is None


def test_an_organ_cut_by_the_patch_is_deep_at_the_patchs_edge() -> None:
    labels = np.ones((24, 40, 40), np.uint8)
    image = np.full(labels.shape, 100, np.int16)
    site = OrganSites(image, labels, SPACING).site("liver")
    assert site is not None and site.voxels.min() == 0
    assert site.depth_mm.min() > 3


def test_bowel_is_a_pocket_of_gas_among_the_organs() -> None:
    organs = {
        "liver": ((50.0, 30.0, 30.0), 20.0),
        "spleen": ((50.0, 80.0, 80.0), 20.0),
    }
    image, labels = made_scan(organs)
    assert OrganSites(image, labels, SPACING).site(BOWEL) is None
    image[14:26, 30:40, 30:40] = -985
    labels[14:26, 30:40, 30:40] = 0
    site = OrganSites(image, labels, SPACING).site(BOWEL)
    assert site is not None and site.host.id == 0
    z, y, x = site.voxels.T
    assert z.min() >= 10 and z.max() <= 30 and y.min() >= 24 and x.max() <= 46
    # Air that a side of the scan cuts is the room's or a lung's.
    image[:, 30:40, 30:40] = -985
    assert OrganSites(image, labels, SPACING).site(BOWEL) is None


CHEST_SPACING = (4.0, 3.0, 3.0)
SHAPE = (24, 80, 80)


def chest() -> tuple[np.ndarray, np.ndarray]:
    """Return HU and labels: air, a fatty body with a lung, a muscle and a vertebra in it."""
    hu = np.full(SHAPE, -1000.0)
    hu[:, 8:72, 8:72] = -100
    hu[:, 20:50, 18:38] = -840
    hu[:, 20:44, 46:62] = 58
    hu[:, 54:66, 30:50] = 450
    hu[:, 56:64, 32:48] = 170
    hu += np.random.default_rng(0).normal(0, 6, SHAPE)
    return hu.astype(np.int16), np.zeros(SHAPE, np.uint8)


@pytest.mark.parametrize(
    ("key", "inside"),
    [("lung", (12, 34, 28)), ("muscle", (12, 32, 54)), ("bone", (12, 60, 40))],
)
def test_each_tissue_is_where_it_is(key: str, inside: tuple[int, int, int]) -> None:
    hu, labels = chest()
    mask = tissue_mask(key, hu, labels, CHEST_SPACING)
    assert mask[inside]
    assert not mask[:, :9].any() and not mask[:, :, :9].any()
    labels[:] = 1
    assert not tissue_mask(key, hu, labels, CHEST_SPACING).any()


def test_nodes_lie_in_inner_fat_only() -> None:
    hu, labels = chest()
    mask = tissue_mask("lymph_node", hu, labels, CHEST_SPACING)
    assert mask[12, 51, 40] and not mask[:, :16].any() and not mask[:, :, :16].any()


def test_lungs_are_inside_the_body_and_the_room_is_not() -> None:
    hu, _ = chest()
    deep = below_skin(hu, 6.0, CHEST_SPACING)
    assert deep[12, 34, 28] and not deep[12, 9, 40] and not deep[12, 2, 2]
    # A patch without air is all inside.
    assert below_skin(hu[:, 12:68, 12:68], 20.0, CHEST_SPACING).all()


@pytest.mark.parametrize("key", TISSUES)
def test_lesions_of_the_whole_body(key: str) -> None:
    hu, labels = chest()
    settings = LesionSettings(
        lesions=(2, 2), sizes=("small",), organs=(key,), decoys=(0, 0), phase="portal"
    )
    done = add_lesions(hu, labels, CHEST_SPACING, np.random.default_rng(0), settings)
    assert done.records and all(each.organ == key for each in done.records)
    found = done.instances > 0
    assert not done.labels.any()
    for each in done.records:
        assert key in KINDS[each.kind].organs
        assert abs(each.hu - each.organ_hu) > 10
    z, y, x = np.nonzero(found)
    assert y.min() > 9 and x.min() > 9 and y.max() < 71
