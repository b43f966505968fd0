from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from flare_core import cli
from flare_core.imaging.files import read_labels, write_labels
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

HEAD = "case,organ_dsc,organ_nsd,lesion_dsc,lesion_nsd,runtime_s,gpu_max_mib,auc_gpu_mib_s"
FILES = {"ranking.html", "ranking.json", "standings.csv", "ranks.csv", "kendall.csv", "pairs.csv"}
GRID = Geometry((3, 4, 5), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


def rank(*words: object) -> int:
    return cli.main(["rank", *map(str, words)])


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


@pytest.fixture
def results(tmp_path) -> Path:
    """Six teams, twelve cases; team i is better than team i + 1 in accuracy and slower."""
    folder = tmp_path / "results"
    folder.mkdir()
    random = np.random.default_rng(5)
    for team in range(6):
        lines = [HEAD]
        for case in range(12):
            noise = random.normal(0, 0.01, 4)
            scores = np.round(0.95 - 0.05 * team + noise, 4)
            seconds = 30.0 - 4 * team
            lines.append(
                f"c{case:02d},{','.join(map(str, scores))},{seconds},3000,{3000 * seconds}"
            )
        (folder / f"team{team}.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_ranking_has_all_its_files(results, tmp_path, capsys):
    out = tmp_path / "out"
    assert rank(results, "-o", out, "--bootstraps", 100) == 0
    assert {path.name for path in out.iterdir()} == FILES
    said = capsys.readouterr().out.splitlines()
    assert said[1].split()[-1] == "team0" and "Written:" in said[-1]
    standings = rows_of(out / "standings.csv")
    assert [row["team"] for row in standings] == [f"team{i}" for i in range(6)]
    # team0: rank 1 in four accuracy metrics, last but for ties in run time (30 s: 6th),
    # GPU memory within 4 GB for all: mean of 1..6 = 3.5
    assert float(standings[0]["runtime_mean_rank"]) == 6
    assert float(standings[0]["auc_gpu_mean_rank"]) == 3.5
    accuracy = [float(standings[0][f"{key}_mean_rank"]) for key in
                ("organ_dsc", "organ_nsd", "lesion_dsc", "lesion_nsd")]  # fmt: skip
    assert float(standings[0]["mean_rank"]) == pytest.approx(
        (sum(accuracy) + 6 + 3.5) / 6, abs=1e-5
    )


def test_tables_agree_with_each_other(results, tmp_path):
    out = tmp_path / "out"
    rank(results, "-o", out, "--bootstraps", 50)
    ranks = rows_of(out / "ranks.csv")
    assert len(ranks) == 6 * 12 * 6
    of_team = [float(row["rank"]) for row in ranks if row["team"] == "team3"]
    standings = {row["team"]: row for row in rows_of(out / "standings.csv")}
    assert float(standings["team3"]["mean_rank"]) == pytest.approx(np.mean(of_team), abs=1e-6)
    kendall = rows_of(out / "kendall.csv")
    assert len(kendall) == 50 and list(kendall[0])[-1] == "final"
    assert {row["auc_gpu"] for row in kendall} == {""}  # all teams are equal there
    pairs = rows_of(out / "pairs.csv")
    assert len(pairs) == 15 * 7
    first = next(
        r for r in pairs if (r["metric"], r["team"], r["other"]) == ("organ_dsc", "team0", "team5")
    )
    assert first["better"] == "team0" and float(first["p"]) == pytest.approx(2 / 2**12, rel=1e-3)
    assert float(first["p_holm"]) == pytest.approx(15 * 2 / 2**12, rel=1e-3)


def test_the_record_says_how_it_was_made(results, tmp_path):
    out = tmp_path / "out"
    rank(results, "-o", out, "--bootstraps", 20, "--seed", 7)
    facts = json.loads((out / "ranking.json").read_text())
    assert (facts["bootstraps"], facts["seed"], facts["cases"]) == (20, 7, 12)
    assert facts["scheme"]["key"] == "flare23"
    assert facts["kendall_tau"]["auc_gpu"]["mean"] is None
    assert 0.9 < facts["kendall_tau"]["final"]["mean"] <= 1
    assert "15 pairs are tested for each metric" in facts["multiple_testing"]
    assert facts["standings"][0]["beaten"]["final"] == 5
    page = (out / "ranking.html").read_text()
    assert "not for the number of metrics" in page and "team5" in page


def test_missing_values_are_told_and_ranked_last(results, tmp_path, capsys):
    path = results / "team0.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")
    assert rank(results, "-o", tmp_path / "out", "--bootstraps", 10) == 0
    note = "team0: no result of 2 cases, ranked last: c10, c11"
    assert f"note: {note}" in capsys.readouterr().out
    assert note in (tmp_path / "out/ranking.html").read_text()
    ranks = rows_of(tmp_path / "out/ranks.csv")
    last = [row for row in ranks if row["team"] == "team0" and row["case"] == "c11"]
    assert {row["value"] for row in last} == {""} and {row["rank"] for row in last} == {"6"}


def test_other_schemes_and_own_ones(results, tmp_path):
    assert rank(results, "-o", tmp_path / "one", "--bootstraps", 0) == 0
    facts = json.loads((tmp_path / "one/ranking.json").read_text())
    own = {
        "key": "own",
        "metrics": [m for m in facts["scheme"]["metrics"] if m["key"] == "runtime"],
    }
    (tmp_path / "own.json").write_text(json.dumps(own))
    assert rank(results, "-o", tmp_path / "two", "--scheme", tmp_path / "own.json") == 0
    places = [(row["place"], row["team"]) for row in rows_of(tmp_path / "two/standings.csv")]
    # 30, 26, 22, 18, 14, 10 s: the last two are within 15 s
    assert places == [
        ("1", "team4"),
        ("1", "team5"),
        ("3", "team3"),
        ("4", "team2"),
        ("5", "team1"),
        ("6", "team0"),
    ]


def test_programs_get_json_lines(results, tmp_path, capsys):
    assert rank(results, "-o", tmp_path / "out", "--progress", "json", "--bootstraps", 5) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-2]["order"] == [f"team{i}" for i in range(6)]
    assert events[-1]["event"] == "done" and len(events[-1]["files"]) == 6


