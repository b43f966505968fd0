from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.evaluate.ranking.files import canonical, team_files, wanted_column
from flare_core.evaluate.ranking.schemes import FLARE22, FLARE23, MetricRule, Scheme, find_scheme
from flare_core.evaluate.ranking.table import read_results

DSC = MetricRule("dsc", "DSC", True, ("organ_dsc",), organ_mean_of="dsc")
LESION = MetricRule("lesion", "Lesion DSC", True, ("lesion_dsc",))
TIME = MetricRule("time", "Run time", False, ("runtime_s",), tolerance=15.0)
ONLY_DSC = Scheme("s", "s", (DSC,))
ONLY_TIME = Scheme("s", "s", (TIME,))


@pytest.fixture
def results(tmp_path):
    """Return a function that writes files by name and returns their folder."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".csv")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        return tmp_path

    return write


def refused(folder: Path, scheme: Scheme, told: str) -> InputError:
    with pytest.raises(InputError, match=told) as error:
        read_results(folder, scheme)
    assert all(part.strip() for part in error.value.parts)
    return error.value


def test_wide_tables_with_names_as_files_have_them(results):
    folder = results(
        ann="case,organ_dsc\nb_0000.nii.gz,0.5\na.nii.gz,0.25\n",
        bob="\ufeffName,organ_dsc,remark\na,0.75,fine\n\nb,1,\n",  # as Excel writes it
    )
    table = read_results(folder, ONLY_DSC)
    assert (table.teams, table.cases) == (("ann", "bob"), ("a", "b"))
    assert table.raw.tolist() == [[[0.25, 0.75], [0.5, 1.0]]]
    assert table.notes == ()


def test_long_wide_and_organ_tables_mean_the_same(results):
    folder = results(
        long="case,organ,metric,value,unit\nc,liver,dsc,0.9,1\nc,spleen,DSC,0.7,1\nc,lesion,dsc,0.1,1\n"
        "c,liver,nsd,0.2,1\n",
        mean="case,organ,metric,value\nc,organs,dsc,0.8\nc,tumor,dsc,0.1\n",
        organs="case,Liver_DSC,Spleen_DSC,Tumor_DSC,liver_true_ml\nc,0.9,0.7,0.1,1500\n",
        wide="case,organ_dsc,lesion_dsc\nc,0.8,0.1\n",
    )
    table = read_results(folder, Scheme("s", "s", (DSC, LESION)))
    assert table.raw[0] == pytest.approx(np.full((1, 4), 0.8))
    assert table.raw[1] == pytest.approx(np.full((1, 4), 0.1))


def test_a_folder_of_a_team_joins_its_files_and_passes_summaries_over(results):
    folder = results(
        ann__per_case="case,status,organ_dsc\nc,scored,0.5\n",
        ann__per_organ="organ,metric,mean\nliver,dsc,0.9\n",
        ann__efficiency="case,status,runtime_s\nc,ok,20\n",
        bob="case,organ_dsc,Time\nc,0.6,9\n",  # the organisers' name
    )
    table = read_results(folder, Scheme("s", "s", (DSC, TIME)))
    assert table.raw[:, 0].tolist() == [[0.5, 0.6], [20, 9]]
    assert table.scored[1, 0].tolist() == [-20, -15]


def test_the_output_of_measure_is_understood(results):
    from flare_core.evaluate.efficiency.measure import CaseEfficiency, Efficiency, case_table

    numbers = Efficiency(8.5, 3561, 3500, 12000, 90, 400, 7, 9000, 80000, 2000, 15000, 85, 0.5)
    rows = [CaseEfficiency("c", "ok", 0, numbers), CaseEfficiency("d", "failed", 1, numbers)]
    accuracy = "case,organ_dsc,organ_nsd\nc,0.5,0.5\nd,0.5,0.5\n"
    folder = results(
        ann__scores=accuracy, ann__efficiency=case_table(rows), bob__scores=accuracy,
        bob__efficiency=case_table([CaseEfficiency(name, "ok", 0, numbers) for name in "cd"]),
    )  # fmt: skip
    table = read_results(folder, FLARE22)
    assert table.raw[2:, 0].tolist() == [[8.5, 8.5], [12000, 12000], [400, 400]]
    assert np.isnan(table.raw[2:, 1, 0]).all()
    assert "ann: no Run time of 1 case, ranked last: d" in table.notes


def test_missing_cases_and_values_are_named_and_stay_missing(results):
    folder = results(
        ann="case,organ_dsc,runtime_s\na,0.5,1\nb,,2\nc,nan,3\n",
        bob="case,organ_dsc,runtime_s\na,0.5,1\n",
    )
    table = read_results(folder, Scheme("s", "s", (DSC, TIME)))
    assert np.isnan(table.raw[0]).tolist() == [[False, False], [True, True], [True, True]]
    assert table.notes == (
        "ann: no DSC of 2 cases, ranked last: b, c",
        "bob: no result of 2 cases, ranked last: b, c",
    )


def test_a_mean_over_fewer_organs_than_another_team_has_counts_as_missing(results):
    folder = results(
        ann="case,liver_dsc,spleen_dsc\na,0.5,0.5\nb,0.9,\n",
        bob="case,liver_dsc,spleen_dsc\na,0.7,0.7\nb,0.8,0.1\n",
    )
    table = read_results(folder, ONLY_DSC)
    assert table.raw[0, 0].tolist() == [0.5, 0.7]
    assert np.isnan(table.raw[0, 1, 0]) and table.raw[0, 1, 1] == pytest.approx(0.45)


def test_an_organ_that_no_team_has_in_a_case_is_left_out(results):
    """Partly annotated references: the organ has no value anywhere."""
    text = "case,liver_dsc,spleen_dsc\na,0.5,0.7\nb,0.9,\n"
    table = read_results(results(ann=text, bob=text), ONLY_DSC)
    assert table.raw[0, :, 0] == pytest.approx([0.6, 0.9])


def test_gpu_memory_is_tolerated_by_the_peak_not_by_the_area(results):
    head = "case,organ_dsc,organ_nsd,lesion_dsc,lesion_nsd,runtime_s,auc_gpu_mib_s,gpu_max_mib\n"
    folder = results(
        ann=f"{head}c,1,1,1,1,1,90000,4096\n",
        bob=f"{head}c,1,1,1,1,1,10,4097\n",
        cem=f"{head}c,1,1,1,1,1,,100\n",
        dia=f"{head}c,1,1,1,1,1,5,\n",  # peak unknown: no tolerance
        eve=f"{head}d,1,1,1,1,1,7,9000\nc,1,1,1,1,1,7,9000\n",
    )
    found = read_results(folder, FLARE23).scored[5, 0]
    assert found[:2].tolist() == [0, -10] and np.isnan(found[2]) and found[3] == -5


def test_teams_need_common_cases(results):
    folder = results(ann="case,organ_dsc\nx1,1\n", bob="case,organ_dsc\nx2,1\n")
    assert refused(folder, ONLY_DSC, "none of which another team has").parts[0] == "ann"


def test_a_team_without_a_metric_is_an_error_that_helps(results):
    folder = results(ann="case,runtime_s\nc,1\n", bob="case,run_time_s\nc,1\n")
    error = refused(folder, ONLY_TIME, "no such column")
    assert error.parts[0] == "results of bob" and "`runtime_s`" in error.parts[2]
    head = "case,organ_dsc,organ_nsd,lesion_dsc,lesion_nsd,runtime_s,auc_gpu_mib_s\nc,1,1,1,1,1,1\n"
    refused(results(ann=head, bob=head), FLARE23, "the tolerance of AUC GPU")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("case,organ_dsc\nc,0.9\nc,0.8\n", "line 3, column organ_dsc"),
        ("case,organ_dsc\nc,good\n", "line 2, column organ_dsc"),
        ("case,organ_dsc\nc,0.9,7\n", "3 cells in line 2"),
        ("case;organ_dsc\nc;0,9\n", "no column `case`, but: case;organ_dsc"),
        ("", "no column `case`, but: nothing"),
        ("organ_dsc\n1\n", "no column `case`"),
    ],
)
def test_bad_tables_are_refused_with_the_place(results, text, told):
    refused(results(ann="case,organ_dsc\nc,1\n", bob=text), ONLY_DSC, told)


def test_files_that_contradict_each_other_are_refused_but_rounding_is_not(results):
    long = "case,organ,metric,value\nc,liver,dsc,0.9123456\nc,spleen,dsc,nan\n"
    whole = "case,liver_dsc,spleen_dsc\nc,1,1\n"
    folder = results(ann__a=long, ann__b="case,liver_dsc\nc,0.912346\n", bob=whole)
    assert np.isnan(read_results(folder, ONLY_DSC).raw[0, 0, 0])  # undefined spreads
    results(ann__b="case,liver_dsc\nc,0.92\n")
    refused(folder, ONLY_DSC, "0.912346 before, 0.92 in b.csv")


def test_a_team_that_always_failed_is_ranked_last_and_stops_nobody(results):
    folder = results(ann="case,runtime_s\nc,\nd,\n", bob="case,runtime_s\nc,1\nd,2\n")
    table = read_results(folder, ONLY_TIME)
    assert np.isnan(table.raw[0, :, 0]).all()
    assert table.notes == ("ann: no result of 2 cases, ranked last: c, d",)


def test_bytes_that_are_no_text_are_refused(results):
    folder = results(ann="case,organ_dsc\nc,1\n", bob="x")
    (folder / "bob.csv").write_bytes(b"case,organ_dsc\n\xff\xfe,1\n")
    refused(folder, ONLY_DSC, "cannot be read")


def test_the_folder_must_hold_two_teams(results, tmp_path):
    refused(tmp_path / "absent", ONLY_DSC, "which is no folder")
    refused(results(ann="case,organ_dsc\nc,1\n"), ONLY_DSC, "with 1 team ")
    refused(results(ann__x="case,organ_dsc\nc,1\n"), ONLY_DSC, "ann.csv and the folder ann")


def test_hidden_files_and_others_are_no_teams(results, tmp_path):
    results(ann="case\n", bob="case\n")
    (tmp_path / ".bob.part.csv").write_text("")
    (tmp_path / "readme.txt").write_text("")
    (tmp_path / "pictures").mkdir()
    notes: list[str] = []
    assert sorted(team_files(tmp_path, notes)) == ["ann", "bob"]
    assert notes == ["passed over, no CSV file or a folder without one: pictures, readme.txt"]


def test_a_team_whose_tables_are_not_where_they_are_looked_for_is_named(results, tmp_path):
    """It was missing from the ranking without a word; .CSV in a folder was not seen at all."""
    results(ann="case,organ_dsc\na,1\n", bob="case,organ_dsc\na,0.5\n")
    (tmp_path / "cy" / "scores").mkdir(parents=True)
    (tmp_path / "cy" / "scores" / "scores.csv").write_text("case,organ_dsc\na,0.7\n")
    (tmp_path / "dan").mkdir()
    (tmp_path / "dan" / "SCORES.CSV").write_text("case,organ_dsc\na,0.6\n")
    table = read_results(tmp_path, ONLY_DSC)
    assert table.teams == ("ann", "bob", "dan")
    assert table.notes == ("passed over, no CSV file or a folder without one: cy",)


def test_name_beside_case_is_no_case(results):
    """The first of the two columns was taken, whichever it was."""
    folder = results(
        ann="Name,case,organ_dsc\nDoe,a,0.5\nDoe,b,0.6\n", bob="case,Name,organ_dsc\na,x,1\nb,y,1\n"
    )
    table = read_results(folder, ONLY_DSC)
    assert table.cases == ("a", "b")
    assert table.raw.tolist() == [[[0.5, 1.0], [0.6, 1.0]]]


def test_letters_with_accents_are_one_however_they_are_written(results):
    """As macOS writes them they are two; each team was ranked last in the other's case."""
    folder = results(
        ann="case,organ_dsc\nM\u00fcller,0.5\nb,1\n", bob="case,organ_dsc\nMu\u0308ller,1\nb,1\n"
    )
    table = read_results(folder, ONLY_DSC)
    assert table.cases == ("M\u00fcller", "b")
    assert table.raw.tolist() == [[[0.5, 1.0], [1.0, 1.0]]]


