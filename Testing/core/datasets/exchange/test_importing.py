"""Data sets into a case store and out of it again."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.datasets.made_dataset import (
    ALL_13,
    CONTENT,
    FLARE23_KINDS,
    MAKERS,
    Maker,
    label_map,
    make_flare22,
    scan,
)
from flare_core.alive import held_folder
from flare_core.anatomy.organs import organ
from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.datasets.case import ALL_ORGANS, load_cases, save_cases
from flare_core.datasets.exchange import exporting as exchange_export
from flare_core.datasets.exchange import importing as exchange_import
from flare_core.datasets.exchange.exporting import export_flare22, export_nnunet
from flare_core.datasets.exchange.importing import ImportSettings, import_dataset
from flare_core.datasets.exchange.nnunet import read_raw_dataset
from flare_core.datasets.stored import cases_of_store
from flare_core.errors import InputError
from flare_core.imaging.files import (
    read_geometry,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

EXPERT = ImportSettings()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CaseStore]:
    with open_store(tmp_path / "store", create=True) as opened:
        yield opened


def voxels(path: Path) -> dict[int, int]:
    """Voxels of each value but 0."""
    counts = np.bincount(read_labels(path).array.ravel())
    return {value: int(n) for value, n in enumerate(counts) if n and value}


@pytest.mark.parametrize("edition", list(MAKERS))
def test_every_edition_comes_in(store: CaseStore, tmp_path: Path, edition: str) -> None:
    MAKERS[edition](tmp_path / "set")
    found = import_dataset(store, tmp_path / "set", EXPERT)

    scans = sum(count for count, _ in CONTENT[edition].values())
    labelled = sum(count for _, count in CONTENT[edition].values())
    healthy = 1 if edition == "flare24-task1" else 0
    assert (len(found.added), len(found.known)) == (scans, 0)
    assert len(found.labelled) == labelled + healthy
    assert not [f for f in found.findings if f.wrong and f.kind != "missing"]
    statuses = Counter(record.status for record in store.cases())
    assert statuses["accepted"] == labelled + healthy
    assert store.verify() == ()
    for record in store.cases(status="accepted"):
        values = voxels(store.version(record.name, 1).path)
        assert set(values) <= {organ(key).id for key in record.organs}, "all in our numbers"


def test_import_again_adds_nothing(store: CaseStore, tmp_path: Path) -> None:
    MAKERS["flare21"](tmp_path / "set")  # its numbers are converted each time
    first = import_dataset(store, tmp_path / "set", EXPERT)
    before = store.cases(), store.history()
    told: list[tuple[int, int]] = []
    again = import_dataset(store, tmp_path / "set", EXPERT, lambda *step: told.append(step))

    assert (again.added, again.labelled, again.known) == ((), (), first.added)
    assert (store.cases(), store.history()) == before
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_flare21_kidneys_get_their_sides(store: CaseStore, tmp_path: Path) -> None:
    MAKERS["flare21"](tmp_path / "set")
    import_dataset(store, tmp_path / "set", EXPERT)
    record = store.case("train_000")
    counts = voxels(record.labels or tmp_path)
    assert counts[1] == 20 and counts[3] == 5 and counts[4] == 3
    assert counts.get(2, 0) + counts.get(13, 0) == 9
    assert record.organs == ("liver", "right_kidney", "left_kidney", "spleen", "pancreas")
    facts = store.version("train_000", 1).facts
    assert set(facts.absent) == {organ(i).key for i in (2, 13) if i not in counts}
    assert "FLARE21" in facts.note


def test_partial_annotations_of_flare23_stay_partial(store: CaseStore, tmp_path: Path) -> None:
    MAKERS["flare23"](tmp_path / "set")
    import_dataset(store, tmp_path / "set", EXPERT)
    organs = {name: set(store.case(name).organs) for name in FLARE23_KINDS}
    four = {"liver", "right_kidney", "left_kidney", "spleen", "pancreas"}
    assert organs["FLARE23_0001"] == {"lesion"}
    assert organs["FLARE23_0002"] == four
    assert organs["FLARE23_0003"] == four | {"lesion"}
    assert organs["FLARE23_0004"] == set(ALL_ORGANS)
    assert store.version("FLARE23_0003", 1).facts.absent == ("spleen",)
    assert store.version("FLARE23_0004", 1).facts.absent == ("gallbladder",)
    assert voxels(store.version("FLARE23_0001", 1).path) == {14: 11}, "the corrected map"


def test_scans_without_lesions_are_labelled_as_such(store: CaseStore, tmp_path: Path) -> None:
    MAKERS["flare24-task1"](tmp_path / "set")
    import_dataset(store, tmp_path / "set", EXPERT)
    facts = store.version("healthy_1", 1).facts
    assert (facts.annotated, facts.absent) == (("lesion",), ("lesion",))
    assert store.case("001234_01_01_10-20").patient == store.case("001234_02_01_10-20").patient
    assert voxels(store.version("001234_01_01_10-20", 1).path) == {14: 6}


def test_lesions_labelled_in_part_stay_so_in_and_out_of_a_store(
    store: CaseStore, tmp_path: Path
) -> None:
    MAKERS["flare24-task1"](tmp_path / "set")
    import_dataset(store, tmp_path / "set", EXPERT)
    cases = {case.name: case for case in cases_of_store(store)}
    part = sorted(name for name, case in cases.items() if case.partly == ("lesion",))
    complete = {"healthy_1", "FLARE24_v1"}  # the latter's validation was searched for all
    assert part == sorted(set(cases) - complete - {n for n, c in cases.items() if not c.labels})
    assert cases["healthy_1"].partly == (), "nothing is hidden where there is no lesion"
    save_cases(tmp_path / "cases.json", list(cases.values()))
    assert load_cases(tmp_path / "cases.json") == tuple(cases.values())

    found = export_nnunet(tmp_path / "raw", list(cases.values()))
    told = [each.where for each in found.findings if "in part" in each.what]
    assert sorted(told) == part
    with open_store(tmp_path / "other", create=True) as other:
        import_dataset(other, tmp_path / "raw", EXPERT)
        again = {case.name: case.partly for case in cases_of_store(other)}
    assert again == {name: case.partly for name, case in cases.items()}

    store.set_status(part[0], "rejected")
    store.set_status(part[0], "accepted")
    store.restore(part[0], 1)
    assert store.labelled_in_part()[part[0]] == ("lesion",)


def test_other_teams_predictions_come_in_as_pseudo(store: CaseStore, tmp_path: Path) -> None:
    MAKERS["flare23"](tmp_path / "set")
    import_dataset(store, tmp_path / "set", ImportSettings(pseudo="aladdin5", link=True))
    record = store.case("FLARE23_0005")
    assert (record.kind, record.status, record.linked) == ("pseudo", "pseudo", True)
    assert store.version(record.name, 1).facts.model == "aladdin5"
    assert store.case("FLARE23_0001").kind == "expert"


@pytest.mark.parametrize("kind", ["pseudo", "soft"])
def test_what_a_model_did_not_find_is_not_stated_absent(
    store: CaseStore, tmp_path: Path, kind: str
) -> None:
    """Absent is a person's word: the store keeps it through every later round."""
    maker = Maker(tmp_path / "set")
    for name, counts in (("a", {1: 9, 3: 4}), ("b", {1: 9}), ("c", {})):
        maker.scan(f"images/{name}")
        maker.labels(f"labels/{name}", counts)
    (tmp_path / "set" / "cases.json").write_text('{"b": {"absent": ["spleen"]}}')
    found = import_dataset(store, tmp_path / "set", ImportSettings(kind=kind))
    facts = {name: store.version(name, 1).facts for name in found.labelled}
    assert set(facts["a"].annotated) == {organ(1).key, organ(3).key} and facts["a"].absent == ()
    assert set(facts["b"].annotated) == {organ(1).key, "spleen"}
    assert facts["b"].absent == ("spleen",), "a person's word, written beside the labels"
    assert store.case("c").status == "unlabelled" and "c" not in facts
    assert [(f.kind, f.where) for f in found.findings] == [("note", "c")]


