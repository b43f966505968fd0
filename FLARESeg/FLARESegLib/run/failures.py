"""What a run can fail with: exceptions with a `kind` that the panel has a sentence for.

An input that cannot be used is `flare_core.errors.InputError`, a scan without abdomen
`NothingFound`; the rest is here.
"""

from __future__ import annotations

from typing import Any

from flare_core.errors import Cancelled, FlareError, InputError, NothingFound


class RunFailed(FlareError):
    """A run that ended without a result, and not because of its input.

    Parameters
    ----------
    kind : str
        ``worker_died``, ``out_of_memory`` or ``internal``; for installing, ``declined``,
        ``restart``, ``extension`` or ``install``.
    message : str
        What happened and what to do, for a person.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Stopped(Cancelled):
    """A run that somebody stopped; nothing of it is in the scene.

    Parameters
    ----------
    kind : str
        Why: ``cancelled``, ``scene_closed``, ``node_removed`` or ``shutdown``.
    """

    def __init__(self, kind: str = "cancelled") -> None:
        super().__init__(f"The run was stopped ({kind.replace('_', ' ')}).")
        self.kind = kind


def error_of(answer: dict[str, Any]) -> FlareError:
    """Return the exception for a worker's error.

    Examples
    --------
    >>> answer = {"kind": "input", "argument": "--model", "came": "x", "legal": "y", "action": "z"}
    >>> error_of(answer).parts
    ('--model', 'x', 'y', 'z')
    >>> error_of({"kind": "internal", "came": "the memory is not enough", "message": "Oh."}).kind
    'out_of_memory'
    """
    kind, came = answer.get("kind"), str(answer.get("came", ""))
    if kind == "input":
        return InputError(
            *(str(answer.get(k, "")) for k in ("argument", "came", "legal", "action"))
        )
    if kind == "nothing_found":
        return NothingFound(came)
    if "memory is not enough" in came:
        kind = "out_of_memory"
    return RunFailed(str(kind), str(answer.get("message") or came))
