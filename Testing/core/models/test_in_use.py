"""The pointer to the version in use, forwards and back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models.in_use import model_in_use, put_in_use, read_in_use, roll_back
from flare_core.models.package import installed_models, load_package
from stub_models import model_card, stub_package


def installed(home: Home, *versions: str) -> None:
    """Install versions of the stub model."""
    from dataclasses import replace

    from flare_core.models.package import read_weights, write_package

    package = stub_package(home.path / "made")
    for version in versions:
        card = replace(model_card(), version=version)
        tensors = {
            stage.name: read_weights(package.weights_path(stage.name)) for stage in card.stages
        }
        write_package(home.model("stub", version), card, tensors)


def test_a_name_means_its_newest_version_until_one_is_put_in_use(tmp_home):
    installed(tmp_home, "1.0.0", "1.1.0")
    assert load_package("stub", home=tmp_home).card.version == "1.1.0"
    put_in_use(tmp_home, "stub", "stub@1.0.0", reason="the first one was better")
    assert load_package("stub", home=tmp_home).card.version == "1.0.0"
    assert load_package("stub@1.1.0", home=tmp_home).card.version == "1.1.0"
    assert installed_models(tmp_home) == (("stub", "1.0.0"), ("stub", "1.1.0"))


def test_rolling_back_returns_to_what_was_used_before(tmp_home):
    installed(tmp_home, "1.0.0", "1.1.0")
    put_in_use(tmp_home, "stub", "stub@1.0.0", before="default@0.1.0")
    put_in_use(tmp_home, "stub", "stub@1.1.0")
    assert roll_back(tmp_home, "stub") == "stub@1.0.0"
    assert roll_back(tmp_home, "stub") == "default@0.1.0"
    assert model_in_use(tmp_home, "stub") == "default@0.1.0"
    with pytest.raises(InputError, match="Nothing to go back to"):
        roll_back(tmp_home, "stub")
    assert [move.model for move in read_in_use(tmp_home, "stub").moves] == [
        "stub@1.0.0", "stub@1.1.0", "stub@1.0.0", "default@0.1.0",
    ]  # fmt: skip


def test_putting_the_same_model_in_use_again_changes_nothing(tmp_home):
    put_in_use(tmp_home, "stub", "stub@1.0.0", before="default@0.1.0")
    before = read_in_use(tmp_home, "stub")
    put_in_use(tmp_home, "stub", "stub@1.0.0", before="default@0.1.0")
    assert read_in_use(tmp_home, "stub") == before


def test_a_name_may_mean_a_package_folder(tmp_home):
    installed(tmp_home, "1.0.0")
    put_in_use(tmp_home, "stub", str(tmp_home.path / "made"))
    assert load_package("stub", home=tmp_home).folder == tmp_home.path / "made"


def test_a_damaged_pointer_is_named(tmp_home):
    installed(tmp_home, "1.0.0")
    (tmp_home.models / "stub" / "in_use.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"in_use\.json"):
        load_package("stub", home=tmp_home)


def test_promotions_at_once_lose_none(tmp_home):
    """Read, changed and written one process after the other."""
    models = [f"stub@1.0.{n}" for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda model: put_in_use(tmp_home, "stub", model), models))
    found = read_in_use(tmp_home, "stub")
    assert sorted(found.stack) == sorted(models) and len(found.moves) == len(models)


@pytest.mark.parametrize("data", [b"\xff", b"{", b'{"stack": 3}', b"[]"])
def test_any_damaged_pointer_is_named_and_leftovers_of_it_go(tmp_home, data):
    put_in_use(tmp_home, "stub", "stub@1.0.0")
    path = tmp_home.models / "stub" / "in_use.json"
    path.write_bytes(data)
    (path.parent / ".01234567.part.in_use.json").write_bytes(b"half")
    with pytest.raises(InputError, match=r"in_use\.json"):
        put_in_use(tmp_home, "stub", "stub@1.0.1")
    path.unlink()
    put_in_use(tmp_home, "stub", "stub@1.0.1")
    assert [each.name for each in path.parent.iterdir()] == ["in_use.json"]
