from __future__ import annotations

import itertools
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flare_core import __version__
from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.phantom.make import PhantomCase
from flare_core.errors import Cancelled, InputError, NothingFound
from flare_core.imaging.files import write_volume
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.segment import cascade, pipeline, stage
from flare_core.segment.cascade import Plan
from flare_core.segment.pipeline import Labelled, Progress, Segmentation, preload, segment_ct
from stub_models import HU, LESIONS, LIVER, LOCALISER, SPLEEN, scene, settings, stub_package
from stub_models import ORGANS as ORGAN_CARD

LIVER_ID, SPLEEN_ID = organ("liver").id, organ("spleen").id


@pytest.fixture(scope="module")
def lesion_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stages = (LOCALISER, ORGAN_CARD, LESIONS)
    return stub_package(tmp_path_factory.mktemp("models") / "lesions", stages).folder


@pytest.fixture(scope="module")
def result(model: Path) -> Segmentation:
    return segment_ct(scene()[0], settings(model))


def volume_ml(result: Segmentation, key: str) -> float:
    return next(r.value for r in result.rows if (r.organ, r.measure) == (key, "volume"))


def test_labels_lie_on_exactly_the_grid_that_came(result: Segmentation) -> None:
    image, truth = scene()
    assert result.labels.geometry is not None and result.labels.geometry == image.geometry
    assert result.labels.array.dtype == np.uint8 and result.labels.array.flags.c_contiguous
    overlap = np.mean(result.labels.array == truth.array)
    assert overlap > 0.98 and set(np.unique(result.labels.array)) == {0, LIVER_ID, SPLEEN_ID}


def test_rows_are_about_what_the_model_knows(result: Segmentation) -> None:
    assert list(dict.fromkeys(row.organ for row in result.rows)) == ["liver", "spleen"]
    liver = np.prod([b - a for a, b in zip(*LIVER, strict=True)]) / 1000
    assert volume_ml(result, "liver") == pytest.approx(liver, rel=0.1)


def test_provenance_is_complete_and_plain_json(result: Segmentation, model: Path) -> None:
    record = json.loads(json.dumps(result.provenance))
    assert record["model"] == "stub" and record["model_version"] == "1.2.3"
    assert len(record["model_sha256"]) == 64 and record["flareseg_version"] == __version__
    assert record["settings"]["model"] == str(model) and "home" not in record["settings"]
    assert {"organs", "fast", "cascade", "threads"} <= set(record["settings"])
    assert (record["device"], record["precision"], record["threads"]) == ("cpu", "float32", 1)
    assert record["organs"] == ["liver", "spleen"] and "not a medical device" in record["use"]
    assert record["torch_version"] and record["python_version"] and record["platform"]


def test_timings_name_every_step_and_add_up(model: Path) -> None:
    start = time.perf_counter()
    timings = segment_ct(scene()[0], settings(model)).timings
    passed = time.perf_counter() - start
    assert set(timings) == {
        "load image", "load model", "localise", "organs", "labels", "clean-up", "statistics",
    }  # fmt: skip
    assert sum(timings.values()) == pytest.approx(passed, rel=0.2, abs=0.5)
    assert min(timings.values()) >= 0


def test_progress_rises_from_0_to_1_in_the_order_of_the_steps(model: Path) -> None:
    told: list[Progress] = []
    segment_ct(scene()[0], settings(model), progress=told.append)
    fractions = [each.fraction for each in told]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 1.0
    assert list(dict.fromkeys(each.stage for each in told)) == [
        "load image", "load model", "localise", "organs", "labels", "statistics",
    ]  # fmt: skip
    assert told[0].seconds_left is None and told[-1].seconds_left == pytest.approx(0.0, abs=0.01)
    assert all(each.seconds_left is None or each.seconds_left >= 0 for each in told)


def test_progress_does_not_fall_when_the_box_grows(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "believable", _without_upper_half)
    told: list[Progress] = []
    result = segment_ct(
        scene(blocks={"liver": ((20, 40, 30), (150, 110, 100))})[0],
        settings(model),
        progress=told.append,
    )
    assert volume_ml(result, "liver") == pytest.approx(130 * 70 * 70 / 1000, rel=0.1)
    fractions = [each.fraction for each in told]
    assert fractions == sorted(fractions) and len(set(fractions)) < len(fractions)


