"""A lesion with its surroundings arrives in another body, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flare_core.datasets.cache import Sample
from flare_core.datasets.case import Case
from flare_core.datasets.lesions.mix import LesionMix, lesions_of
from flare_core.datasets.sampling import PatchLocation
from sample_arrays import sample_of_arrays

SHAPE = (24, 40, 44)
SPACING = (5.0, 4.0, 4.0)
PATCH = (16, 24, 24)
LIVER, SPLEEN, LESION = 1, 3, 14
LESION_BOX = (slice(9, 12), slice(12, 16), slice(10, 14))


def scan(
    name: str,
    liver_hu: int,
    *,
    annotated: tuple[str, ...] = ("liver", "spleen", "lesion"),
    lesion: bool = False,
    liver: bool = True,
) -> Sample:
    labels, image = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.int16)
    labels[4:20, 6:24, 6:20] = LIVER if liver else 0
    labels[4:12, 28:36, 28:40] = SPLEEN
    image[labels == LIVER] = liver_hu
    image[labels == SPLEEN] = 60
    if lesion:
        labels[LESION_BOX], image[LESION_BOX] = LESION, -70
    for key, value in (("liver", LIVER), ("spleen", SPLEEN), ("lesion", LESION)):
        if key not in annotated:
            labels[labels == value] = 0
    return sample_of_arrays(Case(name, Path(name), annotated=annotated), image, labels, SPACING)


def pasted(donor: Sample, host: Sample, seed: int = 0) -> PatchLocation:
    location = PatchLocation(host, np.zeros(3))
    return LesionMix([donor, host], PATCH).paste(location, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(6))
def test_the_lesion_and_its_margin_are_pasted_into_the_same_organ(seed: int) -> None:
    donor, host = scan("donor", 100, lesion=True), scan("host", 140)
    location = pasted(donor, host, seed)
    mixed = location.sample
    z, y, x = np.nonzero(mixed.labels == LESION)
    assert len(z) == 3 * 4 * 4 and np.all(mixed.image[z, y, x] == -70)
    box = [slice(int(c.min()), int(c.max()) + 1) for c in (z, y, x)]
    # two slices and two or three rows of tissue came with it, donor's HU, inside the host's organ
    ring = mixed.image[box[0].start - 1, box[1], box[2]]
    assert np.all(np.isin(ring, (100, 0, 140)))
    middle = tuple((s.start + s.stop) // 2 for s in box)
    assert host.labels[middle] == LIVER
    start = location.centre - (np.array(PATCH) - 1) / 2
    assert all(a <= s.start and s.stop <= a + n for a, s, n in zip(start, box, PATCH, strict=True))


def test_the_host_is_not_changed_and_the_rest_of_the_mix_is_the_host() -> None:
    donor, host = scan("donor", 100, lesion=True), scan("host", 140)
    before = host.image.copy(), host.labels.copy()
    mixed = pasted(donor, host).sample
    assert np.array_equal(host.image, before[0]) and np.array_equal(host.labels, before[1])
    changed = np.argwhere((mixed.image != host.image) | (mixed.labels != host.labels))
    size = changed.max(axis=0) - changed.min(axis=0) + 1
    assert np.all(size <= (3 + 2 * 2, 4 + 2 * 2, 4 + 2 * 2))
    assert mixed.case.annotated == host.case.annotated and mixed.spacing_mm == host.spacing_mm


def test_a_host_whose_lesions_nobody_looked_for_gets_the_lesion_channel() -> None:
    host = scan("host", 140, annotated=("liver", "spleen"))
    mixed = pasted(scan("donor", 100, lesion=True), host).sample
    assert mixed.case.annotated == ("liver", "spleen", "lesion")
    assert host.case.annotated == ("liver", "spleen")


def test_a_donor_that_annotates_less_brings_its_lesion_only() -> None:
    """Its background may be liver; the host's own labels stay around the lesion."""
    donor = scan("donor", 100, annotated=("lesion",), lesion=True)
    host = scan("host", 140)
    mixed = pasted(donor, host).sample
    where = mixed.labels == LESION
    assert where.sum() == 48
    assert np.array_equal(mixed.labels[~where], host.labels[~where])


def test_scans_with_lesions_or_without_organs_stay_as_they_are() -> None:
    donor = scan("donor", 100, lesion=True)
    own = scan("own", 140, lesion=True)
    empty = scan("empty", 140, annotated=())
    for host in (own, empty):
        location = PatchLocation(host, np.zeros(3))
        mix = LesionMix([donor, host], PATCH)
        assert mix.paste(location, np.random.default_rng(0)) is location
    assert LesionMix([scan("none", 100)], PATCH).lesions == []


def test_lesions_that_nobody_annotates_or_that_are_too_large_are_not_taken() -> None:
    donor = scan("donor", 100, lesion=True)
    assert len(lesions_of(donor, PATCH)) == 1
    assert lesions_of(donor, (8, 12, 12)) == []
    unannotated = scan("donor", 100, lesion=True)
    case = Case("donor", Path("donor"), annotated=("liver",))
    unannotated = sample_of_arrays(case, unannotated.image, unannotated.labels, SPACING)
    assert lesions_of(unannotated, PATCH) == []


def test_another_organ_is_taken_where_the_lesions_own_is_missing() -> None:
    host = scan("host", 140, liver=False)
    mixed = pasted(scan("donor", 100, lesion=True), host).sample
    assert np.count_nonzero(host.labels[mixed.labels == LESION] == SPLEEN) >= 12
