from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.imaging.upsampled_scores import upsampled_slabs
from flare_core.anatomy.organs import organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.resample import covered
from flare_core.imaging.resample_scores import ON_CPU, streamed_argmax
from flare_core.imaging.volume import Volume
from flare_core.models.card import NetworkSpec
from flare_core.models.package import write_package
from flare_core.segment import stage as stages
from flare_core.segment.runtime import Runtime
from flare_core.segment.stage import Scores, load_stage, organ_table, run_stage
from stub_models import (
    LOCALISER,
    ORGANS,
    RUNTIME,
    level_weights,
    loaded,
    model_card,
    scene,
    stage_card,
    stub_package,
)

LIVER, SPLEEN = organ("liver").id, organ("spleen").id


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "_LOADED", {})


def random_scores(shape: tuple[int, int, int] = (6, 7, 8)) -> Scores:
    grid = Geometry(shape, (5.0, 3.0, 2.5), (1.0, -4.0, 20.0))
    logits = torch.randn(3, *shape, generator=torch.Generator().manual_seed(3))
    return Scores(logits, grid, ORGANS)


def test_channels_become_organ_ids_and_strangers_background() -> None:
    card = stage_card("organs", ("background", "spleen", "other:lung", "liver"))
    assert organ_table(card).tolist() == [0, SPLEEN, 0, LIVER]


def test_a_stage_finds_its_organs_at_its_own_spacing() -> None:
    image, truth = scene((2.0, 1.5, 1.0))
    scores = run_stage(loaded(ORGANS), image, Box.of_shape(image.geometry.shape))
    assert scores.geometry == image.geometry.with_spacing((4.0, 3.0, 3.0))
    assert scores.logits.shape == (3, *scores.geometry.shape)
    own, full = scores.labels(), scores.labels_on(image.geometry)
    assert own.geometry == scores.geometry and full.geometry == image.geometry
    for number in (LIVER, SPLEEN):
        ml = np.count_nonzero(truth.array == number) * truth.geometry.voxel_ml
        assert np.count_nonzero(own.array == number) * own.geometry.voxel_ml == pytest.approx(
            ml,
            rel=0.12,  # corners are rounded, and half voxels are background
        )
        hit = (full.array == number) & (truth.array == number)
        total = np.count_nonzero(full.array == number) + np.count_nonzero(truth.array == number)
        assert 2 * np.count_nonzero(hit) / total > 0.95


def test_only_the_region_is_labelled() -> None:
    image, _ = scene()
    region = Box((12, 0, 0), (28, 60, 40))
    found = run_stage(loaded(ORGANS), image, region).labels_on(image.geometry).array
    inside = np.zeros(found.shape, bool)
    inside[region.slices] = True
    assert found.any() and not found[~inside].any() and SPLEEN not in found


def test_what_the_region_shows_does_not_depend_on_where_it_ends() -> None:
    """The image around the region is used where its edge voxels are interpolated."""
    image, _ = scene()
    region = Box((4, 8, 10), (40, 52, 70))
    part = run_stage(loaded(ORGANS), image, region).labels_on(image.geometry).array
    whole = run_stage(loaded(ORGANS), image, Box.of_shape(image.geometry.shape))
    expected = whole.labels_on(image.geometry).array
    assert np.array_equal(part[region.slices], expected[region.slices])


def test_the_arg_max_on_the_scans_grid_is_that_of_all_classes_interpolated() -> None:
    scores = random_scores()
    target = scores.geometry.with_spacing((2.2, 1.1, 1.3))
    interpolated = torch.empty(3, *target.shape)
    for rows, classes in upsampled_slabs(scores.logits, scores.geometry, target, slab=1000):
        for c, values in enumerate(classes):
            interpolated[c, rows] = values
    naive = organ_table(ORGANS)[interpolated.argmax(dim=0).numpy()]
    assert np.array_equal(scores.labels_on(target).array, naive)
    assert set(np.unique(naive)) == {0, LIVER, SPLEEN}


