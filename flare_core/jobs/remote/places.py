"""What a server says, without where things lie on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flare_core.home import open_home
from flare_core.segment.settings import Settings

PACKAGE = Path(__file__).resolve().parents[2]
"""Folder of flare_core."""


def places_of(own: Settings, folder: Path) -> dict[str, str]:
    """Return a server's own paths -> what is told instead, the longest path first.

    Parameters
    ----------
    own : Settings
        The server's.
    folder : Path
        Where scans lie meanwhile.
    """
    told = {
        str(open_home(own.home).path): "(the server's models)",
        str(folder): "(the server's scans)",
        str(PACKAGE): "(the server's FLARESeg)",
        sys.executable: "(the server's Python)",
        sys.prefix: "(the server's Python)",
    }
    if own.home:
        told[str(own.home)] = "(the server's models)"
    model = os.path.expanduser(own.model)
    if os.sep in model or os.path.isdir(model):
        told |= dict.fromkeys((own.model, os.path.abspath(model)), "(the server's model)")
    long = sorted((path for path in told if len(path) > 1), key=len, reverse=True)
    return {path: told[path] for path in long}


def without_places(said: Any, places: Mapping[str, str]) -> Any:
    """Return a message without a server's own paths, in whatever text of it they stand.

    Examples
    --------
    >>> without_places({"a": ["no /srv/m here", 3]}, {"/srv/m": "(the server's model)"})
    {'a': ["no (the server's model) here", 3]}
    """
    if isinstance(said, str):
        for path, instead in places.items():
            said = said.replace(path, instead)
        return said
    if isinstance(said, Mapping):
        return {key: without_places(value, places) for key, value in said.items()}
    if isinstance(said, Iterable) and not isinstance(said, (bytes, bytearray)):
        return [without_places(value, places) for value in said]
    return said
