from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.evaluate.ranking.ensemble import ensemble_folders, majority_vote
from flare_core.imaging.files import read_labels, write_labels
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

OBLIQUE = ((0.0, -0.6, 0.8), (0.0, 0.8, 0.6), (1.0, 0.0, 0.0))
GRID = Geometry((4, 6, 5), (2.5, 0.8, 0.7), (-10.0, 20.0, 30.0), OBLIQUE)


def save(folder: Path, case: str, values: np.ndarray, grid: Geometry = GRID) -> None:
    folder.mkdir(exist_ok=True)
    write_labels(folder / f"{case}.nii.gz", Volume(values.astype(np.uint8), grid))


def test_most_votes_win():
    maps = [np.full((1, 1, 1), v, np.uint8) for v in (1, 2, 2, 1, 2)]
    assert majority_vote(maps).item() == 2


def test_ties_go_to_the_best_ranked_voter_of_the_tied_labels():
    # five voters: 3 once, then 5 and 7 twice each; the better voter of those two says 7
    maps = [np.full((1, 1, 1), v, np.uint8) for v in (3, 7, 5, 5, 7)]
    assert majority_vote(maps).item() == 7
    assert majority_vote(maps[:2]).item() == 3


def test_voting_voxel_by_voxel_agrees_with_counting():
    random = np.random.default_rng(3)
    maps = [random.integers(0, 4, (3, 4, 5)).astype(np.uint8) for _ in range(5)]
    voted = majority_vote(maps)
    for index in np.ndindex(3, 4, 5):
        votes = [int(m[index]) for m in maps]
        most = max(votes.count(v) for v in votes)
        assert voted[index] == next(v for v in votes if votes.count(v) == most)


def test_folders_are_voted_case_by_case_on_the_same_grid(tmp_path):
    random = np.random.default_rng(4)
    truth = {}
    for case in ("a", "b"):
        maps = [random.integers(0, 15, GRID.shape) for _ in range(3)]
        truth[case] = majority_vote([m.astype(np.uint8) for m in maps])
        for team, values in zip("xyz", maps, strict=True):
            save(tmp_path / team, case, values)
    seen = []
    out = tmp_path / "out"
    done = ensemble_folders(
        [tmp_path / team for team in "xyz"], out, on_case=lambda *facts: seen.append(facts)
    )
    assert seen == [(1, 2, "a"), (2, 2, "b")] and [each.case for each in done] == ["a", "b"]
    for case, expected in truth.items():
        voted = read_labels(out / f"{case}.nii.gz")
        assert np.array_equal(voted.array, expected)
        assert voted.geometry.same_grid(GRID)


def test_a_team_without_a_case_does_not_vote_and_is_named(tmp_path):
    for team, value in (("x", 1), ("y", 2), ("z", 2)):
        save(tmp_path / team, "a", np.full(GRID.shape, value))
    save(tmp_path / "x", "b", np.full(GRID.shape, 9))
    found = ensemble_folders([tmp_path / team for team in "xyz"], tmp_path / "out")
    assert [each.absent for each in found] == [(), ("y", "z")]
    assert (read_labels(found[0].path).array == 2).all()
    assert (read_labels(found[1].path).array == 9).all()


def test_letters_with_accents_are_one_however_they_are_written(tmp_path):
    """As macOS writes them they are two: each team voted alone."""
    for team, name in (("x", "M\u00fcller"), ("y", "Mu\u0308ller")):
        save(tmp_path / team, name, np.full(GRID.shape, 3))
    (found,) = ensemble_folders([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert (found.case, found.absent) == ("M\u00fcller", ())


def test_empty_maps_stay_empty_and_scans_of_our_own_runs_count(tmp_path):
    for team in "xy":
        save(tmp_path / team, "a", np.zeros(GRID.shape))
        (tmp_path / team / "a_statistics.json").write_text("{}")
        (tmp_path / team / ".hidden.nii.gz").write_text("")
    (found,) = ensemble_folders([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert not read_labels(found.path).array.any()


def test_other_grids_and_bad_folders_are_refused(tmp_path):
    save(tmp_path / "x", "a", np.zeros(GRID.shape))
    moved = Geometry(GRID.shape, GRID.spacing_mm, (-9.0, 20.0, 30.0), OBLIQUE)
    save(tmp_path / "y", "a", np.zeros(GRID.shape), moved)
    out = tmp_path / "out"
    with pytest.raises(InputError, match="a grid other than that of"):
        ensemble_folders([tmp_path / "x", tmp_path / "y"], out)
    assert not list(out.iterdir())
    with pytest.raises(InputError, match="at least two folders"):
        ensemble_folders([tmp_path / "x"], out)
    with pytest.raises(InputError, match="which is no folder"):
        ensemble_folders([tmp_path / "x", tmp_path / "absent"], out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="without label maps"):
        ensemble_folders([tmp_path / "x", tmp_path / "empty"], out)
    (tmp_path / "y" / "a_0000.nii").write_text("")
    with pytest.raises(InputError, match="both of case a"):
        ensemble_folders([tmp_path / "x", tmp_path / "y"], out)


def test_what_a_killed_vote_left_goes(tmp_path):
    for team in "ab":
        save(tmp_path / team, "x", np.ones(GRID.shape, np.uint8))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".0123abcd.part.y.nii.gz").write_bytes(b"half")
    ensemble_folders([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.nii.gz"]
