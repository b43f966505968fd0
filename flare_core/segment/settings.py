"""What a person may choose for a run: one object, from panel, command line and worker to here.

Standard library only, so that whoever only chooses waits for neither torch nor numpy. In JSON the
object has the names of its fields; a choice that is left out is the default.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from flare_core.anatomy.organs import parse_organs
from flare_core.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bf16", "fp16")

MOST_THREADS = 1024


@dataclass(frozen=True)
class Settings:
    """What a person may choose. The defaults are right for a clinic's computer.

    Making one checks nothing, as a panel may hold half a choice; `check` and `problem` do.
    """

    model: str = "default"
    """Name of a model, ``name@version``, or a package folder."""
    organs: tuple[str, ...] | None = None
    """Organ keys wanted; None is all the model knows."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    threads: int = 0
    """CPU threads; 0 is all this process may use."""
    fast: bool = False
    """Quicker and a little less exact: tiles without overlap, one look for lesions."""
    cascade: bool = True
    """False: the organ stage looks at the whole body, without the localiser."""
    precision: str = "auto"
    """``auto``, ``float32``, ``bf16`` or ``fp16``."""
    home: str | None = None
    """Folder of installed models; None is ~/.flareseg."""
    assume_hu: bool = False
    """The values are HU, however they look; a note says what speaks against it."""
    lesion_sensitivity: float | None = None
    """How readily a voxel is a lesion, 0 (hardly ever) to 1; None is the model's own threshold."""

    def __post_init__(self) -> None:
        """Keep a path as the text it is in JSON."""
        for name in ("model", "home"):
            value = getattr(self, name)
            if isinstance(value, os.PathLike):
                object.__setattr__(self, name, os.fspath(value))

    @property
    def problem(self) -> InputError | None:
        """Why these cannot be used, in four parts; None if they can.

        Examples
        --------
        >>> Settings(device="gpu").problem.parts[2]
        'one of auto, cpu, cuda, mps'
        >>> Settings().problem is None
        True
        """
        try:
            self.check()
        except InputError as error:
            return error
        return None

    def check(self) -> None:
        """Refuse a value that is not legal; whether a model or device is there is found out later.

        Raises
        ------
        InputError
            For the first such value.
        """
        _check_text("model", self.model)
        _organ_keys(self.organs)
        _check_one_of("device", self.device, DEVICES)
        _check_threads(self.threads)
        for name in ("fast", "cascade", "assume_hu"):
            _check_one_of(name, getattr(self, name), (True, False))
        _check_one_of("precision", self.precision, PRECISIONS)
        if self.home is not None:
            _check_text("home", self.home)
        if self.lesion_sensitivity is not None:
            _check_share("lesion_sensitivity", self.lesion_sensitivity)

    def to_dict(self) -> dict[str, Any]:
        """Return every choice by its name, as plain values for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "organs": None if self.organs is None else list(self.organs)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], base: Settings | None = None) -> Settings:
        """Return checked settings from choices by name, as in a JSON object.

        Parameters
        ----------
        values : mapping
            Some choices; organs may be names in one text or a list.
        base : Settings, optional
            What counts where nothing is chosen; the defaults, if left out.

        Raises
        ------
        InputError
            For an unknown name or a value that is not legal.

        Examples
        --------
        >>> Settings.from_dict({"organs": "spleen,liver"}).organs
        ('liver', 'spleen')
        """
        for name in values:
            if name not in NAMES:
                raise _unknown_setting(str(name))
        made = replace(base or cls(), **values)
        made.check()
        return replace(made, organs=_organ_keys(made.organs))


NAMES = tuple(field.name for field in fields(Settings))
"""Every choice by the name it has in JSON."""


def _unknown_setting(name: str) -> InputError:
    near = difflib.get_close_matches(name, NAMES, n=1)
    action = f"Did you mean {near[0]!r}?" if near else "Leave it out."
    return InputError("settings", repr(name), f"one of {', '.join(NAMES)}", action)


def _organ_keys(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (str, list, tuple)):
        raise InputError("organs", repr(value), 'names, as in "liver,spleen"', "Leave it out.")
    return tuple(organ.key for organ in parse_organs(value))


def _check_text(name: str, value: object) -> None:
    if not (isinstance(value, str) and value):
        raise InputError(name, repr(value), "a name or a path", "Leave it out for the default.")


def _check_one_of(name: str, value: object, legal: tuple[object, ...]) -> None:
    if type(value) is not type(legal[0]) or value not in legal:
        names = ", ".join(map(str, legal)).replace("True, False", "true, false")
        raise InputError(name, repr(value), f"one of {names}", "Leave it out for the default.")


def _check_threads(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_THREADS:
        legal = f"0 (automatic) to {MOST_THREADS}"
        raise InputError("threads", repr(value), legal, "Leave it out.")


def _check_share(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InputError(name, repr(value), "a number from 0 to 1", "Leave it out for the default.")
