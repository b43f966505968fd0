from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from flare_core import cli
from flare_core.cli.measure import last_lines, outcome
from flare_core.jobs.measure import read_record

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="runs shell commands")

SAY_AND_COPY = 'echo "$0 $2"; cp "$0" "$1/$2.nii.gz"'


def measure(*words: object) -> int:
    return cli.main(["measure", *map(str, words)])


def table_of(out: Path) -> dict[str, dict[str, str]]:
    rows = csv.DictReader(io.StringIO((out / "efficiency.csv").read_text()))
    return {row["case"]: row for row in rows}


def left_over(out: Path) -> list[Path]:
    return list(out.rglob(".*"))


def test_every_case_is_run_once_and_gets_its_files(scans, tmp_path, capsys):
    out = tmp_path / "out"
    folder = scans("a_0000", "b_0000")
    words = ("sh", "-c", SAY_AND_COPY, "{input}", "{output}", "{case}")
    assert measure("-i", folder, "-o", out, "--", *words) == 0
    text = capsys.readouterr().out
    assert "a: " in text and "b: " in text and str(out / "efficiency.csv") in text
    assert sorted(p.name for p in (out / "predictions").iterdir()) == ["a.nii.gz", "b.nii.gz"]
    assert sorted(p.name for p in (out / "cases").iterdir()) == [
        "a.csv", "a.json", "a.svg", "a.txt", "b.csv", "b.json", "b.svg", "b.txt",
    ]  # fmt: skip
    assert (out / "cases/a.txt").read_text() == f"{folder / 'a_0000.nii.gz'} a\n"
    rows = table_of(out)
    assert set(rows) == {"a", "b"} and float(rows["a"]["runtime_s"]) > 0
    record = json.loads((out / "cases/a.json").read_text())
    assert record["command"][-1] == "a" and record["command_template"] == list(words)
    assert record["machine"]["logical_cores"] >= 1 and record["started"].endswith("+00:00")
    summary = json.loads((out / "efficiency.json").read_text())
    assert summary["cases"] == 2 and summary["mean"]["runtime_s"] > 0 and not summary["not_ok"]
    assert (out / "cases/a.svg").read_text().startswith("<svg")
    assert not left_over(out)


def test_the_input_folder_holds_one_case_alone_and_goes_away(scans, tmp_path):
    out = tmp_path / "out"
    folder = scans("a_0000", "b_0000")
    assert (
        measure("-i", folder, "-o", out, "--", "sh", "-c", "ls $0; echo $0", "{input_folder}") == 0
    )
    listed, where = (out / "cases/b.txt").read_text().split()
    assert listed == "b_0000.nii.gz"
    assert where.startswith(str(out)) and not Path(where).exists()
    assert (folder / "b_0000.nii.gz").stat().st_size > 0


def test_a_command_that_changes_its_input_does_not_change_the_scan(scans, tmp_path):
    """The input folder held the very file: what a command wrote to it replaced the scan."""
    folder = scans("a_0000")
    before = (folder / "a_0000.nii.gz").read_bytes()
    words = ("sh", "-c", "echo gone > $0/a_0000.nii.gz", "{input_folder}")
    assert measure("-i", folder, "-o", tmp_path / "out", "--", *words) == 0
    assert (folder / "a_0000.nii.gz").read_bytes() == before


