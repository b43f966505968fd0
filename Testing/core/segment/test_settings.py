"""A person's choices: what is legal, what is said otherwise, and their way through JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.segment.settings import NAMES, Settings

EVERYTHING = Settings(
    model="m", organs=("liver",), device="cpu", threads=3, fast=True, cascade=False,
    precision="float32", home="/h", assume_hu=True, lesion_sensitivity=0.25,
)  # fmt: skip


def test_nothing_chosen_gives_the_defaults():
    assert Settings.from_dict({}) == Settings()
    assert Settings().problem is None


def test_organs_are_names_or_a_list_in_label_order():
    assert Settings.from_dict({"organs": "spleen,liver"}).organs == ("liver", "spleen")
    assert Settings.from_dict({"organs": ["IVC"]}).organs == ("inferior_vena_cava",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", ""),
        ("model", 3),
        ("model", None),
        ("organs", 7),
        ("organs", []),
        ("device", "gpu"),
        ("device", ["cpu"]),
        ("precision", "float64"),
        ("fast", 1),
        ("assume_hu", "yes"),
        ("fast", "yes"),
        ("cascade", None),
        ("threads", -1),
        ("threads", True),
        ("threads", 1.5),
        ("threads", 10**6),
        ("home", 1),
        ("home", ""),
        ("lesion_sensitivity", -0.1),
        ("lesion_sensitivity", 1.1),
        ("lesion_sensitivity", float("nan")),
        ("lesion_sensitivity", True),
        ("lesion_sensitivity", "0.5"),
    ],
)
def test_what_is_not_legal_is_named(name, value):
    with pytest.raises(InputError) as caught:
        Settings.from_dict({name: value})
    assert name in caught.value.parts[0]
    wrong = replace(Settings(), **{name: value})
    assert wrong.problem.parts == caught.value.parts
    assert all(wrong.problem.parts)


def test_a_misspelt_setting_gets_the_nearest():
    with pytest.raises(InputError, match="'threads'"):
        Settings.from_dict({"thread": 2})


def test_a_misspelt_organ_gets_the_nearest():
    with pytest.raises(InputError, match="spleen"):
        Settings.from_dict({"organs": "liver,splen"})


def test_every_choice_goes_through_json_and_comes_back():
    assert all(getattr(EVERYTHING, name) != getattr(Settings(), name) for name in NAMES)
    for chosen in (EVERYTHING, Settings()):
        words = json.loads(json.dumps(chosen.to_dict(), allow_nan=False))
        assert tuple(words) == NAMES == tuple(field.name for field in fields(Settings))
        assert Settings.from_dict(words) == chosen


def test_what_is_not_chosen_is_the_bases():
    found = Settings.from_dict({"fast": False, "organs": "spleen"}, EVERYTHING)
    assert found == replace(EVERYTHING, fast=False, organs=("spleen",))


def test_a_wrong_base_is_refused_too():
    with pytest.raises(InputError, match="threads"):
        Settings.from_dict({}, Settings(threads=-1))


def test_a_path_is_its_text():
    chosen = Settings(model=Path("/a/b"), home=Path("/h"))
    assert (chosen.model, chosen.home) == (str(Path("/a/b")), str(Path("/h")))


def test_choosing_needs_the_standard_library_only():
    code = (
        "import sys; import flare_core.segment.settings; "
        "print([m for m in ('torch', 'numpy', 'SimpleITK') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
