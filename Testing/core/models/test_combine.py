from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models.combine import Chosen, Facts, combine
from flare_core.models.in_use import put_in_use
from flare_core.models.package import load_package
from flare_core.segment.pipeline import segment_ct
from stub_models import scene, settings, stub_package


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_localiser_of_one_family_with_organs_of_another(home: Home) -> None:
    theirs = stub_package(home.model("stub", "1.2.3"))
    ours = load_package("default")
    chosen = (Chosen(theirs, "organs"), Chosen(ours, "localiser"))
    made = combine(chosen, home=home, name="mixed", version="1.0.0", facts=Facts("Mixed."))
    card = load_package("mixed", home=home).card
    assert [stage.name for stage in card.stages] == ["localiser", "organs"]
    assert made.card.training_data == ours.card.training_data
    first, second = card.provenance["combined_from"]
    assert (first["model"], second["model"]) == (
        "stub@1.2.3",
        f"{ours.card.name}@{ours.card.version}",
    )
    with pytest.raises(InputError, match="localiser, organs"):
        combine((Chosen(ours, "vessels"),), home=home, name="x", version="1.0.0", facts=Facts(""))
    twice = (Chosen(ours, "organs"), Chosen(theirs, "organs"))
    with pytest.raises(InputError, match="each name once"):
        combine(twice, home=home, name="x", version="1.0.0", facts=Facts(""))
    assert not (home.models / "x").exists()


def test_a_combined_model_runs_as_its_parts_did(home: Home) -> None:
    theirs = stub_package(home.model("stub", "1.2.3"))
    chosen = (Chosen(theirs, "localiser"), Chosen(theirs, "organs"))
    made = combine(chosen, home=home, name="twin", version="1.0.0", facts=Facts("Twin."))
    image, _ = scene()
    one, other = (segment_ct(image, settings(each.folder)) for each in (theirs, made))
    assert (one.labels.array == other.labels.array).all() and one.labels.array.any()


def test_the_newest_is_meant_where_the_one_in_use_is_gone(home: Home) -> None:
    chosen = (Chosen(load_package("default"), "organs"),)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        combine(chosen, home=home, name="twin", version=version, facts=Facts("Twin."))
    put_in_use(home, "twin", "twin@1.0.0", reason="promoted")
    assert load_package("twin", home=home).card.version == "1.0.0"
    shutil.rmtree(home.model("twin", "1.0.0"))
    assert load_package("twin", home=home).card.version == "1.2.0"
