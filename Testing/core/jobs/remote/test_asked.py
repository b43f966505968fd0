from __future__ import annotations

import pytest

import fake_engine
from flare_core.errors import InputError
from flare_core.jobs.remote import wire
from flare_core.jobs.remote.asked import asked_of, choices_of, settings_of
from flare_core.segment.settings import Settings

OWN = Settings(device="cpu", threads=3, home="/nowhere/of/the/server")


def request(**more):
    parcel, _ = wire.packed(fake_engine.scan().array)
    grid = wire.grid_fields(fake_engine.GEOMETRY)
    return {"command": "segment", "image": {**parcel.fields(), **grid}, **more}


def test_a_clients_choices_on_the_servers_own():
    mine = Settings(organs=("liver",), fast=True, device="cuda", threads=9, home="/mine")
    asked = asked_of(request(settings=choices_of(mine), scores=True), OWN, 10**6)
    expected = Settings(organs=("liver",), fast=True, device="cpu", threads=3, home=OWN.home)
    assert (asked.settings, asked.scores) == (expected, True)
    assert asked.geometry == fake_engine.GEOMETRY
    assert asked.parcel.shape == fake_engine.SHAPE


def test_who_names_no_model_gets_the_servers_own():
    """`flare serve --model` had no effect: every client named its own default."""
    own = Settings(model="theirs")
    assert asked_of(request(settings=choices_of(Settings())), own, 10**6).settings.model == "theirs"
    with pytest.raises(InputError, match="the server's models"):
        settings_of(choices_of(Settings(model="mine")), own)


def test_what_a_client_is_told_of_its_settings_is_no_path():
    told = choices_of(Settings(home="/mine"))
    assert "/mine" not in repr(told)
    assert not {"home", "device", "threads", "precision"} & set(told)


def test_a_model_is_one_of_the_servers_never_a_path(tmp_path):
    assert settings_of({"model": "default"}, OWN).model == "default"
    for model in (str(tmp_path), ".", "~", "models/x", "default@0", "a\\b"):
        with pytest.raises(InputError, match="the server's models"):
            settings_of({"model": model}, OWN)
    own = Settings(model=str(tmp_path))  # whoever runs the server may have named a folder
    assert settings_of({"model": str(tmp_path)}, own).model == str(tmp_path)


def test_too_large_is_said_in_numbers():
    with pytest.raises(InputError, match="at most 0 MiB") as caught:
        asked_of(request(), OWN, 5000)
    assert "6 x 20 x 24" in caught.value.parts[1]


def test_a_grid_that_no_ct_has_is_refused():
    spoilt = request()
    spoilt["image"]["spacing_mm"] = [5.0, 1e-9, 1.0]
    with pytest.raises(InputError, match="spacing"):
        asked_of(spoilt, OWN, 10**6)