def test_column_names():
    assert canonical("MaxGPU_Mem") == "gpu_max_mib" and canonical("GPU_Mem") == "gpu_stable_max_mib"
    assert wanted_column("organs_mean_nsd", FLARE23) == "organs_mean_nsd"
    assert wanted_column("lesion_dsc", ONLY_DSC) is None  # lesions are no organ
    assert wanted_column("1_dsc", FLARE23) is None


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("organ_dsc", "50.0"), ("organ_dsc", "1.7"), ("organ_dsc", "-1"), ("organ_dsc", "inf"),
        ("liver_dsc", "93"), ("runtime_s", "-3"), ("organ_dsc", "0,9"), ("organ_dsc", "1_0"),
    ],
)  # fmt: skip
def test_what_a_metric_cannot_be_is_refused_with_its_place(results, column, text):
    other = "organ_dsc" if column == "runtime_s" else "runtime_s"
    folder = results(
        ann=f'case,{column},{other}\nb,1,1\nc,"{text}",1\n',
        bob="case,organ_dsc,runtime_s\nb,1,1\n",
    )
    error = refused(folder, Scheme("s", "s", (DSC, TIME)), "to do")
    assert error.parts[0] == f"{folder / 'ann.csv'}, line 3, column {column}"
    assert ("per cent" in error.parts[3]) == (text in ("50.0", "1.7", "93"))


