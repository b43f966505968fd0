"""A path is refused at once where the system or a library would refuse it late, or crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flare_core.cases.store import open_store
from flare_core.errors import InputError
from flare_core.home import open_home
from flare_core.imaging.files import read_volume
from flare_core.models.archive import install
from flare_core.paths import usable_path

WRONG = {
    "": "an empty text",
    "a\0b": "with a zero byte",
    "a\ud800b": "not in UTF-8",
    os.fsdecode(b"latin-\xe4.nii.gz"): "not in UTF-8",
    "ü" * 128: "a name of 256 bytes",
    "d/" * 2100 + "x": "bytes",
}


@pytest.mark.parametrize("text", WRONG)
def test_each_fault_is_named(text: str) -> None:
    with pytest.raises(InputError) as caught:
        usable_path(text, "image")
    assert caught.value.parts[0] == "image"
    assert WRONG[text] in caught.value.parts[1]


def test_what_may_be_is_returned() -> None:
    assert usable_path("ü" * 127) == Path("ü" * 127)
    assert usable_path(Path("a b/ä.nii.gz")) == Path("a b/ä.nii.gz")
    with pytest.raises(InputError, match="3600 together"):
        usable_path("d/" * 1850, room=400)


@pytest.mark.parametrize("work", [read_volume, install, open_home, open_store])
def test_every_door_has_this_check(work, tmp_path: Path) -> None:
    for text in ("a\0b", "a\ud800b", "x" * 300):
        with pytest.raises(InputError, match="a path in UTF-8 text"):
            work(str(tmp_path / text))


def test_an_empty_path_has_a_name_in_its_error() -> None:
    with pytest.raises(InputError) as caught:
        usable_path("")
    assert all(part.strip() for part in caught.value.parts)
