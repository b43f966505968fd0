from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.evaluate.label_folders import GRID, labels, scored, value, write_case
from flare_core.anatomy.label_schemes import FLARE22, FLARE23
from flare_core.errors import Cancelled, InputError
from flare_core.evaluate.evaluate import (
    Evaluation,
    Files,
    evaluate_folders,
    helpful_workers,
    in_edition,
)
from flare_core.evaluate.pairing import CasePair
from flare_core.evaluate.protocols import edition
from flare_core.evaluate.scoring import ScoringRules
from flare_core.evaluate.tables import problems_text, summary_record
from flare_core.imaging.files import read_labels, write_labels, write_volume
from flare_core.imaging.volume import Volume

LIVER = labels(v1=(1, 5, 2, 8))


def status(found: Evaluation) -> dict[str, str]:
    return {case.case: case.status for case in found.cases}


def test_every_reference_is_a_case_and_what_is_wrong_scores_zero(tmp_path: Path) -> None:
    for name in ("good", "lost", "moved", "short", "broken", "picture"):
        write_case(tmp_path / "ref", name, LIVER)
    pred = tmp_path / "pred"
    write_case(pred, "good", LIVER)
    write_case(pred, "moved", LIVER, replace(GRID, origin_mm=(-18.0, 5.0, 100.0)))
    write_case(pred, "short", LIVER[:5])
    (pred / "broken.nii.gz").write_bytes(b"no gzip at all")
    write_volume(pred / "picture.nii.gz", Volume(np.full(GRID.shape, -7.5, np.float32), GRID))
    write_case(pred, "stranger", LIVER)
    found = scored(tmp_path)
    assert status(found) == {
        "broken": "unreadable",
        "good": "scored",
        "lost": "missing",
        "moved": "other grid",
        "picture": "unreadable",
        "short": "other grid",
    }
    assert found.extra == ("stranger",)
    for case in found.failed:
        assert case.problem
        assert {
            value(found, case.case, o, m) for o in ("liver", "spleen") for m in ("dsc", "nsd")
        } == {0.0}
    assert value(found, "good", "liver") == value(found, "good", "spleen") == 1.0
    assert "5 x 8 x 10" in next(c.problem for c in found.cases if c.case == "short")


def test_rounding_of_headers_is_forgiven_and_sizes_may_be_enough(tmp_path: Path) -> None:
    write_case(tmp_path / "ref", "a", LIVER)
    write_case(tmp_path / "pred", "a", LIVER, replace(GRID, origin_mm=(-20.04, 5.0, 100.0)))
    assert status(scored(tmp_path)) == {"a": "scored"}
    write_case(tmp_path / "pred", "a", LIVER, replace(GRID, spacing_mm=(5.0, 1.0, 1.0)))
    assert status(scored(tmp_path)) == {"a": "other grid"}
    found = scored(tmp_path, files=Files(same_place=False))
    assert value(found, "a", "liver") == 1.0


def test_the_reference_gives_the_spacing(tmp_path: Path) -> None:
    write_case(tmp_path / "ref", "a", LIVER)
    write_case(tmp_path / "pred", "a", LIVER, replace(GRID, spacing_mm=(6.0, 4.0, 2.0)))
    found = scored(tmp_path, files=Files(same_place=False))
    (liver,) = (one for one in found.cases[0].scores if one.target == "liver")
    assert liver.predicted_ml == liver.true_ml == pytest.approx(LIVER.sum() * 0.006)


def test_other_labels_are_background_and_named(tmp_path: Path) -> None:
    write_case(tmp_path / "ref", "a", LIVER)
    array = LIVER.copy()
    array[0, 0, :3] = (14, 99, 99)
    write_case(tmp_path / "pred", "a", array)
    found = scored(tmp_path)
    assert value(found, "a", "liver") == 1.0
    (note,) = found.cases[0].notes
    assert "14, 99" in note