def test_a_table_with_confidences_says_that_labels_are_pseudo(
    store: CaseStore, tmp_path: Path
) -> None:
    maker = Maker(tmp_path / "set")
    for name in "ab":
        maker.scan(f"ct/{name}")
        maker.labels(f"labels/{name}", ALL_13)
    table = {"a": {"patient": "P", "confidence": {"liver": 0.9}}, "b": {"patient": "P"}}
    (tmp_path / "set" / "cases.json").write_text(json.dumps(table))
    import_dataset(store, tmp_path / "set", EXPERT)
    assert [store.case(name).kind for name in "ab"] == ["pseudo", "expert"]
    assert [store.case(name).patient for name in "ab"] == ["P", "P"]
    assert store.version("a", 1).facts.evidence == {"confidence": {"liver": 0.9}}


def test_two_imports_at_once_add_everything_once(
    store: CaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one looks before the first has added, and adds after it."""
    MAKERS["flare21"](tmp_path / "set")  # other numbers than ours: its maps are converted
    counts: list[tuple[int, int]] = []
    real = exchange_import.organs_in

    def other_is_quicker(path: Path) -> tuple[str, ...]:
        monkeypatch.setattr(exchange_import, "organs_in", real)
        with open_store(store.folder) as other:
            found = import_dataset(other, tmp_path / "set", EXPERT)
        counts.append((len(found.added), len(found.labelled)))
        return real(path)

    monkeypatch.setattr(exchange_import, "organs_in", other_is_quicker)
    found = import_dataset(store, tmp_path / "set", EXPERT)
    counts.append((len(found.added), len(found.labelled)))
    cases = store.cases()
    labelled = [case for case in cases if case.latest]
    assert len(labelled) > 1 and [case.latest for case in labelled] == [1] * len(labelled)
    assert sum(added for added, _ in counts) == len(cases), "each says what it did itself"
    assert sum(maps for _, maps in counts) == len(labelled)
    assert store.verify() == ()


@pytest.fixture(scope="module", params=[export_nnunet, export_flare22], ids=["nnunet", "flare22"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set as we export it, whose table each test writes anew."""
    folder = tmp_path_factory.mktemp("exported")
    with open_store(folder / "store", create=True) as store:
        request.param(folder / "set", cases_of_store(filled(store, folder / "x")))
    return folder / "set"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"x": 5}',
        "[" * 20_000,
        '{"x": {"annotated": 5}}',
        '{"x": {"annotated": [5]}}',
        '{"x": {"patient": []}}',
        '{"x": {"patient": "\\ud800"}}',
        '{"x": {"kind": 3}}',
    ],
)
def test_a_spoilt_table_is_refused(exported: Path, tmp_path: Path, text: str) -> None:
    """Its patients would be parted, its organs believed to be complete."""
    (exported / "cases.json").write_text(text, "utf-8")
    with open_store(tmp_path / "new", create=True) as new:
        with pytest.raises(InputError):
            import_dataset(new, exported, EXPERT)
        assert new.cases() == ()


