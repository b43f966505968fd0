from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

from core.datasets.made_dataset import (
    ALL_13,
    CONTENT,
    MAKERS,
    Maker,
    cases_of,
    label_map,
    make_flare21,
    make_flare22,
    make_flare23,
    make_flare24_task1,
    make_flare24_task2,
)
from flare_core.anatomy.organs import ORGANS
from flare_core.datasets.case import Case, load_cases, save_cases
from flare_core.datasets.flare.cases import patient_of
from flare_core.datasets.flare.check import check_dataset
from flare_core.datasets.flare.dataset import find_dataset
from flare_core.errors import InputError
from flare_core.imaging.files import write_labels

ALL_KEYS = tuple(organ.key for organ in ORGANS)
FOUR = ("liver", "right_kidney", "spleen", "pancreas", "left_kidney")


def content_of(dataset):
    scans = Counter(case.subset for case in dataset.cases)
    labelled = Counter(case.subset for case in dataset.labelled)
    return {part: (scans[part], labelled[part]) for part in scans}


@pytest.mark.parametrize("edition", MAKERS)
def test_every_edition_is_recognised_with_all_its_parts(tmp_path, edition):
    MAKERS[edition](tmp_path)
    dataset = find_dataset(tmp_path)
    assert dataset.edition == edition
    assert content_of(dataset) == CONTENT[edition]
    assert dataset.findings == ()
    assert all(isinstance(case, Case) and case.image.is_file() for case in dataset.cases)
    assert len({case.name for case in dataset.cases}) == len(dataset.cases)


@pytest.mark.parametrize("edition", MAKERS)
def test_a_nested_archive_folder_changes_nothing(tmp_path, edition):
    MAKERS[edition](tmp_path / "downloads" / "archive" / "archive")
    (tmp_path / "downloads" / "notes").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    dataset = find_dataset(tmp_path)
    assert (dataset.edition, content_of(dataset)) == (edition, CONTENT[edition])


@pytest.mark.parametrize("edition", MAKERS)
def test_folders_unpacked_under_their_own_name_once_more(tmp_path, edition):
    MAKERS[edition](tmp_path)
    for folder in list(tmp_path.iterdir()):
        inner = tmp_path / "moving"
        folder.rename(inner)
        folder.mkdir()
        inner.rename(folder / folder.name)
    dataset = find_dataset(tmp_path)
    assert (dataset.edition, content_of(dataset)) == (edition, CONTENT[edition])
    assert dataset.findings == ()


def test_flare21_in_nnunet_form_is_told_by_the_names_of_its_cases(tmp_path):
    make_flare21(tmp_path)
    (tmp_path / "TrainingImg").rename(tmp_path / "imagesTr")
    (tmp_path / "TrainingMask").rename(tmp_path / "labelsTr")
    (tmp_path / "ValidationImg").rename(tmp_path / "imagesTs")
    assert content_of(find_dataset(tmp_path)) == CONTENT["flare21"]
    for folder in ("imagesTr", "labelsTr"):
        for path in list((tmp_path / folder).iterdir()):
            path.rename(path.with_name(path.name.replace("train", "somebody")))
    shutil.rmtree(tmp_path / "imagesTs")
    other = find_dataset(tmp_path)
    assert (other.edition, other.scheme.key) == ("plain", "flare22")


def test_flare21_says_that_its_numbers_are_not_ours(tmp_path):
    make_flare21(tmp_path)
    labelled = find_dataset(tmp_path).labelled
    assert {case.scheme for case in labelled} == {"flare21"}
    assert set(labelled[0].annotated) == {
        "liver",
        "right_kidney",
        "left_kidney",
        "spleen",
        "pancreas",
    }


def test_names_that_two_parts_share_get_the_part_before_them(tmp_path):
    make_flare22(tmp_path)
    names = {case.name: case for case in find_dataset(tmp_path).cases}
    assert {"tuning-FLARETs_0001", "testing-FLARETs_0001"} <= set(names)
    assert names["tuning-FLARETs_0001"].labels.name == "FLARETs_0001.nii.gz"
    assert names["testing-FLARETs_0001"].labels is None


def test_flare23_knows_what_each_file_annotates(tmp_path):
    make_flare23(tmp_path)
    quick = {case.name: case.annotated for case in find_dataset(tmp_path).cases}
    assert quick.pop("FLARE23Ts_0001") == (*ALL_KEYS, "lesion"), "all of it is labelled there"
    assert set(quick.values()) == {()}, "nothing is claimed before the label maps were read"
    found = {case.name: case.annotated for case in cases_of(tmp_path)}
    assert found["FLARE23_0001"] == ("lesion",)
    assert found["FLARE23_0002"] == FOUR
    assert found["FLARE23_0003"] == (*FOUR, "lesion"), "a spleen that is gone is annotated as gone"
    assert found["FLARE23_0004"] == ALL_KEYS
    assert found["FLARE23Ts_0001"] == (*ALL_KEYS, "lesion")
    assert found["FLARE23_0005"] == ()


