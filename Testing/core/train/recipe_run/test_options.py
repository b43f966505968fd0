from __future__ import annotations

from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.train.recipe_run.options import RecipeOptions, keep_options, read_options

CITI = RecipeOptions("flare23-citi", store="/store", scale="small", seed=3)


def test_options_survive_their_folder(tmp_path: Path) -> None:
    keep_options(tmp_path / "run", CITI)
    assert read_options(tmp_path / "run") == CITI
    keep_options(tmp_path / "run", RecipeOptions("flare23-citi", store="/store", scale="small",
                                                 seed=3, threads=2))  # fmt: skip


@pytest.mark.parametrize("changes", [{"store": "/other"}, {"scale": "1"}, {"seed": 4}])
def test_what_a_run_began_with_cannot_change(tmp_path: Path, changes: dict) -> None:
    keep_options(tmp_path, CITI)
    fields = {"store": "/store", "scale": "small", "seed": 3} | changes
    with pytest.raises(InputError, match=next(iter(changes))):
        keep_options(tmp_path, RecipeOptions("flare23-citi", **fields))


def test_cases_come_from_one_place() -> None:
    for fields in ({}, {"store": "a", "data": "b"}):
        with pytest.raises(InputError, match="--store, --data"):
            RecipeOptions("flare23-citi", **fields)
    with pytest.raises(InputError, match="Did you mean"):
        RecipeOptions("flare23-cit", store="a")


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run of a recipe"):
        read_options(tmp_path)
