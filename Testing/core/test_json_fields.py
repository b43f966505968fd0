from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import pytest

from flare_core.errors import InputError
from flare_core.json_fields import IN_FILES, decode, read_json, to_text


@dataclass(frozen=True)
class Inner:
    """A part."""

    number: int
    """A whole number."""


@dataclass(frozen=True)
class Outer:
    """A whole with one field of each kind."""

    name: str
    """Text."""
    size: float
    """A real number."""
    _: KW_ONLY
    pair: tuple[int, float] = (1, 2.0)
    """Of fixed length."""
    many: tuple[Inner, ...] = ()
    """Of any length."""
    maybe: int | None = None
    """May be null."""
    on: bool = False
    """A switch."""
    free: dict[str, Any] = field(default_factory=dict)
    """Anything."""


def test_everything_comes_back_with_its_types() -> None:
    value = Outer(
        "ä\n[1]", 3, pair=(4, 5), many=(Inner(6), Inner(7)), maybe=8, on=True,
        free={"b": [1, {"a": None}]},
    )  # fmt: skip
    back = decode(Outer, read_json(to_text(value, "x"), "x"), "x")
    assert back == value
    assert type(back.size) is float and type(back.pair[1]) is float and type(back.pair[0]) is int


@dataclass(frozen=True)
class Renamed:
    """One field was called otherwise when the first files were written."""

    tile_step: float = field(default=0.5, metadata={IN_FILES: "step"})
    """A real number."""


def test_a_renamed_field_keeps_its_name_in_files() -> None:
    assert read_json(to_text(Renamed(0.75), "x"), "x") == {"step": 0.75}
    assert decode(Renamed, {"step": 0.25}, "x") == Renamed(0.25)
    with pytest.raises(InputError, match="tile_step"):
        decode(Renamed, {"tile_step": 0.25}, "x")


def test_same_values_give_same_text_whatever_the_order_or_number_type() -> None:
    first = Outer("a", 3, free={"x": 1, "y": {"p": 2, "q": 3}})
    second = Outer("a", 3.0, free={"y": {"q": 3, "p": 2}, "x": 1})
    assert to_text(first, "x") == to_text(second, "x")


def test_lists_of_numbers_stay_on_one_line_and_texts_stay_as_they_are() -> None:
    text = to_text(Outer("[\n 1,\n 2\n]", 3, pair=(-4, 5e-7)), "x")
    assert '"pair": [-4, 5e-07]' in text
    assert decode(Outer, read_json(text, "x"), "x").name == "[\n 1,\n 2\n]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"name": "a", "size": 1, "sise": 2}', "unknown field sise"),
        ('{"name": "a"}', "missing field size"),
        ('{"name": 1, "size": 1}', "text"),
        ('{"name": "a", "size": "1"}', "a finite number"),
        ('{"name": "a", "size": true}', "a finite number"),
        ('{"name": "a", "size": 1' + "0" * 400 + "}", "a finite number"),
        ('{"name": "a", "size": 1, "pair": [1]}', "a list of 2"),
        ('{"name": "a", "size": 1, "pair": [1.5, 2]}', "a whole number"),
        ('{"name": "a", "size": 1, "pair": [true, 2]}', "a whole number"),
        ('{"name": "a", "size": 1, "many": {}}', "a list"),
        ('{"name": "a", "size": 1, "many": [{"number": null}]}', "many[0]: number"),
        ('{"name": "a", "size": 1, "many": [{"nmber": 1}]}', "many[0]: not usable"),
        ('{"name": "a", "size": 1, "on": 1}', "true or false"),
        ('{"name": "a", "size": 1, "maybe": "x"}', "a whole number"),
        ('{"name": "a", "size": 1, "free": []}', "an object"),
        ("[]", "an object"),
        ('{"name": "a", "size": NaN}', "NaN is not a JSON number"),
        ('{"name": "a", "size": 1, "size": 2}', "field size comes twice"),
        ('{"name": ', "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(Outer, read_json(text, "file.json"), "file.json")
    assert says in str(caught.value)
    assert caught.value.parts[0].startswith("file.json")


def test_an_infinite_number_in_text_is_refused() -> None:
    with pytest.raises(InputError, match="a finite number"):
        decode(Outer, read_json('{"name": "a", "size": 1e999}', "x"), "x")


@pytest.mark.parametrize("bad", [float("nan"), object(), {1, 2}])
def test_what_json_has_no_word_for_is_not_written(bad: object) -> None:
    with pytest.raises(InputError, match="finite numbers"):
        to_text(Outer("a", 1, free={"x": bad}), "card")


def test_a_field_of_the_wrong_type_is_not_written() -> None:
    with pytest.raises(InputError, match="card: name"):
        to_text(Outer(5, 1), "card")  # type: ignore[arg-type]


def test_what_no_walk_through_would_end_well_for_is_refused() -> None:
    deep = '{"a":' * 150 + "1" + "}" * 150
    with pytest.raises(InputError, match="nested deeper"):
        read_json(deep, "x")
    with pytest.raises(InputError, match="half a character"):
        read_json(r'["\uD834"]', "x")
    assert read_json(r'["\uD834\uDD1E"]', "x") == ["\U0001d11e"]
    assert len(read_json(str([[1]] * 500), "x")) == 500


def test_repeated_keys_of_a_large_object_are_found_at_once() -> None:
    many = ",".join(f'"{n}":1' for n in range(50_000))
    with pytest.raises(InputError, match="field last comes twice"):
        read_json("{" + many + ',"last":1,"last":2}', "x")
