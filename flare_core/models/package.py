"""A model as files: a folder of ``card.json`` and safetensors weights (`archive`: one zip of it).

Invariants: a package appears whole or not at all; a version that exists never changes; weights
are used only if their SHA-256 is the card's; nothing in a package is ever executed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core import alive
from flare_core.atomic import sha256_of, write_bytes, write_text
from flare_core.errors import InputError
from flare_core.home import ROOM, Home, open_home
from flare_core.models.card import CARD_FILE, CATALOGUE, ModelCard, StageCard, WeightsFile
from flare_core.models.in_use import model_in_use
from flare_core.paths import usable_path

if TYPE_CHECKING:
    from torch import Tensor

UNREADABLE = (
    OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError,
    MemoryError,
)  # fmt: skip
"""What reading weights raises beside its own error: types that torch lacks, sizes beyond it."""

MAX_CARD_BYTES = 4 * 2**20
"""A card is text; a larger one is not a card."""


@dataclass(frozen=True)
class Package:
    """A verified model on disk."""

    card: ModelCard
    """What it is."""
    folder: Path
    """Where it is; its files match the hashes in the card."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the card, which holds the hashes of the weights: names the whole model."""
        return hashlib.sha256(self.card.to_json().encode()).hexdigest()

    def weights_path(self, stage: StageCard | str) -> Path:
        """File of the stage's first (mostly only) weights."""
        return self.weights_paths(stage)[0]

    def weights_paths(self, stage: StageCard | str) -> tuple[Path, ...]:
        """Files of all folds of the stage, the first fold first.

        Raises
        ------
        InputError
            If the model has no such stage.
        """
        name = stage if isinstance(stage, str) else stage.name
        found = self.card.stage(name)
        if found is None:
            raise InputError(
                "stage", name, ", ".join(stage.name for stage in self.card.stages),
                f"Choose a stage that model {self.card.name} {self.card.version} has.",
            )  # fmt: skip
        return tuple(self.folder / weights.file for weights in found.weights_files)


def load_package(model: str | os.PathLike[str], *, home: Home | None = None) -> Package:
    """Find a model, read its card and verify its weights.

    Parameters
    ----------
    model : str or path
        A name in `CATALOGUE`; an installed ``name`` (the version in use: `in_use`; else the
        newest) or ``name@version``; or
        a package folder (a text with a slash or a leading dot is always a folder).
    home : Home, optional
        Where models are installed; the default home if None.

    Raises
    ------
    InputError
        If there is no such model, its card is not usable, or a weights file is missing, of
        another size, or of another SHA-256 than the card says.
    """
    usable_path(Path(model), "model")
    folder = _find(model, home)
    card = read_card(folder)
    for weights in card.weights_files:
        verify(folder / weights.file, weights)
    return Package(card, folder)


def read_card(folder: Path) -> ModelCard:
    """Read the card in a package folder without looking at its weights.

    Raises
    ------
    InputError
        If there is none, or it is not usable.
    """
    path = folder / CARD_FILE
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise unsound(path, "no file", f"a model package with its {CARD_FILE}")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        came = error.strerror or str(error)
        raise unsound(path, came, f"a model package with its {CARD_FILE}") from error
    return parse_card(data, path)