def _without_upper_half(labels: Volume) -> Volume:
    array = labels.array.copy()
    array[array.shape[0] // 3 :] = 0
    return labels.with_array(array)


def test_a_path_gives_the_same_as_the_volume(model: Path, tmp_path: Path) -> None:
    image, _ = scene()
    path = tmp_path / "case.nii.gz"
    write_volume(path, image)
    from_file = segment_ct(str(path), settings(model))
    assert np.array_equal(from_file.labels.array, segment_ct(image, settings(model)).labels.array)
    assert from_file.labels.geometry.same_grid(image.geometry)


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_a_run_can_be_cancelled_at_every_step(model: Path, after: int) -> None:
    asked = itertools.count()
    told: list[Progress] = []
    with pytest.raises(Cancelled):
        segment_ct(
            scene()[0],
            settings(model),
            progress=told.append,
            cancelled=lambda: next(asked) >= after,
        )
    assert next(asked) == after + 1  # it stopped at the first yes
    assert not told or told[-1].fraction < 1.0


def test_organs_can_be_chosen(model: Path) -> None:
    image, _ = scene()
    result = segment_ct(image, settings(model, organs=("spleen",)))
    assert set(np.unique(result.labels.array)) == {0, SPLEEN_ID}
    assert {row.organ for row in result.rows} == {"spleen"}
    assert result.provenance["organs"] == ["spleen"]


def test_all_is_what_the_model_knows(model: Path) -> None:
    every = tuple(range(1, 15))
    result = segment_ct(scene()[0], settings(model, organs=every))
    assert {row.organ for row in result.rows} == {"liver", "spleen"}


@pytest.mark.parametrize("key", ["pancreas", "lesion"])
def test_an_organ_the_model_does_not_know_is_refused(model: Path, key: str) -> None:
    with pytest.raises(InputError) as error:
        segment_ct(scene()[0], settings(model, organs=("liver", key)))
    assert error.value.parts[:2] == ("organs", key)
    assert "liver, spleen" in error.value.parts[2]


def test_a_misspelt_organ_is_refused_with_a_suggestion(model: Path) -> None:
    with pytest.raises(InputError, match="spleen"):
        segment_ct(scene()[0], settings(model, organs=("splen",)))


def test_organs_that_are_not_there_are_told_before_anything_is_returned(model: Path) -> None:
    image, _ = scene(blocks={"liver": LIVER})
    with pytest.raises(NothingFound, match="spleen"):
        segment_ct(image, settings(model, organs=("spleen",)))
    assert volume_ml(segment_ct(image, settings(model)), "spleen") == 0


def test_lesions_are_there_if_the_model_finds_them_and_they_are_wanted(lesion_model: Path) -> None:
    spot = ((80, 60, 50), (100, 80, 70))
    image, _ = scene(blocks={"liver": LIVER, "spleen": SPLEEN, "lesion": spot})
    every = segment_ct(image, settings(lesion_model))
    assert set(np.unique(every.labels.array)) == {0, LIVER_ID, SPLEEN_ID, LESION.id}
    assert volume_ml(every, "lesion") == pytest.approx(8.0, rel=0.3)
    assert "lesions" in every.timings
    only = segment_ct(image, settings(lesion_model, organs=("lesion",)))
    assert set(np.unique(only.labels.array)) == {0, LESION.id}
    organs = segment_ct(image, settings(lesion_model, organs=("liver",)))
    assert LESION.id not in organs.labels.array and "lesions" not in organs.timings


def test_an_organ_keeps_its_lesion_and_the_list_names_it(lesion_model: Path) -> None:
    """The stub's liver has a hole where the lesion is; liver and lesion give the whole liver."""
    spot = ((80, 60, 50), (100, 80, 70))
    blocks = {"liver": LIVER, "spleen": SPLEEN, "lesion": spot}
    found = segment_ct(scene((2.0, 2.0, 2.0), blocks)[0], settings(lesion_model))
    whole = np.prod([b - a for a, b in zip(*LIVER, strict=True)]) / 1000
    assert volume_ml(found, "liver") == pytest.approx(whole, rel=0.05)
    (without,) = (
        r.value for r in found.rows if (r.organ, r.measure) == ("liver", "volume_without_lesions")
    )
    assert without == pytest.approx(np.count_nonzero(found.labels.array == LIVER_ID) * 0.008)
    assert without < whole - 5
    assert found.lesions is not None
    (lesion,) = found.lesions
    assert (lesion.organ, lesion.within) == ("liver", True)
    assert lesion.volume_ml == pytest.approx(volume_ml(found, "lesion"))
    assert lesion.long_axis_mm == pytest.approx(28, abs=4) and lesion.certainty > 0.5
    assert lesion.hu_mean > 350 and lesion.organ_hu == pytest.approx(200, abs=10)


def test_a_lesion_knows_its_organ_though_only_lesions_were_asked_for(lesion_model: Path) -> None:
    spot = ((80, 60, 50), (100, 80, 70))
    image, _ = scene(blocks={"liver": LIVER, "spleen": SPLEEN, "lesion": spot})
    found = segment_ct(image, settings(lesion_model, organs=("lesion",)))
    assert found.lesions is not None and [each.organ for each in found.lesions] == ["liver"]
    assert set(np.unique(found.labels.array)) == {0, LESION.id}


def test_a_model_of_organs_and_lesions_in_one_network_keeps_them_apart_too(tmp_path: Path) -> None:
    labels = ("background", "liver", "spleen", "lesion")
    network = replace(ORGAN_CARD.network, output_channels=4)
    card = replace(ORGAN_CARD, labels=labels, network=network, spacing_mm=(2.0, 2.0, 2.0))
    package = stub_package(tmp_path / "one", (LOCALISER, card))
    spot = ((80, 60, 50), (100, 80, 70))
    blocks = {"liver": LIVER, "spleen": SPLEEN, "lesion": spot}
    image, _ = scene((2.0, 2.0, 2.0), blocks)
    found = segment_ct(image, settings(package.folder))
    assert found.lesions is not None
    assert [(each.organ, each.within) for each in found.lesions] == [("liver", True)]
    whole = np.prod([b - a for a, b in zip(*LIVER, strict=True)]) / 1000
    assert volume_ml(found, "liver") == pytest.approx(whole, rel=0.05)
    organs = segment_ct(image, settings(package.folder, organs=("liver",)))
    assert organs.lesions is None and set(np.unique(organs.labels.array)) == {0, LIVER_ID}
    assert volume_ml(organs, "liver") == pytest.approx(whole, rel=0.05)


def test_lesions_nobody_looked_for_are_not_said_to_be_absent(
    lesion_model: Path, model: Path
) -> None:
    image, _ = scene()
    assert segment_ct(image, settings(lesion_model)).lesions == ()
    assert segment_ct(image, settings(lesion_model, organs=("liver",))).lesions is None
    assert segment_ct(image, settings(model)).lesions is None


def test_small_findings_and_those_far_from_organs_are_dropped(tmp_path: Path) -> None:
    speck, far = ((80, 60, 50), (88, 68, 58)), ((10, 150, 10), (30, 170, 30))
    blocks = {"liver": LIVER, "spleen": SPLEEN, "lesion": speck, "lesion:far": far}
    image, _ = scene((2.0, 2.0, 2.0), blocks, hu={**HU, "lesion:far": 500.0})
    for least_ml, count in ((0.0, 1), (5.0, 0)):
        stages = (LOCALISER, ORGAN_CARD, replace(LESIONS, least_ml=least_ml))
        package = stub_package(tmp_path / f"least {count}", stages)
        found = segment_ct(image, settings(package.folder))
        assert found.lesions is not None and len(found.lesions) == count
        assert (found.labels.array == LESION.id).any() == bool(count)


def test_absent_organs_are_not_found_and_the_others_stay(model: Path) -> None:
    """A spleen that was taken out: a row that says so, no label, and no fault of the liver's."""
    found = segment_ct(scene(blocks={"liver": LIVER})[0], settings(model))
    rows = {row.measure: row for row in found.rows if row.organ == "spleen"}
    assert rows["volume"].value == 0 and rows["volume"].note == "not found"
    assert math.isnan(rows["confidence"].value) and math.isnan(rows["hu_mean"].value)
    assert SPLEEN_ID not in found.labels.array
    assert volume_ml(found, "liver") == pytest.approx(392, rel=0.1)


def test_a_sensitivity_that_changes_nothing_is_said(model: Path, lesion_model: Path) -> None:
    for package, said in ((model, True), (lesion_model, False)):
        result = segment_ct(scene()[0], settings(package, lesion_sensitivity=0.7))
        assert any("marks no lesions" in note for note in result.notes) is said
    one = settings(lesion_model, lesion_sensitivity=0.7, organs=("liver",))
    assert any("not among the organs asked for" in n for n in segment_ct(scene()[0], one).notes)


def test_a_model_is_prepared_once_for_a_run(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are read and verified by `preload`, and the run that follows takes that model."""
    loads = []
    real = pipeline.load_package

    def counted(*args: object, **options: object) -> object:
        loads.append(args)
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "load_package", counted)
    image, _ = scene()
    for _ in range(2):
        preload(settings(model))
        segment_ct(image, settings(model))
    assert len(loads) == 2
    segment_ct(image, settings(model))  # nothing was prepared for this one
    preload(settings(model, fast=True))
    segment_ct(image, settings(model))  # nor does what was prepared for another serve it
    assert len(loads) == 5


def test_fast_takes_fewer_tiles(tmp_path: Path) -> None:
    dense = stub_package(tmp_path / "dense", (LOCALISER, replace(ORGAN_CARD, tile_step=0.5))).folder

    def tiles(fast: bool) -> int:
        told: list[Progress] = []
        segment_ct(image, settings(dense, fast=fast), progress=told.append)
        return sum(each.stage == "organs" for each in told)

    image, _ = scene()
    assert tiles(fast=True) < tiles(fast=False)


@pytest.mark.parametrize("fast", [True, False])
def test_fast_looks_for_lesions_once(
    model: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    plans: list[Plan] = []

    def planned(image: Volume, stages: object, plan: Plan, notify: object) -> Labelled:
        plans.append(plan)
        raise NothingFound("enough")

    monkeypatch.setattr(pipeline, "label_ct", planned)
    with pytest.raises(NothingFound, match="enough"):
        segment_ct(scene()[0], settings(model, fast=fast))
    assert [plan.looks_again for plan in plans] == [not fast]


def test_without_the_cascade_no_localiser_is_asked(model: Path) -> None:
    image, _ = scene()
    result = segment_ct(image, settings(model, cascade=False))
    assert "localise" not in result.timings
    expected = segment_ct(image, settings(model)).labels.array
    assert np.mean(result.labels.array == expected) > 0.995


def test_notes_come_from_the_scan_and_from_the_clean_up(tmp_path: Path) -> None:
    labels = (*ORGAN_CARD.labels, "right_kidney")
    levels = {**HU, "right_kidney": 500.0}
    card = replace(
        ORGAN_CARD, labels=labels, network=replace(ORGAN_CARD.network, output_channels=4)
    )
    blocks = {
        "liver": ((50, 40, 150), (130, 110, 220)),
        "spleen": ((70, 80, 30), (120, 140, 80)),
        "right_kidney": ((70, 130, 180), (120, 160, 210)),
    }
    image, _ = scene((10.0, 3.0, 3.0), blocks, hu=levels)
    array = image.array.copy()
    array[:, 0] = -2048
    package = stub_package(tmp_path / "kidney", (LOCALISER, card), levels)
    notes = segment_ct(Volume(array, image.geometry), settings(package.folder)).notes
    for word in ("Padding", "10 mm", "mirrored"):
        assert sum(word in note for note in notes) == 1, (word, notes)


def test_a_scan_too_short_to_judge_is_a_note_where_something_was_found(model: Path) -> None:
    image, _ = scene()
    for slices, said in ((slice(15, 30), 1), (slice(0, 50), 0)):
        first, last, _ = slices.indices(image.geometry.shape[0])
        part = image.crop(Box((first, 0, 0), (last, *image.geometry.shape[1:])))
        notes = segment_ct(part, settings(model)).notes
        assert sum("below 80 mm" in note for note in notes) == said, notes


def test_a_body_in_which_the_model_knows_nothing(model: Path, phantom: PhantomCase) -> None:
    """A body without the HU the stub knows: told, not guessed."""
    array = np.clip(phantom.image.array, -50, 60)
    array = np.where(phantom.image.array < -500, -60, array).astype(np.int16)
    with pytest.raises(NothingFound):
        segment_ct(Volume(array, phantom.image.geometry), settings(model, assume_hu=True))


def test_what_is_no_ct_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    image, _ = scene()
    grey = Volume((image.array // 4 + 100).astype(np.int16), image.geometry)
    with pytest.raises(InputError, match="no voxel is below zero|grey levels"):
        segment_ct(grey, settings(tmp_path / "no model"))


@pytest.mark.parametrize("scan", [np.zeros((2, 2, 2)), None, b"a.nii.gz", ["a.nii.gz"]])
def test_what_is_neither_volume_nor_path_is_told_how_to_become_one(scan: object) -> None:
    with pytest.raises(InputError, match="Volume") as caught:
        segment_ct(scan)
    assert "Geometry(array.shape" in caught.value.parts[3]


@pytest.mark.parametrize("choice", ["liver", {"organs": ["liver"]}])
def test_settings_are_settings(choice: object) -> None:
    with pytest.raises(InputError, match="a Settings object"):
        segment_ct("a.nii.gz", choice)


def test_whoever_has_the_option_to_say_hu_is_told_of_it(model: Path, phantom: PhantomCase) -> None:
    shifted = Volume(phantom.image.array + np.int16(1024), phantom.image.geometry)
    with pytest.raises(InputError, match="no voxel is below zero") as caught:
        segment_ct(shifted, settings(model))
    assert "--assume-hu (in Python Settings(assume_hu=True), in Slicer" in caught.value.parts[3]


def test_unknown_models_and_devices_are_refused(model: Path, tmp_path: Path) -> None:
    home = str(tmp_path)
    for chosen in (
        settings(model, model="unheard-of", home=home),
        settings(model, model=str(tmp_path / "nowhere")),
        settings(model, device="abacus"),
        settings(model, threads=-1),
    ):
        with pytest.raises(InputError):
            segment_ct(scene()[0], chosen)


def test_an_installed_model_is_found_in_the_home(tmp_path: Path) -> None:
    stub_package(tmp_path / "models" / "stub" / "1.2.3")
    for name in ("stub", "stub@1.2.3"):
        chosen = settings(Path(), model=name, home=str(tmp_path))
        assert segment_ct(scene()[0], chosen).provenance["model"] == "stub"


def test_corrupt_weights_are_refused(tmp_path: Path) -> None:
    folder = stub_package(tmp_path / "stub").folder
    weights = folder / "organs.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match=r"organs\.safetensors"):
        segment_ct(scene()[0], settings(folder))


def test_a_model_without_an_organ_stage_is_refused(tmp_path: Path) -> None:
    folder = stub_package(tmp_path / "stub", (LOCALISER,)).folder
    with pytest.raises(InputError) as error:
        segment_ct(scene()[0], settings(folder))
    assert error.value.parts[1] == "the stages localiser"


def test_preload_leaves_the_model_in_memory(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_LOADED", {})
    preload(settings(model))
    monkeypatch.setattr(stage, "read_weights", lambda path: pytest.fail(f"{path} read again"))
    segment_ct(scene()[0], settings(model))
    with pytest.raises(InputError):
        preload(settings(model, organs=("pancreas",)))


def test_hu_of_the_stub_are_far_enough_apart() -> None:
    levels = sorted(HU.values())
    assert min(b - a for a, b in itertools.pairwise(levels)) >= 200
