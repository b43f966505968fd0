"""Cases: found in folders, kept in lists, honest about what their labels hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from flare_core.datasets.case import ALL_ORGANS, Case, cases_of_folder, load_cases, save_cases
from flare_core.datasets.flare.dataset import find_dataset
from flare_core.errors import InputError


def folder_with(root: Path, scans: list[str], labels: list[str], images: str = "ct") -> Path:
    for place, names in ((images, scans), ("labels", labels)):
        (root / place).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / place / name).touch()
    return root


def test_a_case_is_its_own_patient_and_fully_annotated() -> None:
    case = Case("a", Path("a.nii.gz"))
    assert case.patient == "a" and case.labels is None
    assert case.annotated == ALL_ORGANS and len(ALL_ORGANS) == 13
    assert ALL_ORGANS[0] == "liver" and ALL_ORGANS[12] == "left_kidney"


def test_organs_are_kept_under_their_keys() -> None:
    """The loss and the sampler look keys up; a synonym kept as it came would count as missing."""
    assert Case("a", Path("a"), annotated=("Liver", "IVC")).annotated == (
        "liver",
        "inferior_vena_cava",
    )


def test_unknown_organs_and_bad_weights_are_refused() -> None:
    with pytest.raises(InputError, match="livre"):
        Case("a", Path("a"), annotated=("livre",))
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="weight"):
            Case("a", Path("a"), weight=weight)


@pytest.mark.parametrize("images", ["ct", "images", "imagesTr"])
def test_a_folder_pairs_scans_with_labels(tmp_path: Path, images: str) -> None:
    root = folder_with(
        tmp_path, ["b_0000.nii.gz", "a.nii.gz", "note.txt"], ["b.nii.gz", "x.nii.gz"], images
    )
    (root / "cases.json").write_text(json.dumps({"b": {"patient": "p", "annotated": ["liver"]}}))
    a, b = cases_of_folder(root)
    assert (a.name, a.labels, a.patient, a.annotated) == ("a", None, "a", ALL_ORGANS)
    assert (b.name, b.patient, b.annotated) == ("b", "p", ("liver",))
    assert b.image == root / images / "b_0000.nii.gz" and b.labels == root / "labels" / "b.nii.gz"
    assert a.source == root.name
    assert cases_of_folder(root, source="FLARE22")[0].source == "FLARE22"


def test_a_table_says_who_made_the_labels_and_how_often_they_are_drawn(tmp_path: Path) -> None:
    """As exported: a model's labels are no expert's, and what a person corrected weighs more."""
    root = folder_with(tmp_path, ["a.nii.gz", "b.nii.gz"], ["a.nii.gz", "b.nii.gz"])
    row = {"kind": "corrected", "absent": ["spleen"], "annotated": ["liver", "spleen"]}
    (root / "cases.json").write_text(json.dumps({"a": row, "b": {"kind": "pseudo", "weight": 0}}))
    a, b = cases_of_folder(root)
    assert (a.kind, a.absent, a.weight) == ("corrected", ("spleen",), 1.0)
    assert (b.kind, b.weight) == ("pseudo", 0.0)


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "absent", folder_with(tmp_path / "x", [], ["a.nii.gz"])):
        with pytest.raises(InputError, match="folder with scans"):
            cases_of_folder(root)


@pytest.mark.parametrize("text", ["[]", '{"a": 3}', "{", '{"a": {"annotated": ["heart"]}}'])
def test_a_bad_table_is_refused(tmp_path: Path, text: str) -> None:
    root = folder_with(tmp_path, ["a.nii.gz"], [])
    (root / "cases.json").write_text(text)
    with pytest.raises(InputError):
        cases_of_folder(root)


def some_cases(root: Path) -> tuple[Case, ...]:
    inside = root / "scans" / "a.nii.gz"
    return (
        Case("a", inside, root / "labels" / "a.nii.gz", ("liver",), "p1", "FLARE21", 0.25),
        Case("b", root.parent / "elsewhere" / "b.nii.gz"),
    )


@pytest.mark.parametrize("key", ["a_0000", "a.nii.gz", "A"])
def test_a_table_that_names_no_scan_is_refused(tmp_path: Path, key: str) -> None:
    """Its patients would be unknown, and scans of one patient parted."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        (tmp_path / "images" / f"{name}_0000.nii.gz").touch()
    table = tmp_path / "cases.json"
    table.write_text(json.dumps({key: {"patient": "p"}}))
    for read in (cases_of_folder, find_dataset):
        with pytest.raises(InputError, match="none of which is a scan") as caught:
            read(tmp_path)
        assert caught.value.parts[0] == str(table)
    table.write_text(json.dumps({key: {"patient": "p"}, "b": {"patient": "q"}}))
    assert [case.patient for case in cases_of_folder(tmp_path)] == ["a", "q"]


def test_lists_come_back(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    save_cases(root / "cases.json", some_cases(root))
    assert load_cases(root / "cases.json") == some_cases(root)


def test_a_list_moves_with_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    save_cases(root / "cases.json", some_cases(root))
    root.rename(tmp_path / "moved")
    a, b = load_cases(tmp_path / "moved" / "cases.json")
    assert a.image == tmp_path / "moved" / "scans" / "a.nii.gz"
    assert b.image == some_cases(root)[1].image


def test_relative_paths_mean_the_working_folder_when_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read back relative to the list's folder, they must still point to the same files."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    save_cases(os.path.join("..", "lists", "x.json"), [Case("a", Path("a.nii.gz"))])
    (case,) = load_cases(tmp_path / "lists" / "x.json")
    assert case.image.resolve() == (tmp_path / "work" / "a.nii.gz").resolve()
    assert case.labels is None


@pytest.mark.parametrize("text", ["{", '{"name": "a"}', '[{"name": "a"}]', "[3]", '"cases"'])
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        load_cases(tmp_path / "x.json")


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_cases(tmp_path / "x.json")


def test_who_made_the_labels_goes_along(tmp_path: Path) -> None:
    case = Case(
        "a",
        tmp_path / "a.nii.gz",
        tmp_path / "a2.nii.gz",
        kind="corrected",
        before=tmp_path / "a1.nii.gz",
        soft=tmp_path / "soft.nii.gz",
    )
    save_cases(tmp_path / "x.json", [case, Case("b", tmp_path / "b.nii.gz")])
    assert json.loads((tmp_path / "x.json").read_text())[0]["before"] == "a1.nii.gz"
    again, other = load_cases(tmp_path / "x.json")
    assert again == case and (other.kind, other.before, other.soft) == ("expert", None, None)
    with pytest.raises(InputError, match="guessed"):
        Case("a", Path("a"), kind="guessed")
