"""Which cases a recipe may be run on, and who teaches whom."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flare_core.cases.store import open_store
from flare_core.errors import InputError
from flare_core.imaging.files import write_labels, write_volume
from flare_core.train.recipe_run.cases import import_data, require_cases, write_lists
from flare_core.train.recipes.recipe import SelfTraining
from recipe_world import lesion_scan, make_store, recipe
from rounds_world import LABELLED, UNLABELLED


def names(path: Path) -> set[str]:
    return {row["name"] for row in json.loads(path.read_text("utf-8"))}


def test_nobody_of_the_hold_out_is_in_any_list(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    require_cases(store, recipe())
    write_lists(store, tmp_path, recipe(), 0)
    assert names(tmp_path / "labelled.json") == set(LABELLED)
    assert names(tmp_path / "bare.json") == set(UNLABELLED)
    assert names(tmp_path / "teacher-0.json") | names(tmp_path / "teacher-1.json") == set(LABELLED)


def test_a_recipe_that_learns_lesions_needs_some(tmp_path: Path) -> None:
    store = make_store(tmp_path, lesions=False)
    with pytest.raises(InputError, match="lesion"):
        require_cases(store, recipe())
    require_cases(store, replace(recipe(), lesions=None))


def test_folds_need_as_many_patients(tmp_path: Path) -> None:
    five = replace(recipe(), self_training=SelfTraining({"kind": "agreement"}, folds=5))
    with pytest.raises(InputError, match=r"2 labelled patients[\s\S]*5 or more"):
        require_cases(make_store(tmp_path), five)


def test_rounds_need_a_hold_out_and_other_recipes_do_not(tmp_path: Path) -> None:
    store = make_store(tmp_path, hold_out=False)
    with pytest.raises(InputError, match="hold-out"):
        require_cases(store, recipe())
    require_cases(store, replace(recipe(), student=None, self_training=None))


def flare23(folder: Path, tuning: int = 2) -> Path:
    """Four labelled scans, two without, and a tuning set, in FLARE23's folders."""
    parts = {"imagesTr2200": "labelsTr2200", "unlabeledTr1800": "", "validation": "val-gt-50cases"}
    counts = dict(zip(parts, (4, 2, tuning), strict=True))
    number = 1
    for images, labels in parts.items():
        for _ in range(counts[images]):
            (folder / images).mkdir(parents=True, exist_ok=True)
            image, marks = lesion_scan(number)
            write_volume(folder / images / f"case_{number:02d}_0000.nii.gz", image)
            if labels:
                (folder / labels).mkdir(exist_ok=True)
                write_labels(folder / labels / f"case_{number:02d}.nii.gz", marks)
            number += 1
    return folder


def test_a_flare_folder_becomes_a_store_whose_tuning_set_is_held_out(tmp_path: Path) -> None:
    data, store = flare23(tmp_path / "data"), tmp_path / "store"
    for _ in range(2):  # again changes nothing
        import_data(data, store, 0)
        with open_store(store) as opened:
            assert len(opened.cases()) == 8
            assert set(opened.hold_out()) == {"case_07", "case_08"}
    write_lists(store, tmp_path, replace(recipe(), self_training=None, student=None), 0)
    assert names(tmp_path / "labelled.json") == {f"case_0{i}" for i in range(1, 5)}
    assert names(tmp_path / "bare.json") == {"case_05", "case_06"}


def test_without_a_tuning_set_a_part_of_the_labelled_is_held_out(tmp_path: Path) -> None:
    import_data(flare23(tmp_path / "data", tuning=0), tmp_path / "store", 0)
    with open_store(tmp_path / "store") as opened:
        held_out = opened.hold_out()
    assert len(held_out) == 1 and held_out[0] in {f"case_0{i}" for i in range(1, 5)}
