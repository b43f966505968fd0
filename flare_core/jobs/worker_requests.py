"""The worker's requests: one line of JSON to a checked command, or an error saying what is wrong.

The protocol itself is described in `flare_core.jobs.worker`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os.path import realpath
from pathlib import Path
from typing import Any

from flare_core.anatomy.label_schemes import scheme
from flare_core.errors import InputError
from flare_core.jobs.one_case import Job
from flare_core.jobs.outputs import OUR_SCHEME, USUAL, check_names, check_outputs, output_paths
from flare_core.paths import usable_path

Id = str | int | None
Fields = Mapping[str, Any]

FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "segment": {
        "input": (str,),
        "output": (str,),
        "settings": (dict,),
        "outputs": (list,),
        "series": (str, type(None)),
        "scheme": (str,),
    },
    "preload": {"settings": (dict,)},
    "cancel": {"target": (str, int)},
    "ping": {},
    "shutdown": {},
}
"""Which fields each command has beside `id` and `command`, and their types."""

REQUIRED = {"segment": ("id", "input", "output"), "cancel": ("target",)}
"""Fields that must be there."""


def parse(line: str) -> Fields:
    """Return the JSON object of a line.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _bad_request(f"not JSON ({error})") from error
    if not isinstance(request, dict):
        raise _bad_request(f"JSON of type {type(request).__name__}")
    return request


def request_id(request: Fields) -> Id:
    """Return the request's id, or None if it has none.

    Raises
    ------
    InputError
        If it is neither text nor a whole number.
    """
    name = request.get("id")
    if name is not None and (not isinstance(name, (str, int)) or isinstance(name, bool)):
        raise InputError("id", repr(name), "a text or a whole number", "Choose another id.")
    return name


def check_request(request: Fields) -> None:
    """Check that the command is known and its fields are there and of the right type.

    Raises
    ------
    InputError
        If not.
    """
    command = request.get("command")
    if not isinstance(command, str) or command not in FIELDS:
        raise InputError(
            "command", repr(command), f"one of {', '.join(FIELDS)}", "Correct the request."
        )
    for name in REQUIRED.get(command, ()):
        if request.get(name) is None:
            raise InputError(name, "nothing", f"a value, for {command}", "Add the field.")
    legal = FIELDS[command]
    for name, value in request.items():
        if name in ("id", "command"):
            continue
        if name not in legal:
            names = ", ".join(["id", "command", *legal])
            raise InputError(name, f"{value!r}", f"fields: {names}", "Leave the field out.")
        if not isinstance(value, legal[name]) or isinstance(value, bool):
            types = " or ".join(kind.__name__ for kind in legal[name])
            raise InputError(name, f"{value!r}", types, "Correct the field.")


def job_of(request: Fields) -> Job:
    """Return the case a segment request asks for.

    Raises
    ------
    InputError
        If an unknown output is wanted or an input would be written over.
    """
    from flare_core.imaging.inputs import case_name

    outputs = check_outputs(request.get("outputs", USUAL))
    for name in ("input", "output"):
        usable_path(request[name], name)
    scan = Path(request["input"])
    case = case_name(scan)
    paths = output_paths(request["output"], case)
    check_names(paths.files(outputs).values())
    if any(realpath(path) == realpath(scan) for path in paths.files(outputs).values()):
        raise InputError(
            "output", str(paths.labels), "a file that is not the input", "Choose another output."
        )
    numbers = scheme(request.get("scheme", OUR_SCHEME)).key
    return Job(case, scan, paths, request.get("series"), outputs, numbers)


def _bad_request(came: str) -> InputError:
    action = "Send one JSON object per line, with a command."
    return InputError("request", came, '{"id": 1, "command": "segment", ...}', action)
