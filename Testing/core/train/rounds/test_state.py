"""The files of a run: what a kill or another hand left in them is named, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.train.rounds.state import RunFolder, create_run
from rounds_world import settings


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run(tmp_path / "run", settings(tmp_path), "", {})


@pytest.mark.parametrize("name", ["candidates", "decisions", "verdict", "promotion"])
@pytest.mark.parametrize("text", ["7", "[7]", '"a"', "[" * 100_000, "{", "\xff"])
def test_files_of_a_round_of_another_kind_are_refused(run: RunFolder, name: str, text: str) -> None:
    path = run.round(1).path / f"{name}.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=name):
        run.round(1).read(name)


@pytest.mark.parametrize(("field", "value"), [("round", 10**9), ("round", -1), ("done", {"1": 5})])
def test_a_state_that_cannot_be_is_refused(run: RunFolder, field: str, value: object) -> None:
    path = run.path / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(InputError, match=field):
        assert run.state


def test_whoever_owns_a_run_sweeps_what_a_kill_left(run: RunFolder) -> None:
    left = run.round(1).predictions / ".0123abcd.part.una.nii.gz"
    left.write_bytes(b"half")
    package = run.round(1).path / ".0123abcd.part.package"
    package.mkdir()
    (package / "organs.safetensors").write_bytes(b"half")
    with run.owned():
        assert not left.exists() and not package.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [("hold_out", '"a"'), ("hold_out", "[1]"), ("hold_out", "{}"), ("unlabelled", '["a"]'),
     ("unlabelled", "7"), ("candidates", "")],
)  # fmt: skip
def test_lists_of_a_round_are_checked(run: RunFolder, name: str, text: str) -> None:
    (run.round(1).path / f"{name}.json").write_text(text)
    with pytest.raises(InputError, match=name):
        run.round(1).need(name)


def test_what_an_earlier_stage_wrote_must_be_there(run: RunFolder) -> None:
    with pytest.raises(InputError, match="no such file"):
        run.round(1).need("candidates")


def test_no_file_of_a_case_is_another_cases(run: RunFolder) -> None:
    """Not even of cases whose names are made to meet."""
    folder, names = run.round(1), ("x", "x-soft", "soft", "cleaned", "x.json", "soft-x")
    kinds = (folder.labels_of, folder.soft_of, folder.cleaned_of, folder.evidence_of)
    paths = [kind(name) for kind in kinds for name in names]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    "done",
    [{"x": {}}, {"0": {}}, {"9": {}}, {"1": {"sleep": "x"}}, {"1": {"predict": 5}}, {"1": []}],
)
def test_stages_that_are_none_are_refused(run: RunFolder, done: object) -> None:
    path = run.path / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"done": done}))
    with pytest.raises(InputError, match="done"):
        _ = run.state


def test_a_stage_is_called_step_in_the_file_as_in_runs_of_before(run: RunFolder) -> None:
    path = run.path / "state.json"
    run.begin(1, "train")
    assert json.loads(path.read_text())["step"] == "train"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": "score"}))
    assert run.state.stage == "score"
