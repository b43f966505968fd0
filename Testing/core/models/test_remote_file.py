from __future__ import annotations

import pytest

from file_server import Site, serving
from flare_core.errors import InputError
from flare_core.models.remote_file import RemoteFile, remote_size

HASH = "0" * 64


def test_plain_http_is_only_for_files_whose_hash_is_known() -> None:
    with pytest.raises(InputError, match="https"):
        RemoteFile("http://example.invalid/m.zip").check_address()
    RemoteFile("http://example.invalid/m.zip", 1, HASH).check_address()
    with pytest.raises(InputError, match="https"):
        RemoteFile("file:///etc/passwd", 1, HASH).check_address()


def test_sizes_can_be_asked_for() -> None:
    with serving(Site({"/m.zip": b"12345"})) as site:
        assert remote_size(RemoteFile(f"{site.url}/m.zip")) == 5
        assert remote_size(RemoteFile(f"{site.url}/other.zip")) is None
    assert remote_size(RemoteFile("https://example.invalid/m.zip", 7)) == 7
    assert remote_size(RemoteFile("http://127.0.0.1:9/m.zip")) is None