def test_an_export_that_ends_early_leaves_nothing(
    store: CaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = cases_of_store(filled(store, tmp_path / "x"))
    target = tmp_path / "made" / "Dataset501_X"

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("_write_scan", "_write_dataset_json"):
        with monkeypatch.context() as patch:
            patch.setattr(exchange_export, step, full)
            with pytest.raises(InputError) as caught:
                export_nnunet(target, cases)
        assert str(target) in str(caught.value) and ".part." not in str(caught.value)
        assert not (tmp_path / "made").exists()


def test_an_export_sweeps_what_a_killed_one_left(store: CaseStore, tmp_path: Path) -> None:
    cases = cases_of_store(filled(store, tmp_path / "x"))
    for name in ("A", "B"):  # B belongs to another target
        (tmp_path / f".0123abcd.part.{name}" / "imagesTr").mkdir(parents=True)
    living = tmp_path / ".4567abcd.part.A"
    with held_folder(lambda: living.mkdir() or living):  # somebody is at work
        export_nnunet(tmp_path / "A", cases)
        found = sorted(path.name for path in tmp_path.glob(".*"))
    assert found == [".0123abcd.part.B", ".4567abcd.part.A"]
    assert sorted(p.name for p in (tmp_path / "A").iterdir()) == [
        "cases.json", "dataset.json", "imagesTr", "labelsTr",
    ]  # fmt: skip


def test_one_bad_case_does_not_stop_the_others(store: CaseStore, tmp_path: Path) -> None:
    make_flare22(tmp_path / "set")
    images = tmp_path / "set" / "Training" / "FLARE22_LabeledCase2"
    (images / "images" / "FLARE22_Tr_0001_0000.nii.gz").write_bytes(b"rubbish")
    Maker(tmp_path / "set").labels(
        "Training/FLARE22_LabeledCase2/labels/FLARE22_Tr_0002", {77: 1, **ALL_13}
    )
    found = import_dataset(store, tmp_path / "set", EXPERT)
    wrong = {f.where: f for f in found.findings if f.wrong and f.kind != "missing"}
    assert {name: f.kind for name, f in wrong.items()} == {
        "FLARE22_Tr_0001": "unreadable",
        "FLARE22_Tr_0002": "mislabelled",
    }
    assert "label value 77" in wrong["FLARE22_Tr_0002"].what
    assert store.case("FLARE22_Tr_0002").status == "unlabelled"
    assert len(found.added) == 7


def test_one_scan_under_two_names_is_named(store: CaseStore, tmp_path: Path) -> None:
    path = Maker(tmp_path / "set").scan("images/a")
    shutil.copy(path, path.with_name("b.nii.gz"))
    found = import_dataset(store, tmp_path / "set", EXPERT)
    (finding,) = found.findings
    assert (finding.where, found.added) == ("b", ("a",)) and "case a" in finding.what


def filled(store: CaseStore, folder: Path) -> CaseStore:
    """Put FLARE23's partly labelled cases and FLARE22's into a store; one patient is held out."""
    for edition in ("flare23", "flare22"):
        MAKERS[edition](folder / edition)
        for number, path in enumerate(sorted((folder / edition).rglob("*_0000.nii.gz"))):
            write_volume(path, scan(number + 100 * len(store.cases())))  # no scan twice
        import_dataset(store, folder / edition, EXPERT)
    store.freeze_hold_out(["FLARE22_Tr_0002"])
    return store


def test_to_nnunet_and_back(store: CaseStore, tmp_path: Path) -> None:
    filled(store, tmp_path)
    training, testing = (cases_of_store(store, held_out=x) for x in (False, True))
    done: list[int] = []
    found = export_nnunet(
        tmp_path / "Dataset501_Abdomen", training, testing, on_done=lambda: done.append(1)
    )
    # all 13 organs: FLARE22's first case and tuning case, FLARE23's fourth and its validation
    assert len(done) == len(found.names) == 5
    assert {f.where for f in found.findings} == {"FLARE23_0001", "FLARE23_0002", "FLARE23_0003"}
    raw = read_raw_dataset(found.folder)
    assert raw.scheme.annotated == ALL_ORGANS and raw.unknown == ()
    tests = {case.name for case in raw.cases if case.image.parent.name == "imagesTs"}
    assert tests == {"FLARE22_Tr_0002"}
    table = json.loads((found.folder / "dataset.json").read_text())
    assert (table["numTraining"], table["channel_names"]) == (4, {"0": "CT"})
    assert all(path.stat().st_mode & 0o200 for path in found.folder.rglob("*.nii.gz"))

    with open_store(tmp_path / "other", create=True) as other:
        import_dataset(other, found.folder, EXPERT)
        for case in (*training, *testing):
            if case.name in found.names:
                record = other.case(case.name)
                expected = voxels(case.labels or tmp_path)
                expected.pop(14, None)  # lesions were not among the organs
                assert voxels(record.labels or tmp_path) == expected
                assert record.patient == case.patient
                assert read_geometry(record.image).same_grid(read_geometry(case.image))


def test_to_nnunet_with_organs_of_choice(store: CaseStore, tmp_path: Path) -> None:
    """Numbers are 1, 2, ... without gaps, as nnU-Net wants them."""
    filled(store, tmp_path)
    found = export_nnunet(
        tmp_path / "out", cases_of_store(store), organs=("pancreas", "liver", "spleen")
    )
    assert found.organs == ("liver", "spleen", "pancreas")
    labels = json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "liver": 1, "spleen": 2, "pancreas": 3}
    assert voxels(tmp_path / "out" / "labelsTr" / "FLARE23_0002.nii.gz") == {1: 20, 2: 5, 3: 3}
    assert "FLARE23_0001" not in found.names


