"""The benchmark's chain from a made cohort to the ranking page, as small as it can be."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from functools import lru_cache
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION
from flare_core.datasets.flare.dataset import find_dataset, look_into_labels
from flare_core.datasets.phantom.make import PhantomCase, make_phantom
from flare_core.datasets.phantom.settings import PhantomSettings
from flare_core.imaging.files import read_geometry, read_labels
from flare_core.models.package import load_package
from flare_core.train.recipe_run.scale import SCALES

PLACE = Path("benchmarks") / "flare_in_a_box"
TEAMS = ("flare22-blackbean", "flare23-citi")
FULL_LESION_ORGANS = {14: "full", 1: "lesions", 13: "organs"}


@pytest.fixture(scope="module")
def box(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmark's folder after all of it, run here with fewer steps on fewer voxels."""
    folder = tmp_path_factory.mktemp("box")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said:
        patch.syspath_prepend(str(repository / PLACE))
        import box as program
        import cohort

        patch.setitem(SCALES, "tiny", replace(SCALES["tiny"], steps=10**6, least_steps=6))
        patch.setattr(cohort, "FIELDS", ("upper-abdomen",))
        patch.setattr(cohort, "make_phantom", one_person())
        patch.setattr(sys, "argv", ["box", str(folder), "--tiny", "--bootstraps", "50"])
        assert program.main() == 0
    (folder / "said.txt").write_text(said.getvalue(), encoding="utf-8")
    return folder


def one_person() -> Callable[[PhantomSettings], PhantomCase]:
    """Return what makes all scans of one person, with the noise and the lesions of each."""
    drawn = lru_cache(make_phantom)

    def make(who: PhantomSettings) -> PhantomCase:
        case = drawn(replace(who, seed=7, phase="portal", noise_hu=0.0))
        noise = np.random.default_rng(who.seed).normal(0, who.noise_hu, case.image.array.shape)
        return replace(case, image=case.image.with_array(case.image.array + noise.astype(np.int16)))

    return make


