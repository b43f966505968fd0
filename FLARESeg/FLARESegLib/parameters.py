"""What a person chose in the panel; kept in the scene, so that it is saved and restored with it."""

from __future__ import annotations

import enum

from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from FLARESegLib.qt.translation import _
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode

DEFAULT_MODEL = "default"


class Device(enum.Enum):
    """Where the networks run; the values are those of `flare_core.segment.Settings.device`."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "cuda"

    def label(self) -> str:
        """Words for the combo box; Slicer's binding asks for them."""
        return {
            Device.AUTO: _("Automatic"),
            Device.CPU: _("Processor (CPU)"),
            Device.GPU: _("Graphics card (GPU)"),
        }[self]


@parameterNodeWrapper
class FLARESegParameterNode:
    """The module's parameters.

    Node types stand alone: a parameter of a node type may be None anyway, and Slicer's binding does
    not understand ``X | None``.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    """The CT."""
    outputSegmentation: vtkMRMLSegmentationNode
    """Where the result goes; None makes a new one."""
    model: str = DEFAULT_MODEL
    """Name, or ``name@version``, of a model."""
    organs: list[str]
    """Keys of the organs wanted; empty is all."""
    device: Device = Device.AUTO
    """Where it runs."""
    fast: bool = False
    """Quicker and a little less exact."""


def parameter_node() -> FLARESegParameterNode:
    """Return the one parameter node of the module in the scene; it is made if there is none."""
    logic = ScriptedLoadableModuleLogic()
    logic.moduleName = "FLARESeg"
    return FLARESegParameterNode(logic.getParameterNode())