def test_rounding_at_the_ends_of_a_range_is_no_error(results):
    text = "case,organ_dsc\nc,1.0000000002\nd,-1e-9\n"
    assert read_results(results(ann=text, bob=text), ONLY_DSC).raw[0, :, 0].tolist() == [1.0, 0.0]


def test_summary_lines_are_no_cases_and_a_note_says_so(results):
    cases = "case,organ_dsc\nc,0.5\n"
    folder = results(ann=f"{cases}Mean,0.5\nstd,0.1 +- 0.2\n", bob=f"{cases}average,99\n")
    table = read_results(folder, ONLY_DSC)
    assert table.cases == ("c",) and len(table.notes) == 3
    assert table.notes[0].endswith("line 3: 'Mean' sums up cases and is none; passed over")


def test_a_line_without_a_name_and_a_case_that_comes_twice_are_refused(results):
    bob = "case,organ_dsc\nc,1\n"
    refused(results(ann="case,organ_dsc\nc,1\n,0.4\n", bob=bob), ONLY_DSC, "line 3, column case")
    twice = "case,organ_dsc\nc,nan\nc.nii.gz,0.9\n"
    refused(results(ann=twice, bob=bob), ONLY_DSC, "line 3, column organ_dsc")
    refused(results(ann="case,organ_dsc\n", bob=bob), ONLY_DSC, "without any case")


def test_a_table_with_semicolons_is_never_taken_for_a_summary(results):
    folder = results(
        ann__a="case,organ_dsc\nc,1\n",
        ann__b="Name;organ_dsc\nd;0,9\n",
        bob="case,organ_dsc\nc,1\n",
    )
    assert "commas" in refused(folder, ONLY_DSC, "no column `case`").parts[3]


def test_a_pipe_and_a_name_that_cannot_be_shown(results, tmp_path):
    folder = results(ann__a="case,organ_dsc\nc,1\n", bob="case,organ_dsc\nc,1\n")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "ann" / "pipe.csv")  # opening it would wait for ever
        assert read_results(folder, ONLY_DSC).teams == ("ann", "bob")
    (folder / "bob.csv").rename(folder / "bo\nb.csv")
    refused(folder, ONLY_DSC, "names of teams")


def test_a_scheme_nested_absurdly_is_refused(tmp_path):
    (tmp_path / "own.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not readable as JSON"):
        find_scheme(str(tmp_path / "own.json"))