def test_one_illegal_label_costs_everything_in_flare24_task1(tmp_path: Path) -> None:
    write_case(tmp_path / "ref", "a", LIVER)
    write_case(tmp_path / "ref", "b", LIVER)
    array = LIVER.copy()
    write_case(tmp_path / "pred", "a", array)
    array[0, 0, 0] = 2
    write_case(tmp_path / "pred", "b", array)
    found = scored(tmp_path, "flare24-task1")
    assert status(found) == {"a": "scored", "b": "illegal labels"}
    assert value(found, "a", "lesion") == 1.0 and value(found, "b", "lesion") == 0.0
    assert value(found, "b", "lesion", "true_lesions") == 1.0


def test_an_unreadable_reference_is_left_out_and_nothing_else_is_an_error(tmp_path: Path) -> None:
    write_case(tmp_path / "pred", "a", LIVER)
    write_case(tmp_path / "ref", "a", labels(v14=(0, 2, 2, 4)))
    with pytest.raises(InputError) as caught:
        scored(tmp_path)
    assert "label 14" in str(caught.value) and "a.nii.gz" in str(caught.value)
    assert value(scored(tmp_path, "flare23"), "a", "lesion") == 0.0
    (tmp_path / "ref" / "a.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.nii\.gz"):
        scored(tmp_path, "flare23")
    for folder in ("pred", "ref"):
        write_case(tmp_path / folder, "b", LIVER)
    found = scored(tmp_path, "flare23")
    assert status(found) == {"b": "scored"}
    (left,) = found.left_out
    assert (left.case, left.status) == ("a", "left out")
    assert "a.nii.gz" in left.problem
    assert any(line.startswith("a: left out") for line in problems_text(found))
    assert list(summary_record(found)["left_out"]) == ["a"]


def test_only_what_the_reference_annotates_is_scored(tmp_path: Path) -> None:
    write_case(tmp_path / "ref", "a", LIVER)
    write_case(tmp_path / "pred", "a", labels(v1=(1, 5, 2, 8), v3=(0, 1, 0, 2)))
    assert value(scored(tmp_path), "a", "spleen") == 0.0
    (tmp_path / "ref" / "cases.json").write_text('{"a": {"annotated": ["liver", "aorta"]}}')
    found = scored(tmp_path)
    assert [one.target for one in found.cases[0].scores] == ["liver", "aorta"]
    assert found.cases[0].notes == ()


def test_a_reference_that_annotates_nothing_of_the_edition_is_noted(tmp_path: Path) -> None:
    write_case(tmp_path / "ref", "a", LIVER)
    write_case(tmp_path / "pred", "a", LIVER)
    (tmp_path / "ref" / "cases.json").write_text('{"a": {"annotated": []}, "b": {}}')
    (case,) = scored(tmp_path).cases
    assert case.scores == () and "nothing is scored" in case.notes[0]


def test_thirteen_organs_as_a_flare21_entry(tmp_path: Path) -> None:
    """Right kidney 2 and left kidney 13 become one target; the reference has both as 2."""
    write_case(tmp_path / "ref", "a", labels(v1=(0, 6, 4, 5), v2=(0, 4, 0, 2)))
    both = labels(v1=(0, 6, 4, 5), v2=(0, 2, 0, 2), v13=(2, 4, 0, 2), v9=(0, 2, 8, 9))
    write_case(tmp_path / "pred", "a", both)
    assert value(scored(tmp_path, "flare21"), "a", "kidneys") < 1.0
    found = scored(tmp_path, "flare21", files=Files(prediction_scheme=FLARE22))
    assert value(found, "a", "kidneys") == value(found, "a", "liver") == 1.0
    assert not found.cases[0].notes


def test_one_slice_is_noted_in_official_mode_only(tmp_path: Path) -> None:
    for folder in ("ref", "pred"):
        write_case(tmp_path / folder, "a", labels(v5=(2, 3, 2, 4)))
    official, fixed = scored(tmp_path, mode="official"), scored(tmp_path, mode="fixed")
    assert np.isnan(value(official, "a", "aorta")) and value(fixed, "a", "aorta") == 1.0
    assert "aorta" in official.cases[0].notes[0] and not fixed.cases[0].notes


