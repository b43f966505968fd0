from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import flare_core
from flare_core.jobs.remote.places import places_of, without_places
from flare_core.segment.settings import Settings


def test_the_longest_path_goes_first(tmp_path: Path) -> None:
    """A model may lie in the home, and Python's modules in Python's folder."""
    own = Settings(model=str(tmp_path / "home" / "m"), home=str(tmp_path / "home"))
    places = places_of(own, tmp_path / "scans")
    said = {"a": [f"{own.model}/card.json in {own.home}", 1.5, None], "b": f"{tmp_path}/scans/3f"}
    assert without_places(said, places) == {
        "a": ["(the server's model)/card.json in (the server's models)", 1.5, None],
        "b": "(the server's scans)/3f",
    }
    package = os.path.dirname(flare_core.__file__)
    told = without_places(f"{sys.executable} {package}/a.py", places)
    assert told == "(the server's Python) (the server's FLARESeg)/a.py"


@pytest.mark.parametrize("model", ["default", "mine@1.0.0"])
def test_a_models_name_is_no_path(tmp_path: Path, model: str) -> None:
    assert model not in places_of(Settings(model=model), tmp_path)
