from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from file_server import Site, serving
from flare_core.alive import held_folder
from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models.catalogue import PUBLIC, PublicModel, StageArchive, public_model
from flare_core.models.install import KNOWN_FILE, InstallOptions, downloads, install_public
from flare_core.models.package import load_package
from flare_core.models.remote_file import RemoteFile
from flare_core.segment.runtime import choose_runtime
from flare_core.segment.stage import load_stage
from nnunet_zips import nnunet_zip

LOCALISER = ["spleen", "kidney_right", "liver", "lung_upper_lobe_left"]
FILES = {
    "/w/Dataset298.zip": nnunet_zip("Dataset298_rough", LOCALISER),
    "/w/Dataset291.zip": nnunet_zip("Dataset291_organs", ["liver", "spleen"], spacing_mm=1.5),
    "/w/Dataset293.zip": nnunet_zip("Dataset293_vessels", ["heart", "aorta"], spacing_mm=1.5),
}
STAGES = ("localiser", "organs", "organs_2")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site(dict(FILES))) as started:
        yield started


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def model(site: Site) -> PublicModel:
    """A model in three archives, as TotalSegmentator's, on the site."""
    archives = [
        StageArchive(stage, RemoteFile(f"{site.url}{path}"), "SAR")
        for stage, path in zip(STAGES, FILES, strict=True)
    ]
    return replace(PUBLIC["totalsegmentator"], key="parts", archives=tuple(archives))


def test_the_parts_become_one_model(site: Site, home: Home) -> None:
    package = install_public(model(site), home=home)
    card = load_package("parts", home=home).card
    assert card == package.card and [stage.name for stage in card.stages] == list(STAGES)
    assert [dict(stage.organ_channels) for stage in card.stages] == [
        {1: "spleen", 2: "right_kidney", 3: "liver"}, {1: "liver", 2: "spleen"}, {2: "aorta"},
    ]  # fmt: skip
    assert {stage.orientation for stage in card.stages} == {"SAR"}
    assert [stage.spacing_mm[0] for stage in card.stages] == [6.0, 1.5, 1.5]
    assert card.licence == "Apache-2.0" and "not a medical device" in card.limitations.lower()
    runtime = choose_runtime("cpu", "float32", 1)
    assert all(load_stage(package, name, runtime) is not None for name in STAGES)
    kept = [origin["provenance"]["imported_from"] for origin in card.provenance["combined_from"]]
    assert kept == [f"{site.url}{path}" for path in FILES]


def test_nothing_but_the_model_and_the_downloads_is_left(site: Site, home: Home) -> None:
    install_public(model(site), home=home)
    assert sorted(os.listdir(home.cache)) == ["downloads"]
    assert os.listdir(home.models) == ["parts"]
    with pytest.raises(InputError, match="exists already"):
        install_public(model(site), home=home)


def test_a_failure_leaves_no_model_and_a_second_try_fetches_only_the_rest(
    site: Site, home: Home
) -> None:
    vessels = site.files.pop("/w/Dataset293.zip")
    with pytest.raises(InputError, match="404"):
        install_public(model(site), home=home)
    assert not home.models.exists()
    site.files["/w/Dataset293.zip"] = vessels
    site.asked.clear()
    install_public(model(site), home=home)
    assert [path for path, _ in site.asked] == ["/w/Dataset293.zip"]


def test_the_hash_of_the_first_download_is_demanded_ever_after(site: Site, home: Home) -> None:
    install_public(model(site), home=home)
    known = json.loads((home.path / KNOWN_FILE).read_text("utf-8"))
    assert set(known) == {f"{site.url}{path}" for path in FILES}
    assert all(len(file.sha256) == 64 and file.size_bytes for file in downloads(model(site), home))
    for path in (home.cache / "downloads").iterdir():
        path.unlink()
    same_length = bytearray(FILES["/w/Dataset291.zip"])
    same_length[200] ^= 1
    site.files["/w/Dataset291.zip"] = bytes(same_length)
    with pytest.raises(InputError, match="SHA-256"):
        install_public(replace(model(site), version="2.0.1"), home=home)


def test_a_mirror_serves_the_same_files(site: Site, home: Home) -> None:
    there = replace(
        model(site),
        archives=tuple(
            replace(archive, file=RemoteFile(f"https://publisher.invalid/{archive.file.name}"))
            for archive in model(site).archives
        ),
    )
    install_public(there, home=home, options=InstallOptions(mirror=f"{site.url}/w"))
    assert {path for path, _ in site.asked} == set(FILES)


def test_offline_from_files(site: Site, home: Home, tmp_path: Path) -> None:
    files = []
    for path, content in reversed(FILES.items()):
        files.append(tmp_path / Path(path).name)
        files[-1].write_bytes(content)
    card = install_public(model(site), home=home, options=InstallOptions(files=tuple(files))).card
    assert site.asked == [] and card.stages[2].organ_channels == ((2, "aorta"),)


@pytest.mark.parametrize("names", [("Dataset298.zip",), ("a.zip", "b.zip", "c.zip")])
def test_files_that_do_not_fit_are_named(
    site: Site, home: Home, tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "Dataset298.zip").write_bytes(FILES["/w/Dataset298.zip"])
    with pytest.raises(InputError, match="3 files or folders: Dataset298.zip"):
        install_public(
            model(site),
            home=home,
            options=InstallOptions(files=tuple(tmp_path / name for name in names)),
        )


def test_a_wrong_archive_leaves_nothing(site: Site, home: Home) -> None:
    site.files["/w/Dataset291.zip"] = b"PK not really"
    with pytest.raises(InputError):
        install_public(model(site), home=home)
    assert not home.models.exists() and sorted(os.listdir(home.cache)) == ["downloads"]


def test_a_model_without_an_address_says_where_to_get_it(home: Home) -> None:
    with pytest.raises(InputError, match=r"(?s)by hand from https://github.com.*--from FILE"):
        install_public(public_model("stunet"), home=home)


def test_what_a_killed_conversion_left_goes_with_the_next(site: Site, home: Home) -> None:
    old, living = (home.cache / f"import-{name}" for name in ("old", "living"))
    for folder in (old, living):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    with held_folder(lambda: living):
        install_public(model(site), home=home)
    assert not old.exists() and living.exists()


@pytest.mark.parametrize("text", ["[1]", '{"URL": 3}', '{"URL": {"size_bytes": "x", "sha256": 1}}'])
def test_odd_notes_of_first_downloads_are_passed_over(site: Site, home: Home, text: str) -> None:
    home.path.mkdir(exist_ok=True)
    url = model(site).archives[0].file.url
    (home.path / "downloads.json").write_text(text.replace("URL", url))
    install_public(model(site), home=home)


def test_torn_notes_of_first_downloads_are_named(site: Site, home: Home) -> None:
    home.path.mkdir(exist_ok=True)
    (home.path / "downloads.json").write_bytes(b'{"\xff')
    with pytest.raises(InputError, match=r"downloads\.json"):
        install_public(model(site), home=home)
