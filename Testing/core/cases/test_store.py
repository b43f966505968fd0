from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from core.cases.small_cases import GRID, LIVER, SPLEEN, labels, scan
from dicom_files import Series, write_series
from flare_core.atomic import sha256_of
from flare_core.cases import change
from flare_core.cases import store as cases
from flare_core.cases.names import pseudonym
from flare_core.cases.rebuild import rebuild
from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.errors import InputError
from flare_core.imaging.files import read_labels, read_volume

ORGANS = ("liver", "spleen")


@pytest.fixture
def store(tmp_path: Path):
    with open_store(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return scan(tmp_path / "in" / "a_0000.nii.gz")


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return labels(tmp_path / "in" / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})


def pseudo(**changes: object) -> LabelFacts:
    return LabelFacts(**({"kind": "pseudo", "annotated": ORGANS, "model": "m-1"} | changes))  # type: ignore[arg-type]


def test_a_scan_is_copied_and_described(store: CaseStore, image: Path):
    record = store.add_case(image, patient="P 1", source="clinic")

    assert record.image == store.folder / "cases" / "a" / "image.nii.gz"
    assert record.image.read_bytes() == image.read_bytes()
    assert record.image_sha256 == sha256_of(image)
    assert not record.image.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    assert (record.name, record.patient, record.source) == ("a", "P 1", "clinic")
    assert (record.status, record.latest, record.chosen, record.labels) == (
        "unlabelled", None, None, None,
    )  # fmt: skip
    assert (record.shape, record.spacing_mm) == (GRID.shape, GRID.spacing_mm)
    assert not record.linked and not record.held_out
    assert store.case("A") == record, "capitals do not count"


def test_a_linked_scan_stays_where_it_is(store: CaseStore, image: Path):
    record = store.add_case(image, link=True)

    assert record.linked and record.image == image.resolve()
    assert list((store.folder / "cases" / "a").glob("image*")) == []
    assert store.verify() == ()


def test_a_dicom_folder_becomes_one_file(store: CaseStore, tmp_path: Path):
    folder = tmp_path / "dicom"
    write_series(folder, np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6))
    record = store.add_case(folder, name="from-dicom")

    assert record.image.name == "image.nii.gz"
    assert np.array_equal(read_volume(record.image).array, read_volume(folder).array)
    with pytest.raises(InputError, match="without --link"):
        store.add_case(folder, name="linked", link=True)


def test_two_dicom_scans_of_a_patient_are_never_parted(store: CaseStore, tmp_path: Path):
    """Neither among themselves nor from a scan that came under the patient ID itself."""
    stack = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
    for number in range(4):
        whose = ((0x0010, 0x0020, "LO", "MRN 7" if number < 3 else None),)
        write_series(tmp_path / f"s{number}", stack + number, Series(changes=whose))
    one, two = (store.add_case(tmp_path / f"s{n}").patient for n in (0, 1))
    assert one == two == pseudonym("MRN 7")
    assert store.add_case(tmp_path / "s3").patient == "s3"
    with open_store(tmp_path / "older", create=True) as older:
        older.add_case(tmp_path / "s0", patient="mrn 7")
        assert older.add_case(tmp_path / "s2").patient == "mrn 7"


def test_the_same_scan_again_is_the_same_case(store: CaseStore, image: Path):
    first = store.add_case(image, patient="P")

    assert store.add_case(image, name="A") == first
    assert len(store.history()) == 1


def test_a_scan_that_is_there_is_not_another_patients(store: CaseStore, image: Path):
    """It would stay the first one's without a word, and be parted from the second's scans."""
    store.add_case(image, patient="Ann")
    for same in ("Ann", " ann ", "", "a"):  # a data set without patients gives the case's name
        assert store.add_case(image, patient=same).patient == "Ann"
    with pytest.raises(InputError, match="as a scan of Ann") as caught:
        store.add_case(image, patient="Bob")
    assert caught.value.parts[0] == "patient"
    assert len(store.history()) == 1 and store.verify() == ()


def test_one_image_under_two_names_is_refused(store: CaseStore, image: Path, tmp_path: Path):
    store.add_case(image)
    copy = tmp_path / "other.nii.gz"
    copy.write_bytes(image.read_bytes())

    with pytest.raises(InputError, match=r"same as that of case a\b"):
        store.add_case(copy)
    assert [each.name for each in store.cases()] == ["a"]
    assert store.verify() == ()


