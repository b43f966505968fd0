"""A model package as one zip file: packed here, installed elsewhere.

A zip comes from anywhere, so it is judged from its table of contents before a byte is unpacked.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from flare_core.alive import held_file, sweep_files
from flare_core.atomic import atomic_path, write_text
from flare_core.errors import InputError
from flare_core.home import Home, ensure_folder, open_home
from flare_core.models.card import CARD_FILE, ModelCard
from flare_core.models.package import (
    MAX_CARD_BYTES,
    Package,
    exists_already,
    new_folder,
    parse_card,
    sweep_models,
    unsound,
    verify,
)
from flare_core.paths import usable_path

MAX_WEIGHTS_BYTES = 4 * 2**30
"""Largest weights file installed from a zip; segmentation networks so far stay near 1 GiB."""

MAX_RATIO = 200
"""A zip entry that shrinks more than this is a bomb; weights shrink by less than 10."""

PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How entries of a zip may be packed; other ways ask for memory as they like."""

ZIP_ERRORS = (
    OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, KeyError,
    IndexError, TypeError, OverflowError, MemoryError, struct.error,
)  # fmt: skip
"""What zipfile raises on a damaged archive (ValueError: an offset beyond the file's end,
RuntimeError: an encrypted entry or a way of packing that is not known)."""


def pack(package: Package, path: str | os.PathLike[str]) -> Path:
    """Write a package as one zip file, to be installed elsewhere with `install`.

    Raises
    ------
    InputError
        If the file exists already or cannot be written.
    """
    target = usable_path(Path(path), "package")
    if target.exists():
        raise exists_already(target)
    ensure_folder(target.parent)
    names = [CARD_FILE, *(weights.file for weights in package.card.weights_files)]
    sweep_files(target, files_s=None)
    with (
        atomic_path(target) as part,
        held_file(part) as stream,
        zipfile.ZipFile(stream, "w") as archive,
    ):
        for name in names:
            # A fixed date: the same package gives the same zip
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with (
                (package.folder / name).open("rb") as source,
                archive.open(entry, "w", force_zip64=True) as sink,
            ):
                shutil.copyfileobj(source, sink)
    return target


def install(path: str | os.PathLike[str], *, home: Home | None = None) -> Package:
    """Install a zip made by `pack` under ``models/NAME/VERSION``; other versions stay.

    Only the card and the weights it names are accepted, at the sizes and hashes it states, so a
    path that leaves the folder, a link, a bomb or a program is refused before it is written.

    Raises
    ------
    InputError
        If the zip is not a sound package, or that version is installed already.
    """
    source = usable_path(Path(path), "package")
    home = open_home() if home is None else home
    if source.exists() and not source.is_file():  # a pipe would be waited for
        raise unsound(source, "no file", "a zip that FLARESeg packed")
    sweep_models(home.models)
    try:
        with zipfile.ZipFile(source) as archive:
            card = _card_in(archive, source)
            _check_entries(archive, card, source)
            folder = home.model(card.name, card.version)
            with new_folder(folder) as part:
                _unpack(archive, card, part)
    except InputError:
        raise
    except ZIP_ERRORS as error:
        raise unsound(source, f"not readable: {error}", "a zip that FLARESeg packed") from error
    return Package(card, folder)


def _card_in(archive: zipfile.ZipFile, source: Path) -> ModelCard:
    if CARD_FILE not in archive.namelist():
        raise unsound(source, f"no {CARD_FILE} at its top", "a zip that FLARESeg packed")
    reason = _strange(archive.getinfo(CARD_FILE))
    if reason:
        raise unsound(source, f"{CARD_FILE}: {reason}", "plain files")
    with archive.open(CARD_FILE) as stream:
        return parse_card(stream.read(MAX_CARD_BYTES + 1), source / CARD_FILE)


def _check_entries(archive: zipfile.ZipFile, card: ModelCard, source: Path) -> None:
    """Refuse a zip with anything but the card and its weights, before anything is unpacked."""
    allowed = {CARD_FILE: 0} | {weights.file: weights.size_bytes for weights in card.weights_files}
    names = [entry.filename for entry in archive.infolist()]
    if sorted(names) != sorted(allowed):
        strange = sorted(set(names) ^ set(allowed)) or ["a file that comes twice"]
        came = f"a zip with {', '.join(repr(name) for name in strange[:5])} missing or not expected"
        raise unsound(source, came, f"exactly {', '.join(sorted(allowed))}")
    for entry in archive.infolist():
        reason = _fault(entry, allowed[entry.filename])
        if reason:
            raise unsound(source, f"{entry.filename}: {reason}", "plain files, sizes as stated")


def _fault(entry: zipfile.ZipInfo, size: int) -> str:
    """Why an entry is refused, empty if it is sound; `size` 0 means that the card states none."""
    if strange := _strange(entry):
        return strange
    if entry.file_size > MAX_WEIGHTS_BYTES or (size and entry.file_size != size):
        return f"{entry.file_size} bytes instead of {size or MAX_WEIGHTS_BYTES}"
    if entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
        return f"{entry.compress_size} bytes that would unpack to {entry.file_size}"
    return ""


def _strange(entry: zipfile.ZipInfo) -> str:
    """Why an entry is not even looked into; empty if it is a plain file."""
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "a link or another special file"
    if entry.flag_bits & 1:
        return "encrypted"
    return "" if entry.compress_type in PACKINGS else "an unusual compression"


def _unpack(archive: zipfile.ZipFile, card: ModelCard, folder: Path) -> None:
    # zipfile stops at the size the entry states, which was checked; a longer stream is an error
    for weights in card.weights_files:
        with (
            archive.open(weights.file) as source,
            atomic_path(folder / weights.file) as part,
            part.open("wb") as sink,
        ):
            shutil.copyfileobj(source, sink)
        verify(folder / weights.file, weights)
    write_text(folder / CARD_FILE, card.to_json())