def test_a_header_brings_its_voxels_along(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.mhd", "a.zraw", "b.mhd", "b.raw"):
        (tmp_path / "in" / name).write_text("x")
    words = ("sh", "-c", "ls $0", "{input_folder}")
    assert measure("-i", tmp_path / "in", "-o", tmp_path / "out", "--", *words) == 0
    assert (tmp_path / "out/cases/a.txt").read_text().split() == ["a.mhd", "a.zraw"]


def test_without_scans_it_runs_once_and_leaves_other_braces_alone(tmp_path):
    out = tmp_path / "out"
    assert measure("-o", out, "--", "sh", "-c", "echo '{print $1} {{.Names}}'", "--", "-x") == 0
    assert (out / "cases/command.txt").read_text() == "{print $1} {{.Names}}\n"


def test_a_failed_case_is_named_with_exit_code_and_output_and_the_others_go_on(
    scans, tmp_path, capsys
):
    out = tmp_path / "out"
    code = 'case "$0" in a) seq 20; echo "no weights" >&2; exit 7;; esac'
    words = ("sh", "-c", code, "{case}", "{input}")
    assert measure("-i", scans("a", "b"), "-o", out, "--", *words) == 1
    said = capsys.readouterr()
    assert "the command failed with exit code 7" in said.err
    assert "no weights" in said.err and "    20\n" in said.err and "    12\n" not in said.err
    assert str(out / "cases/a.txt") in said.err and "Failed: a" in said.err
    rows = table_of(out)
    assert (rows["a"]["status"], rows["a"]["exit_code"], rows["a"]["runtime_s"]) == (
        "failed",
        "7",
        "",
    )
    assert rows["b"]["status"] == "ok"
    assert (out / "cases/a.txt").read_text().endswith("no weights\n")
    assert json.loads((out / "efficiency.json").read_text())["not_ok"] == {"a": "failed"}


def test_a_time_out_is_told(tmp_path, capsys):
    assert measure("-o", tmp_path / "out", "--timeout", "0.3", "--", "sleep", "30") == 1
    assert "ended after --timeout 0.3 s" in capsys.readouterr().err
    assert table_of(tmp_path / "out")["command"]["status"] == "timed out"


def test_done_cases_are_skipped_and_failed_ones_run_again(scans, tmp_path, capsys):
    out, marks = tmp_path / "out", tmp_path / "marks"
    code = f'echo "$0" >> {marks}; test "$0" = a || test -e {tmp_path}/repaired'
    words = ("sh", "-c", code, "{case}", "{input}")
    folder = scans("a", "b")
    assert measure("-i", folder, "-o", out, "--", *words) == 1
    (tmp_path / "repaired").touch()
    assert measure("-i", folder, "-o", out, "--", *words) == 0
    assert marks.read_text().split() == ["a", "b", "b"]
    assert "1 case measured before" in capsys.readouterr().out
    assert {row["status"] for row in table_of(out).values()} == {"ok"}
    assert measure("-i", folder, "-o", out, "--overwrite", "--", *words) == 0
    assert marks.read_text().split() == ["a", "b", "b", "a", "b"]


def test_measurements_of_different_commands_do_not_mix(scans, tmp_path, capsys):
    out, folder = tmp_path / "out", scans("a", "b")
    assert measure("-i", folder, "-o", out, "--", "test", "-e", "{input}") == 0
    assert measure("-i", folder, "-o", out, "--", "test", "-f", "{input}") == 2
    said = capsys.readouterr().err
    assert "holds measurements of: test -e {input}" in said and "--overwrite" in said
    assert (
        measure("-i", folder / "a.nii.gz", "-o", out, "--overwrite", "--", "test", "-f", "{input}")
        == 0
    )
    assert list(table_of(out)) == ["a"]  # b was measured with the other command


def test_programs_get_json_lines(scans, tmp_path, capsys):
    words = ("sh", "-c", "exit 4", "{input}")
    assert measure("-i", scans("a"), "-o", tmp_path / "o", "--progress", "json", "--", *words) == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["skipped", "start", "result", "done"]
    assert events[2]["status"] == "failed" and events[2]["exit_code"] == 4
    assert events[2]["numbers"]["runtime_s"] > 0 and Path(events[2]["files"]["output"]).is_file()
    assert events[3]["failed"] == ["a"]


@pytest.mark.parametrize(
    ("words", "argument", "told"),
    [
        (["-o", "OUT"], "COMMAND", "a command after --"),
        (["-o", "OUT", "--", "no-such-program"], "COMMAND", "no program here"),
        (["--", "true"], "--output", "nothing"),
        (["-o", "OUT", "--", "echo", "{input}"], "--input", "Add -i SCANS"),
        (["-i", "SCANS", "-o", "OUT", "--", "true"], "COMMAND", "the same for every scan"),
        (["-o", "OUT", "--timeout", "0", "--", "true"], "--timeout", "above 0"),
        (["-o", "OUT", "--gpu", "-1", "--", "true"], "--gpu", "0 or more"),
        (["-i", "ABSENT", "-o", "OUT", "--", "echo", "{input}"], "ABSENT", "does not exist"),
    ],
)
def test_bad_arguments_have_four_parts_and_write_nothing(
    scans, tmp_path, capsys, words, argument, told
):
    places = {"OUT": tmp_path / "out", "SCANS": scans("a"), "ABSENT": tmp_path / "absent"}
    assert measure(*(places.get(word, word) for word in words)) == 2
    said = capsys.readouterr().err
    assert argument.replace("ABSENT", str(tmp_path / "absent")) in said.splitlines()[0]
    assert told in said
    assert all(part in said for part in ("came:", "legal:", "to do:"))
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_no_half_of_a_case(tmp_path, monkeypatch, capsys):
    from flare_core.jobs import measure as job

    def interrupted(words, output, **_):
        Path(output).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "measure", interrupted)
    out = tmp_path / "out"
    assert measure("-o", out, "--", "sleep", "9") == 130
    assert [p for p in out.rglob("*") if p.is_file()] == []


def test_signals_are_named(tmp_path):
    out = tmp_path / "out"
    measure("-o", out, "--", "sh", "-c", "kill -9 $$")
    record = read_record(out, "command")
    assert outcome(record, None) == "ended by SIGKILL (often: not enough memory)"


def test_last_lines_of_a_long_output(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {i}\n" for i in range(100_000)))
    assert last_lines(path, 2) == ["line 99998", "line 99999"]
    path.write_bytes(b"")
    assert last_lines(path) == []