def run(repository: Path, *words: object) -> str:
    """Run the benchmark as a person does; return what it prints."""
    program = repository / PLACE / "box.py"
    done = subprocess.run(
        [sys.executable, str(program), *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_cohort_is_flare23s_with_partial_labels(box: Path) -> None:
    dataset = look_into_labels(find_dataset(box / "cohort" / "train"))
    assert dataset.edition == "flare23"
    kinds = [FULL_LESION_ORGANS.get(len(c.annotated)) for c in dataset.cases if c.labels]
    assert {"lesions", "organs"} <= set(kinds)
    assert sum(c.labels is None for c in dataset.cases) == 1
    assert not {c.name for c in dataset.cases} & {
        path.name.removesuffix(".nii.gz") for path in (box / "cohort/test/labels").iterdir()
    }


def test_a_labeller_of_organs_draws_them_with_their_tumours(box: Path) -> None:
    dataset = look_into_labels(find_dataset(box / "cohort" / "train"))
    (organs,) = [c for c in dataset.cases if c.labels and len(c.annotated) == 13 and "lesion"
                 not in c.annotated and c.subset == "training"][-1:]  # fmt: skip
    assert organs.labels is not None
    assert not np.any(np.asarray(read_labels(organs.labels).array) == LESION.id)


@pytest.mark.parametrize("team", TEAMS)
def test_every_recipe_ends_with_a_model_and_a_label_map_of_each_hidden_scan(
    box: Path, team: str
) -> None:
    card = load_package(box / "runs" / team / "package").card
    assert card.provenance["recipe"] == team and card.provenance["scale"] == "tiny"
    images = sorted((box / "cohort" / "test" / "images").iterdir())
    for image in images:
        name = image.name.replace("_0000.nii.gz", ".nii.gz")
        found = read_labels(box / "measured" / team / "predictions" / name)
        assert found.array.any()
        assert found.geometry.same_grid(read_geometry(image), tolerance_mm=0.01)
    lines = (box / "measured" / team / "efficiency.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + len(images)


def test_the_page_and_the_table_rank_all_of_them(box: Path) -> None:
    ranking = json.loads((box / "ranking" / "ranking.json").read_text("utf-8"))
    page = (box / "ranking" / "ranking.html").read_text("utf-8")
    table = (box / "ranking" / "table.md").read_text("utf-8")
    assert table in (box / "said.txt").read_text("utf-8")
    for team in TEAMS:
        assert team in page and team in json.dumps(ranking) and f"| {team} |" in table
    assert "nan" not in table


def test_a_result_is_a_small_file_that_says_all_the_table_needs(box: Path) -> None:
    for team in TEAMS:
        path = box / "results" / f"{team}.json"
        result = json.loads(path.read_text("utf-8"))
        assert path.stat().st_size < 8192
        assert len(result["cases"]) == 2 and len(result["organs"]) == 13
        assert result["reference_s"] > 0 and result["training_cpu_s"] > 0
        assert all(case["cpu_s"] > 0 and case["ram_mib"] > 0 for case in result["cases"])


def test_what_has_a_result_is_not_run_again_on_another_machine(
    box: Path, repository: Path, tmp_path: Path
) -> None:
    """There are the results and the cohort of another session, and nothing else."""
    for part in ("results", "cohort"):
        (tmp_path / part).symlink_to(box / part)
    said = run(repository, tmp_path, "--tiny", "--bootstraps", "50")
    assert not (tmp_path / "runs").exists() and not (tmp_path / "measured").exists()
    table = (tmp_path / "ranking" / "table.md").read_text("utf-8")
    assert table == (box / "ranking" / "table.md").read_text("utf-8") and table in said


def test_seconds_of_two_machines_are_ranked_as_multiples_of_their_reference(
    box: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / PLACE))
    import results

    first, _ = results.kept(box / "results")
    slow = [replace(case, cpu_s=3 * case.cpu_s) for case in first.cases]
    other = replace(first, recipe="other", reference_s=3 * first.reference_s, cases=tuple(slow))
    assert other.references == pytest.approx(first.references)
    results.write_teams(tmp_path, [first, other])
    seconds = [
        [float(row["runtime_s"]) for row in csv.DictReader(path.open(encoding="utf-8"))]
        for path in sorted(tmp_path.glob("*.csv"))
    ]
    assert seconds[0] == pytest.approx(seconds[1])


def test_results_of_two_cohorts_are_not_put_into_one_table(
    box: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / PLACE))
    import results

    first, second = results.kept(box / "results")
    for each in (first, replace(second, cohort="another")):
        results.keep(tmp_path, each)
    with pytest.raises(SystemExit, match="different cohorts"):
        results.kept(tmp_path)
    results.keep(tmp_path, second)
    assert results.kept(tmp_path) == [first, second]


def test_real_scans_are_linked_and_no_patient_is_on_two_sides(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / PLACE))
    import real

    cases = {f"p{i:02d}{scan}": {"patient": f"p{i:02d}"} for i in range(18) for scan in "ab"}
    (tmp_path / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    for part in ("ct", "labels"):
        (tmp_path / part).mkdir()
        for name in cases:
            (tmp_path / part / f"{name}.nii.gz").write_bytes(name.encode())
    made: list[tuple[str, int]] = []
    monkeypatch.setattr(real, "make_case", lambda _, kind, number, __: made.append((kind, number)))
    for _ in range(2):  # again changes nothing
        real.link_cohort(tmp_path / "cohort", tmp_path)
    images = {
        part: {path.name[:3] for path in (tmp_path / "cohort" / part).iterdir()}
        for part in ("test/images", "train/imagesTr2200", "train/unlabeledTr1800")
    }
    assert [len(patients) for patients in images.values()] == [6, 6, 4]
    assert not set.intersection(*images.values()) and len(set.union(*images.values())) == 16
    linked = tmp_path / "cohort" / "test" / "labels" / "p00a.nii.gz"
    assert linked.is_symlink() and linked.read_bytes() == b"p00a"
    assert not (tmp_path / "cohort" / "train" / "labelsTr2200" / "p04a.nii.gz").exists()
    assert {kind for kind, _ in made} == {"lesions"}
