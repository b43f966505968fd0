"""How far a run is, also before it has begun; its folder is read by `train.rounds.status`.

Read from the files, not by ``flare rounds status``: a new process every two seconds would be felt.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from flare_core.errors import InputError
from flare_core.train.rounds.state import RunFolder
from flare_core.train.rounds.status import RunState, state_of
from FLARETrainLib.run.processes import is_launched
from FLARETrainLib.run.request import REQUEST

STATE, SETTINGS = "state.json", "settings.json"


def read_state(folder: Path) -> RunState:
    """Return the state of a run; one that has not begun yet is ``starting`` or ``failed``."""
    try:
        return with_start(state_of(RunFolder(folder)), folder)
    except InputError as error:
        return unread_state(folder, error)


def with_start(state: RunState, folder: Path) -> RunState:
    """Return the state, ``starting`` if a process was started that has not said anything yet."""
    waits = state.status not in ("running", "done") and is_launched(folder)
    return replace(state, status="starting") if waits else state


def unread_state(folder: Path, error: InputError) -> RunState:
    """Return the state of a run that cannot be read, as before its process has made it."""
    asked = _request(folder)
    strategy = asked.get("strategy")
    return RunState(
        name=str(asked.get("name", folder.name)),
        status="starting" if is_launched(folder) else "failed",
        message=f"{error.parts[0]}: {error.parts[1]}" if (folder / STATE).is_file() else "",
        rounds=asked["rounds"] if type(asked.get("rounds")) is int else 1,
        strategy=str(strategy.get("kind", "")) if isinstance(strategy, dict) else "",
        store=str(asked.get("store", "")),
    )


def _request(folder: Path) -> dict[str, object]:
    """Return what was asked for; empty if it cannot be read."""
    try:
        value = json.loads((folder / REQUEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def known_runs(runs: Path, most: int = 200) -> tuple[Path, ...]:
    """Return the folders of runs, the newest first."""
    try:
        found = [path for path in runs.iterdir() if path.is_dir()]
    except OSError:
        return ()
    named = [path for path in found if any((path / n).is_file() for n in (STATE, REQUEST))]
    return tuple(sorted(named, key=_changed, reverse=True)[:most])


def _changed(path: Path) -> float:
    """Return when a run was asked for."""
    files = [path / name for name in (REQUEST, SETTINGS)]
    return min((file.stat().st_mtime for file in files if file.is_file()), default=0.0)
