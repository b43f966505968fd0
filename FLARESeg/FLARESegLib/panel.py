"""START HERE: the panel, put together of its parts.

settings_box (choices <-> parameter node; model_menu brings models in) -> run_panel (Apply, Cancel)
-> statistics_panel and correction_panel, which show the segmentation that is chosen as output.

Invariant: between `exit` or `scene_closes` and the next `enter` the panel holds no node and
observes nothing, but a run goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from FLARESegLib.correction.panel import CorrectionPanel
from FLARESegLib.models.menu import ModelMenu, tools_of
from FLARESegLib.parameters import parameter_node
from FLARESegLib.qt.translation import _
from FLARESegLib.run.panel import Request, RunPanel
from FLARESegLib.run.settings_box import SettingsBox
from FLARESegLib.scene import views
from FLARESegLib.scene.results import result_of
from FLARESegLib.scene.show_3d_button import Show3DButton
from FLARESegLib.statistics.lines import rows_of
from FLARESegLib.statistics.measures import Measured, ResultMeasures
from FLARESegLib.statistics.panel import StatisticsPanel

if TYPE_CHECKING:
    from FLARESegLib.models.installer import ModelTools
    from FLARESegLib.run.run import RunResult


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
        self.home = None if tools is None else str(tools.home.path)
        tools = tools or tools_of(logic)
        self.ui = ui
        self.settings = SettingsBox(ui, tools.home)
        self.models = ModelMenu(ui, tools)
        self.run = RunPanel(ui, logic, self.request)
        self.show_3d = Show3DButton(ui.show3DButton, logic.workplace.loop)
        self.statistics = StatisticsPanel(ui)
        self.measures = ResultMeasures(logic.workplace.loop)
        self.correction = CorrectionPanel(ui, logic.workplace.loop)
        self._volume: Any = None
        self._segmentation: Any = None
        self.models.installer.installed.connect(self.settings.choose_model)
        self.models.installer.removed.connect(self.settings.forget_model)
        self.settings.changed.connect(self._choices_changed)
        self.run.finished.connect(self._run_finished)
        self.measures.measured.connect(self._measured)
        ui.messageLabel.connect("linkActivated(QString)", self._follow_link)

    def request(self) -> Request:
        """Return what a run would be started with."""
        chosen = self.settings.parameters
        if chosen is None:
            return Request(None, None, "", (), "auto", fast=False)
        model = self.settings.model
        return Request(
            chosen.inputVolume,
            chosen.outputSegmentation,
            model.name if model else "",
            tuple(chosen.organs),
            chosen.device.value,
            fast=chosen.fast,
            home=self.home,
        )

    def enter(self) -> None:
        """Take up the scene: its parameters, the volume on display, an earlier result."""
        parameters = parameter_node()
        parameters.inputVolume = default_volume(parameters.inputVolume)
        self.settings.attach(parameters)
        if parameters.inputVolume is None:
            self.run.view.say(_no_volume_text())
        self.correction.enter()

    def exit(self) -> None:
        """Leave editor and highlight, which would disturb other modules."""
        self.correction.exit()
        self.statistics.show_all()
        self.settings.detach()

    def scene_closes(self) -> None:
        """Let go of every node."""
        self.settings.detach()
        self._volume = self._segmentation = None
        self.measures.forget()
        self.statistics.clear()
        self.correction.show(None, None)
        self.show_3d.set_segmentation(None)
        self.run.update()

    def cleanup(self) -> None:
        """End everything; the widgets are about to vanish."""
        self.run.cleanup()
        self.models.close()
        self.measures.forget()
        self.show_3d.set_segmentation(None)
        self.correction.cleanup()
        self.settings.detach()

    def _choices_changed(self) -> None:
        """Follow the chosen volume and segmentation."""
        chosen = self.settings.parameters
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
        """Choose the volume's own result, so that a run updates it and never another one's."""
        assert self.settings.parameters is not None
        if volume is not None:
            self.run.view.say("")
        self.settings.parameters.outputSegmentation = result_of(volume) if volume else None

    def _run_finished(self, volume: Any, segmentation: Any, result: RunResult) -> None:
        """Show a result; if the person has gone on to another volume, leave the view alone."""
        self.measures.remember(segmentation, rows_of(result.rows))
        if self._volume is not volume and self._volume is not None:
            return
        self._segmentation = segmentation
        if self.settings.parameters is not None:
            self.settings.parameters.outputSegmentation = segmentation
        self._show_result(segmentation, volume)

    def _show_result(self, segmentation: Any, volume: Any) -> None:
        """Point every section to a segmentation, or to none."""
        self.show_3d.set_segmentation(segmentation)
        volume = volume or self._volume
        self.statistics.clear()
        self.correction.show(segmentation, volume)
        self.measures.watch(segmentation, volume)

    def _measured(self, segmentation: Any, measured: Measured) -> None:
        """Show statistics, and what was changed by hand."""
        if segmentation is self._segmentation:
            if measured.problem:
                self.statistics.clear(measured.problem)
            else:
                self.statistics.show(segmentation, measured.rows)
            self.correction.show_measured(measured)

    def _follow_link(self, link: str) -> None:
        import slicer

        slicer.util.selectModule(link)


def default_volume(chosen: Any) -> Any:
    """Return the volume to segment next: the chosen one until it is done, then the one shown."""
    if chosen is not None and result_of(chosen) is None:
        return chosen
    return views.shown_volume() or chosen


def _no_volume_text() -> str:
    return _(
        "No CT is loaded. Drag its files or its DICOM folder into Slicer; for a first try, take "
        '"CTA abdomen (Panoramix)" from <a href="SampleData">Sample Data</a>.'
    )
