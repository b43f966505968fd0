from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from file_server import Site, serving
from flare_core.cli import main
from flare_core.home import Home
from flare_core.models import catalogue
from flare_core.models.catalogue import PUBLIC, StageArchive
from flare_core.models.package import load_package
from flare_core.models.remote_file import RemoteFile
from nnunet_zips import nnunet_zip
from stub_models import stub_package


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site with the one file of a model called tiny."""
    with serving(Site({"/tiny.zip": nnunet_zip("Dataset001_tiny", ["liver", "aorta"])})) as made:
        archives = (StageArchive("organs", RemoteFile(f"{made.url}/tiny.zip"), "SAR"),)
        tiny = replace(PUBLIC["totalsegmentator"], key="tiny", archives=archives)
        monkeypatch.setitem(catalogue.PUBLIC, "tiny", tiny)
        yield made


def flare(home: Home, *words: object) -> int:
    """Run ``flare models``."""
    return main(["models", *map(str, words), "--home", str(home.path)])


def test_without_a_yes_nothing_is_downloaded(
    site: Site, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flare(home, "install", "tiny") == 2
    said = capsys.readouterr()
    size = f"{len(site.files['/tiny.zip']) / 2**20:.1f} MiB"
    assert f"{site.url}/tiny.zip ({size})" in said.out and "Apache-2.0" in said.out
    assert "--yes" in said.err and site.asked == [] and not home.path.exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 130), ("", 130)])
def test_a_person_is_asked(
    site: Site, home: Home, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert flare(home, "install", "tiny", "--progress", "none") == code
    assert bool(site.asked) == (code == 0)


def test_install_list_export_remove_and_install_again(
    site: Site, home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flare(home, "install", "tiny", "--yes") == 0
    assert flare(home, "list", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[0] == "{"]
    assert {row["name"] for row in rows if row["state"] == "installed"} == {"tiny@2.0.0"}
    assert flare(home, "verify") == 0
    assert flare(home, "export", "tiny", "-o", tmp_path / "tiny.zip") == 0
    before = load_package("tiny", home=home).fingerprint
    assert flare(home, "remove", "tiny@2.0.0", "--yes") == 0
    assert not home.model("tiny", "2.0.0").exists()
    assert flare(home, "install", tmp_path / "tiny.zip") == 0
    assert load_package("tiny", home=home).fingerprint == before
    assert flare(home, "show", "tiny") == 0
    assert "liver, aorta" in capsys.readouterr().out


def test_a_damaged_model_is_found(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stub_package(home.model("stub", "1.2.3")).folder
    assert flare(home, "verify", "stub") == 0
    weights = next(folder.glob("organs*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert flare(home, "verify") == 1
    said = capsys.readouterr()
    assert "stub@1.2.3: damaged" in said.err and "default: sound" in said.out
    assert flare(home, "verify", "absent") == 2
    assert "absent: damaged" not in capsys.readouterr().err


def test_import_with_a_map_of_labels(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "german.zip"
    path.write_bytes(nnunet_zip("Dataset002_deutsch", ["Leber", "Milz", "spleen"]))
    words = ("import", path, "--name", "deutsch", "--map", "Leber=liver", "spleen=", "Milz=spleen")
    assert flare(home, *words, "--licence", "CC-BY-4.0") == 0
    card = load_package("deutsch", home=home).card
    assert card.stages[0].organ_channels == ((1, "liver"), (2, "spleen"))
    assert card.licence == "CC-BY-4.0"


def test_combine_and_two_versions_side_by_side(home: Home) -> None:
    stub_package(home.model("stub", "1.2.3"))
    for version in ("1.0.0", "1.1.0"):
        words = ("combine", "mixed", "--organs", "stub", "--localiser", "default")
        assert flare(home, *words, "--version", version) == 0
    assert load_package("mixed", home=home).card.version == "1.1.0"
    assert load_package("mixed@1.0.0", home=home).card.version == "1.0.0"
    stages = load_package("mixed", home=home).card.stages
    assert [stage.name for stage in stages] == ["localiser", "organs"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "nobody"), "nobody"),
        (("install", "nobody"), "totalsegmentator"),
        (("install", "missing.zip"), "missing.zip"),
        (("remove", "default", "--yes"), "name@version"),
        (("import", "nowhere"), "nowhere"),
        (("import", ".", "--map", "Leber"), "THEIRS=OURS"),
        (("export", "nobody", "-o", "x.zip"), "nobody"),
    ],
)
def test_bad_words_exit_2(
    home: Home, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert flare(home, *words) == 2
    assert said in capsys.readouterr().err and not home.models.exists()
