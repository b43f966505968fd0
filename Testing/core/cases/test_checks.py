from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from core.cases.small_cases import GRID, LESION, LIVER, RIGHT_KIDNEY, SPLEEN, labels, scan
from flare_core.cases import checks as cases_checks
from flare_core.cases.checks import organs_in
from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.errors import InputError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CaseStore]:
    with open_store(tmp_path / "store", create=True) as opened:
        opened.add_case(scan(tmp_path / "a.nii.gz"))
        yield opened
        assert [v.number for v in opened.versions("a")] == [], "nothing refused came in"
        assert opened.verify() == ()


def facts(*annotated: str, **changes: object) -> LabelFacts:
    return LabelFacts("expert", annotated, **changes)  # type: ignore[arg-type]


def parts(error: pytest.ExceptionInfo[InputError]) -> tuple[str, str, str, str]:
    assert all(error.value.parts), "each of the four parts says something"
    return error.value.parts


@pytest.mark.parametrize(
    ("grid", "difference"),
    [
        (replace(GRID, shape=(4, 6, 9)), "shape 4 x 6 x 9"),
        (replace(GRID, spacing_mm=(5.0, 2.0, 1.2)), "spacing"),
        (replace(GRID, origin_mm=(3.0, -4.0, 105.0)), "origin"),
        (replace(GRID, direction=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))), "axes"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_another_grid(store: CaseStore, tmp_path: Path, grid, difference: str, suffix: str):
    wrong = labels(tmp_path / f"l{suffix}", {LIVER: 5}, grid)
    with pytest.raises(InputError) as error:
        store.add_labels("a", wrong, facts("liver"))
    argument, came, _, action = parts(error)
    assert argument == str(wrong) and difference in came and "Resample" in action


def test_rounding_of_a_header_is_no_other_grid(tmp_path: Path):
    with open_store(tmp_path / "store", create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        near = replace(GRID, origin_mm=(3.01, -4.0, 100.0))
        path = labels(tmp_path / "l.nii.gz", {LIVER: 5}, near)
        assert store.add_labels("a", path, facts("liver")).number == 1


def test_unknown_values(store: CaseStore, tmp_path: Path):
    wrong = labels(tmp_path / "l.nii.gz", {LIVER: 5, 15: 2, 90: 1})
    with pytest.raises(InputError) as error:
        store.add_labels("a", wrong, facts("liver"))
    _, came, legal, action = parts(error)
    assert came == "label value 15, 90" and "14" in legal and "flare cases import" in action
    with pytest.raises(InputError, match="label value"):
        organs_in(wrong)


def test_an_image_is_no_label_map(store: CaseStore, tmp_path: Path):
    with pytest.raises(InputError, match="whole numbers from 0 to 255"):
        store.add_labels("a", scan(tmp_path / "b.nii.gz", 1), facts("liver"))


def test_empty_labels(store: CaseStore, tmp_path: Path):
    empty = labels(tmp_path / "l.nii.gz", {})
    with pytest.raises(InputError) as error:
        store.add_labels("a", empty, facts("liver", "spleen"))
    _, came, _, action = parts(error)
    assert "no voxel of any organ" in came and "absent" in action
    with pytest.raises(InputError, match="at least one organ key"):
        store.add_labels("a", empty, facts())


def test_empty_labels_are_legal_when_said_so(tmp_path: Path):
    with open_store(tmp_path / "store", create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        empty = labels(tmp_path / "l.nii.gz", {})
        store.add_labels("a", empty, facts("lesion", absent=("lesion",)))
        assert store.case("a").organs == ("lesion",)


def test_claims_of_organs_that_are_not_there(store: CaseStore, tmp_path: Path):
    path = labels(tmp_path / "l.nii.gz", {LIVER: 5, SPLEEN: 5})
    with pytest.raises(InputError) as error:
        store.add_labels("a", path, facts("liver", "spleen", "gallbladder"))
    _, came, _, action = parts(error)
    assert "no voxel of gallbladder" in came
    assert "Leave gallbladder out of annotated" in action


def test_a_removed_organ_is_legal_when_said_so(tmp_path: Path):
    with open_store(tmp_path / "store", create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        path = labels(tmp_path / "l.nii.gz", {LIVER: 5})
        version = store.add_labels(
            "a", path, facts("liver", "gallbladder", absent=("gall bladder",))
        )
        assert version.facts.absent == ("gallbladder",)


def test_organs_that_nobody_claims(store: CaseStore, tmp_path: Path):
    path = labels(tmp_path / "l.nii.gz", {LIVER: 5, RIGHT_KIDNEY: 3, LESION: 2})
    for claimed in (facts("liver"), facts("liver", "rk", "lesion", absent=("rk", "lesion"))):
        with pytest.raises(InputError, match="voxels of right_kidney, lesion"):
            store.add_labels("a", path, claimed)
    assert organs_in(path) == ("liver", "right_kidney", "lesion")


def test_facts_that_mean_nothing(store: CaseStore, tmp_path: Path):
    path = labels(tmp_path / "l.nii.gz", {LIVER: 5})
    with pytest.raises(InputError, match="kind"):
        LabelFacts("guess", ("liver",))
    with pytest.raises(InputError, match="organ"):
        LabelFacts("expert", ("heart",))
    with pytest.raises(InputError, match="absent"):
        LabelFacts("expert", ("liver",), absent=("spleen",))
    with pytest.raises(InputError, match="edited_ml"):
        LabelFacts("expert", ("liver",), edited_ml={"liver": -1.0})
    with pytest.raises(InputError, match="NaN becomes null"):
        store.add_labels("a", path, facts("liver", evidence={"x": float("nan")}))
    with pytest.raises(InputError, match="version"):
        store.add_labels("a", path, facts("liver", parent=1))
    with pytest.raises(InputError, match="case"):
        store.add_labels("b", path, facts("liver"))


def test_what_is_no_scan(store: CaseStore, tmp_path: Path):
    text = tmp_path / "b.nii.gz"
    text.write_text("hello")
    for path in (tmp_path / "none.nii.gz", text, tmp_path):
        with pytest.raises(InputError):
            store.add_case(path, name="b")
    for weight in (-1.0, float("nan")):
        with pytest.raises(InputError, match="weight"):
            store.add_case(scan(tmp_path / "c.nii.gz", 2), weight=weight)
    assert [case.name for case in store.cases()] == ["a"]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Files cannot grow beyond `size` bytes: what a full disk does to every write."""
    resource = pytest.importorskip("resource", reason="Windows has no file size limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 40, 100, 300])
def test_a_full_disk_loses_nothing(store: CaseStore, tmp_path: Path, size: int):
    """The scan has some 370 bytes, a label map 100, notes and facts 20 to 600."""
    image, path = scan(tmp_path / "b.nii.gz", 1), labels(tmp_path / "l.nii.gz", {LIVER: 5})
    history = store.history()
    with full_disk(size):
        with pytest.raises(InputError):
            store.add_case(image)
        with pytest.raises(InputError):
            store.add_labels("a", path, facts("liver"))
        with pytest.raises(InputError):
            store.set_weight("a", 2.0)
    assert store.history() == history and store.case("a").weight == 1.0
    assert os.listdir(store.folder / "pending") == []
    assert store.add_case(image).name == "b", "with space again it works"
    assert store.verify() == ()


def test_a_copy_that_cannot_fit_is_not_begun(
    store: CaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    image = scan(tmp_path / "b.nii.gz", 1)
    monkeypatch.setattr(cases_checks.shutil, "disk_usage",
                        lambda _: type("Usage", (), {"free": 10})())  # fmt: skip
    with pytest.raises(InputError, match="MiB free"):
        store.add_case(image)
    assert store.add_case(image, link=True).linked, "a link needs no space"


def _read_as_nobody(folder: Path, image: Path, pipe: Connection) -> None:
    """Try everything as a user without rights; tell what went otherwise than it should."""
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    told = []
    with open_store(folder) as store:
        told += [store.read_only, [case.organs for case in store.cases()]]
        told += [len(store.history()), store.versions("a")[0].path.is_file(), store.verify()]
        writes: list[Callable[[], object]] = [
            lambda: store.add_case(image),
            lambda: store.add_labels("a", image, facts("liver")),
            lambda: store.set_status("a", "rejected"),
            lambda: store.freeze_hold_out(["a"]),
        ]
        for write in writes:
            try:
                write()
            except InputError as error:
                told.append("cannot write to" in str(error))
    pipe.send(told)


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits of POSIX")
@pytest.mark.parametrize("log_left", [True, False])
def test_a_read_only_folder_is_open_for_reading(tmp_path: Path, log_left: bool):
    """Also when a writer's log lies beside the catalogue, which SQLite would have to write to."""
    folder, image = tmp_path / "store", scan(tmp_path / "a.nii.gz")
    named = ("pytest-", "popen-")  # of pytest's own folders, one more where two run at once
    for place in (tmp_path, *(p for p in tmp_path.parents if p.name.startswith(named))):
        place.chmod(0o755)  # a user without rights has to get here
    writer = open_store(folder, create=True)
    writer.add_case(image)
    writer.add_labels("a", labels(tmp_path / "l.nii.gz", {LIVER: 5}), facts("liver"))
    if not log_left:
        writer.close()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    try:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        context = multiprocessing.get_context("fork")
        reader = context.Process(target=_read_as_nobody, args=(folder, image, theirs))
        reader.start()
        assert ours.poll(60)
        told = ours.recv()
        reader.join()
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
    writer.close()
    assert told == [True, [("liver",)], 2, True, (), True, True, True, True]