def test_lesions_of_flare23s_training_set_are_those_its_sources_had_labelled(tmp_path):
    make_flare23(tmp_path)
    Maker(tmp_path).labels("val-gt-50cases-for-sanity-check/FLARE23Ts_0002", ALL_13)
    found = {case.name: case for case in cases_of(tmp_path)}
    partly = {name for name, case in found.items() if case.partly == ("lesion",)}
    assert partly == {"FLARE23_0001", "FLARE23_0003"}, "the others annotate none at all"
    assert not any(case.partly for name, case in found.items() if name not in partly)
    assert found["FLARE23Ts_0002"].annotated == (*ALL_KEYS, "lesion"), "it was searched for them"


def test_all_lesions_of_flare24s_validation_are_labelled_and_the_main_ones_in_training(tmp_path):
    make_flare24_task1(tmp_path)
    found = {case.name: case.partly for case in cases_of(tmp_path) if case.labels}
    assert found.pop("FLARE24_v1") == ()
    assert set(found.values()) == {("lesion",)}


def test_a_corrected_label_map_replaces_the_first_one(tmp_path):
    make_flare23(tmp_path)
    labels = {case.name: case.labels for case in find_dataset(tmp_path).cases}
    assert labels["FLARE23_0001"].parent.name == "20230507-fix"
    assert labels["FLARE23_0002"].parent.name == "labelsTr4"


def test_task1_tells_collections_patients_and_healthy_scans(tmp_path):
    make_flare24_task1(tmp_path)
    cases = {case.name: case for case in cases_of(tmp_path)}
    first, second = cases["001234_01_01_10-20"], cases["001234_02_01_10-20"]
    assert (first.source, first.patient) == ("DeepLesion", "001234")
    assert second.patient == first.patient, "splits must not part one patient's scans"
    assert first.annotated == ("lesion",)
    assert first.scheme == "flare24_task1"
    assert cases["covid_1"].source == "COVID-19"
    assert cases["amos_0001"].source == "AMOS"
    assert cases["healthy_1"].lesion_free
    assert not cases["amos_0001"].lesion_free


def test_pseudo_labels_are_taken_only_when_asked_for_and_say_so(tmp_path):
    make_flare24_task2(tmp_path)
    unlabelled = {case.name: case for case in find_dataset(tmp_path).cases}["Case_00001"]
    assert unlabelled.labels is None
    for team in ("aladdin5", "blackbean"):
        cases = {case.name: case for case in find_dataset(tmp_path, pseudo=team).cases}
        assert team in cases["Case_00001"].labels.parent.name
        assert cases["Case_00001"].source == f"pseudo: {team}"
        assert cases["Case_00001"].kind == "pseudo"
        assert cases["Case_00001"].annotated == ALL_KEYS
        assert cases["FLARE22_Tr_0001"].source == "flare24-task2"
    with pytest.raises(InputError, match="no folder with that in its name"):
        find_dataset(tmp_path, pseudo="hanglok")


def test_pseudo_labels_of_flare23(tmp_path):
    make_flare23(tmp_path)
    cases = {case.name: case for case in find_dataset(tmp_path, pseudo="aladdin5").cases}
    assert cases["FLARE23_0005"].source == "pseudo: aladdin5"
    assert cases["FLARE23_0005"].annotated == ALL_KEYS, "no lesion: nobody's prediction of it"


def test_what_the_folders_lack_is_named(tmp_path):
    make_flare22(tmp_path)
    labelled = tmp_path / "Training" / "FLARE22_LabeledCase2"
    (labelled / "labels" / "FLARE22_Tr_0001.nii.gz").unlink()
    (labelled / "images" / "FLARE22_Tr_0002_0000.nii.gz").unlink()
    (tmp_path / "Training" / "FLARE22_UnlabeledCase3-4" / "Case_00003_0000.nii.gz").unlink()
    told = {(f.kind, f.where, f.what) for f in find_dataset(tmp_path).findings}
    counted = "1 of 2 scans are there; not: "
    assert told == {
        ("missing", "FLARE22_Tr_0001", "no label map for this training scan"),
        ("missing", "FLARE22_Tr_0002", "no scan for the label map labels/FLARE22_Tr_0002.nii.gz"),
        ("missing", "FLARE22_LabeledCase2", f"{counted}FLARE22_Tr_0002"),
        ("missing", "FLARE22_UnlabeledCase3-4", f"{counted}Case_00003"),
    }


def test_two_files_of_one_name_are_named(tmp_path):
    Maker(tmp_path).scan("images/a_0000")
    Maker(tmp_path).scan("images/a")
    assert [(f.kind, f.where) for f in find_dataset(tmp_path).findings] == [("doubled", "a")]


def test_two_label_maps_of_one_case_are_named(tmp_path):
    """One of them was taken without a word."""
    maker = Maker(tmp_path)
    maker.scan("images/a_0000")
    maker.labels("labels/a", ALL_13)
    write_labels(tmp_path / "labels" / "a.nii", label_map({1: 4}))
    told = [(f.kind, f.where, f.what) for f in find_dataset(tmp_path).findings]
    what = "2 label maps have this name: labels/a.nii, labels/a.nii.gz"
    assert told == [("doubled", "a", what)]