def test_two_images_under_one_name_are_refused(store: CaseStore, image: Path, tmp_path: Path):
    store.add_case(image, name="one")

    with pytest.raises(InputError, match="name of another image"):
        store.add_case(scan(tmp_path / "b.nii.gz", 1), name="ONE")
    assert store.verify() == ()


def test_labels_come_in_versions(store: CaseStore, image: Path, truth: Path, tmp_path: Path):
    store.add_case(image)
    evidence = {"confidence": {"liver": 0.9}, "rounds": [1, 2]}
    first = store.add_labels("a", truth, pseudo(evidence=evidence, settings={"fast": True}))
    edited = labels(tmp_path / "edited.nii.gz", {LIVER: 22, SPLEEN: 3})
    second = store.add_labels("a", edited, pseudo(kind="corrected", parent=1, author="Ada"))

    assert (first.number, second.number) == (1, 2)
    assert first.path.name == f"v0001-{sha256_of(truth)[:8]}.nii.gz"
    assert first.path.read_bytes() == truth.read_bytes(), "the first stays as it was"
    assert store.versions("a") == (first, second)
    assert store.version("a", 1).facts.evidence == evidence
    # voxels 20 and 21 became liver instead of spleen; 25 voxels remain: 0.01 mL each
    assert second.facts.edited_ml == {"liver": 0.02, "spleen": 0.02}
    record = store.case("a")
    assert (record.status, record.latest, record.chosen) == ("corrected", 2, 2)
    assert (record.kind, record.organs, record.labels) == ("corrected", ORGANS, second.path)
    with pytest.raises(InputError, match="1 to 2"):
        store.version("a", 3)


def test_other_formats_become_nifti(store: CaseStore, image: Path, tmp_path: Path):
    store.add_case(image)
    version = store.add_labels("a", labels(tmp_path / "l.nrrd", {LIVER: 20, SPLEEN: 5}), pseudo())

    found = read_labels(version.path)
    assert version.path.name.endswith(".nii.gz")
    assert np.bincount(found.array.ravel()).tolist() == [167, 20, 0, 5]
    assert found.geometry.same_grid(GRID)


def test_a_restored_version_is_a_new_one_with_the_old_file(
    store: CaseStore, image: Path, truth: Path, tmp_path: Path
):
    store.add_case(image)
    store.add_labels("a", truth, pseudo())
    store.add_labels("a", labels(tmp_path / "b.nii.gz", {LIVER: 9, SPLEEN: 9}),
                     pseudo(kind="corrected"))  # fmt: skip
    back = store.restore("a", 1, author="Ada", note="the edit was wrong")

    assert (back.number, back.path) == (3, store.version("a", 1).path)
    assert (back.facts.kind, back.facts.parent, back.facts.author) == ("pseudo", 1, "Ada")
    record = store.case("a")
    assert (record.status, record.chosen, record.kind) == ("pseudo", 3, "pseudo")
    assert store.history("a")[-1].detail == "version 1: the edit was wrong"
    assert store.verify() == ()
    with pytest.raises(InputError, match="version"):
        store.restore("a", 7)


def test_a_models_labels_never_push_aside_a_persons(store: CaseStore, image: Path, truth: Path):
    store.add_case(image)
    store.add_labels("a", truth, pseudo())
    store.add_labels("a", truth, pseudo(kind="corrected"))
    store.add_labels("a", truth, pseudo(model="m-2"))
    record = store.case("a")
    assert (record.status, record.latest, record.chosen) == ("corrected", 3, 2)

    store.set_status("a", "rejected", reason="wrong patient")
    store.add_labels("a", truth, pseudo(model="m-3"))
    record = store.case("a")
    assert (record.status, record.latest, record.chosen) == ("pseudo", 4, 4)

    store.add_labels("a", truth, pseudo(kind="expert", model=""))
    assert store.case("a").status == "accepted"


def test_status_is_set_with_a_reason(store: CaseStore, image: Path, truth: Path):
    store.add_case(image)
    for status in ("accepted", "rejected", "pseudo", "corrected"):
        with pytest.raises(InputError, match="no labels"):
            store.set_status("a", status)
    store.add_labels("a", truth, pseudo())
    record = store.set_status("a", "accepted", author="Ada", reason="looks right")

    assert record.status == "accepted"
    event = store.history("a")[-1]
    assert (event.what, event.author, event.detail, event.version, event.status) == (
        "status", "Ada", "looks right", 1, "accepted",
    )  # fmt: skip
    assert store.set_status("a", "pseudo").status == "pseudo"
    with pytest.raises(InputError, match="pseudo labels"):
        store.set_status("a", "corrected")
    with pytest.raises(InputError, match="one of unlabelled"):
        store.set_status("a", "fine")


