"""The logic of the FLARESeg module: segment a volume node, wait for it or not.

Works in the Slicer application, and in plain Python with the wheel ``slicer-core``. Shows no
dialog and sets no cursor; progress goes to callbacks, or to the console of a blocking call.
For research use; not a medical device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flare_core.segment.settings import Settings
from FLARESegLib import dependencies
from FLARESegLib.run.console import ConsoleProgress
from FLARESegLib.run.facts import RunProgress, SceneCode, Tools
from FLARESegLib.run.failures import RunFailed
from FLARESegLib.run.run import Run
from FLARESegLib.run.workplace import Workplace, shared_workplace

try:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic
except ImportError:  # plain Python with slicer-core, which has no modules
    ScriptedLoadableModuleLogic = object

if TYPE_CHECKING:
    from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode

PUMP_S = 0.05


class FLARESegLogic(ScriptedLoadableModuleLogic):
    """Segments CT volume nodes with the warm worker.

    Examples
    --------
    In Slicer's Python console, with a CT loaded::

        from FLARESeg import FLARESegLogic

        from flare_core import Settings

        logic = FLARESegLogic()
        volumeNode = slicer.util.getNode("CTACardio")
        segmentationNode = logic.segment(volumeNode, settings=Settings(organs=("liver", "spleen")))
        for row in logic.statistics(segmentationNode):
            print(row["organ"], row["measure"], row["value"], row["unit"])

    (``slicer.util.getModuleLogic("FLARESeg")`` is not this class but Slicer's wrapper of it.)

    Without waiting::

        run = logic.segmentAsync(volumeNode, onFinished=lambda node: print(node.GetName()))
        run.cancel()
    """

    def __init__(self, parent: Any = None, *, workplace: Workplace | None = None) -> None:
        if ScriptedLoadableModuleLogic is object:
            super().__init__()
        else:
            super().__init__(parent)
        self._workplace = workplace
        self._runs: list[Run] = []

    @property
    def workplace(self) -> Workplace:
        """The worker and the event loop; shared by all logics unless one was given."""
        return self._workplace or shared_workplace()

    def segment(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        segmentationNode: vtkMRMLSegmentationNode | None = None,
        settings: Settings | None = None,
        *,
        onProgress: Callable[[RunProgress], None] | None = None,
    ) -> vtkMRMLSegmentationNode:
        """Segment a CT and return the segmentation node; the window stays alive meanwhile.

        Parameters
        ----------
        volumeNode : vtkMRMLScalarVolumeNode
            The CT, in HU; a linear parent transform is taken into account.
        segmentationNode : vtkMRMLSegmentationNode, optional
            Which segmentation to update. Without it, the one that was made from this volume is
            updated, or a new one is made.
        settings : Settings, optional
            What to look for, with which model, how.
        onProgress : callable, optional
            Called with every `RunProgress`; by default they are printed.

        Raises
        ------
        InputError
            If the volume, the model or an organ cannot be used.
        NothingFound
            If no abdominal organ is in the scan.
        Cancelled
            If the scene was closed, or a node removed that was needed.
        RunFailed
            If the worker failed.
        """
        run = self.segmentAsync(
            volumeNode,
            segmentationNode,
            settings,
            onProgress=onProgress or ConsoleProgress().show,
        )
        self.waitFor(run)
        if run.error is not None:
            raise run.error
        return run.segmentationNode

    def segmentAsync(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        segmentationNode: vtkMRMLSegmentationNode | None = None,
        settings: Settings | None = None,
        *,
        onProgress: Callable[[RunProgress], None] | None = None,
        onFinished: Callable[[vtkMRMLSegmentationNode], None] | None = None,
        onFailed: Callable[[BaseException], None] | None = None,
        on: dict[str, Any] | None = None,
    ) -> Run:
        """Start segmenting and return at once; parameters as in `segment`.

        Parameters
        ----------
        onProgress : callable, optional
            Called with every `RunProgress`.
        onFinished : callable, optional
            Called with the segmentation node. Statistics and notes are in ``run.result``.
        onFailed : callable, optional
            Called with the exception: those of `segment`, or `Stopped` if the run was cancelled.
        on : dict, optional
            Which server computes (``flare serve``): ``address``, ``token``, perhaps
            ``certificate``, a path. Without it, this computer.

        Returns
        -------
        Run
            With ``cancel()``, ``state``, ``over``, ``result`` and ``error``.
        """
        place = self.workplace
        tools = Tools(place.worker, place.loop, place.temporary, load_scene_code, on)
        run = Run(volumeNode, segmentationNode, settings or Settings(), tools)
        for signal, listener in (
            (run.progressed, onProgress),
            (run.finished, onFinished),
            (run.failed, onFailed),
        ):
            if listener is not None:
                signal.connect(listener)
        self._runs = [each for each in self._runs if not each.over] + [run]
        place.begin(run)
        return run

    def waitFor(self, run: Run) -> None:
        """Handle events until a run is over; Ctrl-C cancels it."""
        loop = self.workplace.loop
        try:
            while not run.over:
                loop.pump(PUMP_S)
        except KeyboardInterrupt:
            run.cancel()
            while not run.over:
                loop.pump(PUMP_S)
            raise

    def statistics(
        self,
        segmentationNode: vtkMRMLSegmentationNode,
        volumeNode: vtkMRMLScalarVolumeNode | None = None,
    ) -> list[dict[str, Any]]:
        """Measure the organs of a segmentation as it is now, corrections included.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
            A result of this module.
        volumeNode : vtkMRMLScalarVolumeNode, optional
            The CT; by default the one that the segmentation was made from.

        Returns
        -------
        list of dict
            ``organ``, ``measure``, ``value`` (None if undefined), ``unit``, ``code``, ``note``.

        Raises
        ------
        InputError
            If the segmentation or its volume cannot be measured.
        """
        from flare_core.segment.statistics import organ_statistics, rows_to_json
        from FLARESegLib.correction.corrections import current_labels, volume_of
        from FLARESegLib.scene.volumes import node_volume
        from FLARESegLib.statistics.measures import measured_organs

        volumeNode = volumeNode or volume_of(segmentationNode)
        labels = current_labels(segmentationNode, volumeNode)
        organs = measured_organs(segmentationNode)
        return rows_to_json(organ_statistics(node_volume(volumeNode), labels, organs))

    def missingDependencies(self) -> list[str]:
        """Return what Python packages are missing, as ``name>=version``; takes milliseconds."""
        return [str(each) for each in dependencies.missing()]

    def installDependencies(self, ask: Callable[[str], bool] | None = None) -> None:
        """Install what is missing, after one question; does nothing if nothing is.

        Parameters
        ----------
        ask : callable, optional
            Shows the question and returns whether the person agrees; without it, calling this
            function is the agreement.

        Raises
        ------
        RunFailed
            With the kind ``declined``, ``restart`` or ``install``; the message says what to do.
        """
        from FLARESegLib.installer import SlicerInstaller

        dependencies.ensure(SlicerInstaller(), ask or (lambda text: True))

    def preload(self, settings: Settings | None = None) -> None:
        """Start the worker and load a model in the background, so that the first run is warm."""
        chosen = settings or Settings()
        request = {"command": "preload", "settings": chosen.to_dict()}
        self.workplace.worker.request(request, lambda answer: None)

    def cancel(self) -> None:
        """Cancel every run of this logic."""
        for run in self._runs:
            run.cancel()

    def shutdown(self) -> None:
        """End the worker and every run; for a reload and for the end of Slicer. Blocks briefly.

        The worker is shared: runs of other logics end as well. The next run starts a new one.
        """
        self.workplace.close()
        self._runs = []


def load_scene_code() -> SceneCode:
    """Import what touches the scene and what reads a result; in a thread, as it takes a second.

    Raises
    ------
    RunFailed
        If the worker would lack Python packages.
    """
    lacking = dependencies.missing()
    if lacking:
        raise RunFailed("missing", dependencies.missing_text(lacking))
    # What is needed when it is late to wait, in Qt's thread: numbers and lesions of a result.
    from flare_core.segment import lesion_list, postprocess, statistics  # noqa: F401
    from FLARESegLib.scene import results  # noqa: F401
    from FLARESegLib.scene.showing import show_steps
    from FLARESegLib.scene.volumes import copy_steps

    return SceneCode(copy_steps, show_steps)
