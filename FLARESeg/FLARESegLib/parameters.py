"""What a person chose in the panel; kept in the scene, so that it is saved and restored with it.

The node has a parameter for each choice that the panel offers, as Slicer binds widgets to them;
`settings_of` is the one way from there to the `Settings` that a run takes.
"""

from __future__ import annotations

import enum
from typing import Annotated

from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from flare_core.segment.settings import Settings
from FLARESegLib.qt.translation import _
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode

MODELS_OWN = -5
"""As `lesionSensitivity`: the model's own. One step below 0, so that the spin box reaches it."""


class Device(enum.Enum):
    """Where the networks run; the values are those of `Settings.device`."""

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
    not understand ``X | None``. A number without a range loses the one of its spin box.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    """The CT."""
    outputSegmentation: vtkMRMLSegmentationNode
    """Where the result goes; None makes a new one."""
    model: str = Settings.model
    """Name, or ``name@version``, of a model."""
    organs: list[str]
    """Keys of the organs wanted; empty is all."""
    device: Device = Device.AUTO
    """Where it runs."""
    fast: bool = Settings.fast
    """Quicker and a little less exact."""
    lesionSensitivity: Annotated[int, WithinRange(MODELS_OWN, 100)] = MODELS_OWN
    """How readily a voxel is a lesion, in percent; below 0 is as the model was made."""
    assumeHu: bool = Settings.assume_hu
    """Whether the values are taken for HU whatever they look like."""


def parameter_node() -> FLARESegParameterNode:
    """Return the one parameter node of the module in the scene; it is made if there is none."""
    logic = ScriptedLoadableModuleLogic()
    logic.moduleName = "FLARESeg"
    return FLARESegParameterNode(logic.getParameterNode())


def settings_of(parameters: FLARESegParameterNode, home: str | None = None) -> Settings:
    """Return the choices that the node holds, with the folder of installed models."""
    percent = parameters.lesionSensitivity
    return Settings(
        model=parameters.model,
        organs=tuple(parameters.organs) or None,
        device=parameters.device.value,
        fast=parameters.fast,
        home=home,
        assume_hu=parameters.assumeHu,
        lesion_sensitivity=None if percent < 0 else percent / 100,
    )
