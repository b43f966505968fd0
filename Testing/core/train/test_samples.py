from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flare_core.datasets.case import Case, cases_of_folder, save_cases
from flare_core.datasets.phantom import make as phantom_make
from flare_core.errors import InputError
from flare_core.train.config import TrainConfig
from flare_core.train.samples import gather_samples, phantom_cases
from tiny_training import SPACING_MM, make_cases, tiny_config


def test_held_out_patients_are_apart(cases: Path, cache: Path) -> None:
    training, held_out = gather_samples(tiny_config(cases), SPACING_MM, cache)
    assert [s.case.patient for s in training] == ["anna", "bert"]
    assert [s.case.patient for s in held_out] == ["carl"]
    assert all(s.labels.any() and s.image.shape == s.labels.shape for s in training)


def test_the_voxel_size_is_the_one_asked_for(cases: Path, cache: Path) -> None:
    training, _ = gather_samples(tiny_config(cases), (10.0, 8.0, 8.0), cache)
    assert training[0].spacing_mm == pytest.approx((10.0, 8.0, 8.0), rel=0.1)


def test_unlabelled_cases_are_left_out(cases: Path, cache: Path, tmp_path: Path) -> None:
    mixed = [*cases_of_folder(cases)[:2], replace(cases_of_folder(cases)[2], labels=None)]
    save_cases(tmp_path / "list.json", mixed)
    config = tiny_config(tmp_path / "list.json", held_out_patients=())
    training, held_out = gather_samples(config, SPACING_MM, cache)
    assert len(training) == 2 and not held_out


def test_a_misspelt_patient_is_refused(cases: Path, cache: Path) -> None:
    with pytest.raises(InputError) as error:
        gather_samples(tiny_config(cases, held_out_patients=("carl", "dora")), SPACING_MM, cache)
    assert error.value.parts[:2] == ("held_out_patients", "dora")


def test_nothing_left_to_train_on_is_refused(cases: Path, cache: Path) -> None:
    config = tiny_config(cases, held_out_patients=("anna", "bert", "carl"))
    with pytest.raises(InputError, match="3 cases, none of them"):
        gather_samples(config, SPACING_MM, cache)


@pytest.mark.parametrize("name", ["absent", "absent.json"])
def test_data_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        gather_samples(tiny_config(tmp_path / name), SPACING_MM, tmp_path)


