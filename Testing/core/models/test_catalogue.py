from __future__ import annotations

import pytest

from flare_core.errors import InputError
from flare_core.models.catalogue import PUBLIC, public_model


def test_every_public_model_says_what_a_person_must_know() -> None:
    for key, entry in PUBLIC.items():
        assert key == entry.key and entry.licence and entry.citation and entry.organs
        assert entry.page.startswith("https://")
        names = [archive.stage for archive in entry.archives]
        assert "organs" in names and len(set(names)) == len(names)
        for archive in entry.archives:
            if archive.file.url:
                archive.file.check_address()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="totalsegmentator_3mm"):
        public_model("totalsegmentater")
