"""What tells that a scan on disk is no longer the same: its files' paths, sizes and times."""

from __future__ import annotations

import os
from pathlib import Path

HEADERS = (".mhd", ".nhdr")
"""Suffixes of headers whose voxels lie in a file beside them."""


def file_facts(path: Path) -> list[str | int]:
    """Return path, bytes and time of a file; also of its voxels beside it, or of a folder's files.

    Voxels beside a header are taken to lie under its name, as programs write them.

    Raises
    ------
    OSError
        If there is no such file.
    """
    facts: list[str | int] = []
    for each in (path, *_further(path)):
        stat = each.stat()
        facts += [str(each.resolve()), stat.st_size, stat.st_mtime_ns]
    return facts


def _further(path: Path) -> list[Path]:
    """Return the files that belong to a folder or header, sorted."""
    if path.is_dir():
        return sorted(Path(top, name) for top, _, names in os.walk(path) for name in names)
    if path.suffix.lower() not in HEADERS:
        return []
    named = (each for each in path.parent.iterdir() if each.name.startswith(f"{path.stem}."))
    return sorted(each for each in named if each.is_file() and each != path)
