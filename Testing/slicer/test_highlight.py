from __future__ import annotations

import pytest

pytest.importorskip("slicer")

from FLARESegLib.scene.highlight import FADED, Highlight


@pytest.fixture
def segmentation(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    node.CreateDefaultDisplayNodes()
    for name in ("liver", "spleen", "aorta"):
        node.GetSegmentation().AddEmptySegment(name, name)
    node.GetDisplayNode().SetSegmentOpacity3D("aorta", 0.5)
    return node


def opacities(node):
    display = node.GetDisplayNode()
    return {
        name: (
            display.GetSegmentOpacity3D(name),
            display.GetSegmentOpacity2DFill(name),
            display.GetSegmentOpacity2DOutline(name),
        )
        for name in node.GetSegmentation().GetSegmentIDs()
    }


def test_the_others_fade_and_come_back_as_they_were(segmentation):
    before = opacities(segmentation)
    highlight = Highlight()
    highlight.show(segmentation, "spleen")
    now = opacities(segmentation)
    assert highlight.active
    assert now["spleen"] == before["spleen"]
    assert now["aorta"] == pytest.approx([value * FADED for value in before["aorta"]])
    highlight.restore()
    assert opacities(segmentation) == before
    assert not highlight.active


def test_views_hear_of_it_once(segmentation):
    """They draw each time: a change of each opacity held Slicer for a second and a half."""
    heard = []
    segmentation.GetDisplayNode().AddObserver("ModifiedEvent", lambda *_: heard.append(1))
    highlight = Highlight()
    highlight.show(segmentation, "spleen")
    assert len(heard) == 1
    highlight.restore()
    assert len(heard) == 2


def test_from_one_organ_to_the_next_nothing_fades_twice(segmentation):
    before = opacities(segmentation)
    highlight = Highlight()
    highlight.show(segmentation, "spleen")
    highlight.show(segmentation, "liver")
    assert opacities(segmentation)["aorta"][0] == pytest.approx(0.5 * FADED)
    assert opacities(segmentation)["liver"] == before["liver"]
    highlight.restore()
    assert opacities(segmentation) == before


def test_a_segment_that_is_not_there_ends_the_highlight(segmentation):
    before = opacities(segmentation)
    highlight = Highlight()
    highlight.show(segmentation, "spleen")
    highlight.show(segmentation, "pancreas")
    assert opacities(segmentation) == before and not highlight.active


def test_a_segment_or_the_segmentation_may_vanish_meanwhile(scene, segmentation):
    before = opacities(segmentation)
    highlight = Highlight()
    highlight.show(segmentation, "spleen")
    segmentation.GetSegmentation().RemoveSegment("liver")
    highlight.restore()
    assert opacities(segmentation)["aorta"] == before["aorta"]
    highlight.show(segmentation, "spleen")
    scene.RemoveNode(segmentation)
    highlight.restore()
    assert not highlight.active
