"""The table of kinds is whole: each organ has tumours, each row can be drawn."""

from __future__ import annotations

import pytest

from flare_core.anatomy.organs import organ
from flare_core.datasets.lesions.kinds import BOWEL, DECOYS, DOME, KINDS, LARGEST_MM, OFTEN, TISSUES
from flare_core.datasets.lesions.phase import PHASES
from flare_core.datasets.lesions.settings import can_have


def test_each_organ_has_a_kind_of_lesion() -> None:
    for key in LARGEST_MM:
        assert key in (BOWEL, *TISSUES) or organ(key).key == key
        assert any(can_have(key, name) and KINDS[name].lesion for name in KINDS), key
    assert set(OFTEN) == set(LARGEST_MM) - {"liver"}
    assert DOME in DECOYS and DOME not in KINDS


@pytest.mark.parametrize("name", KINDS)
def test_each_row_can_be_drawn(name: str) -> None:
    kind = KINDS[name]
    assert len(kind.hu) == len(PHASES)
    assert all(low <= high for low, high in (*kind.hu, kind.irregular, kind.mosaic_hu, kind.push))
    assert kind.push[1] < 1, "a push of 1 would tear the image at its centre"
    assert (kind.size_mm is None) == kind.lesion
    shares = (kind.infiltrating, kind.rim, kind.capsule, kind.necrosis, kind.calcified)
    assert all(0 <= share <= 1 for share in (*shares, kind.lipiodol, kind.bulging))
