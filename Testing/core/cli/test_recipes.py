from __future__ import annotations

import json
from pathlib import Path

import pytest

from flare_core.cli import main, recipes
from flare_core.train.recipe_run.scale import SCALES
from flare_core.train.recipes import RECIPES
from recipe_world import KEY, make_store, organs_alone


def flare(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["recipes", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_scales_offered_are_those_there_are() -> None:
    assert tuple(SCALES) == recipes.SCALES


def test_all_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = flare(capsys, "list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == list(RECIPES)
    code, out, _ = flare(capsys, "list", "--json")
    assert [row["key"] for row in json.loads(out)] == list(RECIPES)


@pytest.mark.parametrize("key", RECIPES)
def test_a_recipe_is_shown_with_sources_and_departures(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = flare(capsys, "show", key, "--scale", "small")
    assert code == 0 and "sources:" in out and RECIPES[key].departures[0].why in out
    assert "scale small: " in out and "widths=2" in out
    code, out, _ = flare(capsys, "show", key, "--json")
    assert json.loads(out)["key"] == key


def test_an_unknown_name_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = flare(capsys, "show", "flare23-aladin5")
    assert code == 2 and "Did you mean flare23-aladdin5?" in err


def test_run_trains_and_says_where_the_model_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, KEY, organs_alone())
    store = make_store(tmp_path)
    words = ("run", KEY, "--store", str(store), "-o", str(tmp_path / "run"), "--threads", "1")
    code, out, _ = flare(capsys, *words, "--device", "cpu", "--progress", "json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and rows[-1]["event"] == "done"
    assert rows[-1]["model"] == str((tmp_path / "run" / "package").resolve())
    assert [row["stage"] for row in rows if row["event"] == "recipe"] == [
        "cases", "teacher", "teachers", "package",
    ]  # fmt: skip
    code, _, err = flare(capsys, *words, "--seed", "3")
    assert code == 2 and "seed" in err
