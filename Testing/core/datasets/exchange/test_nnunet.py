"""nnU-Net raw data sets: what the names of labels mean, and what cannot be taken in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.datasets.made_dataset import Maker
from flare_core.cases.store import CaseStore, open_store
from flare_core.datasets.exchange.importing import ImportSettings, import_dataset
from flare_core.datasets.exchange.nnunet import read_raw_dataset
from flare_core.errors import InputError
from flare_core.imaging.files import read_labels

EXPERT = ImportSettings()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CaseStore]:
    with open_store(tmp_path / "store", create=True) as opened:
        yield opened


def voxels(path: Path) -> dict[int, int]:
    """Voxels of each value but 0."""
    counts = np.bincount(read_labels(path).array.ravel())
    return {value: int(n) for value, n in enumerate(counts) if n and value}


def make_raw(root: Path, labels: dict[str, object], values: dict[int, int]) -> Path:
    """Write an nnU-Net raw data set with two training cases and a test scan."""
    maker = Maker(root)
    for name in ("abd_001", "abd_002"):
        maker.scan(f"imagesTr/{name}_0000")
        maker.labels(f"labelsTr/{name}", values)
    maker.scan("imagesTs/abd_003_0000")
    table = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2,
             "file_ending": ".nii.gz"}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(table))
    return root


def test_nnunet_raw_comes_in_by_the_names_of_its_labels(store: CaseStore, tmp_path: Path) -> None:
    labels = {"background": 0, "spleen": 1, "heart": 2, "Liver": 3, "liver tumour": 4}
    make_raw(tmp_path / "set", labels, {1: 4, 2: 5, 3: 6, 4: 7})
    found = import_dataset(store, tmp_path / "set", EXPERT)

    assert found.added == ("abd_001", "abd_002", "abd_003")
    assert voxels(store.version("abd_001", 1).path) == {3: 4, 1: 6, 14: 7}
    assert store.case("abd_001").organs == ("spleen", "liver", "lesion")
    assert store.case("abd_003").status == "unlabelled"
    assert [f.what for f in found.findings] == [
        "'heart' is none of our organs: it becomes background"
    ]
    assert import_dataset(store, tmp_path / "set", EXPERT).labelled == ()


def test_a_case_that_is_number_0000_keeps_its_labels(store: CaseStore, tmp_path: Path) -> None:
    folder = make_raw(tmp_path / "set", {"background": 0, "liver": 1}, {1: 4})
    (folder / "imagesTr/abd_001_0000.nii.gz").rename(folder / "imagesTr/abd_0000_0000.nii.gz")
    (folder / "labelsTr/abd_001.nii.gz").rename(folder / "labelsTr/abd_0000.nii.gz")
    found = import_dataset(store, folder, EXPERT)
    assert found.labelled == ("abd_0000", "abd_002")


def test_a_structure_that_is_none_of_ours_takes_no_organs_number(
    store: CaseStore, tmp_path: Path
) -> None:
    """Liver and spleen have our own numbers; 2 is our right kidney, and here the heart."""
    make_raw(tmp_path / "set", {"background": 0, "liver": 1, "heart": 2, "spleen": 3}, {1: 4, 2: 5})
    import_dataset(store, tmp_path / "set", EXPERT)
    assert voxels(store.version("abd_001", 1).path) == {1: 4}


def test_nnunets_older_table_and_kidneys_in_one(store: CaseStore, tmp_path: Path) -> None:
    root = make_raw(tmp_path / "set", {}, {1: 20, 2: 9})
    table = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "kidney"}}
    (root / "dataset.json").write_text(json.dumps(table))
    import_dataset(store, root, EXPERT)
    counts = voxels(store.version("abd_001", 1).path)
    assert counts[1] == 20 and counts.get(2, 0) + counts.get(13, 0) == 9


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"labels": {"background": 0, "whole": [1, 2]}}, "regions"),
        ({"labels": {"background": 0, "liver": 1, "ignore": 2}}, "ignore"),
        ({"labels": {"background": 0, "heart": 1}}, "heart"),
        ({"labels": 3}, "labels"),
        ({"channel_names": {"0": "T2"}}, "T2"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, "PET"),
    ],
)
def test_what_nnunet_can_say_and_we_cannot(tmp_path: Path, change: dict, word: str) -> None:
    root = make_raw(tmp_path / "set", {"background": 0, "liver": 1}, {1: 3})
    table = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(table | change))
    with pytest.raises(InputError, match=word):
        read_raw_dataset(root)
