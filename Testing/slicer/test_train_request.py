"""What a person wants trained, as the files that ``flare rounds start`` takes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from FLARETrainLib.run.request import (
    REQUEST,
    STUDENT,
    RunRequest,
    check_name,
    model_name,
    student_of,
    write_request,
)
from FLARETrainLib.run.strategies import FOLDS, STRATEGIES

from flare_core.errors import InputError
from flare_core.home import open_home
from flare_core.models.card import CATALOGUE, ModelCard
from flare_core.models.package import read_card
from flare_core.train import strategies
from flare_core.train.config_file import load_config
from flare_core.train.rounds.settings import load_round_settings, with_budget


@pytest.fixture
def home(tmp_path):
    return open_home(tmp_path / "home")


@pytest.fixture
def request_for(tmp_path):
    return RunRequest("mine", tmp_path / "store", "default", minutes=30, rounds=2)


def default_card() -> ModelCard:
    return read_card(CATALOGUE["default"].folder)


def test_the_panel_knows_every_strategy_and_no_other():
    assert set(STRATEGIES) == set(strategies.STRATEGIES)
    assert set(FOLDS) <= set(STRATEGIES)
    assert all(title() and about() for title, about in STRATEGIES.values())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_request_is_what_the_rounds_take(home, request_for, strategy):
    folder = write_request(replace(request_for, strategy=strategy), home)
    assert folder.parent == home.runs and folder.name.startswith("mine-")
    settings = load_round_settings(folder / REQUEST)
    assert (settings.name, settings.rounds, settings.minutes) == ("mine", 2, 30)
    assert settings.strategy == {"kind": strategy} and settings.warm_start
    assert not settings.promote and settings.home == str(home.path)
    assert settings.folds == (3 if strategy == "agreement" else 1)
    strategies.build_strategy(settings.strategy)


def test_the_student_is_a_network_like_the_teachers(home, request_for):
    folder = write_request(request_for, home)
    settings = load_round_settings(folder / REQUEST)
    assert settings.student == str((folder / STUDENT).resolve())
    config, stage = load_config(settings.student), default_card().stage("organs")
    assert config.network == stage.network and config.normalisation == stage.normalisation
    assert config.phases[0].spacing_mm == stage.spacing_mm and config.stage == "organs"
    assert ("background", *config.organs) == stage.labels
    assert sum(phase.minutes for phase in with_budget(config, settings).phases) == 30


def test_a_student_of_ones_own_begins_from_its_own_start(home, request_for, tmp_path):
    own = tmp_path / "own.json"
    own.write_text("{}", encoding="utf-8")
    folder = write_request(replace(request_for, student=own), home)
    settings = json.loads((folder / REQUEST).read_text("utf-8"))
    assert settings["student"] == str(own) and not settings["warm_start"]
    assert not (folder / STUDENT).exists()


def test_two_runs_never_share_a_folder(home, request_for):
    assert write_request(request_for, home) != write_request(request_for, home)


@pytest.mark.parametrize("name", ["", "Mine", "a b", "default", "../x"])
def test_names_that_no_model_can_have_are_refused(home, request_for, name):
    with pytest.raises(InputError, match="name of the new model"):
        check_name(name, home)
    with pytest.raises(InputError):
        write_request(replace(request_for, name=name), home)
    assert not home.runs.exists()


def test_a_legal_name_is_made_from_any_text(home):
    for text in ("Our Clinic", "über", "***", "a" * 200):
        check_name(model_name(text), home)


def test_a_network_that_cannot_be_trained_here_is_refused_with_a_way_out():
    card = default_card()
    stage = card.stage("organs")
    for turned in (replace(stage, transpose=(2, 0, 1)), replace(stage, orientation="SAR")):
        with pytest.raises(InputError, match="student configuration"):
            student_of(replace(card, stages=(turned,)))
    foreign = replace(stage, labels=("background", "other:lung", *stage.labels[2:]))
    with pytest.raises(InputError, match="other:lung"):
        student_of(replace(card, stages=(foreign,)))


def test_no_time_is_refused(home, request_for):
    with pytest.raises(InputError, match="minutes"):
        write_request(replace(request_for, minutes=0.0), home)
