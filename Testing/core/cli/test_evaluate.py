from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.evaluate.label_folders import GRID, labels, write_case
from flare_core.cli import evaluate, main
from flare_core.evaluate.evaluate import evaluate_folders
from flare_core.evaluate.protocols import Target, edition
from flare_core.evaluate.scoring import ScoringRules
from flare_core.imaging.files import write_volume
from flare_core.imaging.volume import Volume
from flare_core.report.evaluation.figures import SPARE_COLOURS, colour_of, drawn_organs, extremes

FILES = ("scores.csv", "per_case.csv", "per_organ.csv", "evaluation.html", "summary.json")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """References a to d; predictions of growing quality, none for d."""
    for k, name in enumerate("abcd"):
        lesion = {"v14": (4, 6, 2, 4)} if k < 2 else {}
        write_case(tmp_path / "ref", name, labels(v1=(0, 4, 2, 8), **lesion))
        if name != "d":
            write_case(tmp_path / "pred", name, labels(v1=(0, 2 + k, 2, 8), v14=(4, 6, 2, 4)))
    return tmp_path


def call(folders: Path, *options: str) -> int:
    """In this process: others are tested in `test_processes_change_nothing`."""
    words = ["evaluate", str(folders / "pred"), str(folders / "ref"), "--workers", "1"]
    return main([*words, *options])


def test_table_problems_and_files(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folders / "new" / "out"
    assert call(folders, "--edition", "flare23", "--output", str(out)) == 0
    said = capsys.readouterr()
    assert "Liver" in said.out and "Organ DSC" in said.out and str(out / "scores.csv") in said.out
    assert "d: scores 0, missing" in said.err
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    assert json.loads((out / "summary.json").read_text())["cases"] == 4


def test_the_page_shows_everything_and_loads_nothing(folders: Path) -> None:
    out = folders / "out"
    assert call(folders, "--edition", "flare23", "--output", str(out), "--progress", "none") == 0
    page = (out / "evaluation.html").read_text("utf-8")
    for words in ("Organ DSC", "no prediction called d", "Lesion volume against DSC", "Lesion-wise",
                  "Predicted against true organ volume", "Dice similarity coefficient",
                  "NSD tolerance", "pred against ref: 4 cases, 1 of them scored 0"):  # fmt: skip
        assert words in page, words
    assert page.count("data:image/jpeg;base64,") == 3  # a, b, c: each once
    assert page.count("<svg") >= 7 and "http://" not in page.replace("http://www.w3.org", "")


def test_scans_are_drawn_where_they_fit(folders: Path) -> None:
    bright = Volume(np.full(GRID.shape, 40, np.int16), GRID)
    (folders / "ct").mkdir()
    write_volume(folders / "ct" / "a_0000.nii.gz", bright)
    (folders / "ct" / "b_0000.nii.gz").write_bytes(b"broken")
    write_volume(folders / "ct" / "c.nii.gz", Volume(bright.array[:3], GRID.with_shape((3, 8, 10))))
    options = ("--edition", "flare23", "--output", str(folders / "out"))
    assert call(folders, *options) == 0
    black = (folders / "out" / "evaluation.html").read_text("utf-8")
    assert call(folders, *options, "--images", str(folders / "ct")) == 0
    grey = (folders / "out" / "evaluation.html").read_text("utf-8")
    pictures = [page.split("data:image/jpeg;base64,")[1:] for page in (black, grey)]
    changed = [one[:9000] != other[:9000] for one, other in zip(*pictures, strict=True)]
    assert changed.count(True) == 1  # only case a has a scan that can be used


def test_json_lines(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(folders, "--edition", "FLARE23", "--progress", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events].count("result") == 1
    assert events[-2]["fraction"] == 1.0 and events[-1]["files"] == []
    assert events[-1]["summary"]["scored_zero"] == {"d": "missing: no prediction called d"}


def test_own_scheme_and_metrics(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scheme = folders / "own.json"
    rows = [{"value": 1, "name": "liver"}, {"value": 14, "name": "blob", "tolerance_mm": 1.0}]
    scheme.write_text(json.dumps({"title": "Ours", "structures": rows}))
    out = folders / "out"
    options = ("--scheme", str(scheme), "--metrics", "dsc,msd,dsc", "--mode", "fixed")
    assert call(folders, *options, "--output", str(out)) == 0
    assert "Ours" in capsys.readouterr().out
    head = (out / "per_case.csv").read_text().splitlines()[0].split(",")
    assert len(head) == len(set(head)), "a metric named twice is one"
    assert "blob_dsc" in head and "blob_msd" in head and "liver_nsd" not in head


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--edition", "flare99"), "flare99"),
        (("--edition", "flare22"), "label 14"),  # the references have lesions
        (("--edition", "flare23", "--metrics", "dsc,dise"), "dise"),
        (("--edition", "flare23", "--metrics", ""), "--metrics"),
        (("--edition", "flare23", "--lesion-iou", "2"), "--lesion-iou"),
        (("--edition", "flare23", "--workers", "-1"), "--workers"),
        (("--edition", "flare23", "--images", "absent"), "--images"),
        (("--edition", "flare23", "--scheme", "absent.json"), "--scheme"),
        (("--edition", "flare22", "--reference-scheme", "flare21"), "label 14"),
    ],
)
def test_bad_input_ends_with_2_and_leaves_nothing(
    folders: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    out = folders / "out"
    assert call(folders, *options, "--output", str(out)) == 2
    error = capsys.readouterr().err
    assert said in error and "to do:" in error
    assert not out.exists()


def test_earlier_results_survive_a_failure(folders: Path) -> None:
    out = folders / "out"
    assert call(folders, "--edition", "flare23", "--output", str(out)) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert call(folders, "--edition", "flare22", "--output", str(out)) == 2
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_out_may_not_be_a_file(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "out").write_text("mine")
    assert call(folders, "--edition", "flare23", "--output", str(folders / "out")) == 2
    assert (folders / "out").read_text() == "mine"
    assert "output" in capsys.readouterr().err


def test_images_are_for_the_page(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(folders, "--edition", "flare23", "--images", str(folders)) == 2
    assert "--output" in capsys.readouterr().err


def test_references_compared_with_themselves_are_told(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "link").symlink_to("ref")
    assert main(["evaluate", str(folders / "link"), str(folders / "ref"), "--workers", "1",
                 "--edition", "flare23"]) == 0  # fmt: skip
    assert "PRED and REF are the same" in capsys.readouterr().err


def test_best_and_worst(folders: Path) -> None:
    """Four usable cases: no case is both best and worst, none without a prediction is shown."""
    write_case(folders / "pred", "d", labels(v14=(4, 6, 2, 4)))
    rules = ScoringRules(edition("flare23"))
    found = evaluate_folders(folders / "pred", folders / "ref", rules)
    chosen = extremes(found)
    assert [case.case for case, _ in chosen] == ["c", "b", "a", "d"]
    assert [mean for _, mean in chosen] == sorted((m for _, m in chosen), reverse=True)


def test_colours() -> None:
    heart = Target(key="heart", name="Heart", value=9, organs=(), tolerance_mm=1.0)
    assert colour_of(heart, 5) == SPARE_COLOURS[1]
    (drawn,) = drawn_organs([heart])
    assert (drawn.id, drawn.name) == (9, "Heart")


def test_help_shows_the_scheme(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    said = capsys.readouterr().out
    assert '"structures"' in said and evaluate.HELP.strip() == evaluate.HELP