def test_the_best_teams_vote(results, tmp_path, capsys):
    predictions = tmp_path / "predictions"
    for team, label in enumerate((1, 2, 2, 3, 3, 3)):
        folder = predictions / f"team{team}"
        folder.mkdir(parents=True)
        write_labels(folder / "c00.nii.gz", Volume(np.full(GRID.shape, label, np.uint8), GRID))
    out = tmp_path / "out"
    assert rank(results, "-o", out, "--bootstraps", 5, "--predictions", predictions) == 0
    assert (read_labels(out / "ensemble_top3/c00.nii.gz").array == 2).all()  # 1 2 2
    assert (read_labels(out / "ensemble_top5/c00.nii.gz").array == 2).all()  # 1 2 2 3 3: tie
    assert "Majority vote of team0, team1, team2" in capsys.readouterr().out


def test_a_vote_does_not_replace_the_label_maps_of_a_team(results, tmp_path, capsys):
    """An earlier vote that is ranked as a team was overwritten by the new one."""
    (results / "team5.csv").rename(results / "ensemble_top3.csv")
    predictions = tmp_path / "predictions"
    for team in (path.stem for path in results.iterdir()):
        (predictions / team).mkdir(parents=True)
        one = Volume(np.full(GRID.shape, 7, np.uint8), GRID)
        write_labels(predictions / team / "c00.nii.gz", one)
    before = (predictions / "ensemble_top3" / "c00.nii.gz").stat().st_mtime_ns
    done = rank(results, "-o", predictions, "--bootstraps", 5, "--predictions", predictions)
    assert done == 2
    assert "which holds a team's label maps" in capsys.readouterr().err
    assert (predictions / "ensemble_top3" / "c00.nii.gz").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "argument", "told"),
    [
        (["RESULTS"], "--output", "a folder for the ranking"),
        (["ABSENT", "-o", "OUT"], "RESULTS", "which is no folder"),
        (["RESULTS", "-o", "RESULTS"], "--output", "in the folder of the results"),
        (["RESULTS", "-o", "INSIDE"], "--output", "taken for a team's results the next time"),
        (["RESULTS", "-o", "OUT", "--bootstraps", "-1"], "--bootstraps", "0 to 100000"),
        (["RESULTS", "-o", "OUT", "--seed", "-1"], "--seed", "0 or more"),
        (["RESULTS", "-o", "OUT", "--scheme", "flare20"], "--scheme", "flare21, flare22, flare23"),
        (["RESULTS", "-o", "OUT", "--ensemble", "3"], "--predictions", "FOLDER/TEAM/CASE.nii.gz"),
        (
            ["RESULTS", "-o", "OUT", "--predictions", "EMPTY", "--ensemble", "9"],
            "--ensemble",
            "2 to 6",
        ),
        (["RESULTS", "-o", "OUT", "--predictions", "EMPTY"], "--predictions", "without team0"),
    ],
)
def test_bad_arguments_have_four_parts_and_write_nothing(
    results, tmp_path, capsys, words, argument, told
):
    (tmp_path / "empty").mkdir()
    places = {"OUT": tmp_path / "out", "RESULTS": results, "EMPTY": tmp_path / "empty",
              "ABSENT": tmp_path / "absent", "INSIDE": results / "ranking"}  # fmt: skip
    before = sorted(results.iterdir())
    assert rank(*(places.get(word, word) for word in words)) == 2
    said = capsys.readouterr().err
    assert f"{argument}: not usable" in said and told in said
    assert all(part in said for part in ("came:", "legal:", "to do:"))
    assert not (tmp_path / "out").exists()
    assert sorted(results.iterdir()) == before


def test_an_earlier_ranking_is_not_replaced_by_accident(results, tmp_path, capsys):
    out = tmp_path / "out"
    assert rank(results, "-o", out, "--bootstraps", 5) == 0
    before = (out / "ranking.json").read_text()
    assert rank(results, "-o", out, "--bootstraps", 6) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "ranking.json").read_text() == before
    assert rank(results, "-o", out, "--bootstraps", 6, "--overwrite") == 0
    assert (out / "ranking.json").read_text() != before


def test_a_failed_write_leaves_nothing(results, tmp_path, monkeypatch):
    from flare_core.evaluate.ranking import results as ranking_results

    monkeypatch.setattr(ranking_results, "pairs_csv", lambda _: 1 / 0)
    assert rank(results, "-o", tmp_path / "out", "--bootstraps", 5) == 1
    assert list((tmp_path / "out").iterdir()) == []
