"""Files appear whole or not at all: write beside, flush to disk, rename.

A killed process leaves at most a hidden ``.part`` file, never half of a result under its name.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flare_core.errors import InputError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    The temporary name ends like `path` does, because writers choose the format by the suffix.

    Raises
    ------
    InputError
        If the folder does not exist or cannot be written, or the disk is full.
    """
    target = Path(path)
    part = target.with_name(f".{uuid.uuid4().hex[:8]}.part.{target.name}")
    try:
        yield part
        _flush_to_disk(part)
        os.replace(part, target)
    except OSError as error:
        raise InputError(
            str(target),
            f"writing failed: {error.strerror or error}",
            "a folder that exists, may be written and has free space",
            "Free space or choose another output folder, then run again; nothing was left behind.",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends to `path`, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _flush_to_disk(path: Path) -> None:
    """Make the renamed file survive a power cut (its bytes are on disk before its name is)."""
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())