def test_far_from_a_lesion_labelled_in_part_nnunet_ignores_what_is_not_labelled(
    store: CaseStore, tmp_path: Path
) -> None:
    grid = Geometry((30, 40, 40), (5.0, 2.0, 2.0))
    array = np.zeros(grid.shape, np.uint8)
    array[:, 30:34, 30:34], array[14:16, 4:8, 4:8] = 1, 14
    chance = np.random.default_rng(0)
    for name, partly in (("a", ("lesion",)), ("b", ())):
        scan = Volume(chance.integers(-99, 99, grid.shape, "i2"), grid)
        write_volume(tmp_path / f"{name}.nii.gz", scan)
        write_labels(tmp_path / "l.nii.gz", Volume(array, grid))
        store.add_case(tmp_path / f"{name}.nii.gz", name=name)
        facts = LabelFacts("expert", ("liver", "lesion"), partly=partly)
        store.add_labels(name, tmp_path / "l.nii.gz", facts)
    found = export_nnunet(tmp_path / "out", cases_of_store(store))
    assert [f.where for f in found.findings] == ["a"]
    table = json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]
    assert table == {"background": 0, "liver": 1, "lesion": 2, "ignore": 3}
    got = read_labels(tmp_path / "out" / "labelsTr" / "a.nii.gz").array
    assert got[15, 4, 7] == 2 and got[15, 4, 8] == 0, "beside the lesion 0 is background"
    assert got[15, 4, 7 + 20] == 0 and got[15, 4, 7 + 21] == 3, "up to 40 mm"
    assert got[14 - 8, 4, 4] == 0 and got[14 - 9, 4, 4] == 3
    assert (got[:, 30:34, 30:34] == 1).all(), "the liver is known everywhere"
    assert voxels(tmp_path / "out" / "labelsTr" / "b.nii.gz") == {1: 30 * 16, 2: 2 * 16}

    with open_store(tmp_path / "other", create=True) as other:
        noise = ImportSettings(assume_hu=True)
        assert not import_dataset(other, tmp_path / "out", noise).findings
        (back,) = (case for case in cases_of_store(other) if case.name == "a")
        assert back.partly == ("lesion",) and voxels(back.labels or tmp_path) == voxels(
            store.version("a", 1).path
        )


