"""Install a public model: fetch or take its files, convert each, and make one package of them.

Invariant: the model appears whole or not at all; what was downloaded stays in the cache, so that a
second attempt fetches nothing twice. Where a publisher gives no hash, the one of the first download
is kept (`KNOWN_FILE`) and demanded ever after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.alive import scratch
from flare_core.atomic import sha256_of
from flare_core.errors import InputError
from flare_core.home import Home, ensure_folder
from flare_core.json_fields import read_json_file
from flare_core.models.catalogue import PublicModel, StageArchive
from flare_core.models.combine import Chosen, Facts, combine
from flare_core.models.download import DownloadListener, download
from flare_core.models.nnunet.convert import About, import_nnunet
from flare_core.models.package import Package, exists_already, sweep_models
from flare_core.models.remote_file import RemoteFile
from flare_core.wording import many

KNOWN_FILE = "downloads.json"
"""In the home folder: address -> size and SHA-256 at the first download."""


SCRATCH = "import-"
"""Beginning of the names of folders in the cache in which models are converted."""


@dataclass(frozen=True)
class InstallOptions:
    """How a public model is to be installed."""

    files: tuple[Path, ...] = ()
    """Files that the user brought, one for each archive, in the catalogue's order or told apart by
    name; empty: they are downloaded."""
    mirror: str | None = None
    """Address of a folder that holds the publisher's files under their names."""
    exact: bool = False
    """Labels as nnU-Net's own predictor gives them, slower."""
    watch: DownloadListener = field(default_factory=DownloadListener)
    """Told of every piece downloaded."""
    on_archive: Callable[[str], None] = lambda name: None
    """Told the name of every file before it is converted."""


def install_public(
    model: PublicModel, *, home: Home, options: InstallOptions | None = None
) -> Package:
    """Install a model of the catalogue under ``models/KEY/VERSION``.

    Raises
    ------
    InputError
        If it is installed already, a file cannot be had or is not what it should be, or is no
        model folder of nnU-Net.
    Cancelled
        If the watch says so.
    """
    options = options or InstallOptions()
    target = home.model(model.key, model.version)
    if target.exists():
        raise exists_already(target)
    files = _given(model, options.files) if options.files else _fetched(model, home, options)
    ensure_folder(home.cache)
    sweep_models(home.models)
    with scratch(home.cache, SCRATCH) as place:
        imported = []
        for archive, file in zip(model.archives, files, strict=True):
            options.on_archive(file.name)
            about = _about(model, archive, options.exact)
            imported.append(import_nnunet(file, home=Home(place), name=archive.stage, about=about))
        stages = [each.stage for each in model.archives]
        chosen = [Chosen(each, stage) for each, stage in zip(imported, stages, strict=True)]
        facts = Facts(f"{model.title}. {model.summary}", licence=model.licence)
        return combine(chosen, home=home, name=model.key, version=model.version, facts=facts)


def downloads(model: PublicModel, home: Home, mirror: str | None = None) -> list[RemoteFile]:
    """Return the files to be fetched, each with the size and hash that are known of it."""
    known = _known(home)
    files = []
    for archive in model.archives:
        file, seen = archive.file, known.get(archive.file.url, {})
        size, digest = seen.get("size_bytes", 0), seen.get("sha256", "")
        if not file.sha256:
            file = replace(file, size_bytes=file.size_bytes or size, sha256=digest)
        files.append(file.behind(mirror))
    return files


def _fetched(model: PublicModel, home: Home, options: InstallOptions) -> list[Path]:
    """Download what is not in the cache; return the files in the order of the archives."""
    if not model.downloadable:
        raise InputError(
            "model", model.key, "a model with an address", f"{model.title} has to be downloaded by "
            f"hand from {model.page}; then install it from that file "
            f"(flare models install {model.key} --from FILE).",
        )  # fmt: skip
    paths = []
    for archive, file in zip(model.archives, downloads(model, home, options.mirror), strict=True):
        path = download(file, home.cache / "downloads" / archive.file.name, options.watch)
        _remember(home, archive.file.url, path)
        paths.append(path)
    return paths


def _given(model: PublicModel, files: Sequence[Path]) -> list[Path]:
    """Match files that the user brought with the model's archives, by name, else by order."""
    missing = [str(path) for path in files if not path.exists()]
    if missing or len(files) != len(model.archives):
        came = f"no {missing[0]}" if missing else many(len(files), "file")
        named = [each.file.name for each in model.archives if each.file.url]
        wanted = ", ".join(named) or "its folder"
        raise InputError(
            "files of the model", came, f"{many(len(model.archives), 'file')} or folders: {wanted}",
            "Name every one of them, in this order.",
        )  # fmt: skip
    by_name = {path.name: path for path in files}
    names = [archive.file.name for archive in model.archives]
    if set(names) == set(by_name):
        return [by_name[name] for name in names]
    return list(files)


def _about(model: PublicModel, archive: StageArchive, exact: bool) -> About:
    return About(
        version=model.version,
        description=f"{model.title}: {archive.stage}.",
        licence=model.licence,
        source=archive.file.url or model.page,
        stage=archive.stage,
        orientation=archive.orientation,
        exact=exact,
    )


def _known(home: Home) -> dict[str, dict[str, Any]]:
    path = home.path / KNOWN_FILE
    if not path.is_file():
        return {}
    action = "Restore the file, or delete it: the hashes of first downloads in it are then gone."
    kept = read_json_file(path, argument=str(path), legal="a JSON object", action=action)
    rows = kept.items() if isinstance(kept, dict) else ()
    return {url: facts for url, facts in rows if _is_fact(facts)}


def _is_fact(facts: object) -> bool:
    """Whether a row of `KNOWN_FILE` is as `_remember` writes it."""
    return (
        isinstance(facts, dict)
        and type(facts.get("size_bytes")) is int
        and isinstance(facts.get("sha256"), str)
    )


def _remember(home: Home, url: str, path: Path) -> None:
    """Keep size and hash of a first download; later ones must be the same."""
    known = _known(home)
    if url in known:
        return
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    facts = {"size_bytes": path.stat().st_size, "sha256": sha256_of(path), "first_seen": now}
    atomic.write_json(home.path / KNOWN_FILE, {**known, url: facts})
