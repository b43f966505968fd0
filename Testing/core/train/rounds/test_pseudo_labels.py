"""What a strategy accepted becomes a label version; what a person drew stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_core.cases.store import LabelFacts, open_store
from flare_core.datasets.cache import load_sample
from flare_core.datasets.case import load_cases, save_cases
from flare_core.imaging.files import read_labels, write_labels
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.pipeline import Labelled
from flare_core.segment.stage import Scores
from flare_core.train.rounds.pseudo_labels import Origin, add_pseudo_label, only, soft_maps
from flare_core.train.rounds.stages import _labelled
from flare_core.train.rounds.state import RoundFolder
from flare_core.train.rounds.student import hold_out_cases, training_cases, write_lists
from flare_core.train.strategies.candidate import CaseEvidence, Decision, OrganEvidence
from rounds_world import add_expert, make_store, scan, settings
from sample_arrays import unpack_soft
from stub_models import ORGANS as STAGE

ORIGIN = Origin("run1", 2, {"kind": "confident"})
EVIDENCE = CaseEvidence("una", "m-1.0.0", {"liver": OrganEvidence(volume_ml=9.0)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_store(tmp_path)
    (tmp_path / "scratch").mkdir()
    return tmp_path


def prediction(folder: Path, number: int) -> Path:
    path = folder / "prediction.nii.gz"
    write_labels(path, scan(number)[1])
    return path


def accepted(case: str, *organs: str) -> Decision:
    return Decision(case, True, organs, 0.5, "looks right")


def test_only_the_accepted_organs_are_kept(folder):
    with open_store(folder / "store") as store:
        version = add_pseudo_label(
            store, accepted("una", "liver"), prediction(folder, 4), EVIDENCE, ORIGIN,
            scratch=folder / "scratch",
        )  # fmt: skip
        assert version is not None
        stored = read_labels(version.path).array
        assert np.array_equal(stored, only(np.asarray(scan(4)[1].array), ["liver"]))
        assert version.facts.annotated == ("liver",) and version.facts.kind == "pseudo"
        assert version.facts.model == "m-1.0.0" and version.facts.note == "looks right"
        assert version.facts.evidence["liver"]["volume_ml"] == 9.0
        assert store.case("una").status == "pseudo"
    assert not list((folder / "scratch").iterdir())


def test_a_lesion_that_is_not_accepted_leaves_no_hole_in_its_organ(folder):
    labels = scan(4)[1]
    array = np.array(labels.array)
    z, y, x = (int(v) for v in np.argwhere(array == 1).mean(axis=0))
    array[z - 1 : z + 1, y - 1 : y + 1, x - 1 : x + 1] = 14
    path = folder / "with_lesion.nii.gz"
    write_labels(path, labels.with_array(array))
    with open_store(folder / "store") as store:
        version = add_pseudo_label(
            store, accepted("una", "liver"), path, EVIDENCE, ORIGIN, scratch=folder / "scratch"
        )
        assert version is not None
        stored = read_labels(version.path).array
        assert np.array_equal(stored, only(np.asarray(labels.array), ["liver"]))


@pytest.mark.parametrize("learnt", [True, False])
def test_an_accepted_lesion_lies_whole_in_a_persons_organ_or_not_at_all(folder, learnt):
    """What of it lay beside their organ was taken for all: the rest was taught to be none."""
    labels = scan(4)[1]
    liver = np.where(np.asarray(labels.array) == 1, 1, 0).astype(np.uint8)
    z, y, x = (int(v) for v in np.argwhere(liver == 1).max(axis=0))
    array = liver.copy()
    array[z - 1 : z + 1, y - 1 : y + 2, x - 1 : x + 2] = 14  # a layer of it beside the liver
    path = folder / "with_lesion.nii.gz"
    write_labels(path, labels.with_array(array))
    with open_store(folder / "store") as store:
        add_expert(store, "una", labels.with_array(liver), folder, ("liver",))
        version = add_pseudo_label(
            store, accepted("una", "liver", "lesion"), path, EVIDENCE, ORIGIN,
            scratch=folder / "scratch", lesions=learnt,
        )  # fmt: skip
        assert version is not None
        assert np.array_equal(read_labels(version.path).array, array if learnt else liver)
        assert version.facts.annotated == (("liver", "lesion") if learnt else ("liver",))


def test_repeating_the_step_adds_nothing(folder):
    with open_store(folder / "store") as store:
        again = [
            add_pseudo_label(
                store, accepted("una", "liver", "spleen"), prediction(folder, 4), EVIDENCE, ORIGIN,
                scratch=folder / "scratch",
            )
            for _ in range(2)
        ]  # fmt: skip
        assert again[0] == again[1] and len(store.versions("una")) == 1


def test_a_persons_organs_stay_and_gaps_are_filled(folder):
    image, labels = scan(4)
    mine = np.where(labels.array == 1, 1, 0).astype(np.uint8)
    mine[:, :8] = 0  # this person's liver is smaller than the model's
    with open_store(folder / "store") as store:
        add_expert(store, "una", labels.with_array(mine), folder, ("liver",))
        version = add_pseudo_label(
            store, accepted("una", "liver", "spleen"), prediction(folder, 4), EVIDENCE, ORIGIN,
            scratch=folder / "scratch",
        )  # fmt: skip
        assert version is not None
        merged = read_labels(version.path).array
        assert np.array_equal(merged == 1, mine == 1)
        assert np.array_equal(merged == 3, labels.array == 3)
        assert set(version.facts.annotated) == {"liver", "spleen"}
        assert version.facts.parent == 1
        assert store.case("una").kind == "expert"  # a model never pushes a person aside


def test_a_persons_absent_organ_stays_absent(folder):
    labels = scan(4)[1]
    mine = labels.with_array(np.where(labels.array == 1, 1, 0).astype(np.uint8))
    write_labels(folder / "mine.nii.gz", mine)
    with open_store(folder / "store") as store:
        facts = LabelFacts("expert", ("liver", "gallbladder"), absent=("gallbladder",))
        store.add_labels("una", folder / "mine.nii.gz", facts)
        version = add_pseudo_label(
            store, accepted("una", "spleen", "gallbladder"), prediction(folder, 4), EVIDENCE,
            ORIGIN, scratch=folder / "scratch",
        )  # fmt: skip
        assert version is not None
        assert version.facts.absent == ("gallbladder",)
        assert set(version.facts.annotated) == {"liver", "gallbladder", "spleen"}


def test_a_persons_rejected_labels_come_back_in_no_completed_map(folder):
    labels = scan(4)[1]
    mine = labels.with_array(np.where(labels.array == 3, 1, 0).astype(np.uint8))  # all wrong
    write_labels(folder / "mine.nii.gz", mine)
    with open_store(folder / "store") as store:
        facts = LabelFacts("expert", ("liver", "gallbladder"), absent=("gallbladder",))
        store.add_labels("una", folder / "mine.nii.gz", facts)
        store.set_status("una", "rejected", reason="the spleen is called liver")
        assert not _labelled(store.case("una"), {"liver"})
        version = add_pseudo_label(
            store, accepted("una", "liver", "spleen"), prediction(folder, 4), EVIDENCE, ORIGIN,
            scratch=folder / "scratch",
        )  # fmt: skip
    assert version is not None
    assert np.array_equal(read_labels(version.path).array, labels.array)
    assert version.facts.annotated == ("liver", "spleen") and version.facts.absent == ()


def completed(store, folder, accept):
    """Complete una's labels by a model's spleen; return what the round takes, which is nothing more
    where a person says that the completed labels count.
    """
    version = add_pseudo_label(
        store, accepted("una", "spleen"), prediction(folder, 4), EVIDENCE, ORIGIN,
        scratch=folder / "scratch",
    )  # fmt: skip
    assert version is not None
    if not accept:
        return [(version, 1.0)]
    store.restore("una", version.number)
    store.set_status("una", "accepted")
    return []


@pytest.mark.parametrize("accept", [False, True])
def test_what_a_person_corrected_weighs_most_in_a_completed_map_too(folder, accept):
    labels = scan(4)[1]
    liver = np.where(labels.array == 1, 1, 0).astype(np.uint8)
    model = liver.copy()
    model[:, :8] = 0  # the person adds what the model missed there
    with open_store(folder / "store") as store:
        for kind, array in (("pseudo", model), ("corrected", liver)):
            write_labels(folder / "mine.nii.gz", labels.with_array(array))
            facts = LabelFacts(kind, ("liver",), parent=1 if kind == "corrected" else None)
            store.add_labels("una", folder / "mine.nii.gz", facts)
        taken = completed(store, folder, accept)
        cases, _ = training_cases(store, taken, RoundFolder(folder / "round-01", 1))
    save_cases(folder / "list.json", cases)
    (una,) = [each for each in load_cases(folder / "list.json") if each.name == "una"]
    assert (una.annotated, una.reviewed) == (("liver", "spleen"), ("liver",))
    assert una.kind == "corrected"
    sample = load_sample(una, (8.0, 6.0, 6.0), folder / "cache")
    assert np.array_equal(np.unique(sample.labels), [0, 1, 3])
    assert set(np.unique(sample.labels[sample.edited])) == {1}
    assert 0 < np.count_nonzero(sample.edited) < np.count_nonzero(sample.labels == 1)


@pytest.mark.parametrize("accept", [False, True])
def test_a_completed_case_stays_its_persons_and_in_the_folds(folder, accept):
    labels = scan(4)[1]
    mine = labels.with_array(np.where(labels.array == 1, 1, 0).astype(np.uint8))
    with open_store(folder / "store") as store:
        add_expert(store, "una", mine, folder, ("liver",))
        taken = completed(store, folder, accept)
        labelled, rest = training_cases(store, taken, RoundFolder(folder / "round-01", 1))
        held_out = hold_out_cases(store)
    assert {case.name: case.kind for case in labelled}["una"] == "expert"
    (folder / "round-01").mkdir()
    place = RoundFolder(folder / "round-01", 1)
    write_lists(place, labelled, rest, held_out, settings(folder, folds=3))
    lists = [load_cases(place.path / f"training-{k}.json") for k in range(3)]
    assert sum("una" in {case.name for case in each} for each in lists) == 2


@pytest.mark.parametrize("accept", [False, True])
def test_lesions_that_a_person_labelled_in_part_stay_so_in_a_completed_map(folder, accept):
    labels = scan(4)[1]
    mine = np.zeros(labels.array.shape, np.uint8)
    mine[4:6, 6:9, 6:9] = 14
    write_labels(folder / "mine.nii.gz", labels.with_array(mine))
    with open_store(folder / "store") as store:
        facts = LabelFacts("expert", ("lesion",), partly=("lesion",))
        store.add_labels("una", folder / "mine.nii.gz", facts)
        taken = completed(store, folder, accept)
        cases, _ = training_cases(store, taken, RoundFolder(folder / "round-01", 1))
    (una,) = [each for each in cases if each.name == "una"]
    assert (una.annotated, una.partly) == (("lesion", "spleen"), ("lesion",))


def test_a_decision_that_leaves_nothing_adds_no_version(folder):
    empty = folder / "prediction.nii.gz"
    write_labels(empty, scan(4)[1].with_array(np.zeros(scan(4)[1].array.shape, np.uint8)))
    with open_store(folder / "store") as store:
        version = add_pseudo_label(
            store, accepted("una", "liver"), empty, EVIDENCE, ORIGIN, scratch=folder / "scratch"
        )
        assert version is None and store.versions("una") == ()


def said(labels: Volume, *folds: Scores) -> Labelled:
    """What a model says, with its scores."""
    return Labelled(labels, labels, folds=folds)


def test_soft_maps_hold_the_second_organ_and_the_share_of_the_first():
    stage_grid = Geometry((4, 6, 6), (4.0, 3.0, 3.0), (3.0, 3.0, 0.0))
    scan_grid = Geometry((8, 12, 12), (2.0, 1.5, 1.5))
    p = torch.zeros(3, *stage_grid.shape)
    p[0], p[1], p[2] = 0.1, 0.6, 0.3  # liver, perhaps spleen
    scored = said(
        Volume(np.zeros(scan_grid.shape, np.uint8), scan_grid), Scores(p.log(), stage_grid, STAGE)
    )
    labels, soft = soft_maps(scored)
    assert labels.geometry == scan_grid
    second, share = unpack_soft(np.asarray(soft.array, np.int16))
    inside = labels.array == 1
    assert inside.any() and set(second[inside].tolist()) == {3}
    assert share[inside] == pytest.approx(2 / 3, abs=0.01)
    assert set(labels.array[~inside].tolist()) <= {0}
    assert share[~inside] == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_soft_maps_of_a_teacher_of_regions_are_not_shifted_by_a_channel(dtype):
    """Its channel 0 is an organ: background is where no channel is, and later ones paint over."""
    card = replace(STAGE, labels=("liver", "spleen", "lesion"), regions=True)
    card = replace(card, network=replace(card.network, output_channels=3))
    grid = Geometry((4, 4, 4), (4.0, 3.0, 3.0))
    logits = torch.full((3, 4, 4, 4), -30.0)  # nothing
    logits[0, 1], logits[2, 2] = 30.0, 1.0  # a slice of liver; one that may be a lesion
    logits[:, 3] = torch.tensor([2.0, -1.0, -30.0])[:, None, None]  # liver, perhaps spleen
    scores = Scores(logits.to(dtype), grid, card)
    empty = Volume(np.zeros(grid.shape, np.uint8), grid)
    labels, soft = soft_maps(said(empty, scores, scores))
    second, share = unpack_soft(np.asarray(soft.array, np.int16))
    assert labels.array[:, 1, 1].tolist() == [0, 1, 14, 1]
    assert np.array_equal(labels.array, scores.labels().array)
    assert second[2:, 1, 1].tolist() == [0, 3]
    assert share[:, 1, 1] == pytest.approx([1, 1, 0.73, 0.73], abs=0.01)
