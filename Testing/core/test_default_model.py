"""The model in the repository works: on phantoms, on real scans, however they are stored."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from flare_core import NothingFound, Segmentation, Settings, Volume, read_volume, segment_ct
from flare_core.anatomy.organs import ORGANS, organ
from flare_core.datasets.phantom.make import PhantomCase, PhantomSettings, make_phantom
from flare_core.evaluate.metrics.dsc import dice
from flare_core.imaging.geometry import AxisMap, Box
from flare_core.models.package import load_package
from flare_core.segment import cascade
from flare_core.segment.cascade import Found, Plan, add_lesions, lesion_region
from flare_core.segment.confidence import LOW
from flare_core.segment.lesion_scores import lesions_above
from flare_core.segment.runtime import choose_runtime
from flare_core.segment.stage import LoadedStage, load_stage, run_stage

LARGE = ("liver", "spleen", "right_kidney", "left_kidney")
ORGANS_ALONE = Settings(organs=tuple(o.key for o in ORGANS))
"""Without lesions, which take two thirds of the time, where a test asks for organs."""
NEAR_MM = (60.0, 50.0, 50.0)
"""How far around a lesion the stage for lesions sees the liver: all of it in one patch."""


def scores(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """DSC by organ key."""
    values = dice(found, true.astype(np.uint8), [o.id for o in ORGANS])
    return {o.key: values[o.id] for o in ORGANS}


@pytest.fixture(scope="module")
def found(phantom: PhantomCase) -> Segmentation:
    return segment_ct(phantom.image)


@pytest.fixture(scope="module")
def organs_alone(phantom: PhantomCase) -> Segmentation:
    return segment_ct(phantom.image, ORGANS_ALONE)


def centre_left_mm(labels: Volume, key: str) -> float:
    """How far to the patient's left an organ's centre is, mm."""
    voxels = np.argwhere(labels.array == organ(key).id)
    return float(labels.geometry.voxel_to_lps(voxels.mean(axis=0))[0])


def test_the_package_is_whole_small_and_says_what_it_is() -> None:
    package = load_package("default")
    size = sum(path.stat().st_size for path in package.folder.iterdir())
    assert size <= 18e6
    assert [s.name for s in package.card.stages] == ["localiser", "organs", "lesions"]
    assert "not a medical device" in package.card.intended_use
    assert package.card.metrics and package.card.training_data


def test_a_phantom_is_segmented(phantom: PhantomCase, found: Segmentation) -> None:
    values = scores(found.labels.array, phantom.labels.array)
    assert found.labels.geometry == phantom.image.geometry
    assert min(values[key] for key in LARGE) > 0.85, values
    assert np.mean(list(values.values())) > 0.6, values


def ball_in_liver(labels: Volume, radius_mm: float) -> np.ndarray:
    """A ball where the liver is thickest, canonical axes."""
    spacing = labels.geometry.spacing_mm
    depth = ndimage.distance_transform_edt(labels.array == organ("liver").id, sampling=spacing)
    centre = np.unravel_index(depth.argmax(), depth.shape)
    steps = zip(np.indices(depth.shape), centre, spacing, strict=True)
    return np.asarray(sum(((n - c) * mm) ** 2 for n, c, mm in steps) <= radius_mm**2)


def liver_near(labels: Volume, place: tuple[int, ...]) -> Volume:
    """The labels without what is farther from a voxel than `NEAR_MM`."""
    steps = (round(mm / s) for mm, s in zip(NEAR_MM, labels.geometry.spacing_mm, strict=True))
    near = tuple(slice(max(0, n - step), n + step) for n, step in zip(place, steps, strict=True))
    array = np.zeros_like(labels.array)
    array[near] = labels.array[near]
    return labels.with_array(array)


def marked(image: Volume, labels: Volume, stage: LoadedStage) -> np.ndarray:
    """Where a lesion stage marks lesions."""
    found = add_lesions(image, Found(labels), stage, Plan(), lambda name, share: None)
    assert found.lesions is not None
    return np.asarray(found.lesions.array)


@pytest.fixture(scope="module")
def lesion_stage() -> LoadedStage:
    stage = load_stage(load_package("default"), "lesions", choose_runtime("cpu"))
    assert stage is not None
    return stage


def test_a_tumour_of_the_liver_is_marked(phantom: PhantomCase, lesion_stage: LoadedStage) -> None:
    """A ball of 30 mm, 60 HU darker than the liver; without it nothing is marked there."""
    image, labels = phantom.image.canonical()[0], phantom.labels.canonical()[0]
    ball = ball_in_liver(labels, 15.0)
    centre = np.argwhere(ball).mean(axis=0).round().astype(int)
    labels = liver_near(labels, tuple(centre))
    region = lesion_region(labels, lesion_stage.card, Plan())
    assert region is not None
    shares = []
    for change in (0, -60):
        changed = image.with_array(image.array + np.int16(change) * ball)
        scores = run_stage(lesion_stage, changed, region, organs=labels)
        lesions, _ = lesions_above(scores, lesion_stage.card.threshold, image.geometry)
        shares.append(lesions.array[ball].mean())
    assert shares[0] < 0.2 and shares[1] > 0.5, shares


def test_a_bright_nodule_is_marked_by_the_second_look(
    real_data: Path, lesion_stage: LoadedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An arterial scan: a nodule of 30 mm, 18 HU brighter than the liver."""
    image = read_volume(real_data / "ct" / "hcc005c.nii.gz").canonical()[0]
    labels = read_volume(real_data / "labels" / "hcc005c.nii.gz").canonical()[0]
    labels = labels.with_array(labels.array.astype(np.uint8))
    place = tuple(np.rint(image.geometry.lps_to_voxel((-70.1, 28.6, -112.5))).astype(int))
    twice = replace(lesion_stage, card=replace(lesion_stage.card, contrast_look=None))
    once = replace(twice, card=replace(twice.card, second_look=None))
    region = lesion_region(labels, twice.card, Plan())
    assert region is not None
    first = run_stage(twice, image, region, organs=labels)  # the same for both
    monkeypatch.setattr(cascade, "run_stage", lambda *_, **__: deepcopy(first))
    assert not marked(image, labels, once)[place]
    assert marked(image, labels, twice)[place]


