"""START HERE: the panel, put together of its parts.

settings_box (choices <-> parameter node; model_menu brings models in) -> run_panel (Apply, Cancel)
-> statistics_panel and correction_panel, which show the segmentation that is chosen as output.

Invariant: between `exit` and the next `enter` no choice is shown or kept, but a run goes on, and
what it brings is there when the panel comes back; after `scene_closes` the panel holds no node.

Whatever is shown comes in short steps: Slicer draws what a run brought at the same time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError
from FLARESegLib.correction.panel import CorrectionPanel
from FLARESegLib.models.menu import ModelMenu, tools_of
from FLARESegLib.parameters import parameter_node
from FLARESegLib.qt.stepwise import Steps, walk
from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import error_text
from FLARESegLib.run.panel import RunPanel
from FLARESegLib.run.settings_box import SettingsBox
from FLARESegLib.scene import views
from FLARESegLib.scene.results import result_of, show_alone
from FLARESegLib.scene.show_3d_button import Show3DButton
from FLARESegLib.scene.volumes import check_modality
from FLARESegLib.statistics.lines import rows_of
from FLARESegLib.statistics.measures import Measured, ResultMeasures
from FLARESegLib.statistics.panel import StatisticsPanel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from FLARESegLib.models.installer import ModelTools
    from FLARESegLib.run.run import RunResult
    from FLARESegLib.scene.time_points import TimePoints


AS_BEFORE = "window-as-before"
"""Link that takes the window of this module back."""
LOOKS_S = (0.1, 1.0, 3.0, 8.0)
"""When a volume is looked at after it was chosen: whoever is still loading it may set its window,
or say what it is, later than that."""


class Panel:
    """The module's panel.

    Parameters
    ----------
    ui : object
        Widgets of FLARESeg.ui by name.
    logic : FLARESegLogic
        Runs.
    tools : ModelTools, optional
        What installing models needs; Slicer's own by default.
    """

    def __init__(self, ui: Any, logic: Any, tools: ModelTools | None = None) -> None:
        tools = tools or tools_of(logic)
        self.ui = ui
        self.choices = SettingsBox(ui, tools.home)
        self.models = ModelMenu(ui, tools)
        self.run = RunPanel(ui, logic, self.choices)
        self.show_3d = Show3DButton(ui.show3DButton, logic.workplace.loop)
        self._loop = logic.workplace.loop
        self.statistics = StatisticsPanel(ui, logic.workplace.loop)
        self.measures = ResultMeasures(logic.workplace.loop)
        self.correction = CorrectionPanel(ui, logic.workplace, lambda: self.run.place.agreed_on)
        self._volume: Any = None
        self._segmentation: Any = None
        self._brought: tuple[Any, Any] | None = None  # volume, result of a run, while we were away
        self._showing = 0
        self.models.installer.installed.connect(self.choices.choose_model)
        self.models.installer.removed.connect(self.choices.forget_model)
        self.choices.changed.connect(self._choices_changed)
        self.run.finished.connect(self._run_finished)
        self.run.all_times_finished.connect(self._all_times_finished)
        self.measures.measured.connect(self._measured)
        self.measures.edited.connect(self.correction.refresh)
        ui.messageLabel.connect("linkActivated(QString)", self._follow_link)

    def enter(self) -> None:
        """Take up the scene: its parameters, what came meanwhile, an earlier result."""
        parameters = parameter_node()
        brought, self._brought = self._brought, None
        if brought is not None and brought[0].GetScene() and brought[1].GetScene():
            parameters.inputVolume, parameters.outputSegmentation = brought
        elif not self.run.busy:
            parameters.inputVolume = default_volume(parameters.inputVolume)
        if parameters.inputVolume is not None and parameters.outputSegmentation is None:
            parameters.outputSegmentation = result_of(parameters.inputVolume)
        self.choices.attach(parameters)
        if parameters.inputVolume is None:
            self.run.view.say(_no_volume_text())
        elif brought is not None:
            self._bring_to_views(parameters.inputVolume)
        self.correction.enter()

    def exit(self) -> None:
        """Leave editor and highlight, which would disturb other modules."""
        self.correction.exit()
        self.statistics.show_all()
        self.choices.detach()

    def scene_closes(self) -> None:
        """Let go of every node."""
        self.choices.detach()
        self._volume = self._segmentation = self._brought = None
        self._showing += 1
        self.measures.forget()
        self.statistics.clear()
        self.correction.show(None, None)
        self.show_3d.set_segmentation(None)
        self.run.update()

    def cleanup(self) -> None:
        """End everything; the widgets are about to vanish."""
        self._showing += 1
        self.run.cleanup()
        self.models.close()
        self.measures.forget()
        self.show_3d.set_segmentation(None)
        self.correction.cleanup()
        self.choices.detach()

    def correct(self, volume: Any, segmentation: Any, folder: Path, author: str = "") -> None:
        """Take up a segmentation that somebody wants to correct; other modules may call this.

        Parameters
        ----------
        volume, segmentation : MRML nodes
            The CT, and the labels made from it.
        folder : Path
            Training set that the corrections go to.
        author : str
            Who corrects; empty keeps the name that is there.
        """
        self.ui.storeEdit.currentPath = str(folder)
        if author:
            self.ui.authorEdit.text = author
        self.ui.inputSelector.setCurrentNode(volume)
        self.ui.outputSelector.setCurrentNode(segmentation)
        self.ui.correctionSection.collapsed = False

    def _choices_changed(self) -> None:
        """Follow the chosen volume and segmentation."""
        chosen = self.choices.parameters
        if chosen is None:
            return
        volume = chosen.inputVolume
        if volume is not self._volume:
            self._volume = volume
            self._volume_chosen(volume)
        if chosen.outputSegmentation is not self._segmentation:
            self._segmentation = chosen.outputSegmentation
            self._show_result(self._segmentation, None)
        self.run.update()

    def _volume_chosen(self, volume: Any) -> None:
        """Choose the volume's own result, so that a run updates it and never another one's.

        Both come to the views; results of other volumes are hidden, not removed.
        """
        assert self.choices.parameters is not None
        chosen = self.choices.parameters
        if volume is None:
            chosen.outputSegmentation = None
            return
        self.run.view.say("")
        known = chosen.outputSegmentation
        if known is None or not is_of(known, volume):
            chosen.outputSegmentation = result_of(volume)
        self._bring_to_views(volume)
        new = views.never_windowed(volume)
        for delay_s in LOOKS_S:
            self._loop.call_later(delay_s, lambda: self._look_at(volume, window=new))

    def _look_at(self, volume: Any, *, window: bool) -> None:
        """Say it if a volume is no CT; give a CT that nobody has windowed a window that suits it.

        A volume that is just being loaded is chosen before its reader has set either.
        """
        if volume is not self._volume or volume.GetScene() is None:
            return
        text, how = "", "info"
        try:
            check_modality(volume)
            if window and views.set_abdominal_window(volume):
                text = _window_text()
        except InputError as error:
            text, how = error_text(error), "bad"
        if text and not self.run.busy and not self.ui.messageLabel.text:  # nothing newer was said
            self.run.view.say(text, how)

    def _bring_to_views(self, volume: Any) -> None:
        """Show a volume and its result, and none of another volume's."""
        assert self.choices.parameters is not None
        views.show_volume(volume)
        show_alone(volume.GetScene(), self.choices.parameters.outputSegmentation)

    def _run_finished(self, volume: Any, segmentation: Any, result: RunResult) -> None:
        """Show a result; if the person has gone on to another volume, leave the view alone."""
        from flare_core.segment.lesion_list import Lesion  # scipy; a panel opens without it

        lesions = tuple(Lesion.from_dict(row) for row in result.lesions or ())
        self.measures.remember(segmentation, rows_of(result.rows), lesions)
        if self._volume is not volume and self._volume is not None:
            show_alone(segmentation.GetScene(), self._segmentation)
            return
        self._segmentation = segmentation
        if self.choices.parameters is None:
            self._brought = (volume, segmentation)
        else:
            self.choices.parameters.outputSegmentation = segmentation
        show_alone(segmentation.GetScene(), segmentation)
        self._show_result(segmentation, volume)

    def _all_times_finished(
        self, segmentation: Any, times: TimePoints, rows: list[Sequence[dict[str, Any]]]
    ) -> None:
        """Keep the numbers of all time points; show them to whoever is looking at the panel."""
        looking = self.choices.parameters is not None
        self.statistics.keep_over_time(segmentation, times, rows, show=looking)

    def _show_result(self, segmentation: Any, volume: Any) -> None:
        """Point every section to a segmentation, or to none."""
        self._in_steps(self._result_steps(segmentation, volume or self._volume))

    def _result_steps(self, segmentation: Any, volume: Any) -> Steps:
        self.show_3d.set_segmentation(segmentation)
        self.statistics.clear()
        yield 0.3
        self.correction.show(segmentation, volume)
        yield 0.6
        self.measures.watch(segmentation, volume)

    def _measured(self, segmentation: Any, measured: Measured) -> None:
        """Show statistics, and what was changed by hand."""
        if segmentation is self._segmentation:
            self._in_steps(self._measured_steps(segmentation, measured))

    def _measured_steps(self, segmentation: Any, measured: Measured) -> Steps:
        if segmentation.GetScene() is None:
            return
        if measured.problem:
            self.statistics.clear(measured.problem)
        else:
            yield from self.statistics.show_steps(segmentation, measured.rows, measured.lesions)
        yield 0.9
        self.correction.show_measured(measured)

    def _in_steps(self, steps: Steps) -> None:
        """Take steps; those of before, which show something older, are not gone on with."""
        self._showing += 1
        number = self._showing
        walk(
            self._loop,
            steps,
            lambda future: future.result(),
            lambda: number == self._showing,
        )

    def _follow_link(self, link: str) -> None:
        import slicer

        if link == AS_BEFORE:
            views.undo_window(self._volume)
            self.run.view.say("")
        else:
            slicer.util.selectModule(link)


def default_volume(chosen: Any) -> Any:
    """Return the volume to segment next: the chosen one until it is done, then the one shown."""
    if chosen is not None and result_of(chosen) is None:
        return chosen
    return views.shown_volume() or chosen


def is_of(segmentation: Any, volume: Any) -> bool:
    """Whether a segmentation was made from a volume."""
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    return bool(segmentation.GetNodeReferenceID(role) == volume.GetID())


def _window_text() -> str:
    text = _("Shown in a window for the abdomen (width 400, level 40 HU).")
    return f'{text} <a href="{AS_BEFORE}">{_("As before")}</a>'


def _no_volume_text() -> str:
    return _(
        "No CT is loaded. Drag its files or its DICOM folder into Slicer; for a first try, take "
        '"CTA abdomen (Panoramix)" from <a href="SampleData">Sample Data</a>.'
    )
