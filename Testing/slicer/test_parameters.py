"""From the panel's parameter node to the settings of a run; Slicer's wrapper is a stand-in."""

from __future__ import annotations

import importlib
import sys
import xml.etree.ElementTree as ElementTree
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import get_type_hints

import pytest

import slicer
from flare_core.segment.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stand_ins(monkeypatch):
    """Classes are left as they are where Slicer's own decorator is missing."""
    wrapper, modules = ModuleType("wrapper"), ModuleType("modules")
    wrapper.parameterNodeWrapper = lambda cls: cls
    wrapper.WithinRange = namedtuple("WithinRange", "minimum maximum")
    modules.ScriptedLoadableModuleLogic = object
    monkeypatch.setitem(sys.modules, "slicer.parameterNodeWrapper", wrapper)
    monkeypatch.setitem(sys.modules, "slicer.ScriptedLoadableModule", modules)


@pytest.fixture
def parameters(stand_ins):
    del stand_ins
    name = "FLARESegLib.parameters"
    yield importlib.import_module(name)
    sys.modules.pop(name)


def test_a_new_node_holds_the_defaults(parameters):
    node = parameters.FLARESegParameterNode()
    node.organs = []  # Slicer's wrapper gives every node a list of its own
    assert parameters.settings_of(node) == Settings()


def test_every_choice_of_the_panel_gets_through(parameters):
    node = SimpleNamespace(
        model="m@1",
        organs=["liver"],
        device=parameters.Device.GPU,
        fast=True,
        lesionSensitivity=40,
        assumeHu=True,
    )
    assert parameters.settings_of(node, "/h") == Settings(
        model="m@1",
        organs=("liver",),
        device="cuda",
        fast=True,
        home="/h",
        assume_hu=True,
        lesion_sensitivity=0.4,
    )


@pytest.mark.parametrize(("percent", "share"), [(-5, None), (-1, None), (0, 0.0), (100, 1.0)])
def test_below_zero_is_the_models_own(parameters, percent, share):
    node = parameters.FLARESegParameterNode()
    node.organs, node.lesionSensitivity = [], percent
    assert parameters.settings_of(node).lesion_sensitivity == share


def test_the_devices_of_the_panel_are_legal(parameters):
    for device in parameters.Device:
        assert Settings(device=device.value).problem is None


def test_the_node_needs_types_that_slicer_has(parameters):
    del parameters
    assert issubclass(slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLNode)


@pytest.mark.parametrize("module", ["FLARESeg", "FLARETrain"])
def test_a_number_has_the_range_of_its_spin_box(stand_ins, module):
    """Slicer's binding gives a box without one all numbers there are."""
    del stand_ins
    name = f"{module}Lib.parameters"
    node = getattr(importlib.import_module(name), f"{module}ParameterNode")
    hints = get_type_hints(node, include_extras=True)
    sys.modules.pop(name)
    boxes = list(spin_boxes(ROOT / module / "Resources" / "UI" / f"{module}.ui"))
    assert boxes
    for parameter, low, high in boxes:
        assert tuple(hints[parameter].__metadata__[0]) == (low, high), parameter


def spin_boxes(ui_file):
    """The parameter, smallest and largest value of each spin box that is bound to one."""
    for widget in ElementTree.parse(ui_file).iter("widget"):
        if not widget.get("class").endswith("SpinBox"):
            continue
        values = {each.get("name"): each[0].text for each in widget.iter("property")}
        if "SlicerParameterName" in values:
            low, high = values.get("minimum", "0"), values.get("maximum", "99")
            yield values["SlicerParameterName"], float(low), float(high)
