from __future__ import annotations

import json
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.evaluate.pairing import pair_cases


def files(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_by_name_without_suffix_and_channel(tmp_path: Path) -> None:
    pred = files(tmp_path / "p", "b_0000.nii.gz", "a.nrrd", "z.nii.gz", "a_statistics.json")
    ref = files(tmp_path / "r", "b.nii.gz", "a.nii.gz", "c.nii", ".hidden.nii.gz")
    found = pair_cases(pred, ref)
    assert [case.name for case in found.cases] == ["a", "b", "c"]
    chosen = [case.prediction and case.prediction.name for case in found.cases]
    assert chosen == ["a.nrrd", "b_0000.nii.gz", None] and found.extra == ("z",)


def test_results_of_flare_segment_are_predictions(tmp_path: Path) -> None:
    """`find_inputs` leaves label maps with statistics beside them out; here they are the point."""
    pred = files(tmp_path / "p", "a.nii.gz", "a_statistics.csv", "a_statistics.json", "a.png")
    (case,) = pair_cases(pred, files(tmp_path / "r", "a.nii.gz")).cases
    assert case.prediction == pred / "a.nii.gz"


def test_two_files_need_no_common_name(tmp_path: Path) -> None:
    pred = files(tmp_path / "p", "mine.nii.gz") / "mine.nii.gz"
    ref = files(tmp_path / "r", "true.nii.gz") / "true.nii.gz"
    (case,) = pair_cases(pred, ref).cases
    assert (case.name, case.prediction, case.reference) == ("true", pred, ref)


def test_a_phantoms_truth_is_the_reference_of_its_scan(tmp_path: Path) -> None:
    """As `flare phantom a.nii.gz` writes them; its scan beside them is no label map."""
    pred = files(tmp_path / "p", "a.nii.gz", "b.nii.gz")
    made = [f"{name}{end}" for name in "ab" for end in ("_0000.nii.gz", "_truth.nii.gz")]
    ref = files(tmp_path / "r", *made, "a_truth.json", "b_truth.json")
    found = pair_cases(pred, ref)
    assert [(case.name, case.reference.name, case.prediction) for case in found.cases] == [
        (name, f"{name}_truth.nii.gz", pred / f"{name}.nii.gz") for name in "ab"
    ]
    (alone,) = pair_cases(pred, files(tmp_path / "copied", "a_truth.nii.gz")).cases
    assert (alone.name, alone.prediction) == ("a", pred / "a.nii.gz")


def test_truth_in_a_name_is_no_guess(tmp_path: Path) -> None:
    ref = files(tmp_path / "r", "a.nii.gz", "a_truth.nii.gz", "b_truth.nii.gz", "c_truth.nii.gz")
    pred = files(tmp_path / "p", "a.nii.gz", "b.nii.gz", "b_truth.nii.gz")
    found = pair_cases(pred, ref)
    chosen = {case.name: case.prediction and case.prediction.name for case in found.cases}
    assert chosen == {"a": "a.nii.gz", "a_truth": None, "b_truth": "b_truth.nii.gz",
                      "c_truth": None}  # fmt: skip
    assert found.extra == ("b",)


def test_what_the_reference_annotates(tmp_path: Path) -> None:
    rows = {"a": {"annotated": ["Liver"]}, "b": {"size": [1, 2, 3]}}
    ref = files(tmp_path / "set" / "labels", "a.nii.gz", "b.nii.gz", "d.nii.gz")
    (tmp_path / "set" / "cases.json").write_text(json.dumps(rows))
    found = pair_cases(ref, ref)
    assert [case.annotated for case in found.cases] == [("liver",), None, None]
    assert [bool(case.note) for case in found.cases] == [False, False, True]
    assert "cases.json says nothing of it" in found.cases[2].note
    (tmp_path / "set" / "cases.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        pair_cases(ref, ref)


@pytest.mark.parametrize("named", ["liver", [1, 3], ["livre"]])
def test_organs_that_are_no_list_of_names_are_refused(tmp_path: Path, named: object) -> None:
    """All organs counted as annotated then, and those that nobody drew as missed."""
    ref = files(tmp_path / "labels", "a.nii.gz")
    (tmp_path / "labels" / "cases.json").write_text(json.dumps({"a": {"annotated": named}}))
    with pytest.raises(InputError, match=r"cases\.json: a: annotated"):
        pair_cases(ref, ref)


def test_a_list_tells_a_reference_by_its_file(tmp_path: Path) -> None:
    """`flare dataset list` puts the part before names that two parts of an edition share."""
    ref = files(tmp_path / "labels", "a.nii.gz")
    row = {"name": "tuning-a", "image": "a_0000.nii.gz", "labels": "labels/a.nii.gz"}
    other = {"name": "a", "image": "x.nii.gz", "labels": "x/a.nii.gz", "annotated": ["spleen"]}
    rows = [other, {**row, "annotated": ["liver"]}]
    (tmp_path / "cases.json").write_text(json.dumps(rows))
    assert pair_cases(ref, ref).cases[0].annotated == ("liver",)


def test_letters_with_accents_are_one_however_they_are_written(tmp_path: Path) -> None:
    """As macOS writes them they are two, and the case counted as missing."""
    ref = files(tmp_path / "r", "M\u00fcller.nii.gz", "b.nii.gz")
    pred = files(tmp_path / "p", "Mu\u0308ller.nii.gz", "b.nii.gz")
    rows = {"Mu\u0308ller": {"annotated": ["liver"]}, "b": {}}
    (ref / "cases.json").write_text(json.dumps(rows))
    found = pair_cases(pred, ref)
    assert [case.prediction is None for case in found.cases] == [False, False]
    assert found.extra == () and found.cases[0].annotated == ("liver",)


def test_the_row_of_a_case_that_is_number_0000_counts(tmp_path: Path) -> None:
    """Without its row all organs counted as annotated, and those that nobody drew as missed."""
    ref = files(tmp_path / "set" / "labels", "case_0000.nii.gz", "case_0001.nii.gz")
    rows = {name: {"annotated": ["liver"]} for name in ("case_0000", "case_0001")}
    (tmp_path / "set" / "cases.json").write_text(json.dumps(rows))
    assert [case.annotated for case in pair_cases(ref, ref).cases] == [("liver",), ("liver",)]


def test_bad_folders(tmp_path: Path) -> None:
    ref = files(tmp_path / "r", "a.nii.gz")
    twice = files(tmp_path / "twice", "a.nii.gz", "a_0000.nii.gz")
    other = files(tmp_path / "other", "b.nii.gz")
    empty = files(tmp_path / "empty")
    files(empty / "labelsTr", "a.nii.gz")
    for pred, said in (
        (tmp_path / "absent", "does not exist"),
        (twice, "one label file for each case"),
        (other, "no file has the name of a reference"),
        (empty, "labelsTr"),
        (ref / "a.nii.gz", "a file and a folder"),
    ):
        with pytest.raises(InputError) as caught:
            pair_cases(pred, ref)
        assert said in str(caught.value)
    with pytest.raises(InputError, match="REF"):
        pair_cases(ref, empty)


@pytest.mark.parametrize("text", ["[" * 100_000, "7", '{"a": 7}'])
def test_a_table_of_another_kind_is_refused_and_names_itself(tmp_path: Path, text: str) -> None:
    ref = files(tmp_path / "set" / "labels", "a.nii.gz")
    (tmp_path / "set" / "cases.json").write_text(text)
    with pytest.raises(InputError, match=r"cases\.json"):
        pair_cases(ref, ref)
