from __future__ import annotations

from flare_core.evaluate.ranking.rank import rank_teams
from flare_core.evaluate.ranking.results import (
    kendall_csv,
    multiple_testing_note,
    pairs_csv,
    ranks_csv,
    record,
    standings_csv,
)
from flare_core.evaluate.ranking.schemes import MetricRule, Scheme
from flare_core.evaluate.ranking.table import make_table

SCHEME = Scheme("s", "S", (MetricRule("dsc", "DSC", True, ("dsc",)),))
CELLS = {
    "best, of all": {"a": {"dsc": 0.9}, "b": {"dsc": 0.8}, "c": {"dsc": 0.7}},
    "worst": {"a": {"dsc": 0.25}, "b": {"dsc": 0.5}, "c": {}},
}


def ranking(samples: int = 10):
    return rank_teams(make_table(CELLS, SCHEME), bootstraps=samples)


def test_standings_by_hand():
    head, first, second = standings_csv(ranking()).splitlines()
    assert head == (
        "place,team,mean_rank,place_low,place_high,teams_beaten,"
        "dsc_mean,dsc_mean_rank,dsc_beaten,values_missing"
    )
    assert first == '1,"best, of all",1,1,1,1,0.8,1,1,0'
    assert second == "2,worst,2,2,2,0,0.375,2,0,1"


def test_ranks_are_one_line_each_and_missing_values_empty():
    lines = ranks_csv(ranking()).splitlines()
    assert lines[0] == "metric,case,team,value,rank" and len(lines) == 7
    assert lines[2] == "dsc,a,worst,0.25,2" and lines[6] == "dsc,c,worst,,2"


def test_pairs_and_kendall():
    lines = pairs_csv(ranking()).splitlines()
    # three differences, all positive: 2 of 8 sign patterns are that extreme
    assert lines[1] == 'dsc,"best, of all",worst,3,"best, of all",0.25,0.25'
    assert lines[2].startswith("final,")
    assert kendall_csv(ranking(2)) == "sample,dsc,final\n1,1,1\n2,1,1\n"


def test_the_record_is_plain_and_complete():
    facts = record(ranking())
    assert facts["standings"][1]["metrics"]["dsc"] == {"mean": 0.375, "mean_rank": 2.0}
    assert facts["significant_pairs"]["dsc"] == {
        "p_below_0.05": 0, "p_holm_below_0.05": 0, "pairs": 1,
    }  # fmt: skip
    assert facts["notes"] == ["worst: no result of 1 case, ranked last: c"]
    assert record(ranking(0))["standings"][0]["place_interval_95"] == [None, None]


def test_the_note_counts_the_tests():
    scored = {f"t{i}": {"a": {"dsc": float(i)}} for i in range(40)}
    note = multiple_testing_note(rank_teams(make_table(scored, SCHEME), bootstraps=1))
    assert note.startswith("780 pairs") and "about 39 of" in note