def test_a_scan_that_is_not_in_hu_stays_out_unless_a_person_says_it_is(
    store: CaseStore, tmp_path: Path
) -> None:
    MAKERS["flare22"](tmp_path / "set")
    (wrong,) = (tmp_path / "set").rglob("FLARE22_Tr_0001_0000.nii.gz")
    scan = read_volume(wrong)
    write_volume(wrong, scan.with_array((scan.array.astype(np.int32) + 1024).astype(np.int16)))
    found = import_dataset(store, tmp_path / "set", EXPERT)
    (finding,) = (each for each in found.findings if each.wrong)
    assert (finding.kind, finding.where) == ("unreadable", "FLARE22_Tr_0001")
    assert "HU" in finding.what and "--assume-hu" in finding.what
    assert "FLARE22_Tr_0001" not in found.added and len(found.added) > 3
    again = import_dataset(store, tmp_path / "set", ImportSettings(assume_hu=True))
    assert again.added == ("FLARE22_Tr_0001",)
    assert not [each for each in import_dataset(store, tmp_path / "set", EXPERT).findings
                if each.wrong], "what is there was judged once"  # fmt: skip


def test_predicted_labels_come_back_as_predicted(store: CaseStore, tmp_path: Path) -> None:
    make_flare22(tmp_path / "set")
    import_dataset(store, tmp_path / "set", ImportSettings(kind="pseudo"))
    cases = cases_of_store(store, statuses=("pseudo",))
    export_nnunet(tmp_path / "raw", cases)
    export_flare22(tmp_path / "flare", cases)
    for name in ("raw", "flare"):
        with open_store(tmp_path / f"store-{name}", create=True) as other:
            import_dataset(other, tmp_path / name, EXPERT)
            assert {record.kind for record in other.cases()} == {"pseudo"}


