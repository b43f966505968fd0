from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fake_engine import FAKE
from flare_core.errors import InputError
from flare_core.jobs.failure import failure_of
from flare_core.jobs.one_case import Caller, Job, run_case
from flare_core.jobs.outputs import output_paths
from flare_core.jobs.progress import Reporter
from flare_core.jobs.reports import CaseReport, Tally, result_fields
from flare_core.segment.lesion_list import EXAMPLE
from flare_core.segment.progress import Progress
from flare_core.segment.settings import Settings

ERROR = failure_of(InputError("input", "came", "legal", "do this"))


@pytest.fixture
def result(tmp_path):
    """What came of the case `a`."""
    job = Job("a", Path("a.nrrd"), output_paths(tmp_path, "a"))
    return run_case(job, Settings(), FAKE, Caller())


def people(progress: str = "bar") -> tuple[CaseReport, io.StringIO, io.StringIO]:
    """Return a report and what it writes to."""
    out, err = io.StringIO(), io.StringIO()
    return CaseReport(Reporter(progress, out=out, err=err)), out, err


def test_people_see_a_whole_table_for_one_case(result):
    report, out, err = people()
    report.start("a", 1, 1)
    report.show(Progress("organs", 0.5, 3))
    report.result(result)
    report.finish(Tally(done=["a"]), None)
    lines = out.getvalue().splitlines()
    assert lines[0].split()[:2] == ["Organ", "Volume"]
    assert lines[1].split()[:2] == ["Liver", "1.3"]
    assert "not found" in lines[2]
    assert [line.strip() for line in lines[-4:]] == [str(x) for x in result.files.values()]
    assert err.getvalue() == "a:  50 % organs, 3 s left\n"


def test_people_see_a_line_per_case_of_a_batch(result):
    report, out, err = people()
    report.start("a", 1, 3)
    report.show(Progress("organs", 0.5))
    report.result(result)
    report.skipped("b", {})
    report.error("c", ERROR, "/tmp/log")
    tally = Tally(done=["a"], skipped=["b"], failed={"c": ERROR})
    report.finish(tally, Path("all.csv"))
    first, note, second, third, fourth = out.getvalue().splitlines()
    assert first.startswith("a: 1 organ, ")
    assert "a note" in note
    assert "--overwrite" in second
    assert third == "3 cases: 1 segmented, 1 skipped, 1 failed."
    assert fourth == "All numbers: all.csv"
    assert err.getvalue().startswith("[1/3] a:  50 % organs\n")
    assert "details: /tmp/log" in err.getvalue()
    assert err.getvalue().endswith("Failed: c\n")


def test_a_batch_without_label_maps_names_another_file(result):
    files = {k: v for k, v in result.files.items() if k.startswith("statistics")}
    report, out, _ = people()
    report.start("a", 1, 2)
    report.result(replace(result, files=files))
    assert out.getvalue().splitlines()[0].endswith("a_statistics.json")


def test_what_a_case_of_before_lacks_is_said(result, tmp_path):
    report, out, err = people()
    files = {"statistics_csv": tmp_path / "b_statistics.csv", "labels": result.files["labels"]}
    report.skipped("b", files)
    report.finish(Tally(["a"], ["b"], without_numbers=["b"]), Path("all.csv"))
    assert "b: done before without b_statistics.csv, skipped" in out.getvalue()
    assert err.getvalue() == "Not in that table, as they have no statistics: b\n"


def test_programs_get_every_event_as_one_line(result):
    stream = io.StringIO()
    report = CaseReport(Reporter("json", out=stream))
    report.start("a", 1, 3)
    report.show(Progress("organs", 0.5, 3))
    report.show(Progress("organs", 0.50001, 3))  # too soon
    report.result(result)
    report.skipped("b", {"labels": Path("/b.nii.gz")})
    report.error("c", ERROR, "")
    report.finish(Tally(done=["a"], skipped=["b"], failed={"c": ERROR}), None)
    start, step, done, skipped, error, end = map(json.loads, stream.getvalue().splitlines())
    assert start == {"event": "start", "case": "a", "number": 1, "of": 3}
    assert step == {
        "event": "progress", "case": "a", "stage": "organs", "fraction": 0.5, "seconds_left": 3,
    }  # fmt: skip
    assert Path(done["files"]["labels"]).exists()
    assert done["timings_s"]["case"] > 0
    assert skipped["files"] == {"labels": "/b.nii.gz"}
    assert (error["case"], error["action"]) == ("c", "do this")
    assert end == {
        "event": "done", "cases": 3, "skipped": ["b"], "failed": ["c"], "summary": None,
    }  # fmt: skip


def test_nothing_is_drawn_when_nothing_is_wanted(result):
    report, out, err = people("none")
    report.start("a", 1, 1)
    report.show(Progress("organs", 0.5))
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_lesions_are_told_to_people_and_programs(result):
    with_lesions = replace(result, segmentation=replace(result.segmentation, lesions=(EXAMPLE,)))
    report, out, _ = people()
    report.start("a", 1, 1)
    report.result(with_lesions)
    (line,) = (x for x in out.getvalue().splitlines() if x.split()[:2] == ["1", "Liver"])
    assert "21.0" in line and "17.5" in line
    report, out, _ = people()
    report.start("a", 1, 2)
    report.result(with_lesions)
    assert out.getvalue().startswith("a: 1 organ, 1 lesion, ")
    fields = result_fields(with_lesions)
    assert fields["lesions"] == [EXAMPLE.to_dict()] and result_fields(result)["lesions"] is None
