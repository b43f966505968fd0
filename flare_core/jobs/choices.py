"""From words (options of the command line, a JSON object) to checked `Settings`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flare_core.anatomy.organs import parse_organs
from flare_core.errors import InputError
from flare_core.segment.runtime import DEVICES, PRECISIONS

if TYPE_CHECKING:
    from flare_core.segment.pipeline import Settings

DEFAULTS: dict[str, Any] = {
    "model": "default",
    "organs": None,
    "device": "auto",
    "threads": 0,
    "fast": False,
    "cascade": True,
    "precision": "auto",
    "home": None,
    "assume_hu": False,
}
"""Every setting a run takes, by the name it has in JSON, and what it is when left out."""


def check_choices(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings by name, checked, with defaults filled in; loads nothing heavy.

    Raises
    ------
    InputError
        For an unknown name or a value that is not legal.

    Examples
    --------
    >>> check_choices({"organs": "spleen,liver"})["organs"]
    ('liver', 'spleen')
    """
    for name in choices:
        if name not in DEFAULTS:
            raise _unknown_setting(str(name))
    checked = {**DEFAULTS, **choices}
    checked["organs"] = _organ_keys(checked["organs"])
    for name in ("model", "home"):
        _check_text(name, checked[name])
    for name, legal in (("device", DEVICES), ("precision", PRECISIONS)):
        _check_one_of(name, checked[name], legal)
    for name in ("fast", "cascade", "assume_hu"):
        _check_one_of(name, checked[name], (True, False))
    _check_threads(checked["threads"])
    return checked


def settings_from(choices: Mapping[str, Any]) -> Settings:
    """Return the settings of a run from checked choices."""
    from flare_core.segment.pipeline import Settings

    checked = check_choices(choices)
    return Settings(
        model=checked["model"],
        organs=checked["organs"],
        device=checked["device"],
        threads=checked["threads"],
        fast=checked["fast"],
        cascade=checked["cascade"],
        precision=checked["precision"],
        home=checked["home"],
        assume_hu=checked["assume_hu"],
    )


def _unknown_setting(name: str) -> InputError:
    near = difflib.get_close_matches(name, DEFAULTS, n=1)
    action = f"Did you mean {near[0]!r}?" if near else "Leave it out."
    return InputError("settings", repr(name), f"one of {', '.join(DEFAULTS)}", action)


def _organ_keys(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (str, list, tuple)):
        raise InputError("organs", repr(value), 'names, as in "liver,spleen"', "Leave it out.")
    return tuple(organ.key for organ in parse_organs(value))


def _check_text(name: str, value: object) -> None:
    if not (isinstance(value, str) and value) and value is not DEFAULTS[name]:
        raise InputError(name, repr(value), "a name or a path", "Leave it out for the default.")


def _check_one_of(name: str, value: object, legal: tuple[object, ...]) -> None:
    if type(value) is not type(legal[0]) or value not in legal:
        names = ", ".join(map(str, legal)).replace("True, False", "true, false")
        raise InputError(name, repr(value), f"one of {names}", "Leave it out for the default.")


def _check_threads(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1024:
        raise InputError("threads", repr(value), "0 (automatic) to 1024", "Leave it out.")