@pytest.mark.parametrize("slab", [1, 3, 1000])
def test_labels_do_not_depend_on_the_slab(slab: int) -> None:
    scores = random_scores()
    target = scores.geometry.with_spacing((2.2, 1.1, 1.3))
    box = covered(scores.geometry, target)
    pace = replace(ON_CPU, slab=slab)
    best = streamed_argmax(scores.logits, scores.geometry, target.crop(box), pace=pace)
    assert np.array_equal(scores.labels_on(target).array[box.slices], organ_table(ORGANS)[best])


@pytest.mark.parametrize(("slices", "threads"), [(1, 1), (3, 1), (3, 2), (1000, 2)])
def test_labels_do_not_depend_on_the_parts_they_are_made_in(
    slices: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "SLICES", slices)
    scores = random_scores()
    target = scores.geometry.with_spacing((1.3, 1.1, 0.9))
    box = covered(scores.geometry, target)
    best = streamed_argmax(scores.logits, scores.geometry, target.crop(box))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = scores.labels_on(target).array[box.slices]
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found, organ_table(ORGANS)[best])


def test_a_target_beside_the_stages_part_stays_empty() -> None:
    scores = random_scores()
    beside = Geometry((4, 5, 6), (2.0, 2.0, 2.0), (500.0, 0.0, 0.0))
    assert not scores.labels_on(beside).array.any()


def test_steps_and_progress_reach_the_tiles() -> None:
    image, _ = scene()
    counts = []
    for step in (None, 1.0, 0.4):
        told: list[float] = []
        run_stage(
            loaded(ORGANS),
            image,
            Box.of_shape(image.geometry.shape),
            tile_step=step,
            notify=told.append,
        )
        assert told == sorted(told) and told[-1] == 1.0
        counts.append(len(told))
    assert counts[1] <= counts[0] < counts[2]


def test_the_scan_is_not_changed() -> None:
    image, _ = scene()
    before = image.array.copy()
    run_stage(loaded(ORGANS), image, Box.of_shape(image.geometry.shape))
    assert np.array_equal(image.array, before)


def test_a_stage_is_loaded_once_per_model_and_runtime(tmp_path: Path) -> None:
    package = stub_package(tmp_path / "stub")
    first = load_stage(package, "organs", RUNTIME)
    assert first is not None and first.card == package.card.stage("organs")
    assert load_stage(package, "organs", RUNTIME) is first
    assert load_stage(package, "localiser", RUNTIME) is not first
    assert load_stage(package, "organs", Runtime("cpu", "bf16", 1)) is not first
    assert load_stage(package, "lesions", RUNTIME) is None


def test_memory_holds_only_the_last_stages(tmp_path: Path) -> None:
    package = stub_package(tmp_path / "stub")
    for threads in range(1, 12):
        load_stage(package, "organs", Runtime("cpu", "float32", threads))
    assert len(stages._LOADED) == stages.MOST_LOADED
    last = Runtime("cpu", "float32", 11)
    assert load_stage(package, "organs", last) is list(stages._LOADED.values())[-1]


def test_a_model_of_many_stages_is_read_once(tmp_path: Path) -> None:
    """TotalSegmentator's seven parts: every run asks for all of them, in the same order."""
    names = ["localiser", "organs", *(f"organs_{n}" for n in range(2, 8)), "lesions"]
    cards = [stage_card(name, ("background", "liver")) for name in names]
    package = stub_package(tmp_path / "many", cards)
    first = [load_stage(package, name, RUNTIME) for name in names]
    small = stub_package(tmp_path / "small")
    other = [load_stage(small, name, RUNTIME) for name in ("localiser", "organs")]
    for _ in range(2):
        assert [load_stage(package, name, RUNTIME) for name in names] == first
        assert [load_stage(small, name, RUNTIME) for name in ("localiser", "organs")] == other


