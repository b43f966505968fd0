"""Installing through Slicer: the PyTorch extension for torch, Slicer's own pip for the rest."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from FLARESegLib.dependencies import PYTORCH, Requirement

TORCH_MODULE = "PyTorchUtils"
"""The module of the PyTorch extension."""


class SlicerInstaller:
    """Installs into the Slicer that is running."""

    def has_torch_extension(self) -> bool:
        """Whether the module PyTorchUtils can be imported."""
        if TORCH_MODULE in sys.modules:  # Slicer loads modules its own way, some without a spec
            return True
        return importlib.util.find_spec(TORCH_MODULE) is not None

    def install_torch_extension(self) -> bool:
        """Have the Extensions Manager fetch the PyTorch extension, without its own dialogs."""
        import slicer

        if not hasattr(slicer.app, "extensionsManagerModel"):  # a Slicer built without it
            return False
        model = slicer.app.extensionsManagerModel()
        if not hasattr(model, "installExtensionFromServer"):
            return False
        asks, model.interactive = model.interactive, False
        try:
            return bool(model.installExtensionFromServer(PYTORCH, False))  # no restart by itself
        finally:
            model.interactive = asks

    def install_torch(self, wanted: Requirement) -> None:
        """Have the PyTorch extension choose and install the right build of torch.

        Raises
        ------
        RuntimeError
            If it did not.
        """
        utilities = importlib.import_module(TORCH_MODULE)
        torch = utilities.PyTorchUtilsLogic().installTorch(
            askConfirmation=False, torchVersionRequirement=f">={wanted.at_least}"
        )
        if torch is None:
            raise RuntimeError("the PyTorch extension did not install torch")

    def install_packages(self, wanted: Sequence[Requirement], constraints: Path) -> None:
        """Run Slicer's pip; 5.12 shows a progress window, 5.10 a log in the console."""
        import slicer

        names = [str(each) for each in wanted]
        packaging = _slicer_packaging()
        if packaging is None:
            slicer.util.pip_install([*names, "--constraint", str(constraints)])
        else:
            packaging.pip_ensure(
                names,
                constraints=str(constraints),
                prompt_install=False,  # has been asked, together with torch
                prompt_restart=False,  # the worker is a new process
                requester="FLARESeg",
            )


def _slicer_packaging() -> ModuleType | None:
    """Return ``slicer.packaging``, which Slicer 5.10 does not have yet."""
    try:
        return importlib.import_module("slicer.packaging")
    except ModuleNotFoundError:
        return None
