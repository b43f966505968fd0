from __future__ import annotations

import random
import re
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from flare_core.alive import held_file
from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models import archive as archive_module
from flare_core.models.archive import install, pack
from flare_core.models.card import ModelCard
from flare_core.models.package import Package, installed_models, load_package, write_package

Entry = tuple[zipfile.ZipInfo | str, bytes]


@pytest.fixture
def packed(package: Package, tmp_path: Path) -> Path:
    return pack(package, tmp_path / "tiny.zip")


def entries_of(packed: Path) -> list[Entry]:
    with zipfile.ZipFile(packed) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def rezip(path: Path, entries: Iterable[Entry], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def files_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def refused(path: Path, home: Home, says: str) -> None:
    """Installing `path` fails with four parts and changes no file anywhere near."""
    before = files_below(home.path.parent)
    with pytest.raises(InputError) as caught:
        install(path, home=home)
    assert says in str(caught.value)
    assert files_below(home.path.parent) == before


def test_pack_and_install(package: Package, packed: Path, home: Home) -> None:
    installed = install(packed, home=home)
    assert installed.folder == home.path / "models" / "tiny" / "1.0.0"
    assert load_package("tiny", home=home) == installed
    assert installed.card == package.card
    assert installed.fingerprint == package.fingerprint
    assert files_below(installed.folder) == {
        installed.folder / path.name for path in package.folder.iterdir()
    }


def test_same_package_same_zip(package: Package, packed: Path, tmp_path: Path) -> None:
    assert pack(package, tmp_path / "sub" / "b.zip").read_bytes() == packed.read_bytes()


def test_pack_never_overwrites(package: Package, packed: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        pack(package, packed)


def test_two_versions_side_by_side(
    packed: Path, home: Home, tmp_path: Path,
    new_card: Callable[..., ModelCard], new_tensors: Callable[..., dict[str, dict[str, object]]],
) -> None:  # fmt: skip
    second = write_package(tmp_path / "second", new_card("1.1.0"), new_tensors(seed=1))
    install(packed, home=home)
    install(pack(second, tmp_path / "second.zip"), home=home)
    assert installed_models(home) == (("tiny", "1.0.0"), ("tiny", "1.1.0"))
    assert load_package("tiny@1.0.0", home=home).card.version == "1.0.0"
    assert load_package("tiny", home=home).fingerprint == second.fingerprint


def test_an_installed_version_is_not_replaced(packed: Path, home: Home) -> None:
    install(packed, home=home)
    refused(packed, home, "exists already")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.safetensors", "../../home/x", "/tmp/evil", "C:\\evil", "..\\evil", "sub/x",
        "sub/", "evil.py", "__init__.py", "CARD.JSON", "card.json/..", "organs.safetensors/",
    ],
)  # fmt: skip
def test_a_file_the_card_does_not_name(packed: Path, home: Home, tmp_path: Path, name: str) -> None:
    entries = [*entries_of(packed), (name, b"print('evil')")]
    refused(rezip(tmp_path / "evil.zip", entries), home, "not expected")


@pytest.mark.parametrize("weights", ["../../evil.safetensors", "/evil.safetensors", "a\\b.x"])
def test_a_card_that_names_a_path(packed: Path, home: Home, tmp_path: Path, weights: str) -> None:
    entries = [
        (weights, data) if name == "organs.safetensors" else (name, data)
        for name, data in entries_of(packed)
    ]
    text = entries[0][1].decode().replace("organs.safetensors", weights.replace("\\", "\\\\"))
    refused(
        rezip(tmp_path / "evil.zip", [("card.json", text.encode()), *entries[1:]]), home, "name"
    )


@pytest.mark.parametrize("field", ["name", "version"])
def test_a_card_whose_name_leaves_the_home(
    packed: Path, home: Home, tmp_path: Path, field: str
) -> None:
    entries = entries_of(packed)
    old = '"name": "tiny"' if field == "name" else '"version": "1.0.0"'
    text = entries[0][1].decode().replace(old, f'"{field}": "../../../evil"')
    assert "evil" in text
    refused(
        rezip(tmp_path / "evil.zip", [("card.json", text.encode()), *entries[1:]]),
        home,
        f"card: {field}",
    )


def test_a_link_instead_of_weights(packed: Path, home: Home, tmp_path: Path) -> None:
    entries = entries_of(packed)
    link = zipfile.ZipInfo("organs.safetensors")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    changed = [(link, b"/etc/passwd") if n == link.filename else (n, d) for n, d in entries]
    refused(rezip(tmp_path / "evil.zip", changed), home, "a link")


def test_the_same_name_twice(packed: Path, home: Home, tmp_path: Path) -> None:
    entries = entries_of(packed)
    with pytest.warns(UserWarning, match="Duplicate"):
        path = rezip(tmp_path / "evil.zip", [*entries, entries[-1]])
    refused(path, home, "comes twice")


def test_a_missing_file(packed: Path, home: Home, tmp_path: Path) -> None:
    refused(rezip(tmp_path / "evil.zip", entries_of(packed)[:-1]), home, "organs_fold1")
    refused(rezip(tmp_path / "none.zip", entries_of(packed)[1:]), home, "no card.json")


