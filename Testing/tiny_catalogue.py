"""``flare`` with a catalogue that has one more model, whose only file a test's server has.

A program: ``python tiny_catalogue.py CORE_FOLDER ADDRESS WORD...``; needs nothing but flare_core.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flare_core.models.catalogue import PublicModel

KEY = "tiny"


def tiny_model(address: str) -> PublicModel:
    """The entry: one archive, called organs, at this address; empty: to be downloaded by hand."""
    from flare_core.models.catalogue import PUBLIC, StageArchive
    from flare_core.models.remote_file import RemoteFile

    archives = (StageArchive("organs", RemoteFile(address), "SAR"),)
    return replace(PUBLIC["totalsegmentator"], key=KEY, title="Tiny organs", archives=archives)


def main(core: str, address: str, words: list[str]) -> int:
    """Run ``flare WORDS`` with the entry in the catalogue."""
    sys.path.insert(0, core)
    from flare_core.cli import main as flare
    from flare_core.models import catalogue

    catalogue.PUBLIC[KEY] = tiny_model(address)
    return flare(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