def test_links_that_lead_nowhere_are_cases_all_the_same(tmp_path):
    """They were passed over, and the data set was smaller without a word."""
    maker = Maker(tmp_path)
    maker.scan("images/a_0000")
    maker.labels("labels/a", ALL_13)
    (tmp_path / "images" / "b_0000.nii.gz").symlink_to(tmp_path / "not" / "mounted.nii.gz")
    dataset = find_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["a", "b"]
    told = [(f.kind, f.where) for f in check_dataset(dataset) if f.wrong]
    assert told == [("unreadable", "b")]


def test_archives_that_are_not_unpacked_are_named(tmp_path):
    (tmp_path / "FLARE22_LabeledCase50.ZIP").write_bytes(b"PK")
    with pytest.raises(InputError) as error:
        find_dataset(tmp_path)
    _, came, _, action = error.value.parts
    assert "FLARE22_LabeledCase50.ZIP" in came
    assert action.startswith("Unpack FLARE22_LabeledCase50.ZIP first.")


def test_a_table_beside_the_folders_gives_patients_and_organs(tmp_path):
    maker = Maker(tmp_path)
    for name in ("a", "b"):
        maker.scan(f"ct/{name}")
        maker.labels(f"labels/{name}", ALL_13)
    table = {"a": {"patient": "p1", "annotated": ["liver"]}, "b": {"patient": "p1"}}
    (tmp_path / "cases.json").write_text(json.dumps(table))
    one, other = find_dataset(tmp_path).cases
    assert (one.annotated, one.patient, other.patient) == (("liver",), "p1", "p1")
    assert other.annotated == ALL_KEYS
    (tmp_path / "cases.json").write_text("[1]")
    with pytest.raises(InputError, match="no table of cases"):
        find_dataset(tmp_path)


def test_a_list_keeps_what_a_table_says_of_the_labels(tmp_path):
    """An exported store: a model's labels, and lesions labelled in part, come back as such."""
    maker = Maker(tmp_path)
    maker.scan("images/a")
    maker.labels("labels/a", ALL_13)
    row = {"kind": "pseudo", "weight": 0.5, "absent": ["spleen"], "annotated": ["liver", "spleen"]}
    (tmp_path / "cases.json").write_text(json.dumps({"a": row | {"partly": ["liver"]}}))
    save_cases(tmp_path / "list.json", find_dataset(tmp_path).cases)
    (case,) = load_cases(tmp_path / "list.json")
    assert (case.kind, case.weight, case.absent, case.partly) == (
        "pseudo", 0.5, ("spleen",), ("liver",),
    )  # fmt: skip


def test_the_labels_of_a_case_that_is_number_0000_are_found(tmp_path):
    """Its label map looked like a channel of another case: the first of our own phantoms."""
    maker = Maker(tmp_path)
    for name in ("case_0000", "case_0001"):
        maker.scan(f"images/{name}_0000")
        maker.labels(f"labels/{name}", ALL_13)
    found = find_dataset(tmp_path)
    assert [case.labels.name for case in found.cases] == ["case_0000.nii.gz", "case_0001.nii.gz"]
    assert found.findings == ()


def test_an_unknown_folder_is_told_what_was_looked_for(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError) as error:
        find_dataset(tmp_path)
    argument, came, legal, action = error.value.parts
    assert argument == "data set"
    assert "pictures/" in came
    assert all(f"{edition}: " in legal for edition in MAKERS)
    assert "Train-Labeled/DeepLesion-1093/" in legal
    assert action


def test_a_folder_with_validation_scans_alone_tells_no_edition(tmp_path):
    Maker(tmp_path).scan("validation/FLARE23Ts_0001_0000")
    with pytest.raises(InputError, match="came"):
        find_dataset(tmp_path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"edition": "flare99"}, "flare24-task1"), ({"scheme": "mine"}, "totalsegmentator")],
)
def test_unknown_edition_and_numbers(tmp_path, changes, text):
    make_flare21(tmp_path)
    with pytest.raises(InputError, match=text):
        find_dataset(tmp_path, **changes)


def test_an_absent_folder(tmp_path):
    with pytest.raises(InputError, match="cannot be looked into"):
        find_dataset(tmp_path / "nowhere")


def test_a_list_of_cases_survives_saving(tmp_path):
    make_flare22(tmp_path / "set")
    cases = find_dataset(tmp_path / "set").cases
    save_cases(tmp_path / "cases.json", cases)
    again = load_cases(tmp_path / "cases.json")
    assert [(c.name, c.image, c.labels, c.annotated, c.patient) for c in again] == [
        (c.name, c.image, c.labels, c.annotated, c.patient) for c in cases
    ]


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("DeepLesion_001234_02_01", "001234"),
        ("fdg_0011f3deaf_03-23-2003", "0011f3deaf"),
        ("LIDC-IDRI-0001", "LIDC-IDRI-0001"),
        ("Case_00001", "Case_00001"),
    ],
)
def test_patients(name, patient):
    assert patient_of(name) == patient
