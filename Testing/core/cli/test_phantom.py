"""``flare phantom`` writes images, truth and facts where a person and FLARE expect them."""

from __future__ import annotations

import argparse
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from flare_core.cases.store import open_store
from flare_core.cli import main
from flare_core.cli import phantom as command
from flare_core.datasets.phantom import make
from flare_core.datasets.phantom.make import PhantomSettings
from flare_core.errors import InputError
from flare_core.imaging.files import read_volume

SMALL = ("--spacing", "12,10,10", "--field", "pelvis-only")
"""What is painted soonest."""

make_phantom = lru_cache(make.make_phantom)
"""Once for the same settings: it takes seconds on the coarsest grid too."""


@pytest.fixture(autouse=True)
def made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "make_phantom", make_phantom)


def run_command(*words: str) -> int:
    """Parse and run ``flare phantom``."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(list(words)))


def test_command_writes_one_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--spacing", "10,8,8", "--seed", "7", "--absent", "gallbladder", "--phase", "late")
    assert run_command(str(tmp_path / "demo.nii.gz"), *words) == 0
    image = read_volume(tmp_path / "demo_0000.nii.gz")
    labels = read_volume(tmp_path / "demo_truth.nii.gz")
    facts = json.loads((tmp_path / "demo_truth.json").read_text())
    expected = make_phantom(
        PhantomSettings(seed=7, spacing_mm=(10.0, 8.0, 8.0), absent=("gallbladder",), phase="late")
    )
    np.testing.assert_array_equal(image.array, expected.image.array)
    np.testing.assert_array_equal(labels.array, expected.labels.array)
    assert image.geometry.same_grid(expected.image.geometry)
    assert facts["volume_ml"] == pytest.approx(expected.truth)
    assert facts["settings"]["absent"] == ["gallbladder"]
    assert "demo_0000.nii.gz" in capsys.readouterr().out


def test_command_writes_a_folder_of_cases(tmp_path: Path) -> None:
    assert run_command(str(tmp_path), *SMALL, "--count", "2", "--seed", "6") == 0
    names = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    assert names == [
        "images/phantom_0006_0000.nii.gz",
        "images/phantom_0007_0000.nii.gz",
        "labels/phantom_0006.nii.gz",
        "labels/phantom_0007.nii.gz",
        "truth/phantom_0006.json",
        "truth/phantom_0007.json",
    ]


def test_command_lists_each_lesion(tmp_path: Path) -> None:
    words = ("--spacing", "5,3,3", "--seed", "7", "--field", "upper-abdomen", "--lesions", "3")
    more = ("--lesion-organs", "liver,spleen", "--lesion-sizes", "medium", "--decoys", "1")
    assert run_command(str(tmp_path / "demo.nii.gz"), *words, *more) == 0
    labels = read_volume(tmp_path / "demo_truth.nii.gz")
    facts = json.loads((tmp_path / "demo_truth.json").read_text())
    assert [each["id"] for each in facts["lesions"]] == [1, 2, 3]
    for each in facts["lesions"]:
        assert each["organ"] in {"liver", "spleen"} and 20 <= each["asked_mm"] <= 50
        assert {"kind", "diameter_mm", "hu", "organ_hu", "centre"} <= set(each)
    assert len(facts["decoys"]) == 1
    marked = float((labels.array == 14).sum()) * 5 * 3 * 3 / 1000
    assert facts["volume_ml"]["lesion"] == pytest.approx(marked)
    assert sum(each["volume_ml"] for each in facts["lesions"]) == pytest.approx(marked, abs=0.01)


def test_a_folder_with_lesions_comes_into_a_store_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needed `--numbers flare23`, and then had lesions annotated where there are none."""
    field = ("--spacing", "10,8,8", "--field", "upper-abdomen")
    lesions = ("--lesions", "1", "--lesion-sizes", "large")
    folder = tmp_path / "set"
    assert run_command(str(folder), *field, "--seed", "7", *lesions) == 0
    assert run_command(str(folder), *field, "--seed", "6") == 0
    store = tmp_path / "store"
    code = main(["cases", "import", str(folder), "--store", str(store), "--progress", "none"])
    assert code == 0, capsys.readouterr()
    with open_store(store) as cases:
        with_lesions, without = (cases.version(f"phantom_000{seed}", 1).facts for seed in (7, 6))
    assert "lesion" in with_lesions.annotated and "lesion" not in with_lesions.absent
    assert "lesion" not in without.annotated and "liver" in without.annotated
    assert main(["dataset", "check", str(folder)]) == 0
    assert run_command(str(folder), *field, "--seed", "7") == 0
    assert not (folder / "cases.json").exists()


@pytest.mark.parametrize(
    "words",
    [("--spacing", "2,2"), ("--spacing", "a,b,c"), ("--count", "0"), ("--count", "2")],
)
def test_command_refuses(tmp_path: Path, words: tuple[str, str]) -> None:
    with pytest.raises(InputError):
        run_command(str(tmp_path / "x.nii.gz"), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["scan_0000.nii.gz", "scan_truth.nii.gz"])
def test_a_patients_files_are_not_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a patient's")
    with pytest.raises(InputError, match="no phantom"):
        run_command(str(tmp_path / "scan.nii.gz"), "--spacing", "10,8,8")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"a patient's"


def test_a_phantom_of_before_is_replaced(tmp_path: Path) -> None:
    for seed in ("6", "7"):
        assert run_command(str(tmp_path / "a.nii.gz"), *SMALL, "--seed", seed) == 0
    assert json.loads((tmp_path / "a_truth.json").read_text())["settings"]["seed"] == 7
    image = read_volume(tmp_path / "a_0000.nii.gz").array
    settings = PhantomSettings(seed=7, spacing_mm=(12.0, 10.0, 10.0), field="pelvis-only")
    np.testing.assert_array_equal(image, make_phantom(settings).image.array)


@pytest.mark.parametrize(
    "words", [("--lesion-push",), ("--lesion-sizes", "large"), ("--lesion-organs", "spleen")]
)
def test_where_no_lesions_are_is_not_said(tmp_path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="without --lesions"):
        run_command(str(tmp_path / "a.nii.gz"), *words)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, labels: object) -> None:
        raise InputError(str(path), "no space", "some", "Free some.")

    monkeypatch.setattr("flare_core.imaging.files.write_labels", full)
    with pytest.raises(InputError, match="no space"):
        run_command(str(tmp_path / "a.nii.gz"), *SMALL, "--seed", "7")
    assert list(tmp_path.iterdir()) == []
