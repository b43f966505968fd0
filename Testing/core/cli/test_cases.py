"""``flare cases`` from the outside: what is printed, what is written, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from core.datasets.made_dataset import ALL_13, Maker, make_flare22, make_flare23
from flare_core import cli
from flare_core.cases.store import open_store
from flare_core.datasets.case import load_cases
from flare_core.imaging.geometry import Geometry


@pytest.fixture
def flare(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs `flare cases` on a store in a new folder; returns exit code, output and errors."""

    def run(*words: object, store: Path = tmp_path / "store") -> tuple[int, str, str]:
        shown = [str(word) for word in words]
        if shown[0] in ("import", "verify", "export"):
            shown += ["--progress", "none"]
        code = cli.main(["cases", *shown, "--store", str(store)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return labels(tmp_path / "in" / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})


def values(told: tuple[int, str, str]) -> Any:
    assert told[0] in (0, 1), told[2]
    return json.loads(told[1])


def test_add_makes_the_store_and_list_shows_it(flare, tmp_path: Path, truth: Path):
    image = scan(tmp_path / "in" / "a_0000.nii.gz")
    code, out, _ = flare("add", image, "--patient", "P1", "--labels", truth,
                         "--organs", "liver,spleen", "--author", "Ada", "--kind", "pseudo",
                         "--model", "m-1")  # fmt: skip
    assert (code, out.strip()) == (0, "a: pseudo")
    flare("add", scan(tmp_path / "in" / "b.nii.gz", 1), scan(tmp_path / "in" / "c.nii.gz", 2),
          "--link")  # fmt: skip

    lines = flare("list")[1].splitlines()
    assert lines[0].split() == ["case", "patient", "status", "kind", "version", "organs", "set"]
    assert lines[1].split() == [
        "a", "P1", "pseudo", "pseudo", "1/1", "liver,", "spleen", "training",
    ]  # fmt: skip
    assert lines[-1] == "3 cases of 3 patients: 1 pseudo, 2 unlabelled"
    rows = values(flare("list", "--status", "unlabelled", "--json"))
    assert [(row["name"], row["linked"], row["scores"]) for row in rows] == [
        ("b", True, {}), ("c", True, {}),
    ]  # fmt: skip
    assert [row["name"] for row in values(flare("list", "--organ", "spleen", "--json"))] == ["a"]
    assert [r["name"] for r in values(flare("list", "--limit", 1, "--offset", 1, "--json"))] == [
        "b"
    ]


def test_whose_scan_a_case_is(flare, tmp_path: Path):
    for seed, name in enumerate("abc"):
        flare("add", scan(tmp_path / f"{name}.nii.gz", seed), "--patient", f"P-{name}")
    flare("hold-out", "P-a")
    assert flare("patient", "b")[1] == "b: a scan of P-b, not held out\n"
    told = flare("patient", "b", "P-a")[1]
    assert told == (
        "b: a scan of P-a, held out now; models that have learnt from it so far score too well"
        " on it\n"
    )
    told = flare("patient", "b", "P-c")[1]
    assert told.startswith("b: a scan of P-c, not held out any more")
    assert values(flare("patient", "a", "New", "--json"))["held_out"] is True
    code, _, error = flare("patient", "x", "P-c")
    assert code == 2 and "x" in error


def test_what_add_refuses(flare, tmp_path: Path, truth: Path):
    images = [scan(tmp_path / f"{name}.nii.gz", seed) for seed, name in enumerate("ab")]
    code, _, err = flare("add", *images, "--name", "x")
    assert code == 2 and "one scan" in err
    code, _, err = flare("add", images[0], "--labels", truth)
    assert code == 2 and "--organs" in err
    code, _, err = flare("add", images[0], "--labels", truth, "--organs", "liver,spleen,aorta")
    assert code == 2 and "no voxel of aorta" in err and "to do:" in err
    code, out, _ = flare("add", images[0], "--labels", truth, "--organs", "liver,spleen,aorta",
                         "--absent", "aorta", "--note", "stent")  # fmt: skip
    assert (code, out.strip()) == (0, "a: accepted")
    for words in (("--organs", "liver"), ("--kind", "expert"), ("--note", "stent")):
        code, _, err = flare("add", images[1], *words)
        assert code == 2 and f"{words[0]} without --labels" in err
    code, _, err = flare("list", "--status", "good")
    assert code == 2 and "one of unlabelled" in err


@pytest.mark.parametrize("words", [
    ("--organs", "liver,spleen,aorta"), ("--organs", "liver"), ("--organs", "livver"),
    ("--organs", "liver,spleen", "--absent", "aorta"), ("--organs", "liver,spleen", "--kind", "x"),
])  # fmt: skip
def test_labels_that_are_refused_leave_no_scan_behind(flare, tmp_path: Path, truth: Path, words):
    image = scan(tmp_path / "a.nii.gz")
    code, _, _ = flare("add", image, "--labels", truth, *words)
    assert code == 2
    assert values(flare("list", "--json")) == []
    assert list((tmp_path / "store").rglob("image*")) == []


def test_files_that_are_no_labels_of_a_scan_leave_it_out(flare, tmp_path: Path, truth: Path):
    image = scan(tmp_path / "a.nii.gz")
    other = labels(tmp_path / "other.nii.gz", {LIVER: 20}, Geometry((3, 4, 5), (1.0, 1.0, 1.0)))
    for file in (other, image, tmp_path / "none.nii.gz", tmp_path):
        assert flare("add", image, "--labels", file, "--organs", "liver")[0] == 2
    assert values(flare("list", "--json")) == []


def test_without_a_store_there_is_nothing_to_list(flare, tmp_path: Path):
    code, _, err = flare("list", store=tmp_path / "none")
    assert code == 2 and "holds none" in err
    assert not (tmp_path / "none").exists()


def test_the_default_store_is_in_the_home(tmp_home, tmp_path: Path, capsys):
    image = scan(tmp_path / "in" / "a.nii.gz")
    assert cli.main(["cases", "add", str(image)]) == 0
    assert (tmp_home.cases / "cases" / "a" / "image.nii.gz").is_file()


def test_correct_accept_restore_and_look_back(flare, tmp_path: Path, truth: Path):
    image = scan(tmp_path / "in" / "a.nii.gz")
    organs = ("--organs", "liver,spleen")
    flare("add", image, "--labels", truth, *organs, "--kind", "pseudo")
    edited = labels(tmp_path / "edited.nii.gz", {LIVER: 22, SPLEEN: 3})
    flare("add", image, "--labels", edited, *organs, "--kind", "corrected", "--author", "Ada")

    assert flare("status", "a")[1].strip() == "a: corrected"
    code, out, _ = flare("status", "a", "rejected", "--reason", "arms in it", "--author", "Bo")
    assert (code, out.strip()) == (0, "a: rejected")
    code, out, _ = flare("restore", "a", 1, "--note", "first was better")
    assert "version 3 is version 1 again; the case is pseudo now, rejected before" in out
    assert flare("status", "a", "corrected")[0] == 2

    out = flare("history", "a")[1]
    assert "arms in it" in out and "Bo" in out and "version 1: first was better" in out
    assert "*  3        pseudo" in out and "0.0 mL" in out
    told = values(flare("history", "a", "--json"))
    assert [v["number"] for v in told["versions"]] == [1, 2, 3]
    assert told["versions"][1]["facts"]["edited_ml"] == {"liver": 0.02, "spleen": 0.02}
    assert [e["what"] for e in told["events"]] == [
        "added", "labelled", "labelled", "status", "restored",
    ]  # fmt: skip
    assert len(values(flare("history", "--json"))["events"]) == 5
    assert flare("history", "b")[0] == 2


def test_hold_out_is_frozen_once(flare, tmp_path: Path, truth: Path):
    for seed, name in enumerate("abcde"):
        flare("add", scan(tmp_path / f"{name}.nii.gz", seed), "--labels", truth,
              "--organs", "liver,spleen")  # fmt: skip
    assert flare("hold-out")[1].strip() == "no hold-out yet"
    assert flare("hold-out", "--share", "0.9")[0] == 2
    frozen = values(flare("hold-out", "--share", "0.4", "--json"))
    assert len(frozen["patients"]) == 2 and frozen["cases"] == frozen["patients"]
    assert values(flare("hold-out", "--share", "0.4", "--json")) == frozen, "the same draw"
    other = next(name for name in "abcde" if name not in frozen["patients"])
    code, _, err = flare("hold-out", other)
    assert code == 2 and "chosen once" in err
    held = values(flare("list", "--hold-out", "--json"))
    assert [row["name"] for row in held] == frozen["cases"]
    assert len(values(flare("list", "--training", "--json"))) == 5 - len(held)


def test_nobody_is_drawn_where_nobody_labelled(flare, tmp_path: Path):
    flare("add", scan(tmp_path / "a.nii.gz"))
    code, _, err = flare("hold-out", "--share", "0.2")
    assert code == 2 and "have labelled" in err


def test_verify_and_rebuild(flare, tmp_path: Path, truth: Path):
    flare("add", scan(tmp_path / "a.nii.gz"), "--labels", truth, "--organs", "liver,spleen")
    code, out, _ = flare("verify")
    assert code == 0 and out.startswith("No problem in 1 case (")
    store = tmp_path / "store"
    (store / "catalogue.sqlite").unlink()
    code, _, err = flare("verify")
    assert code == 2 and "--rebuild" in err
    code, out, err = flare("verify", "--rebuild")
    assert code == 0 and "new catalogue of 1 case;" in err

    image = store / "cases" / "a" / "image.nii.gz"
    image.chmod(0o644)
    image.write_bytes(b"x")
    code, out, _ = flare("verify", "--quick")
    assert code == 1 and "changed: a:" in out and "to do:" in out and "1 problem in" in out
    assert [p["kind"] for p in values(flare("verify", "--json"))] == ["changed"]


def test_import_tells_what_came_and_what_did_not(
    flare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In this process; `jobs.test_on_cluster` imports with more of them."""
    monkeypatch.setattr("flare_core.segment.runtime.available_cores", lambda: 1)
    make_flare23(tmp_path / "set")
    code, out, _ = flare("import", tmp_path / "set", "--pseudo", "aladdin5", "--link")
    assert (code, out.splitlines()[-1]) == (0, "7 cases added, 0 were there; 6 label maps added")
    assert flare("import", tmp_path / "set")[1].splitlines()[-1].startswith("0 cases added, 7")

    Maker(tmp_path / "bad").scan("images/a")
    Maker(tmp_path / "bad").labels("labels/a", {1: 3, 99: 1})
    code, out, _ = flare("import", tmp_path / "bad", store=tmp_path / "other")
    assert code == 1 and "mislabelled: a: label value 99" in out
    code, _, err = flare("import", tmp_path / "nowhere")
    assert code == 2 and "nowhere" in err


def test_import_by_kind_and_numbers(flare, tmp_path: Path):
    Maker(tmp_path / "set").scan("ct/a")
    Maker(tmp_path / "set").labels("labels/a", {5: 9, 1: 4})  # TotalSegmentator: liver, spleen
    told = values(flare("import", tmp_path / "set", "--kind", "pseudo", "--model", "ts-2",
                        "--numbers", "totalsegmentator", "--json"))  # fmt: skip
    assert told["labelled"] == ["a"]
    with open_store(tmp_path / "store") as store:
        facts = store.version("a", 1).facts
        assert (facts.kind, facts.model) == ("pseudo", "ts-2")
        assert {"liver", "spleen"} == set(facts.annotated) - set(facts.absent)


def test_export_in_every_format(flare, tmp_path: Path):
    make_flare22(tmp_path / "set")
    flare("import", tmp_path / "set")
    flare("hold-out", "FLARE22_Tr_0002")
    assert flare("export", "list", "-o", tmp_path / "list.json")[0] == 0
    names = {case.name for case in load_cases(tmp_path / "list.json")}
    assert len(names) == 2 and "FLARE22_Tr_0002" not in names

    code, out, _ = flare("export", "nnunet", "-o", tmp_path / "raw", "--with-hold-out")
    assert code == 0 and out.strip() == f"3 cases with 13 organs: {tmp_path / 'raw'}"
    assert (tmp_path / "raw" / "labelsTs" / "FLARE22_Tr_0002.nii.gz").is_file()
    told = values(flare("export", "nnunet", "-o", tmp_path / "two", "--organs", "liver,spleen",
                        "--json"))  # fmt: skip
    assert told["organs"] == ["liver", "spleen"]
    told = values(flare("export", "flare22", "-o", tmp_path / "flare", "--unlabelled", "--json"))
    assert len(told["names"]) == 7
    code, _, err = flare("export", "flare22", "-o", tmp_path / "flare")
    assert code == 2 and "not empty" in err
    code, _, err = flare("export", "flare22", "-o", tmp_path / "y", "--organs", "liver")
    assert code == 2 and "without the format nnunet" in err
    code, _, err = flare("export", "nnunet", "-o", tmp_path / "x", "--status", "rejected")
    assert code == 2 and "no labelled case" in err


def test_the_whole_of_the_help_is_there(capsys):
    assert cli.main(["cases", "--help"]) == 0
    out = capsys.readouterr().out
    for action in ("list", "add", "import", "verify", "export", "history", "restore", "status",
                   "hold-out"):  # fmt: skip
        assert f"flare cases {action}" in out


def test_all_13_organs_are_a_number_in_the_table(flare, tmp_path: Path):
    Maker(tmp_path / "set").scan("images/a")
    Maker(tmp_path / "set").labels("labels/a", ALL_13)
    flare("import", tmp_path / "set")
    assert "13 organs" in flare("list")[1]
