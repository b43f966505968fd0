from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fake_engine
from fake_engine import flare, four

PROGRAM = [sys.executable, str(Path(fake_engine.__file__)), "segment"]
ROOT = Path(__file__).parents[3]


def program(*words: object, **options) -> subprocess.Popen[str]:
    """Start `flare segment` with the fake engine as a process of its own."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **options,
    )


def events(text: str) -> list[dict]:
    """Return the JSON objects of a text, one a line; anything else fails."""
    return [json.loads(line) for line in text.splitlines()]


def test_one_scan_gives_four_files_and_a_table(scans, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert flare("segment", scans("a_0000") / "a_0000.nii.gz", "-o", out) == 0
    assert set(os.listdir(out)) == four("a")
    said = capsys.readouterr()
    assert "liver" in said.out.lower()
    assert str(out / "a.nii.gz") in said.out
    assert "a note" in said.out
    assert "not a medical device" in said.out
    assert "organs" in said.err


def test_the_record_says_what_was_done(scans, tmp_path):
    scan = scans("a_0000") / "a_0000.nii.gz"
    flare("segment", scan, "-o", tmp_path / "out", "--organs", "liver", "--model", "m")
    record = json.loads((tmp_path / "out" / "a_statistics.json").read_text(encoding="utf-8"))
    facts = record["provenance"]
    assert facts["input"] == str(scan)
    assert facts["model"] == "m"
    assert facts["organs"] == ["liver"]
    assert facts["created"].endswith("+00:00")
    assert {"read", "organs"} <= set(record["timings_s"])


def test_output_may_be_a_file_name(scans, tmp_path):
    scan = scans("a") / "a.nii.gz"
    assert flare("segment", scan, "-o", tmp_path / "out" / "mine.nii.gz") == 0
    assert set(os.listdir(tmp_path / "out")) == four("mine")


def test_only_the_wanted_outputs_are_written_and_count_as_done(scans, tmp_path, capsys):
    words = ("segment", scans("a", "b"), "-o", tmp_path / "out", "--outputs", "labels")
    assert flare(*words) == 0
    assert set(os.listdir(tmp_path / "out")) == {"a.nii.gz", "b.nii.gz"}
    assert flare(*words) == 0
    assert "2 skipped" in capsys.readouterr().out
    assert flare(*words[:-1], "labels,mesh") == 2
    assert "some of labels, statistics, png" in capsys.readouterr().err


def test_what_lies_in_sub_folders_is_not_passed_over_without_a_word(scans, tmp_path, capsys):
    folder = scans("a", "b")
    for name in ("left", "out"):
        (folder / name).mkdir()
        (folder / name / "c.nii.gz").write_bytes(b"x")
    assert flare("segment", folder, "-o", folder / "out") == 0
    said = capsys.readouterr().err
    assert f"Sub-folders of {folder} are not searched for image files: left." in said


@pytest.mark.parametrize(("name", "code"), [("bad", 2), ("empty", 2), ("crash", 1)])
def test_a_single_failure_has_its_own_exit_code(scans, tmp_path, name, code):
    out = tmp_path / "out"
    assert flare("segment", scans(name) / f"{name}.nii.gz", "-o", out / "deep") == code
    assert not out.exists()


def test_a_failure_leaves_a_folder_that_was_there_or_holds_something(scans, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    for out in (made, tmp_path / "new"):
        assert flare("segment", scans("bad", "a"), "-o", out / "deep") == 1
        assert "a.nii.gz" in os.listdir(out / "deep")
    assert flare("segment", scans("bad") / "bad.nii.gz", "-o", made / "more") == 2
    assert os.listdir(made) == ["deep"]


def test_an_input_error_has_four_parts(scans, tmp_path, capsys):
    flare("segment", scans("bad") / "bad.nii.gz", "-o", tmp_path / "out")
    text = capsys.readouterr().err
    assert "is truncated" in text
    for part in ("came:", "legal:", "to do:"):
        assert part in text


def test_debug_shows_where_it_broke(scans, tmp_path):
    with pytest.raises(RuntimeError, match="fell over"):
        flare("segment", scans("crash") / "crash.nii.gz", "-o", tmp_path, "--debug")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--organs", "livr"], "'liver'"),
        (["--device", "gpu"], "invalid choice: 'gpu'"),
        (["--threads", "-2"], "0 (automatic)"),
        (["--threads", "many"], "invalid int value"),
        (["--wrong"], "unrecognized arguments"),
    ],
)
def test_bad_options_exit_2_before_anything_is_done(
    scans, tmp_path, capsys, calls, words, expected
):
    out = tmp_path / "out"
    assert flare("segment", scans("a") / "a.nii.gz", "-o", out, *words) == 2
    assert expected in capsys.readouterr().err
    assert not out.exists()
    assert calls == []


def test_no_input_no_output_no_command(tmp_path, capsys):
    assert flare("segment", "-o", tmp_path) == 2
    assert flare("segment", tmp_path / "x.nii.gz") == 2
    assert flare() == 2
    assert flare("segmnt") == 2
    assert capsys.readouterr().err.count("to do:") == 4


def test_missing_input_and_empty_folder(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert flare("segment", tmp_path / "none.nii.gz", "-o", tmp_path / "out") == 2
    assert flare("segment", tmp_path / "empty", "-o", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().err.count("to do:") == 2


def test_outputs_of_no_name_and_paths_beside_worker_are_refused(scans, tmp_path, capsys, calls):
    scan = scans("a") / "a.nii.gz"
    assert flare("segment", scan, "-o", tmp_path / "out", "--outputs", "") == 2
    assert flare("segment", scan, "--worker") == 2
    assert flare("segment", "--worker", "-o", tmp_path / "out") == 2
    assert capsys.readouterr().err.count("to do:") == 3
    for words in (("--cluster", "local:2"), ("--outputs", "labels"), ("--series", "1.2"),
                  ("--overwrite",), ("--progress", "json")):  # fmt: skip
        assert flare("segment", "--worker", *words) == 2
        assert f"{words[0]} beside --worker" in capsys.readouterr().err
    assert calls == [] and not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_made_is_told_before_computing(scans, tmp_path, capsys, calls):
    (tmp_path / "file").write_text("")
    assert flare("segment", scans("a") / "a.nii.gz", "-o", tmp_path / "file" / "out") == 2
    assert "output" in capsys.readouterr().err
    assert calls == []


def test_series_reaches_the_reader(scans, tmp_path, calls):
    scan = scans("remembered") / "remembered.nii.gz"
    flare("segment", scan, "-o", tmp_path / "out", "--series", "1.2.3")
    assert "series 1.2.3" in calls


def test_non_ascii_names_and_spaces(scans, tmp_path):
    out = tmp_path / "Ergebnis für 患者"
    assert flare("segment", scans("Bauch 腹部") / "Bauch 腹部.nii.gz", "-o", out) == 0
    assert set(os.listdir(out)) == four("Bauch 腹部")


def test_json_progress_is_nothing_but_json_even_if_a_library_prints(scans, tmp_path):
    folder = scans("bad_b", "noisy_a")
    run = program(folder, "-o", tmp_path / "out", "--progress", "json")
    out, err = run.communicate(timeout=180)
    assert run.returncode == 1
    found = events(out)
    assert "C++ library says hello" in err
    kinds = [event["event"] for event in found]
    assert kinds[0] == "start"
    assert kinds[-1] == "done"
    assert found[-1]["failed"] == ["bad_b"]
    error = next(event for event in found if event["event"] == "error")
    assert (error["case"], error["kind"]) == ("bad_b", "input")
    assert error["action"]
    fractions = [event["fraction"] for event in found if event["event"] == "progress"
                 and event["case"] == "noisy_a"]  # fmt: skip
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    result = next(event for event in found if event["event"] == "result")
    assert all(Path(path).exists() for path in result["files"].values())
    assert result["rows"][0]["value"] == 1.35


def test_json_progress_tells_bad_arguments_too(tmp_path, capsys):
    assert flare("segment", "-o", tmp_path, "--progress", "json", "--organs", "livr") == 2
    (event,) = events(capsys.readouterr().out)
    assert (event["event"], event["kind"]) == ("error", "input")


def test_progress_none_leaves_standard_error_empty(scans, tmp_path, capsys):
    flare("segment", scans("a") / "a.nii.gz", "-o", tmp_path / "out", "--progress", "none")
    said = capsys.readouterr()
    assert said.err == ""
    assert "liver" in said.out.lower()


def test_ctrl_c_inside_returns_130_and_leaves_nothing(scans, tmp_path, capsys):
    folder = scans("interrupt", "later")
    assert flare("segment", folder, "-o", tmp_path / "out") == 130
    assert not (tmp_path / "out").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_from_the_keyboard(scans, tmp_path):
    run = program(scans("slow") / "slow.nii.gz", "-o", tmp_path / "out", "--progress", "json")
    for line in run.stdout:
        if json.loads(line).get("stage") == "organs":
            break
    run.send_signal(signal.SIGINT)
    start = time.monotonic()
    rest, err = run.communicate(timeout=120)
    assert run.returncode == 130
    assert time.monotonic() - start < 5
    assert events(rest)[-1]["event"] == "cancelled"
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit stands in for the disk")
def test_a_full_disk_leaves_nothing(scans, tmp_path):
    import resource

    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

    scan = scans("a") / "a.nii.gz"
    run = program(scan, "-o", tmp_path / "out", preexec_fn=small_files_only)
    _, err = run.communicate(timeout=180)
    assert run.returncode == 2, err
    assert "to do:" in err
    assert not (tmp_path / "out").exists()


def test_a_reader_that_leaves_is_no_crash(scans, tmp_path):
    run = program(scans("slow") / "slow.nii.gz", "-o", tmp_path / "out", "--progress", "json")
    run.stdout.readline()
    run.stdout.close()
    assert "Traceback" not in run.stderr.read()
    run.stderr.close()
    run.wait(timeout=120)
    assert not (tmp_path / "out").exists()
