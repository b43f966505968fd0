from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flare_core.errors import InputError
from flare_core.train.rounds.settings import RoundSettings, load_round_settings, with_budget
from tiny_training import tiny_config


def test_settings_survive_their_file_and_find_paths_beside_it(tmp_path):
    (tmp_path / "rounds.json").write_text(
        '{"name": "m", "store": "cases", "student": "s.json", "strategy": {"kind": "confident"}}',
        encoding="utf-8",
    )
    found = load_round_settings(tmp_path / "rounds.json")
    assert found.store == str(tmp_path / "cases") and found.student == str(tmp_path / "s.json")
    (tmp_path / "again.json").write_text(found.to_json(), encoding="utf-8")
    assert load_round_settings(tmp_path / "again.json") == found
    with pytest.raises(InputError, match="folds"):
        RoundSettings("m", "cases", "s.json", folds=0)


def test_the_budget_is_dealt_out_by_the_phases_steps(tmp_path):
    phase = tiny_config(tmp_path).phases[0]
    config = tiny_config(tmp_path, phases=(replace(phase, steps=10), replace(phase, steps=30)))
    got = with_budget(config, RoundSettings("m", "c", "s", minutes=8.0, steps=100)).phases
    assert [(each.steps, each.minutes) for each in got] == [(25, 2.0), (75, 6.0)]


@pytest.mark.parametrize("where", ["store", "student", "last_student", "teacher"])
def test_a_path_with_a_nul_is_refused(where: str) -> None:
    fields = {"name": "x", "store": "s", "student": "c.json", where: "a\0b"}
    with pytest.raises(InputError, match=where):
        RoundSettings(**fields)


@pytest.mark.parametrize(
    ("where", "came"),
    [("name", "Our model"), ("name", ""), ("seed", -1), ("seed", 2**32 - 1)],
)
def test_what_a_student_or_its_model_would_refuse_is_refused_before_any_scan_is_labelled(
    where: str, came: object
) -> None:
    """The student's configuration and the model's card, both of them made hours later."""
    fields: dict[str, Any] = {"name": "x", "store": "s", "student": "c.json", where: came}
    with pytest.raises(InputError, match=f"^{where}"):
        RoundSettings(**fields)
