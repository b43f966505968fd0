"""The statistics section: the table, what a click on it does, chart, clipboard and CSV."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from FLARESegLib.qt import dialogs
from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.stepwise import walk
from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import error_text
from FLARESegLib.scene import views
from FLARESegLib.scene.highlight import Highlight
from FLARESegLib.scene.lesion_segments import lesion_segment_at
from FLARESegLib.scene.segment_identity import organ_segment_ids
from FLARESegLib.scene.volumes import to_world
from FLARESegLib.statistics.chart import chart_steps
from FLARESegLib.statistics.lesion_table import LesionTable, ras_of
from FLARESegLib.statistics.lines import lines_of, tab_separated
from FLARESegLib.statistics.nodes import organ_centre, statistics_table
from FLARESegLib.statistics.over_time import chart_over_time, show_over_time
from FLARESegLib.statistics.table import StatisticsTable

if TYPE_CHECKING:
    from flare_core.segment.lesion_list import Lesion
    from flare_core.segment.statistics import StatisticsRow
    from FLARESegLib.scene.time_points import TimePoints


class StatisticsPanel:
    """Shows the statistics of one segmentation.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    loop : EventLoop
        Calls later.
    """

    def __init__(self, ui: Any, loop: EventLoop) -> None:
        self._loop = loop
        self.rows: tuple[StatisticsRow, ...] = ()
        self.segmentation: Any = None
        self._ui = ui
        self._table = StatisticsTable(ui.statisticsTable)
        self._highlight = Highlight()
        ui.statisticsTable.connect("cellClicked(int,int)", self._clicked)
        ui.chartButton.connect("clicked(bool)", self.show_chart)
        ui.timeChartButton.connect("clicked(bool)", self.show_time_chart)
        ui.copyButton.connect("clicked(bool)", self.copy)
        ui.saveCsvButton.connect("clicked(bool)", self.save_csv)
        ui.showAllButton.connect("clicked(bool)", self.show_all)
        ui.allMeasuresButton.connect("toggled(bool)", self._table.show_all_columns)
        self._lesions = LesionTable(ui.lesionTable)
        ui.lesionTable.connect("cellClicked(int,int)", self._lesion_clicked)
        self._table.clear()

    def show_steps(
        self,
        segmentation: Any,
        rows: Sequence[StatisticsRow],
        lesions: Sequence[Lesion] = (),
    ) -> Generator[float, None, None]:
        """Show the numbers of a segmentation and its lesions, in short steps."""
        if segmentation is not self.segmentation:
            self.show_all()
        self.segmentation, self.rows = segmentation, tuple(rows)
        statistics_table(segmentation, self.rows)
        yield 0.5
        yield from self._table.fill_steps(lines_of(self.rows))
        self._lesions.show(lesions)
        self.say(
            _(
                "Red: probably wrong, look there first. Orange: outside the usual range of adults. "
                "Blue: cut by the edge of the scan, so the numbers are of the part inside."
            )
        )
        self._offer(bool(self.rows))

    def clear(self, note: str = "") -> None:
        """Show nothing, and why."""
        self.show_all()
        self.segmentation, self.rows = None, ()
        self._table.clear()
        self._lesions.show(())
        self._ui.statisticsNote.setText(note or _("The table fills after a segmentation."))
        self._offer(False)

    def say(self, text: str) -> None:
        """Show a note above the table."""
        self._ui.statisticsNote.setText(text)

    def select(self, key: str) -> None:
        """Jump to an organ and let it stand out; an organ without a segment is only named."""
        node = self.segmentation
        if node is None or node.GetScene() is None:
            return
        segment_id = organ_segment_ids(node).get(key)
        centre = organ_centre(node, key) if segment_id else None
        if not segment_id or centre is None:
            self.show_all()
            return
        self._highlight.show(node, segment_id)
        self._ui.showAllButton.setEnabled(True)
        views.jump_slices(centre)

    def select_lesion(self, lesion: Lesion) -> None:
        """Jump to the slice in which a lesion is longest, and let its segment stand out."""
        node = self.segmentation
        if node is None or node.GetScene() is None:
            return
        segment_id = lesion_segment_at(node, ras_of(lesion), lesion.long_axis_mm)
        if segment_id:
            self._highlight.show(node, segment_id)
            self._ui.showAllButton.setEnabled(True)
        x, y, z, _one = (float(v) for v in to_world(node) @ (*ras_of(lesion), 1.0))
        views.jump_slices((x, y, z))

    def show_all(self, checked: bool = False) -> None:
        """End the highlight."""
        self._highlight.restore()
        self._ui.showAllButton.setEnabled(False)

    def show_chart(self, checked: bool = False) -> None:
        """Show the volumes against the usual ranges in a plot view, made in short steps."""
        node = self.segmentation
        if node is not None and node.GetScene() is not None:
            walk(
                self._loop,
                chart_steps(node, self.rows),
                lambda future: views.show_chart(future.result()),
                lambda: node.GetScene() is not None,
            )

    def keep_over_time(
        self,
        segmentation: Any,
        times: TimePoints,
        rows: Sequence[Sequence[Mapping[str, Any]]],
        *,
        show: bool,
    ) -> None:
        """Write the numbers of all time points into the scene, and show the chart if wanted."""
        chart = show_over_time(segmentation, times, rows)
        self._ui.timeChartButton.setVisible(True)
        if show:
            views.show_chart(chart)

    def show_time_chart(self, checked: bool = False) -> None:
        """Show the volumes over time."""
        chart = chart_over_time(self.segmentation)
        if chart is not None and chart.GetScene() is not None:
            views.show_chart(chart)

    def copy(self, checked: bool = False) -> None:
        """Copy the table, or the selected lines of it, as a person has sorted it."""
        views.copy_text(tab_separated(self._table.shown_lines()))

    def save_csv(self, checked: bool = False) -> None:
        """Ask for a file and write every measure to it."""
        name = self.segmentation.GetName() if self.segmentation else "statistics"
        path = dialogs.save_path(f"{name}.csv")
        if path:
            self.write_csv(Path(path))

    def write_csv(self, path: Path) -> None:
        """Write the library's CSV; the note above the table says whether it worked."""
        from flare_core.atomic import write_text
        from flare_core.errors import InputError
        from flare_core.segment.statistics import rows_to_csv

        path = path if path.suffix else path.with_suffix(".csv")
        try:
            write_text(path, rows_to_csv(self.rows))
        except InputError as error:
            self.say(_("Not written. {why}").format(why=error_text(error)))
        else:
            self.say(_("Written: {path}").format(path=path))

    def _clicked(self, row: int, column: int) -> None:
        self.select(self._table.key_at(row))

    def _lesion_clicked(self, row: int, column: int) -> None:
        lesion = self._lesions.at(row)
        if lesion is not None:
            self.select_lesion(lesion)

    def _offer(self, there: bool) -> None:
        self._ui.timeChartButton.setVisible(chart_over_time(self.segmentation) is not None)
        for button in (self._ui.chartButton, self._ui.copyButton, self._ui.saveCsvButton):
            button.setEnabled(there)