def test_processes_change_nothing(tmp_path: Path) -> None:
    for k in range(5):
        write_case(tmp_path / "ref", f"case{k}", labels(v1=(0, 5, 2, 8), v5=(1, 4, 0, 2)))
        write_case(tmp_path / "pred", f"case{k}", labels(v1=(0, 1 + k, 2, 8), v5=(0, 4, 0, 2)))
    rules = ScoringRules(edition("flare22"))
    seen: list[tuple[int, int, str]] = []
    folders = tmp_path / "pred", tmp_path / "ref"
    alone = evaluate_folders(*folders, rules)
    many = evaluate_folders(
        *folders, rules, workers=2, on_case=lambda done, of, name: seen.append((done, of, name))
    )
    assert repr(many) == repr(alone)  # NaN is not equal to itself
    assert [done for done, _, _ in seen] == [1, 2, 3, 4, 5] and seen[0][1] == 5
    assert sorted(name for _, _, name in seen) == [case.case for case in alone.cases]


def test_it_can_be_stopped(tmp_path: Path) -> None:
    for folder in ("ref", "pred"):
        for name in ("a", "b", "c"):
            write_case(tmp_path / folder, name, LIVER)
    done: list[str] = []
    with pytest.raises(Cancelled):
        evaluate_folders(
            tmp_path / "pred",
            tmp_path / "ref",
            ScoringRules(edition("flare22")),
            on_case=lambda k, of, name: done.append(name),
            cancelled=lambda: len(done) == 2,
        )
    assert done == ["a", "b"]


def test_processes_are_started_for_much_work_alone(tmp_path: Path) -> None:
    def cases(count: int, size: int) -> list[CasePair]:
        path = tmp_path / f"{size}.nii.gz"
        path.write_bytes(bytes(size))
        return [CasePair(str(i), path) for i in range(count)]

    assert helpful_workers(cases(6, 20_000), 8) == 1  # half a second of work
    assert helpful_workers(cases(50, 20_000), 8) == 2
    assert (
        helpful_workers(cases(400, 70_000), 64) == 8 and helpful_workers(cases(400, 70_000), 2) == 2
    )
    assert helpful_workers(cases(1, 50_000_000), 8) == 1
    assert helpful_workers([CasePair("gone", tmp_path / "gone.nii.gz")] * 9, 8) == 1


def test_real_labels_against_themselves_and_a_shifted_copy(tmp_path: Path, real_data: Path) -> None:
    name = "totalseg_ct.nii.gz"
    truth = read_labels(real_data / "labels" / name)
    rules = ScoringRules(edition("flare22"), "fixed")
    same = evaluate_folders(real_data / "labels" / name, real_data / "labels" / name, rules)
    assert {row.value for row in same.rows if row.metric in ("dsc", "nsd")} == {1.0}
    moved = np.roll(truth.array, 2, axis=2)  # 6 mm to the side: farther than any tolerance but one
    write_labels(tmp_path / name, truth.with_array(moved))
    shifted = evaluate_folders(tmp_path / name, real_data / "labels" / name, rules)
    liver, gland = (value(shifted, "totalseg_ct", o) for o in ("liver", "left_adrenal_gland"))
    assert 0.8 < liver < 0.97 and gland < liver  # the same shift costs a small organ more
    assert value(shifted, "totalseg_ct", "liver", "hd95") == pytest.approx(6.0, abs=1.0)
    assert value(shifted, "totalseg_ct", "liver", "volume_error_ml") == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("goal", "value_there"), [("flare22", 1), ("flare21", 1), ("flare23", 14)])
def test_a_lesion_that_the_edition_does_not_know_is_its_organ(goal: str, value_there: int) -> None:
    """As background it was a hole in the liver, which its DSC paid for."""
    array = np.zeros(GRID.shape, np.uint8)
    array[:4, :4, :4], array[1:3, 1:3, 1:3] = 1, 14
    found = in_edition(Volume(array, GRID), FLARE23, ScoringRules(edition(goal)))
    assert (found[1:3, 1:3, 1:3] == value_there).all()
