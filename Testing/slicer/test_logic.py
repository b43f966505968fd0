from __future__ import annotations

import pytest
from FLARESegLib.logic import FLARESegLogic
from FLARESegLib.segment_identity import organ_segment_ids

pytest_plugins = ["process_fixtures"]


@pytest.fixture
def logic(place):
    return FLARESegLogic(workplace=place)


def test_segment_waits_and_returns_the_segmentation(logic, ct, stub_model, capsys):
    node = logic.segment(ct, model=stub_model)
    assert set(organ_segment_ids(node)) == {"liver", "spleen"}
    printed = capsys.readouterr().out
    assert "100 %" in printed
    assert "organs" in printed