def test_of_models_of_the_past_only_a_few_stages_stay(tmp_path: Path) -> None:
    names = ["organs", *(f"organs_{n}" for n in range(2, 9))]
    package = stub_package(
        tmp_path / "many", [stage_card(name, ("background", "liver")) for name in names]
    )
    for threads in (1, 2, 3):
        for name in names:
            load_stage(package, name, Runtime("cpu", "float32", threads))
    assert {key[2].threads for key in stages._LOADED} == {2, 3}
    assert len(stages._LOADED) == 2 * len(names)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"features_per_stage": (65536, 65536), "kernel_sizes": ((65535,) * 3,) * 2}, "numbers"),
        ({"features_per_stage": (60000, 60000)}, "plain_unet"),
        ({"convolutions_per_stage_encoder": (65536, 65536)}, "numbers"),
    ],
)
def test_a_card_of_a_huge_network_costs_no_memory(
    tmp_path: Path, changes: dict[str, object], word: str
) -> None:
    """Built before it was compared, the second one would ask for 1.6 TB."""
    small = replace(ORGANS.network, kind="plain_unet", kernel_sizes=((3, 3, 3),) * 2)
    card = replace(ORGANS, network=replace(small, **changes))  # type: ignore[arg-type]
    package = write_package(
        tmp_path / "p", model_card((card,)), {"organs": level_weights((0, 1, 2))}
    )
    with pytest.raises(InputError, match=word) as error:
        load_stage(package, "organs", RUNTIME)
    assert error.value.parts[0].endswith("organs.safetensors")


def test_weights_that_do_not_fit_name_the_first_tensor_that_differs(tmp_path: Path) -> None:
    network = NetworkSpec(
        "plain_unet",
        output_channels=3,
        features_per_stage=(4, 8),
        strides=((1, 1, 1), (2, 2, 2)),
        kernel_sizes=((3, 3, 3), (3, 3, 3)),
        convolutions_per_stage_encoder=(1, 1),
        convolutions_per_stage_decoder=(1,),
    )
    card = replace(ORGANS, network=network)
    package = write_package(
        tmp_path / "p", model_card((card,)), {"organs": level_weights((0, 1, 2))}
    )
    with pytest.raises(InputError) as error:
        load_stage(package, "organs", RUNTIME)
    assert error.value.parts[0].endswith("organs.safetensors")
    assert error.value.parts[1].startswith("no tensor encoder.stages.0.0.convs.0.conv.weight")
    assert not stages._LOADED


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("interpolation", "cubic"),
        ("output_channels", replace(ORGANS.network, output_channels=255)),
        ("input_channels", replace(ORGANS.network, input_channels=2)),
        ("kernel_sizes", replace(ORGANS.network, kernel_sizes=((1, 1, 1), (3, 2, 3)))),
    ],
)
def test_what_this_version_cannot_run_is_refused(tmp_path: Path, field: str, value: object) -> None:
    place = "network" if isinstance(value, NetworkSpec) else field
    changes: dict[str, object] = {place: value}
    if field == "output_channels":  # wrapped round in a byte, class 256 would be the background
        changes["labels"] = ("background", *(f"other:{n}" for n in range(253)), "liver")
    card = replace(ORGANS, **changes)
    weights = level_weights((0, 100, 200))
    package = write_package(tmp_path / "p", model_card((card,)), {"organs": weights})
    with pytest.raises(InputError) as error:
        load_stage(package, "organs", RUNTIME)
    assert field in error.value.parts[0]


def test_folds_are_all_loaded(tmp_path: Path) -> None:
    from flare_core.models.card import WeightsFile

    card = replace(LOCALISER, folds=(WeightsFile("second.safetensors"),))
    weights = level_weights((0, 200, -200))
    package = write_package(
        tmp_path / "p",
        model_card((card,)),
        {"localiser": weights, "second.safetensors": weights},
    )
    stage = load_stage(package, "localiser", RUNTIME)
    assert stage is not None and len(stage.networks) == 2
    image, truth = scene()
    scores = run_stage(stage, image, Box.of_shape(image.geometry.shape))
    assert set(np.unique(scores.labels().array)) == set(np.unique(truth.array))


