from __future__ import annotations

import io
import json

from flare_core.jobs.progress import (
    Bar,
    Lines,
    Reporter,
    Throttle,
    bar_text,
    counted,
    progress_fields,
    reporting,
    time_text,
    within,
)
from flare_core.segment.progress import Progress
from flare_core.spread.cases import Pace


def test_bar_text_says_stage_fraction_and_time_left_and_fits():
    text = bar_text("case", Progress("organs", 0.25, 61.0), 79)
    assert text == "case [#####---------------]  25 % organs, 1 min 01 s left"
    assert len(bar_text("a-long-name" * 20, Progress("organs", 0.25), 40)) == 40
    assert bar_text("case", Progress("organs", 7.0), 79).startswith(
        "case [####################] 100 %"
    )


def test_bar_redraws_one_line_and_clears_it():
    stream = io.StringIO()
    bar = Bar(stream, columns=80)
    bar.start("case")
    bar.show(Progress("one", 0.1))
    bar.show(Progress("one", 0.11))  # too soon after the last
    bar.show(Progress("two", 0.5))
    bar.clear()
    drawn = stream.getvalue()
    assert "\n" not in drawn
    assert drawn.count("\r") == 3
    assert drawn.endswith("\r\x1b[K")


def test_lines_are_plain_and_one_per_stage():
    stream = io.StringIO()
    lines = Lines(stream)
    lines.start("case")
    for fraction in (0.1, 0.2, 0.3):
        lines.show(Progress("one", fraction))
    lines.show(Progress("two", 0.5, 3.0))
    lines.clear()
    assert stream.getvalue() == "case:  10 % one\ncase:  50 % two, 3 s left\n"


def test_lines_come_again_every_minute():
    stream, now_s = io.StringIO(), [100.0]
    lines = Lines(stream, clock=lambda: now_s[0])
    lines.start("case")
    for passed_s in (0.0, 30.0, 29.0, 1.0, 10.0):
        now_s[0] += passed_s
        lines.show(Progress("one", now_s[0] / 1000))
    assert stream.getvalue() == "case:  10 % one\ncase:  16 % one\n"


def test_throttle_passes_new_stages_and_the_end_at_once():
    now = [0.0]
    throttle = Throttle(pause_s=1.0, clock=lambda: now[0])
    assert throttle.lets_through(Progress("a", 0.0))
    assert not throttle.lets_through(Progress("a", 0.1))
    assert throttle.lets_through(Progress("b", 0.1))
    now[0] = 1.1
    assert throttle.lets_through(Progress("b", 0.2))
    assert throttle.lets_through(Progress("b", 1.0))


def test_within_never_leaves_its_part_and_never_goes_back():
    seen = []
    report = within(0.1, 0.9, seen.append)
    for fraction in (-1.0, 0.0, 0.5, 0.2, 1.0, 2.0):
        report(Progress("x", fraction, 4.0, "m"))
    assert [round(step.fraction, 6) for step in seen] == [0.1, 0.1, 0.5, 0.5, 0.9, 0.9]
    assert seen[0] == Progress("x", 0.1, 4.0, "m")


def test_step_fields_are_short():
    assert progress_fields(Progress("x", 1 / 3, 2.345, "m")) == {
        "stage": "x", "fraction": 0.3333, "seconds_left": 2.3, "message": "m",
    }  # fmt: skip


def test_time_text():
    assert [time_text(s) for s in (-3, 0.4, 59.6, 60, 3599, 3600)] == [
        "0 s", "0 s", "1 min 00 s", "1 min 00 s", "59 min 59 s", "1 h 00 min",
    ]  # fmt: skip


def test_a_counter_tells_how_far_many_cases_are(capsys):
    with reporting("bar", "store") as report:
        count = report.counter("reading")
        count(1, 2)
        count(2, 2)
    told = capsys.readouterr().err
    assert "store:  50 % reading 2 cases" in told and "a minute" in told and "left" in told


def test_programs_are_told_the_pace_too():
    fields = progress_fields(counted("scoring", Pace(5, 20, 30.0), "case5"))
    assert fields == {
        "stage": "scoring", "fraction": 0.25, "seconds_left": 30.0, "per_minute": 30.0,
        "message": "case5",
    }  # fmt: skip


def test_a_counter_can_be_silent_and_survives_nothing_to_do(capsys):
    with reporting("none", "data set") as report:
        report.counter("reading")(0, 0)
    assert capsys.readouterr().err == ""


def test_words_are_for_people_and_events_for_programs(capsys):
    for progress in ("bar", "none", "json"):
        out, err = io.StringIO(), io.StringIO()
        report = Reporter(progress, out=out, err=err)
        report.begin("case", {"event": "start"})
        report.show(Progress("one", 0.5))
        report.log("a line", {"event": "line"})
        report.tell("done", {"event": "result"})
        report.warn("look at this")
        if progress == "json":
            lines = [json.loads(line) for line in out.getvalue().splitlines()]
            assert [each["event"] for each in lines] == ["start", "progress", "line", "result"]
            assert lines[1] == {
                "event": "progress", "stage": "one", "fraction": 0.5, "seconds_left": None,
            }  # fmt: skip
            assert err.getvalue() == ""
        else:
            assert out.getvalue() == "done\n"
            drawn = "case:  50 % one\na line\n" if progress == "bar" else ""
            assert err.getvalue() == drawn + "look at this\n"


def test_what_a_library_prints_does_not_come_between_the_json_lines(capsys):
    with reporting("json") as report:
        report.send({"event": "start"})
        print("a library's word")
        report.send({"event": "done"})
    said = capsys.readouterr()
    assert [json.loads(line)["event"] for line in said.out.splitlines()] == ["start", "done"]
    assert "a library's word" in said.err
