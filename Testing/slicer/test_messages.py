from __future__ import annotations

import pytest
from FLARESegLib.run.failures import RunFailed, Stopped, error_of
from FLARESegLib.run.messages import error_text, kind_of, progress_text, stage_text, time_left_text
from FLARESegLib.run.run import EXPORTING, IMPORTING, RUNNING, STARTING, STOPPING

from flare_core.errors import InputError, NothingFound
from flare_core.segment.progress import SHARES


def test_every_stage_of_a_run_has_words():
    for stage in (STARTING, EXPORTING, RUNNING, IMPORTING, STOPPING, *SHARES):
        assert stage_text(stage) != stage, stage
    for stage in ("load image", "load model", "reading the scan", "loading the model", "writing"):
        assert stage_text(stage) != stage


def test_the_steps_of_another_computer_have_words():
    from flare_core.jobs.remote.client import PLACE

    place = PLACE.format(position=3, of=5)
    assert progress_text(place, 0.2, None) == "Position 3 of 5 in the server's queue - 20 %"
    for stage in ("packing the scan", "sending the scan", "receiving the result"):
        assert stage_text(stage) != stage


@pytest.mark.parametrize("came", [
    "the connection was cut", "no space left on its disk", "the memory is not enough: out of memory"
])  # fmt: skip
def test_what_another_computer_fails_with_is_no_fault_of_this_one(came):
    error = InputError("server 10.0.0.1:80: model", came, "a server", "Run it again.")
    assert kind_of(error) == "input"
    assert error_text(error).startswith("Run it again.")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (0.4, "a few seconds left"),
        (31, "about 30 s left"),
        (89, "about 90 s left"),
        (600, "about 10 min left"),
    ],
)
def test_time_left_is_as_exact_as_it_can_be(seconds, text):
    assert time_left_text(seconds) == text


def test_progress_without_an_estimate_has_no_empty_part():
    assert progress_text("organs", 0.5, None) == "Segmenting the organs - 50 %"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RunFailed("out_of_memory", "killed"), "out of memory"),
        (RunFailed("worker_died", "code -11"), "ended unexpectedly"),
        (RunFailed("declined", "no"), "Press Apply and accept"),
        (RunFailed("missing", "torch>=2.4"), "packages that FLARESeg needs are missing"),
        (RunFailed("restart", "now"), "Restart Slicer"),
        (RunFailed("install", "pip exit 1"), "installation failed"),
        (NothingFound("no organ"), "No abdominal organ"),
        (Stopped(), "Stopped"),
        (Stopped("scene_closed"), "scene was closed"),
        (Stopped("node_removed"), "removed"),
        (MemoryError(), "out of memory"),
        (OSError(28, "No space left on device"), "disk for temporary files is full"),
        (InputError("--model", "x", "default", "Choose one."), "model is missing or damaged"),
        (InputError("/m/weights.safetensors", "bad hash", "", ""), "model is missing or damaged"),
        (error_of({"kind": "internal", "came": "the memory is not enough"}), "out of memory"),
    ],
)
def test_an_error_becomes_a_sentence_that_says_what_to_do(error, words):
    text = error_text(error)
    assert words in text
    assert "Traceback" not in text


def test_an_input_error_says_its_action_first():
    text = error_text(InputError("input", "an MR volume", "a CT in HU", "Choose the CT."))
    assert text == "Choose the CT. (input: an MR volume; needed: a CT in HU)"


def test_what_is_unknown_is_shown_as_it_is():
    assert error_text(RunFailed("internal", "Something failed: KeyError: 3")).startswith(
        "Something"
    )
    assert kind_of(ValueError("odd")) == "internal"
    assert error_text(ValueError()) == "ValueError"
