"""What networks read of a card is what cards have."""

from __future__ import annotations

from dataclasses import fields

from core.networks.small_specs import SPECS
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks.spec import Spec


def names_of(protocol: type) -> set[str]:
    return {name for name, value in vars(protocol).items() if isinstance(value, property)}


def test_every_field_is_in_the_card_and_the_other_way_round() -> None:
    assert names_of(Spec) == {field.name for field in fields(NetworkSpec)} - {"_"}


def test_a_cards_spec_is_a_spec() -> None:
    spec: Spec = SPECS["isotropic"]
    assert all(getattr(spec, name) is not None for name in names_of(Spec))
