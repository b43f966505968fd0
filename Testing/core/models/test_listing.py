from __future__ import annotations

from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models.listing import all_models, installed_folder
from stub_models import stub_package


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_list_has_everything_once(home: Home) -> None:
    stub_package(home.model("stub", "1.2.3"))
    rows = {row.name: row for row in all_models(home)}
    assert rows["default"].state == "built in" and rows["default"].in_use
    assert rows["stub@1.2.3"].state == "installed" and rows["stub@1.2.3"].in_use
    assert rows["stub@1.2.3"].organs == ("liver", "spleen")
    assert rows["totalsegmentator"].state == "installable"
    assert rows["totalsegmentator"].folder is None
    folder = installed_folder(home, "stub@1.2.3")
    (folder / "card.json").write_text("{", encoding="utf-8")
    damaged = {row.name: row for row in all_models(home)}["stub@1.2.3"]
    assert damaged.summary.startswith("damaged")
    with pytest.raises(InputError, match="stub@1.2.3"):
        installed_folder(home, "stub")