def parse_card(data: bytes, path: Path) -> ModelCard:
    """Read a card from the bytes of a file; `path` is for the error.

    Raises
    ------
    InputError
        If they are too many, not text, or not a usable card.
    """
    if len(data) > MAX_CARD_BYTES:
        raise unsound(path, "a larger card", f"at most {MAX_CARD_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise unsound(path, str(error), "a card in UTF-8") from error
    return ModelCard.from_json(text, where=str(path))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name, in the type they are stored in (float32, float16 or bfloat16).

    Raises
    ------
    InputError
        If the file is not a safetensors file.
    """
    from safetensors import SafetensorError  # torch is loaded here and not before
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise unsound(path, f"not readable: {error}", "a safetensors file") from error
    except UNREADABLE as error:
        raise unsound(path, f"not readable: {error}", "a safetensors file") from error


def write_package(
    folder: str | os.PathLike[str], card: ModelCard, tensors: Mapping[str, Mapping[str, Tensor]]
) -> Package:
    """Write a package folder, whole or not at all, and fill sizes and hashes into its card.

    Parameters
    ----------
    folder : path
        The package folder; must not exist yet. Its parents are created.
    card : ModelCard
        Its stages name the files; their sizes and hashes are replaced.
    tensors : mapping of str to mapping of str to Tensor
        Tensors by name for each stage name; for a further fold, for its file name. They are
        stored in the type they come in.

    Raises
    ------
    InputError
        If the folder exists, cannot be written, or `tensors` does not fit the card's stages.
    """
    from safetensors.torch import save

    usable_path(Path(folder), "package", room=ROOM)
    named = _match_tensors(card, tensors)
    sealed: dict[str, WeightsFile] = {}
    with new_folder(Path(folder)) as part:
        for file, by_name in named.items():
            data = save({key: value.detach().cpu().contiguous() for key, value in by_name.items()})
            write_bytes(part / file, data)
            sealed[file] = WeightsFile(file, hashlib.sha256(data).hexdigest(), len(data))
        card = replace(card, stages=tuple(_seal(stage, sealed) for stage in card.stages))
        write_text(part / CARD_FILE, card.to_json())
    return Package(card, Path(folder))


def verify(path: Path, expected: WeightsFile) -> None:
    """Check that a file has the size and SHA-256 its card states.

    The hash is computed once per process for a file that does not change (path, size, time).

    Raises
    ------
    InputError
        If the file is missing or differs, or the card states no hash.
    """
    try:
        found = path.stat()
        if not path.is_file():  # a pipe would be waited for
            raise unsound(path, "no file", "a weights file")
        if expected.size_bytes and found.st_size != expected.size_bytes:
            legal = f"{expected.size_bytes} bytes, as its card states"
            raise unsound(path, f"{found.st_size} bytes", legal)
        digest = _sha256(str(path), found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise unsound(path, error.strerror or str(error), "a readable weights file") from error
    if digest != expected.sha256:
        legal = f"SHA-256 {expected.sha256 or '(the card states none)'}"
        raise unsound(path, f"SHA-256 {digest}", legal)


def unsound(path: Path, came: str, legal: str) -> InputError:
    """Error about a package that is damaged or is not one."""
    return InputError(
        str(path), came, legal,
        "Do not use this model: delete it and install it again from where it came"
        " (for the built-in model, reinstall FLARESeg).",
    )  # fmt: skip


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder that becomes the package `target`, as `alive.new_folder` does.

    Raises
    ------
    InputError
        If `target` exists already, even empty, or its parent cannot be written.
    """
    if os.path.lexists(target):
        raise exists_already(target)
    with alive.new_folder(target) as part:
        yield part


def exists_already(target: Path) -> InputError:
    """Error about a package that would be overwritten."""
    return InputError(
        str(target), "exists already", "a new name or version: a package never changes",
        "Raise the version in the card, choose another place, or delete the old one first.",
    )  # fmt: skip


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """`sha256_of`, remembered as long as size and time of the file stay the same."""
    return sha256_of(Path(path))


def sweep_models(models: Path) -> None:
    """Remove what killed installations and removals left among the installed models."""
    for pattern in (".????????.part.*", ".*.removed"):
        places = {left.parent for left in models.glob(f"*/{pattern}")}
        alive.sweep(models, f"*/{pattern}")
        alive.remove_empty(sorted(places))


def installed_models(home: Home) -> tuple[tuple[str, str], ...]:
    """(name, version) of the models installed in `home`, by name, then oldest version first."""
    found = [path.parent for path in home.models.glob(f"[!.]*/[!.]*/{CARD_FILE}")]
    pairs = [(folder.parent.name, folder.name) for folder in found]
    return tuple(sorted(pairs, key=lambda pair: (pair[0], version_order(pair[1]))))


def version_order(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Sorting key of a version: numbers count as numbers, and 1.0-beta comes before 1.0.

    Examples
    --------
    >>> sorted(["1.10", "1.9", "1.10-beta"], key=version_order)
    ['1.9', '1.10-beta', '1.10']
    """
    numbers, _, suffix = version.partition("-")
    return tuple(int(part) for part in re.findall(r"\d+", numbers)), not suffix, suffix


def _find(model: str | os.PathLike[str], home: Home | None) -> Path:
    """Folder of the model: catalogue, then home, then a folder of that name."""
    text = os.fspath(model)
    if isinstance(model, os.PathLike) or re.match(r"[.~]|.*[/\\]", text):
        return _existing_folder(Path(os.path.expanduser(text)))
    if text in CATALOGUE:
        return CATALOGUE[text].folder
    home = open_home() if home is None else home
    name, asked, version = text.partition("@")
    versions = [known for known in installed_models(home) if known[0] == name]
    if versions and not asked:
        chosen = model_in_use(home, name)
        if chosen and (tuple(chosen.split("@")) in versions or os.path.isdir(chosen)):
            return _find(chosen, home)
        return home.model(*versions[-1])  # also where the one in use was removed since
    if (name, version) in versions:
        return home.model(name, version)
    if name in CATALOGUE and read_card(CATALOGUE[name].folder).version == version:
        return CATALOGUE[name].folder
    if os.path.isdir(text):
        return Path(text)
    raise _unknown_model(text, home)


def _existing_folder(path: Path) -> Path:
    if os.path.isdir(path):
        return path
    came = f"{path} is a file" if os.path.exists(path) else f"{path} does not exist"
    action = "Correct the path; a zip has to be installed first, then named by its name."
    raise InputError("model", came, f"a folder with a {CARD_FILE}", action)


def _unknown_model(text: str, home: Home) -> InputError:
    names = [*CATALOGUE, *(f"{name}@{version}" for name, version in installed_models(home))]
    action = f"Choose one of these, or install the model into {home.models} first."
    return InputError("model", text, ", ".join(names) + ", or a package folder", action)


def _match_tensors(
    card: ModelCard, tensors: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, Mapping[str, Tensor]]:
    """Tensors by file name; each file of the card must have some, and none may be left over."""
    keys = {stage.weights: stage.name for stage in card.stages}
    keys |= {fold.file: fold.file for stage in card.stages for fold in stage.folds}
    if set(keys.values()) != set(tensors):
        raise InputError(
            "tensors", ", ".join(sorted(tensors)) or "none", ", ".join(keys.values()),
            "Give the tensors of every stage (and of every further fold, by file name).",
        )  # fmt: skip
    return {file: tensors[key] for file, key in keys.items()}


def _seal(stage: StageCard, sealed: Mapping[str, WeightsFile]) -> StageCard:
    first = sealed[stage.weights]
    return replace(
        stage, sha256=first.sha256, size_bytes=first.size_bytes,
        folds=tuple(sealed[fold.file] for fold in stage.folds),
    )  # fmt: skip
