"""Scores that are gone are made again in the background, and strokes are followed once more."""

from __future__ import annotations

import json

import pytest
from FLARESegLib.correction.kept_scores import KeptScores
from FLARESegLib.scene.results import result_facts
from process_double import until
from stroke_worker import stroke_place

from flare_core.errors import InputError
from scene_nodes import show_result

pytest_plugins = ["process_fixtures"]
FACTS = {"model": "m", "settings": {"model": "m", "fast": True}, "scan": "/gone/volume.nrrd"}
THERE = {"address": "gpu:80", "token": "secret of these tests, long enough"}


class Desk:
    """Scores of a result, the worker that makes them, and what was told."""

    def __init__(self, node, volume, folder, on=None):
        self.node, self.folder = node, folder
        self.place = stroke_place(folder)
        self.worker = self.place.worker
        self.scores = KeptScores(self.place, node, volume, lambda: on)
        self.made: list[int] = []
        self.told: list[float | None] = []
        self.scores.made.connect(lambda: self.made.append(1))
        self.scores.changed.connect(lambda: self.told.append(self.scores.fraction))

    def settle(self) -> None:
        self.place.loop.pump(0.3)

    @property
    def commands(self) -> list[tuple]:
        return [(each["command"], each.get("recompute")) for each in self.worker.requests]


@pytest.fixture
def desk(add_volume, small_ct, tmp_path):
    """A function that makes one of a result with these facts."""

    def make(on=None, **facts):
        array, labels = small_ct
        volume = add_volume(array)
        node = show_result(volume, labels, facts={**FACTS, **facts})
        return Desk(node, volume, tmp_path / "files", on)

    (tmp_path / "files").mkdir()
    return make


def test_those_that_are_gone_are_made_from_the_ct_with_the_settings_of_the_run(desk):
    one = desk()
    one.worker.makes = object()
    one.scores.ensure()
    one.scores.ensure()  # once is enough
    until(one.place.loop, lambda: one.made)
    asked = one.worker.requests[-1]
    assert one.commands == [("scores", False), ("scores", True)]
    assert asked["settings"] == FACTS["settings"] and "on" not in asked
    assert result_facts(one.node)["scan"] == asked["scan"]
    assert one.told[0] == 0.0 and one.told[-1] is None
    one.settle()
    assert list(one.folder.iterdir()) == []
    one.scores.ensure()
    one.settle()
    assert one.commands[2:] == [("scores", False)]  # they are there


def test_those_that_are_there_are_left_alone(desk):
    one = desk()
    one.worker.last.remember(FACTS["scan"], object())
    one.scores.ensure()
    one.settle()
    assert one.commands == [("scores", False)] and one.told == []


def test_a_worker_that_is_not_there_is_not_asked_for_them_first(desk):
    one = desk()
    one.worker.ready = False
    one.scores.ensure()
    until(one.place.loop, lambda: one.worker.requests)
    assert one.commands == [("scores", True)]


def test_a_result_of_no_model_has_none(desk):
    one = desk(model=None)
    one.scores.ensure()
    one.settle()
    assert one.commands == [] and one.scores.problem is None


def test_those_that_are_too_large_are_not_made_again_and_again(desk):
    one = desk()
    for _ in range(3):
        one.scores.ensure()
        one.settle()
    assert one.commands == [("scores", False), ("scores", True)]
    assert one.made == [] and one.scores.fraction is None
    one.node.SetAttribute("FLARESeg.scan", json.dumps("/another/run.nrrd"))
    one.scores.ensure()
    one.settle()
    assert len(one.commands) == 4


def test_what_fails_is_kept_as_the_reason_and_not_tried_again(desk, monkeypatch):
    one = desk()
    error = {"event": "error", "kind": "input", "argument": "model", "came": "m", "legal": "x",
             "action": "Install it."}  # fmt: skip
    monkeypatch.setattr(one.worker, "_scores", lambda fields: dict(error) if fields["recompute"]
                        else {"event": "scores", "there": False})  # fmt: skip
    one.scores.ensure()
    one.settle()
    assert isinstance(one.scores.problem, InputError) and one.scores.fraction is None
    one.scores.ensure()
    one.settle()
    assert len(one.commands) == 2
    assert list(one.folder.iterdir()) == []


def test_those_that_gave_way_to_a_run_can_be_asked_for_again(desk, monkeypatch):
    one = desk()
    answers = {False: {"event": "scores", "there": False}, True: {"event": "cancelled"}}
    monkeypatch.setattr(one.worker, "_scores", lambda fields: answers[fields["recompute"]])
    one.scores.ensure()
    one.settle()
    assert one.scores.fraction is None and one.scores.problem is None
    one.scores.ensure()
    one.settle()
    assert len(one.commands) == 4


def test_only_the_server_that_has_seen_the_ct_gets_it_again(desk):
    for computed_on, expected in (("gpu:80", THERE), ("other:80", None), (None, None)):
        one = desk(THERE, computed_on=computed_on)
        one.scores.ensure()
        until(one.place.loop, lambda one=one: len(one.worker.requests) == 2)
        assert one.worker.requests[-1].get("on") == expected
        one.settle()


def test_closing_stops_it_and_removes_the_files(desk):
    one = desk()
    one.worker.hold = True
    one.scores.ensure()
    one.worker.held.pop()()
    until(one.place.loop, lambda: len(one.worker.requests) == 2)
    assert list(one.folder.iterdir())
    one.scores.close()
    one.settle()
    assert one.worker.cancelled == [2]
    assert list(one.folder.iterdir()) == []


def test_a_scene_that_is_closed_meanwhile_is_no_error(desk, scene):
    one = desk()
    one.scores.ensure()
    scene.Clear(0)
    one.settle()
    one.scores.close()
    assert one.made == [] and list(one.folder.iterdir()) == []


def test_the_real_worker_makes_them_again_after_its_end(follow, place, ct, stub_model):
    run, _ = follow(ct, model=stub_model)
    until(place.loop, lambda: run.over)
    node, told = run.segmentationNode, []
    place.worker.kill()
    until(place.loop, lambda: not place.worker.running)
    scores = KeptScores(place, node, ct, lambda: None)
    scores.made.connect(lambda: told.append(result_facts(node)["scan"]))
    scores.ensure()
    until(place.loop, lambda: told or scores.problem)
    assert scores.problem is None
    place.worker.request({"command": "scores", "scan": told[0]}, told.append)
    until(place.loop, lambda: len(told) == 2)
    assert told[1]["there"] is True
    scores.close()
