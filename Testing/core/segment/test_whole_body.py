"""A model whose only stage is `lesions` (FLARE24 task 1): whole body, slab by slab."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION
from flare_core.imaging.geometry import Box
from flare_core.segment import cascade
from flare_core.segment.cascade import Found, Plan, Stages, run_cascade, slabs_along_z
from flare_core.segment.pipeline import segment_ct
from flare_core.segment.settings import Settings
from stub_models import HU, LESIONS, loaded, quiet, scene, stub_package

LONG = (1000.0, 120.0, 120.0)
PIECES = {"lesion:neck": ((900, 30, 30), (960, 60, 60)), "lesion:leg": ((20, 60, 60), (60, 90, 90))}
LEVELS = {**HU, "lesion:neck": 500.0, "lesion:leg": 500.0}


def lesions_of(found: Found) -> np.ndarray:
    """Where lesions are, bool; the model has said whether there are any."""
    assert found.lesions is not None and not found.organs.array.any()
    return found.lesions.array


def test_lesions_far_apart_are_found_without_any_organ(tmp_path):
    image, truth = scene((4.0, 3.0, 3.0), PIECES, hu=LEVELS, field_mm=LONG)
    stub_package(tmp_path / "m", (LESIONS,))
    found = segment_ct(image, Settings(model=str(tmp_path / "m"), device="cpu", threads=1))
    both = 2 * np.count_nonzero((found.labels.array == 14) & (truth.array == 14))
    assert both / (np.count_nonzero(found.labels.array) + np.count_nonzero(truth.array)) > 0.9
    assert {row.organ for row in found.rows} == {"lesion"}


def test_a_healthy_scan_has_an_empty_map(tmp_path):
    image, _ = scene(blocks={})
    stub_package(tmp_path / "m", (LESIONS,))
    found = segment_ct(image, Settings(model=str(tmp_path / "m"), device="cpu", threads=1))
    assert not found.labels.array.any()


def test_slabs_cover_the_body_once_and_see_more():
    image, _ = scene((4.0, 3.0, 3.0), {}, field_mm=LONG)
    body = Box((3, 2, 2), (247, 38, 38))
    slabs = slabs_along_z(body, image.geometry, LESIONS)
    assert [core.start[0] for core, _ in slabs[1:]] == [core.stop[0] for core, _ in slabs[:-1]]
    assert (slabs[0][0].start, slabs[-1][0].stop) == (body.start, body.stop)
    assert all(seen.start[0] <= core.start[0] for core, seen in slabs)
    assert all(seen.stop[0] >= core.stop[0] for core, seen in slabs)
    assert max(core.shape[0] for core, _ in slabs) * 4.0 <= cascade.SLAB_MM + 4


def test_borders_of_slabs_leave_no_seam(monkeypatch):
    blocks = {"lesion:neck": ((100, 30, 30), (900, 60, 60))}
    image, _ = scene((4.0, 3.0, 3.0), blocks, hu=LEVELS, field_mm=LONG)
    stages = Stages(None, None, loaded(LESIONS))
    in_slabs = lesions_of(run_cascade(image, stages, Plan((LESION,)), quiet))
    monkeypatch.setattr(cascade, "SLAB_MM", 5000.0)
    at_once = lesions_of(run_cascade(image, stages, Plan((LESION,)), quiet))
    assert in_slabs.any() and np.array_equal(in_slabs, at_once)


def test_no_stage_sees_more_than_a_slab(monkeypatch):
    image, _ = scene((4.0, 3.0, 3.0), PIECES, hu=LEVELS, field_mm=LONG)
    seen = []
    real = cascade.run_stage

    def spy(stage, image, region, **rest):
        seen.append(region.shape[0] * 4.0)
        return real(stage, image, region, **rest)

    monkeypatch.setattr(cascade, "run_stage", spy)
    run_cascade(image, Stages(None, None, loaded(LESIONS)), Plan((LESION,)), quiet)
    assert len(seen) == 4
    assert max(seen) <= cascade.SLAB_MM + 32 * 4.0 + 8


@pytest.mark.parametrize(
    ("transpose", "slices"), [((0, 1, 2), 80), ((1, 0, 2), 60), ((1, 2, 0), 100)]
)
def test_slabs_of_a_turned_network_reach_as_far_as_its_patch_along_the_body(transpose, slices):
    """Patch and spacing are in the network's axes: the first is not always along the body."""
    card = replace(
        LESIONS,
        patch=(32, 24, 40),
        spacing_mm=(5.0, 5.0, 5.0),
        transpose=transpose,
    )
    image, _ = scene((1.0, 8.0, 8.0), {}, field_mm=LONG)
    body = Box((0, 0, 0), image.geometry.shape)
    (core, seen), *_ = slabs_along_z(body, image.geometry, card)
    assert seen.stop[0] - core.stop[0] == slices
