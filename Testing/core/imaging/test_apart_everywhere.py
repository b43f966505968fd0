"""Whoever reads files of others reads them apart: a crash in a library costs that file alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from flare_core.cases.store import LabelFacts, open_store
from flare_core.datasets.cache import load_sample
from flare_core.datasets.case import Case
from flare_core.datasets.exchange.exporting import export_nnunet
from flare_core.datasets.exchange.importing import ImportSettings, import_dataset
from flare_core.datasets.stored import cases_of_store
from flare_core.evaluate.ranking.ensemble import ensemble_folders
from flare_core.imaging.apart import ReaderEnded
from flare_core.imaging.label_map import changed_ml, counts_on_scan, label_counts
from flare_core.processes import Ended, Sidecar, own_python

FACTS = LabelFacts("expert", ("liver", "spleen"))
SPACING = (5.0, 2.0, 2.0)


@pytest.fixture(autouse=True)
def crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that dies of every file whose name says so."""
    call = Sidecar.call

    def dies(self: Sidecar, function: Any, path: Any, *rest: Any, **limits: Any) -> Any:
        if any(Path(str(each)).name.startswith("crash") for each in (path, *rest)):
            raise Ended(-11)
        return call(self, function, path, *rest, **limits)

    monkeypatch.setattr(Sidecar, "call", dies)


def _add(folder: Path) -> None:
    with open_store(folder / "store", create=True) as store:
        store.add_case(scan(folder / "good.nii.gz"))
        try:
            store.add_case(scan(folder / "crash.nii.gz", 1))
        finally:
            assert [case.name for case in store.cases()] == ["good"]


def _label(folder: Path) -> None:
    with open_store(folder / "store", create=True) as store:
        store.add_case(scan(folder / "good.nii.gz"))
        store.add_labels("good", labels(folder / "crash.nii.gz", {LIVER: 9, SPLEEN: 5}), FACTS)


def _known(folder: Path) -> None:
    with open_store(folder / "store", create=True) as store:
        store.case_of_image(scan(folder / "crash.nii.gz"))


def _sample(folder: Path) -> None:
    case = Case("a", scan(folder / "a.nii.gz"), labels(folder / "crash.nii.gz", {LIVER: 9}))
    load_sample(case, SPACING, folder / "cache", assume_hu=True)


def _ensemble(folder: Path) -> None:
    for team in "abc":
        (folder / team).mkdir()
        labels(folder / team / "crash.nii.gz", {LIVER: 9})
    ensemble_folders([folder / team for team in "abc"], folder / "out")


WORKS = {
    "add a scan": _add,
    "add labels": _label,
    "ask for a scan": _known,
    "learn from a case": _sample,
    "vote": _ensemble,
    "count": lambda f: label_counts(labels(f / "crash.nii.gz", {LIVER: 9})),
    "count on a scan": lambda f: counts_on_scan(
        labels(f / "a.nii.gz", {LIVER: 9}), scan(f / "crash.nii.gz")
    ),
    "compare": lambda f: changed_ml(
        labels(f / "a.nii.gz", {LIVER: 9}), labels(f / "crash.nii.gz", {LIVER: 9})
    ),
}


@pytest.mark.parametrize("what", WORKS)
def test_a_reader_that_crashes_is_an_error_about_the_file(what: str, tmp_path: Path) -> None:
    work: Callable[[Path], object] = WORKS[what]
    with pytest.raises(ReaderEnded, match=r"crash\.nii\.gz(.|\n)*SIGSEGV"):
        work(tmp_path)


def test_the_rest_of_a_data_set_comes_in(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for seed, name in enumerate(("a", "crash", "b")):
        scan(data / "ct" / f"{name}.nii.gz", seed)
        labels(data / "labels" / f"{name}.nii.gz", {LIVER: 20, SPLEEN: 5})
    with open_store(tmp_path / "store", create=True) as store:
        found = import_dataset(store, data, ImportSettings(author="x", assume_hu=True))
        assert sorted(found.added) == ["a", "b"]
        assert [each.where for each in found.findings if each.wrong] == ["crash"]
        export_nnunet(tmp_path / "Dataset501_X", cases_of_store(store))


def test_a_program_that_is_no_python_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_python() == sys.executable
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OSError, match="no Python beside"):
        own_python()