def test_history_tells_everything_in_order(store: CaseStore, image: Path, truth: Path):
    store.add_case(image, author="Ada")
    store.add_labels("a", truth, pseudo(author="robot"))
    store.set_weight("a", 2.5)
    told = [(event.number, event.what, event.author) for event in store.history()]

    assert told == [(1, "added", "Ada"), (2, "labelled", "robot"), (3, "weight", "")]
    assert store.case("a").weight == 2.5
    assert all(event.at.endswith("+00:00") for event in store.history())
    with pytest.raises(InputError, match="case"):
        store.history("b")


def test_a_wrong_patient_is_corrected_wherever_it_is_written(store: CaseStore, image: Path):
    store.add_case(image, patient="P1")
    assert store.set_patient("a", " P2 ", author="Ada").patient == "P2"
    event = store.history("a")[-1]
    assert (event.what, event.author, event.detail) == ("patient", "Ada", "P2")
    facts = json.loads((store.folder / "cases" / "a" / "case.json").read_text("utf-8"))
    assert facts["patient"] == "P2" and store.verify() == ()
    assert store.put_case(image, patient="P2")[1] is False
    with pytest.raises(InputError, match="`flare cases patient a NAME`"):
        store.put_case(image, patient="P1")
    for wrong in ("", "  ", "P\0", "P" * 5000):
        with pytest.raises(InputError, match="patient"):
            store.set_patient("a", wrong)
    for path in store.folder.glob("catalogue*"):
        path.unlink()
    rebuild(store.folder)
    with open_store(store.folder) as again:
        assert again.case("a").patient == "P2"


def test_who_is_held_out_stays_so_and_who_was_learnt_from_is_not(store: CaseStore, tmp_path: Path):
    for seed, (name, patient) in enumerate({"a": "A", "b": "B", "c": "C", "d": "C"}.items()):
        store.add_case(scan(tmp_path / f"{name}.nii.gz", seed), patient=patient)
    store.freeze_hold_out(["A"])
    assert store.set_patient("a", "New").held_out, "nobody has learnt from New"
    assert store.hold_out() == ("A", "New") and store.verify() == ()
    assert store.set_patient("b", "New").held_out, "a scan of someone who is held out"
    assert not store.set_patient("b", "C").held_out
    assert not store.set_patient("d", "Other").held_out, "it was not held out before either"
    assert not store.set_patient("a", "C").held_out, "C has scans that were learnt from"
    assert store.hold_out() == ("A", "New") and store.verify() == ()


