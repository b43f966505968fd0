"""From the panel's parameter node to the settings of a run; Slicer's wrapper is a stand-in."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

import slicer
from flare_core.segment.settings import Settings


@pytest.fixture
def parameters(monkeypatch):
    """The module, with classes left as they are where Slicer's own decorator is missing."""
    wrapper, modules = ModuleType("wrapper"), ModuleType("modules")
    wrapper.parameterNodeWrapper = lambda cls: cls
    modules.ScriptedLoadableModuleLogic = object
    monkeypatch.setitem(sys.modules, "slicer.parameterNodeWrapper", wrapper)
    monkeypatch.setitem(sys.modules, "slicer.ScriptedLoadableModule", modules)
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