def test_phantoms_are_drawn_as_often_as_the_configuration_says(
    cases: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def cohort(folder: Path, count: int, *, seed: int) -> list[Case]:
        asked.append((folder, count, seed))
        return list(cases_of_folder(cases)[:1])

    monkeypatch.setattr(phantom_make, "make_cohort", cohort)
    config = tiny_config(cases, phantoms=4, phantom_weight=0.25, seed=9)
    training, _ = gather_samples(config, SPACING_MM, cache)
    assert asked == [(cache / "phantoms", 4, 9)]
    assert [s.case.weight for s in training] == [1.0, 1.0, 0.25]
    alone = replace(config, data=(), held_out_patients=())
    assert len(gather_samples(alone, SPACING_MM, cache)[0]) == 1


def test_no_phantoms_cost_nothing(tmp_path: Path) -> None:
    assert phantom_cases(tiny_config(tmp_path), tmp_path) == []
    assert not list(tmp_path.iterdir())


def semi(data: Path, **changes: object) -> TrainConfig:
    return tiny_config(data, strategy={"kind": "mean_teacher"}, **changes)


def test_bare_scans_join_where_the_strategy_reads_them(
    cases: Path, cache: Path, tmp_path: Path
) -> None:
    """Each scan once, without its labels; never one of a held-out patient."""
    a, b, c = cases_of_folder(cases)
    save_cases(tmp_path / "list.json", [a, replace(b, labels=None), c])
    other = [replace(each, patient="dora") for each in cases_of_folder(make_cases(tmp_path / "x"))]
    save_cases(tmp_path / "bare.json", [a, c, *other, other[0]])
    config = semi(tmp_path / "list.json", unlabelled=(str(tmp_path / "bare.json"),))
    training, held_out = gather_samples(config, SPACING_MM, cache)
    assert [s.case.image.resolve() for s in training] == [
        each.image.resolve() for each in (a, b, *other)
    ]
    assert [len(s.case.annotated) for s in training] == [2, 0, 0, 0, 0]
    assert not any(s.labels.any() or s.places for s in training[1:])
    assert [s.case.patient for s in held_out] == ["carl"]
    plain = tiny_config(tmp_path / "list.json")
    assert len(gather_samples(plain, SPACING_MM, cache)[0]) == 1


@pytest.mark.parametrize("labelled", [False, True])
def test_a_held_out_scan_is_not_learnt_from_under_another_name(
    cases: Path, cache: Path, tmp_path: Path, labelled: bool
) -> None:
    """A folder without a table knows no patients: there each scan is one of its own."""
    save_cases(tmp_path / "list.json", cases_of_folder(cases))
    nameless = [replace(each, patient=each.name) for each in cases_of_folder(cases)]
    save_cases(tmp_path / "nameless.json", nameless)
    lists = (str(tmp_path / "list.json"), str(tmp_path / "nameless.json"))
    config = semi(tmp_path / "list.json", unlabelled=() if labelled else lists[1:])
    config = replace(config, data=lists if labelled else lists[:1])
    training, held_out = gather_samples(config, SPACING_MM, cache)
    (carl,) = {s.case.image.resolve() for s in held_out}
    assert carl not in {s.case.image.resolve() for s in training}


def test_a_held_out_scan_without_labels_of_use_is_not_learnt_from_under_another_name(
    cases: Path, cache: Path, tmp_path: Path
) -> None:
    """What is said of a patient in one list counts in all, labelled there or not."""
    a, b, c = cases_of_folder(cases)
    known = [a, replace(b, annotated=("aorta",)), c]
    nameless = [replace(each, patient=each.name) for each in (a, b, c)]
    for name, rows in {"known": known, "nameless": nameless, "bare": nameless}.items():
        save_cases(tmp_path / f"{name}.json", rows)
    lists = [str(tmp_path / f"{name}.json") for name in ("known", "nameless", "bare")]
    config = semi(tmp_path, unlabelled=(lists[2],), held_out_patients=("bert", "carl"))
    training, held_out = gather_samples(replace(config, data=tuple(lists[:2])), SPACING_MM, cache)
    assert {s.case.image.resolve() for s in training} == {a.image.resolve()}
    assert [s.case.patient for s in held_out] == ["carl"]
    one = replace(config, data=(lists[1],), unlabelled=(lists[0],), held_out_patients=(c.name,))
    save_cases(tmp_path / "known.json", [replace(b, patient=c.name, labels=None)])
    training, _ = gather_samples(one, SPACING_MM, cache)
    assert {s.case.image.resolve() for s in training} == {a.image.resolve()}


def test_a_case_without_any_of_the_organs_teaches_no_supervised_run(
    cases: Path, cache: Path, tmp_path: Path
) -> None:
    a, b, c = cases_of_folder(cases)
    save_cases(tmp_path / "list.json", [a, replace(b, annotated=("aorta",)), c])
    training, _ = gather_samples(tiny_config(tmp_path / "list.json"), SPACING_MM, cache)
    assert [s.case.patient for s in training] == ["anna"]
    training, _ = gather_samples(semi(tmp_path / "list.json"), SPACING_MM, cache)
    assert [(s.case.patient, s.case.annotated == ()) for s in training] == [
        ("anna", False),
        ("bert", True),
    ]


def test_corrected_cases_are_drawn_more_often(cases: Path, cache: Path, tmp_path: Path) -> None:
    a, b, c = cases_of_folder(cases)
    kinds = [replace(a, kind="corrected", weight=1.5), replace(b, kind="pseudo"), c]
    save_cases(tmp_path / "list.json", kinds)
    config = tiny_config(tmp_path / "list.json", corrected_weight=4.0)
    training, _ = gather_samples(config, SPACING_MM, cache)
    assert [s.case.weight for s in training] == [6.0, 1.0]


def test_a_phase_of_whole_scans_gives_each_as_many_voxels(cases: Path, cache: Path) -> None:
    training, held_out = gather_samples(tiny_config(cases), SPACING_MM, cache, whole=(16, 8, 24))
    assert {each.image.shape for each in (*training, *held_out)} == {(16, 8, 24)}