def test_a_patient_that_cannot_be_written_changes_nothing(
    store: CaseStore, image: Path, monkeypatch: pytest.MonkeyPatch
):
    store.add_case(image, patient="P1")
    store.freeze_hold_out(["P1"])
    before = (store.folder / "cases" / "a" / "case.json").read_text("utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(change, "_write_hold_out", full)
        with pytest.raises((OSError, InputError)):
            store.set_patient("a", "P2")
    assert store.case("a").patient == "P1" and store.hold_out() == ("P1",)
    assert (store.folder / "cases" / "a" / "case.json").read_text("utf-8") == before
    assert [event.what for event in store.history()] == ["added", "hold-out"]
    assert store.verify() == ()


def test_scores(store: CaseStore, image: Path):
    store.add_case(image)
    store.set_scores("a", {"disagreement": 0.25, "diversity": 1})
    store.set_scores("a", {"disagreement": 0.5})

    assert store.scores("a") == {"disagreement": 0.5, "diversity": 1.0}
    assert store.score_table() == {"a": {"disagreement": 0.5, "diversity": 1.0}}
    with pytest.raises(InputError, match="finite"):
        store.set_scores("a", {"x": float("nan")})


def test_scores_of_many_cases_at_once(store: CaseStore, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cases, "AT_ONCE", 2)
    table = {name: {"doubt": seed / 7} for seed, name in enumerate("abcde")}
    for seed, name in enumerate(table):
        store.add_case(scan(tmp_path / f"{name}.nii.gz", seed))
    store.set_scores_of(table)
    assert store.score_table() == table
    with pytest.raises(InputError, match="finite"):
        store.set_scores_of({"a": {"doubt": 0.5}, "b": {"doubt": float("inf")}})
    with pytest.raises(InputError, match="nobody"):
        store.set_scores_of({"a": {"doubt": 0.5}, "nobody": {"doubt": 0.5}})
    assert store.score_table() == table and store.verify() == ()


def test_filters(store: CaseStore, truth: Path, tmp_path: Path):
    for seed, (name, patient, source) in enumerate(
        [("a", "P1", "Clinic"), ("b", "P2", "trial"), ("c", "P3", "trial")]
    ):
        store.add_case(scan(tmp_path / f"{name}.nii.gz", seed), patient=patient, source=source)
    only_liver = labels(tmp_path / "liver.nii.gz", {LIVER: 9})
    store.add_labels("a", truth, pseudo())
    store.add_labels("b", only_liver, pseudo(kind="expert", annotated=("liver",)))

    def names(**filters: object) -> list[str]:
        return [record.name for record in store.cases(**filters)]  # type: ignore[arg-type]

    assert names() == ["a", "b", "c"]
    assert names(status="unlabelled") == ["c"]
    assert names(status=("pseudo", "accepted")) == ["a", "b"]
    assert names(organ="liver") == ["a", "b"] and names(organ="spleen") == ["a"]
    assert names(kind="expert") == ["b"] and names(kind=("expert", "pseudo")) == ["a", "b"]
    assert names(text="TRIAL") == ["b", "c"] and names(text="p1") == ["a"]
    assert names(text="trial", organ="liver") == ["b"]
    assert names(limit=1, offset=1) == ["b"] and names(limit=0) == []
    assert names(held_out=True) == [] and names(held_out=False) == ["a", "b", "c"]
    for wrong in ({"status": "x"}, {"kind": "x"}, {"organ": "heart"}):
        with pytest.raises(InputError, match=r"one of|organ"):
            names(**wrong)


def test_the_hold_out_is_chosen_once(store: CaseStore, tmp_path: Path):
    for seed, name in enumerate("abc"):
        store.add_case(scan(tmp_path / f"{name}.nii.gz", seed), patient=f"P-{name}")
    assert store.hold_out() == ()
    with pytest.raises(InputError, match="of whom there is no scan"):
        store.freeze_hold_out(["P-a", "P-x"])
    with pytest.raises(InputError, match="no patient"):
        store.freeze_hold_out([])

    assert store.freeze_hold_out(["P-b", "P-a"]) == ("P-a", "P-b")
    assert store.freeze_hold_out(["p-a", "P-B", "p-a"]) == ("P-a", "P-b"), "the same ones again"
    with pytest.raises(InputError, match="other than those frozen"):
        store.freeze_hold_out(["P-a"])
    assert [r.name for r in store.cases(held_out=True)] == ["a", "b"]
    assert store.history()[-1].what == "hold-out"

    later = store.add_case(scan(tmp_path / "later.nii.gz", 9), patient="p-A ")
    assert later.held_out, "a later scan of the same patient"


def test_names_are_legal_everywhere(store: CaseStore, tmp_path: Path, image: Path):
    for name in ("a/b", "con", "x.", " x", ".x", "a:b", "", "a" * 90, "t\n"):
        with pytest.raises(InputError, match="every system allows"):
            store.add_case(image, name=name)
    assert store.add_case(image, name="Bäuche 7").name == "Bäuche 7"
    odd = scan(tmp_path / "NUL.nii.gz", 5)
    assert store.add_case(odd).name == "_NUL", "a name made from the file's is made legal"


def test_two_stores_see_each_other(store: CaseStore, image: Path, truth: Path):
    with open_store(store.folder) as other:
        store.add_case(image)
        other.add_labels("a", truth, pseudo())
        assert store.case("a").status == "pseudo"


def test_a_store_must_be_there(tmp_path: Path):
    with pytest.raises(InputError, match="holds none"):
        open_store(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="case store"):
        open_store(file, create=True)
    opened = open_store(tmp_path / "new" / "store", create=True)
    opened.close()
    with open_store(tmp_path / "new" / "store", create=True) as again:
        assert again.cases() == ()


def test_nothing_is_pending_afterwards(store: CaseStore, image: Path, truth: Path):
    store.add_case(image)
    store.add_labels("a", truth, pseudo())
    with pytest.raises(InputError):
        store.add_labels("a", truth, pseudo(annotated=("liver",)))

    assert os.listdir(store.folder / "pending") == []


def test_opening_loads_neither_torch_nor_itk():
    from house.imports import loaded_by

    assert loaded_by(["flare_core.cases.store", "flare_core.datasets.stored"], "SimpleITK") == []
    assert loaded_by(["flare_core.cases.store", "flare_core.datasets.stored"], "torch") == []
