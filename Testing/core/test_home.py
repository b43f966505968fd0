from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.home import Home, ensure_folder, open_home
from flare_core.models.archive import install, pack
from flare_core.models.nnunet.convert import import_nnunet
from flare_core.models.package import load_package
from nnunet_folders import write_v2


def test_default_home_is_in_the_persons_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    home = open_home()
    assert home.path == tmp_path / ".flareseg"
    assert not home.path.exists(), "asking for the home must not create it"


def test_every_part_is_inside(tmp_path: Path) -> None:
    home = Home(tmp_path)
    parts = {home.models, home.cases, home.runs, home.cache}
    assert {part.name for part in parts} == {"models", "cases", "runs", "cache"}
    assert {part.parent for part in parts} == {tmp_path}
    assert home.model("tiny", "1.0").relative_to(home.models).parts == ("tiny", "1.0")


def test_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_home("sub/../h").path == tmp_path / "h"


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="--home"):
        open_home(tmp_path / "file")


def test_no_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    with pytest.raises(InputError, match="--home"):
        open_home()


def test_ensure_folder_creates_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    folder = ensure_folder(tmp_path / "a" / "b")
    assert folder.is_dir() and list(folder.iterdir()) == []


def test_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written to"):
        ensure_folder(tmp_path / "file" / "models")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot be written to"):
            ensure_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)


ODD = ("a\0b", "a\ud800b", "x" * 300, "y/" * 2500 + "z")


@pytest.mark.skipif(os.name == "nt", reason="other limits")
@pytest.mark.parametrize("name", ODD)
def test_what_no_path_may_be_is_said_before_anything_is_done(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / "home")
    model = write_v2(tmp_path / "nnunet")
    package = import_nnunet(model, home=home)
    tries: tuple[Callable[[], object], ...] = (
        lambda: open_home(name),
        lambda: pack(package, tmp_path / name),
        lambda: install(tmp_path / name, home=home),
        lambda: import_nnunet(tmp_path / name, home=home),
        lambda: load_package(name, home=home),
        lambda: load_package(f"./{name}", home=home),
    )
    before = sorted(tmp_path.rglob("*"))
    for attempt in tries:
        with pytest.raises(InputError) as error:
            attempt()
        assert all(error.value.parts) and len(str(error.value)) < 800
        assert str(error.value).encode()
    assert sorted(tmp_path.rglob("*")) == before