def test_padding_far_below_air_changes_nothing() -> None:
    image, _ = scene()
    padded = image.array.copy()
    padded[:, :3] = -3024
    air = np.where(padded == -3024, -1024, padded).astype(np.int16)
    whole = Box.of_shape(image.geometry.shape)
    found = [
        run_stage(loaded(ORGANS), Volume(array, image.geometry), whole).labels().array
        for array in (padded, air)
    ]
    assert np.array_equal(*found)


def test_the_likeliest_class_of_regions_is_the_one_they_paint() -> None:
    """Whatever the probabilities: a later region above one half covers all earlier ones."""
    card = stage_card("organs", ("liver", "spleen", "lesion"), regions=True)
    grid = Geometry((10, 20, 20), (4.0, 3.0, 3.0))
    logits = torch.randn(3, *grid.shape, generator=torch.Generator().manual_seed(1))
    scores = Scores(logits, grid, card)
    seen = scores.class_probabilities()
    assert seen.shape == (4, *grid.shape) and float(seen.min()) >= 0 and float(seen.max()) <= 1
    assert np.array_equal(organ_table(card)[seen.argmax(dim=0).numpy()], scores.labels().array)
    exclusive = replace(scores, card=stage_card("organs", ("background", "liver", "spleen")))
    assert torch.equal(exclusive.class_probabilities(), exclusive.probabilities())


@pytest.mark.parametrize(("first", "looked_at"), [(30, 1), (None, 0)])
def test_slices_that_no_region_can_be_in_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, first: int | None, looked_at: int
) -> None:
    grid = Geometry((40, 10, 10), (2.0, 2.0, 2.0))
    logits = torch.full((1, *grid.shape), -3.0)
    if first is not None:
        logits[0, first : first + 3, 2:6, 3:8] = 2.0
    scores = Scores(logits, grid, stage_card("lesions", ("lesion",), regions=True))
    target = Geometry((2 * stages.SLICES, 20, 20), (2.5, 1.0, 1.0))
    calls: list[int] = []
    found = stages.streamed_argmax
    monkeypatch.setattr(
        stages, "streamed_argmax", lambda *a, **k: calls.append(1) or found(*a, **k)
    )
    labels = scores.labels_on(target).array
    assert len(calls) == looked_at
    monkeypatch.setattr(Scores, "_is_empty", lambda *_: False)
    assert np.array_equal(labels, scores.labels_on(target).array)
    assert bool(labels.any()) == (first is not None)


def test_probabilities_of_half_precision_scores_are_float32() -> None:
    scores = replace(random_scores(), logits=torch.full((3, 2, 2, 2), -20.0).half())
    regions = replace(
        scores, card=stage_card("organs", ("liver", "spleen", "lesion"), regions=True)
    )
    for each in (scores, regions):
        assert each.probabilities().dtype == torch.float32
    assert float(regions.probabilities().min()) > 0


@pytest.mark.parametrize(
    ("name", "slices", "seen"),
    [("organs", 26, (28, 32, 32)), ("organs", 12, (32, 32, 32)), ("localiser", 26, (32, 32, 32))],
)
def test_tiles_are_as_short_as_a_scan_that_is_not_too_thin(
    name: str, slices: int, seen: tuple[int, int, int]
) -> None:
    network = replace(ORGANS.network, strides=((1, 1, 1), (4, 4, 4)))
    stage = loaded(replace(ORGANS, name=name, network=network))
    images: list[torch.Tensor] = []
    stage.networks[0].register_forward_pre_hook(lambda _, x: images.append(x[0]))
    hu = np.full((slices, 40, 32), 100, np.int16)
    hu[6, 20, 16] = -250
    image = Volume(hu, Geometry((slices, 40, 32), (4.0, 3.0, 3.0)))
    scores = run_stage(stage, image, Box.of_shape(image.geometry.shape))
    assert {tuple(tile.shape[2:]) for tile in images} == {seen}
    assert scores.logits.shape[1:] == image.geometry.shape
    goes_on = all(bool((tile[:, :, 0] == 1.0).all()) for tile in images)
    assert goes_on == (seen[0] < 32), (
        "what is beside a scan is its edge in a shorter tile, else air"
    )
