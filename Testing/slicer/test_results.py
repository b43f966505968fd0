from __future__ import annotations

from FLARESegLib.results import show_result

from flare_core.anatomy.organs import ORGANS


def test_first(add_volume, small_ct):
    array, labels = small_ct
    node = show_result(add_volume(array), labels, ORGANS, facts={"model": "default"})
    assert node.GetSegmentation().GetNumberOfSegments() == 4
