"""What a person chose in the panel; kept in the scene, so that it is saved and restored with it."""

from __future__ import annotations

from typing import Annotated

from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode


@parameterNodeWrapper
class FLARETrainParameterNode:
    """The module's parameters; a number without a range loses the one of its spin box."""

    volumeToAdd: vtkMRMLScalarVolumeNode
    """The CT that is to become a case."""
    segmentationToAdd: vtkMRMLSegmentationNode
    """Its labels, if there are any."""
    teacher: str = "default"
    """Name, or ``name@version``, of a model."""
    strategy: str = "iterative"
    """One of `strategies.STRATEGIES`."""
    minutes: Annotated[float, WithinRange(0.1, 100_000.0)] = 60.0
    """Training time of one network."""
    rounds: Annotated[int, WithinRange(1, 20)] = 1
    """How many rounds."""
    modelName: str = "self-trained"
    """Name of the model that comes out."""
    promote: bool = False
    """Whether a model that is not worse is put into use without asking."""


def parameter_node() -> FLARETrainParameterNode:
    """Return the one parameter node of the module in the scene; it is made if there is none."""
    logic = ScriptedLoadableModuleLogic()
    logic.moduleName = "FLARETrain"
    return FLARETrainParameterNode(logic.getParameterNode())