def test_another_content_of_the_same_size(packed: Path, home: Home, tmp_path: Path) -> None:
    entries = entries_of(packed)
    name, data = entries[-1]
    changed = [*entries[:-1], (name, data[:-1] + bytes([data[-1] ^ 1]))]
    refused(rezip(tmp_path / "evil.zip", changed), home, "SHA-256")


def test_a_bomb_in_the_weights(packed: Path, home: Home, tmp_path: Path) -> None:
    entries = [(n, bytes(2**24) if n.startswith("organs.") else d) for n, d in entries_of(packed)]
    path = rezip(tmp_path / "bomb.zip", entries, zipfile.ZIP_DEFLATED)
    refused(path, home, "bytes instead of")
    # a card that states no size does not help
    text, replaced = re.subn(r'"size_bytes": \d+', '"size_bytes": 0', entries[0][1].decode())
    assert replaced == 3
    entries[0] = ("card.json", text.encode())
    path = rezip(tmp_path / "bomb2.zip", entries, zipfile.ZIP_DEFLATED)
    refused(path, home, "would unpack to")


def test_a_bomb_in_the_card(packed: Path, home: Home, tmp_path: Path) -> None:
    entries = [("card.json", b" " * 2**26), *entries_of(packed)[1:]]
    path = rezip(tmp_path / "bomb.zip", entries, zipfile.ZIP_DEFLATED)
    refused(path, home, "a larger card")


def test_weights_beyond_the_limit(
    packed: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "MAX_WEIGHTS_BYTES", 100)
    refused(packed, home, "bytes instead of")


def test_an_unusual_compression(packed: Path, home: Home, tmp_path: Path) -> None:
    path = rezip(tmp_path / "lzma.zip", entries_of(packed), zipfile.ZIP_LZMA)
    refused(path, home, "unusual compression")


def test_a_header_that_lies_about_the_size(packed: Path, home: Home, tmp_path: Path) -> None:
    """The table of contents states the card's size; the stream unpacks to more."""
    entries = entries_of(packed)
    name, data = entries[-1]
    longer = [*entries[:-1], (name, data + bytes(1000))]
    path = rezip(tmp_path / "lie.zip", longer)
    raw, size = path.read_bytes(), len(data) + 1000
    path.write_bytes(raw.replace(size.to_bytes(4, "little"), len(data).to_bytes(4, "little")))
    refused(path, home, "")


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip" * 100, b"PK\x05\x06" + bytes(18)])
def test_what_is_no_zip(home: Home, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    refused(path, home, str(path))


def test_a_zip_that_does_not_exist_or_is_a_folder(home: Home, tmp_path: Path) -> None:
    refused(tmp_path / "none.zip", home, "No such file")
    refused(tmp_path, home, str(tmp_path))


def test_damage_anywhere_is_refused_or_harmless(
    package: Package, packed: Path, home: Home, tmp_path: Path
) -> None:
    """Bits flipped and bytes cut at random: an `InputError`, or exactly the package."""
    sound, chance, hit = packed.read_bytes(), random.Random(0), 0
    path = tmp_path / "damaged.zip"
    for attempt in range(300):
        data = bytearray(sound)
        if attempt % 10 == 0:
            del data[chance.randrange(len(data)) :]
        else:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        place = Home(tmp_path / f"home{attempt}")
        try:
            assert install(path, home=place).fingerprint == package.fingerprint
        except InputError:
            hit += 1
            assert not place.path.exists()
    assert hit > 150


def test_an_unusual_compression_of_the_card_alone(packed: Path, home: Home, tmp_path: Path) -> None:
    path = tmp_path / "lzma.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries_of(packed):
            kind = zipfile.ZIP_LZMA if name == "card.json" else zipfile.ZIP_STORED
            archive.writestr(name, data, kind)
    refused(path, home, "card.json: an unusual compression")


def test_an_encrypted_card(packed: Path, home: Home, tmp_path: Path) -> None:
    """The mark alone makes zipfile ask for a password."""
    path = rezip(tmp_path / "locked.zip", entries_of(packed))
    raw = bytearray(path.read_bytes())
    for head, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(head)
        while at >= 0:
            raw[at + flags] |= 1
            at = raw.find(head, at + 4)
    path.write_bytes(bytes(raw))
    refused(path, home, "encrypted")


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such locks there")
def test_what_a_killed_export_left_goes_with_the_next_to_the_same_file(
    package: Package, tmp_path: Path
) -> None:
    left, foreign, living = (
        tmp_path / f".{mark}.part.{name}"
        for mark, name in (("01234567", "m.zip"), ("01234567", "x.zip"), ("76543210", "m.zip"))
    )
    left.write_bytes(b"half")
    foreign.write_bytes(b"half")
    with held_file(living):
        pack(package, tmp_path / "m.zip")
    assert not left.exists() and foreign.exists() and living.exists()
    assert zipfile.ZipFile(tmp_path / "m.zip").testzip() is None
