from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flare_core.anatomy.label_schemes import FLARE21, FLARE22, TOTALSEGMENTATOR
from flare_core.errors import InputError
from flare_core.evaluate.label_values import own_edition, value_table
from flare_core.evaluate.protocols import Edition, edition


def own(tmp_path: Path, rules: str = "flare22", **fields: Any) -> Edition:
    path = tmp_path / "own.json"
    path.write_text(json.dumps(fields), "utf-8")
    return own_edition(path, edition(rules))


def test_known_organs_bring_their_rules(tmp_path: Path) -> None:
    found = own(tmp_path, structures=[{"value": 3, "name": "IVC"}, {"value": 1, "name": "liver"}])
    vein, liver = found.targets
    assert (vein.key, vein.tolerance_mm, vein.labelled_slices) == ("inferior_vena_cava", 2.0, True)
    assert (liver.value, liver.tolerance_mm, liver.name) == (1, 5.0, "Liver")
    assert found.scheme.highest == 3 and found.nsd_gate_dsc == 0.2 and not found.strict_labels


def test_the_edition_rules_the_tolerance(tmp_path: Path) -> None:
    found = own(tmp_path, "flare21", structures=[{"value": 1, "name": "liver"}])
    assert found.targets[0].tolerance_mm == 1.0


def test_other_structures_and_merged_ones(tmp_path: Path) -> None:
    found = own(
        tmp_path,
        title="Ward",
        structures=[
            {"value": 2, "name": "Both kidneys", "organs": ["right_kidney", "left_kidney"]},
            {"value": 7, "name": "Left atrium", "tolerance_mm": 3.5, "labelled_slices": True},
            {"value": 8, "name": "Metastasis", "tolerance_mm": 2, "lesion": True},
        ],
    )
    kidneys, atrium, metastasis = found.targets
    assert kidneys.key == "both_kidneys" and kidneys.tolerance_mm == 3.0
    assert (atrium.key, atrium.tolerance_mm, atrium.labelled_slices) == ("left_atrium", 3.5, True)
    assert metastasis.lesion and found.lesion_targets == (metastasis,)
    assert found.title.startswith("Ward")


@pytest.mark.parametrize(
    ("structures", "said"),
    [
        ([{"value": 1, "name": "livre"}], "tolerance"),
        ([{"value": 1, "name": "liver"}, {"value": 1, "name": "spleen"}], "more than once"),
        ([{"value": 1, "name": "liver"}, {"value": 2, "name": "Liver"}], "more than once"),
        ([{"value": 0, "name": "liver"}], "1 to 255"),
        ([{"value": 256, "name": "liver"}], "1 to 255"),
        ([{"value": "1", "name": "liver"}], "whole number"),
        ([{"value": 1, "name": "liver", "tolerance": 3}], "unknown field"),
        ([{"value": 1, "name": "x", "organs": ["heart"], "tolerance_mm": 1}], "heart"),
        ([{"value": 1, "name": "heart", "tolerance_mm": -1}], "tolerance"),
        ([], "at least one"),
    ],
)
def test_bad_schemes_are_refused(
    tmp_path: Path, structures: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        own(tmp_path, structures=structures)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"structures": []'])
def test_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.json").write_text(text, "utf-8")
    with pytest.raises(InputError):
        own_edition(tmp_path / "own.json", edition("flare22"))
    with pytest.raises(InputError, match="scheme"):
        own_edition(tmp_path / "absent.json", edition("flare22"))


def test_values_of_other_models() -> None:
    table = value_table(TOTALSEGMENTATOR, edition("flare22"))
    assert [int(table[v]) for v in (5, 2, 3, 1, 63, 90)] == [1, 2, 13, 3, 6, 0]


def test_kidneys_can_be_merged_but_not_divided() -> None:
    table = value_table(FLARE22, edition("flare21"))
    assert table[2] == table[13] == 2 and table[5] == 0
    with pytest.raises(InputError, match="right_kidney and left_kidney"):
        value_table(FLARE21, edition("flare22"))
