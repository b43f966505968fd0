from __future__ import annotations

import pytest

from flare_core.errors import InputError
from flare_core.jobs.choices import DEFAULTS, check_choices, settings_from


def test_nothing_chosen_gives_the_defaults():
    assert check_choices({}) == DEFAULTS


def test_organs_are_names_or_a_list_in_label_order():
    assert check_choices({"organs": "spleen,liver"})["organs"] == ("liver", "spleen")
    assert check_choices({"organs": ["IVC"]})["organs"] == ("inferior_vena_cava",)


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
    ],
)
def test_what_is_not_legal_is_named(name, value):
    with pytest.raises(InputError) as caught:
        check_choices({name: value})
    assert name in caught.value.parts[0]


def test_a_misspelt_setting_gets_the_nearest():
    with pytest.raises(InputError, match="'threads'"):
        check_choices({"thread": 2})


def test_a_misspelt_organ_gets_the_nearest():
    with pytest.raises(InputError, match="spleen"):
        check_choices({"organs": "liver,splen"})


def test_settings_carry_every_choice():
    choices = {"model": "m", "organs": "liver", "device": "cpu", "threads": 3}
    more = {"fast": True, "cascade": False, "precision": "float32", "home": "/h"}
    settings = settings_from({**choices, **more})
    assert (settings.model, settings.organs, settings.device) == ("m", ("liver",), "cpu")
    assert (settings.threads, settings.fast, settings.cascade) == (3, True, False)
    assert (settings.precision, settings.home) == ("float32", "/h")
    assert not settings.assume_hu
    assert settings_from({"assume_hu": True}).assume_hu