def test_right_and_left_are_the_patients_own(found: Segmentation) -> None:
    assert centre_left_mm(found.labels, "right_kidney") < centre_left_mm(
        found.labels, "left_kidney"
    )
    assert centre_left_mm(found.labels, "liver") < centre_left_mm(found.labels, "spleen")


def test_storage_order_changes_nothing(phantom: PhantomCase, organs_alone: Segmentation) -> None:
    """Sagittal slices, two axes the other way round; every order: `segment.test_pipeline_grids`."""
    axis_map = AxisMap((2, 0, 1), (True, True, False))
    image = phantom.image
    stored = Volume(
        np.ascontiguousarray(axis_map.apply(image.array)), image.geometry.permuted(axis_map)
    )
    again = segment_ct(stored, ORGANS_ALONE)
    assert np.array_equal(axis_map.undo(again.labels.array), organs_alone.labels.array)


def test_a_subset_keeps_only_what_was_asked_for(phantom: PhantomCase) -> None:
    result = segment_ct(phantom.image, Settings(organs=("spleen",)))
    assert set(np.unique(result.labels.array)) == {0, organ("spleen").id}


def test_removed_organs_are_not_found_and_the_others_are() -> None:
    """Of a patient without spleen and left kidney; the table says so, and nothing is guessed.

    A removed gallbladder is the model's limit: it calls a loop of duodenum with fluid in it one.
    """
    gone = ("spleen", "left_kidney")
    settings = PhantomSettings(seed=11, spacing_mm=(5.0, 2.5, 2.0), absent=gone)
    body = make_phantom(settings)
    result = segment_ct(body.image, ORGANS_ALONE)
    rows = {(row.organ, row.measure): row for row in result.rows}
    for key in gone:
        assert rows[key, "volume"].value == 0 and rows[key, "volume"].note == "not found"
        assert np.isnan(rows[key, "confidence"].value)
    there = ("liver", "right_kidney", "aorta", "stomach")
    values = scores(result.labels.array, body.labels.array)
    assert min(values[key] for key in there) > 0.8
    assert all(rows[key, "confidence"].value > LOW for key in there)


@pytest.mark.parametrize("field", ["chest-only", "pelvis-only"])
def test_nothing_abdominal_is_said_and_not_guessed(field: str) -> None:
    settings = PhantomSettings(seed=3, spacing_mm=(5.0, 2.5, 2.5), field=field)
    with pytest.raises(NothingFound, match="No abdominal organ"):
        segment_ct(make_phantom(settings).image)


def test_a_block_of_water_has_no_organ(phantom: PhantomCase) -> None:
    with pytest.raises(NothingFound):
        water = np.full(phantom.image.array.shape, -1000, np.int16)
        water[5:-5, 30:-30, 30:-30] = 0
        segment_ct(phantom.image.with_array(water))


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="a processor without bf16: minutes"
)
def test_bf16_and_float32_agree(phantom: PhantomCase, organs_alone: Segmentation) -> None:
    precision = organs_alone.provenance["precision"]  # what the processor is fast with
    by_precision = {precision: organs_alone}
    for precision in {"float32", "bf16"} - by_precision.keys():
        chosen = replace(ORGANS_ALONE, precision=precision)
        by_precision[precision] = segment_ct(phantom.image, chosen)
    values = scores(by_precision["bf16"].labels.array, by_precision["float32"].labels.array)
    assert min(values[key] for key in LARGE) >= 0.995


@pytest.mark.parametrize("name", ["cptac189", "totalseg_ct", "hcc009thick"])
def test_real_scans(real_data: Path, name: str) -> None:
    """Their organs; lesions as well: `test_predict`, with the third of them."""
    result = segment_ct(real_data / "ct" / f"{name}.nii.gz", ORGANS_ALONE)
    truth = read_volume(real_data / "labels" / f"{name}.nii.gz")
    assert result.labels.geometry.same_grid(truth.geometry)
    values = scores(result.labels.array, truth.array)
    assert min(values[key] for key in LARGE) > 0.8, values


def test_the_chest_of_a_real_scan_has_no_abdominal_organ_but_vessels(real_data: Path) -> None:
    image = read_volume(real_data / "ct" / "acrin042.nii.gz")
    whole, _ = image.canonical()
    top = replace(Box.of_shape(whole.geometry.shape), start=(100, 0, 0))
    try:
        result = segment_ct(whole.crop(top), ORGANS_ALONE)
    except NothingFound:
        return
    present = {key for key in LARGE if (result.labels.array == organ(key).id).any()}
    assert not present, present