@pytest.mark.parametrize("kind", ["nnunet", "flare22"])
def test_a_lesion_that_has_no_number_is_part_of_its_organ(
    store: CaseStore, tmp_path: Path, kind: str
) -> None:
    grid = Geometry((6, 8, 8), (5.0, 2.0, 2.0))
    array = np.zeros(grid.shape, np.uint8)
    array[1:5, 1:7, 1:7], array[2:4, 3:5, 3:5] = 1, 14
    chance = np.random.default_rng(0)
    write_volume(tmp_path / "a.nii.gz", Volume(chance.integers(-99, 99, grid.shape, "i2"), grid))
    write_labels(tmp_path / "l.nii.gz", Volume(array, grid))
    store.add_case(tmp_path / "a.nii.gz", name="a")
    store.add_labels("a", tmp_path / "l.nii.gz", LabelFacts("expert", ("liver", "lesion")))
    if kind == "nnunet":
        export_nnunet(tmp_path / "out", cases_of_store(store), organs=["liver"])
    else:
        export_flare22(tmp_path / "out", cases_of_store(store))
    (path,) = (tmp_path / "out").rglob("a.nii.gz")
    assert voxels(path) == {1: 4 * 6 * 6}


def test_to_flare22_and_back(store: CaseStore, tmp_path: Path) -> None:
    filled(store, tmp_path)
    training = cases_of_store(store, statuses=("accepted", "unlabelled"))
    testing = cases_of_store(store, held_out=True)
    found = export_flare22(tmp_path / "out", training, testing)
    assert {f.where for f in found.findings} == {"FLARE23_0001"}, "lesions alone"

    with open_store(tmp_path / "other", create=True) as other:
        back = import_dataset(other, tmp_path / "out", EXPERT)
        assert set(back.added) == set(found.names) and back.findings == ()
        assert other.case("FLARE23_0003").organs == tuple(
            key for key in ALL_ORGANS if key in store.case("FLARE23_0003").organs
        )
        assert len(other.cases(status="unlabelled")) == len(store.cases(status="unlabelled"))
        for name in back.labelled:
            before = voxels(store.case(name).labels or tmp_path)
            before.pop(14, None)
            assert voxels(other.case(name).labels or tmp_path) == before
            assert other.case(name).patient == store.case(name).patient


def test_nothing_is_overwritten_and_nothing_is_refused(store: CaseStore, tmp_path: Path) -> None:
    filled(store, tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    cases = cases_of_store(store)
    with pytest.raises(InputError, match="not empty"):
        export_nnunet(tmp_path / "full", cases)
    with pytest.raises(InputError, match="no labelled case"):
        export_nnunet(tmp_path / "out", [])
    with pytest.raises(InputError, match="no case"):
        export_flare22(tmp_path / "out", [])
    lesions = [case for case in cases if case.annotated == ("lesion",)]
    with pytest.raises(InputError, match="that annotates liver"):
        export_nnunet(tmp_path / "out", lesions, organs=("liver",))


def test_scans_in_other_formats_are_exported_as_nifti(store: CaseStore, tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nrrd", scan(5))
    write_labels(tmp_path / "l.nii.gz", label_map({1: 9}))
    store.add_case(tmp_path / "a.nrrd")
    store.add_labels("a", tmp_path / "l.nii.gz", LabelFacts("expert", ("liver",)))
    found = export_nnunet(tmp_path / "out", cases_of_store(store))
    image = found.folder / "imagesTr" / "a_0000.nii.gz"
    assert read_geometry(image).same_grid(read_geometry(tmp_path / "a.nrrd"))


def test_the_development_scans(store: CaseStore, tmp_path: Path, real_data: Path) -> None:
    """Two of them, as the folder of all takes long to copy."""
    root = tmp_path / "set"
    for kind in ("ct", "labels"):
        (root / kind).mkdir(parents=True)
        for name in ("totalseg_ct", "hcc009thick"):
            shutil.copy(real_data / kind / f"{name}.nii.gz", root / kind)
    shutil.copy(real_data / "cases.json", root)
    found = import_dataset(store, root, ImportSettings(kind="pseudo", model="other-1"))
    assert len(found.labelled) == 2 and found.findings == ()
    records = store.cases()
    assert {record.patient for record in records} == {"totalseg", "hcc009"}
    for record in records:
        found_there = {organ(value).key for value in voxels(record.labels or root)}
        assert (record.status, set(record.organs), record.absent) == ("pseudo", found_there, ())
    assert store.version("hcc009thick", 1).facts.evidence["confidence"]["liver"] > 0.9
    assert store.verify() == ()
