from __future__ import annotations

from FLARESegLib.models.choices import card_tip, choice_of, model_choices, organs_of

from flare_core.anatomy.organs import ALL_TARGETS
from flare_core.home import open_home
from flare_core.models.card import CATALOGUE
from flare_core.models.package import read_card
from stub_models import stub_package


def test_the_default_model_comes_first_and_knows_every_organ(tmp_path):
    (default,) = model_choices(open_home(tmp_path))
    assert default.name == "default"
    assert default.organs == tuple(organ.key for organ in ALL_TARGETS)
    assert default.title.startswith("Default (")


def test_the_tip_has_the_facts_a_person_asks_for():
    card = read_card(CATALOGUE["default"].folder)
    tip = card_tip(card)
    for words in ("Liver", "Left kidney", card.licence, " mm", " MB", card.version):
        assert words in tip
    assert tip.startswith("<qt>")


def test_an_installed_model_can_be_chosen_by_name_and_version(tmp_path):
    home = open_home(tmp_path)
    made = stub_package(tmp_path / "made")
    folder = home.model(made.card.name, made.card.version)
    folder.parent.mkdir(parents=True)
    made.folder.rename(folder)
    names = [choice.name for choice in model_choices(home)]
    assert names == ["default", f"{made.card.name}@{made.card.version}"]


def test_a_model_whose_card_is_damaged_is_not_offered(tmp_path):
    folder = open_home(tmp_path).model("broken", "1.0")
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{", encoding="utf-8")
    assert [choice.name for choice in model_choices(open_home(tmp_path))] == ["default"]


def test_organs_are_in_the_order_of_the_organ_table():
    card = read_card(CATALOGUE["default"].folder)
    keys = [organ.key for organ in ALL_TARGETS]
    assert list(organs_of(card)) == sorted(organs_of(card), key=keys.index)
    assert choice_of("x@1", card).title == f"{card.name} {card.version}"
