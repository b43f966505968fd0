"""Stands in for Qt, as PythonQt shows it, so that panels run under pytest without an application.

Properties are attributes (`b.text`, `t.rowCount`), setters are methods, signals are texts that
`connect` takes. What a panel asks of a widget and is not here fails with an AttributeError. The
doubles draw nothing: how a panel looks is tested in Slicer itself.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

CHARACTER = 7
"""Pixels of a character; all are alike."""

SIGNALS = {
    "text": ("textChanged(QString)",),
    "checked": ("toggled(bool)",),
    "currentIndex": ("currentIndexChanged(int)",),
    "currentPath": ("currentPathChanged(QString)",),
    "value": ("valueChanged(int)",),
}
"""Property -> signals that a change of it sends, with the new value."""


class Qt:
    """The names of Qt's namespace that panels use."""

    DisplayRole, ToolTipRole, UserRole = 0, 3, 256
    Unchecked, Checked = 0, 2
    AlignRight, AlignVCenter = 2, 128
    ItemIsSelectable, ItemIsUserCheckable, ItemIsEnabled = 1, 16, 32
    AscendingOrder, DescendingOrder = 0, 1


class Palette:
    """A theme, known by how light its background is (0 to 255)."""

    def __init__(self, lightness: int = 239) -> None:
        self._lightness = lightness

    def window(self) -> Any:
        colour = types.SimpleNamespace(lightness=lambda: self._lightness)
        return types.SimpleNamespace(color=lambda: colour)


class Widget:
    """A widget of any kind: properties, setters, signals."""

    DEFAULTS: dict[str, Any] = {
        "text": "", "toolTip": "", "enabled": True, "visible": True, "checked": False, "value": 0,
        "currentPath": "", "currentIndex": -1, "collapsed": True, "format": "", "styleSheet": "",
        "plainText": "", "iconSize": None, "wordWrap": False, "maximum": 0, "minimum": 0,
        "palette": Palette(),
    }  # fmt: skip

    def __init__(self) -> None:
        self.__dict__["_values"] = dict(self.DEFAULTS)
        self.__dict__["_listeners"] = {}
        self.__dict__["_blocked"] = False

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        key = name[3:4].lower() + name[4:]
        if name.startswith("set") and key in values:
            return lambda value: setattr(self, key, value)
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._values:
            self.__dict__[name] = value
            return
        changed = self._values[name] != value
        self._values[name] = value
        for signal in SIGNALS.get(name, ()) if changed else ():
            self.emit(signal, value)

    def connect(self, signal: str, listener: Callable[..., Any]) -> bool:
        self._listeners.setdefault(signal, []).append(listener)
        return True

    def emit(self, signal: str, *values: Any) -> None:
        """Send a signal, as Qt or a person would."""
        if not self._blocked:
            for listener in tuple(self._listeners.get(signal, ())):
                listener(*values)

    def blockSignals(self, blocked: bool) -> bool:  # noqa: N802 - Qt's names, here and below
        before, self.__dict__["_blocked"] = self._blocked, blocked
        return before

    def fontMetrics(self) -> Any:  # noqa: N802
        return types.SimpleNamespace(
            height=lambda: 15,
            averageCharWidth=lambda: CHARACTER,
            horizontalAdvance=lambda text: CHARACTER * len(text),
        )

    def deleteLater(self) -> None:  # noqa: N802
        """Nothing to delete."""


class Button(Widget):
    """A push button."""

    def click(self) -> None:
        """Press it, as a person would."""
        if self.enabled:
            self.emit("clicked(bool)", False)

    def setMenu(self, menu: Any) -> None:  # noqa: N802
        self.__dict__["menu"] = menu


class NodeBox(Widget):
    """A qMRMLNodeComboBox."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["node"] = None

    def currentNode(self) -> Any:  # noqa: N802
        return self.node

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        if node is not self.node:
            self.__dict__["node"] = node
            self.emit("currentNodeChanged(vtkMRMLNode*)", node)


class Combo(Widget):
    """A QComboBox, or a ctkCheckableComboBox."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["items"] = []
        self.__dict__["states"] = {}

    @property
    def count(self) -> int:
        return len(self.items)

    @property
    def currentText(self) -> str:  # noqa: N802
        return self.items[self.currentIndex] if 0 <= self.currentIndex < self.count else ""

    def setCurrentText(self, text: str) -> None:  # noqa: N802
        self.currentIndex = self.items.index(text)

    def addItem(self, text: str) -> None:  # noqa: N802
        self.addItems([text])

    def addItems(self, texts: list[str]) -> None:  # noqa: N802
        self.items.extend(texts)
        if self.currentIndex < 0:
            self.currentIndex = 0

    def itemText(self, row: int) -> str:  # noqa: N802
        return self.items[row]

    def setItemData(self, row: int, value: Any, role: int) -> None:  # noqa: N802
        """Tips of items are not looked at."""

    def clear(self) -> None:
        self.items.clear()
        self.states.clear()
        self.currentIndex = -1

    def model(self) -> Any:
        return types.SimpleNamespace(index=lambda row, column: row)

    def checkState(self, row: int) -> int:  # noqa: N802
        return self.states.get(row, Qt.Unchecked)

    def setCheckState(self, row: int, state: int) -> None:  # noqa: N802
        if self.states.get(row) != state:
            self.states[row] = state
            self.emit("checkedIndexesChanged()")


class TextView(Widget):
    """A QPlainTextEdit."""

    def appendPlainText(self, text: str) -> None:  # noqa: N802
        self.plainText = f"{self.plainText}\n{text}".strip()

    def toPlainText(self) -> str:  # noqa: N802
        return self.plainText


class Item:
    """A QTableWidgetItem."""

    def __init__(self, text: str = "") -> None:
        self._data: dict[int, Any] = {Qt.DisplayRole: text}
        self._state, self._place = Qt.Unchecked, (-1, -1)
        self.table: Table | None = None
        self.tip = ""

    def text(self) -> str:
        value = self._data[Qt.DisplayRole]
        return f"{value:g}" if isinstance(value, float) else str(value)

    def setText(self, text: str) -> None:  # noqa: N802
        self.setData(Qt.DisplayRole, text)

    def data(self, role: int) -> Any:
        return self._data.get(role)

    def setData(self, role: int, value: Any) -> None:  # noqa: N802
        self._data[role] = value
        self._tell()

    def checkState(self) -> int:  # noqa: N802
        return self._state

    def setCheckState(self, state: int) -> None:  # noqa: N802
        changed, self._state = self._state != state, state
        if changed:
            self._tell()

    def row(self) -> int:
        return self._place[0]

    def column(self) -> int:
        return self._place[1]

    def toolTip(self) -> str:  # noqa: N802
        return self.tip

    def setToolTip(self, text: str) -> None:  # noqa: N802
        self.tip = text

    def setFlags(self, flags: int) -> None:  # noqa: N802
        self.flags = flags

    def setTextAlignment(self, alignment: int) -> None:  # noqa: N802
        self.alignment = alignment

    def setBackground(self, brush: Any) -> None:  # noqa: N802
        self.brush = brush

    def setForeground(self, brush: Any) -> None:  # noqa: N802
        self.pen = brush

    def setIcon(self, icon: Any) -> None:  # noqa: N802
        self.icon = icon

    def font(self) -> Any:
        return None

    def setFont(self, font: Any) -> None:  # noqa: N802
        self.own_font = font

    def _tell(self) -> None:
        if self.table is not None:
            self.table.emit("itemChanged(QTableWidgetItem*)", self)


class Header(Widget):
    """A header of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: dict[int, int] = {}
        self.sizeHint = types.SimpleNamespace(height=lambda: 24)
        self.defaultSectionSize = 30

    def setSectionResizeMode(self, column: int, mode: int) -> None:  # noqa: N802
        self.modes[column] = mode

    def setMinimumSectionSize(self, pixels: int) -> None:  # noqa: N802
        self.least = pixels

    def setDefaultSectionSize(self, pixels: int) -> None:  # noqa: N802
        self.defaultSectionSize = pixels

    def setStretchLastSection(self, stretch: bool) -> None:  # noqa: N802
        self.stretches = stretch

    def setSortIndicatorShown(self, shown: bool) -> None:  # noqa: N802
        self.shown = shown

    def setSectionsClickable(self, clickable: bool) -> None:  # noqa: N802
        self.clickable = clickable

    def setSortIndicator(self, column: int, order: int) -> None:  # noqa: N802
        self.sorted_by = column, order


class Table(Widget):
    """A QTableWidget; columns are as wide as their longest text, in `CHARACTER` pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: dict[tuple[int, int], Item] = {}
        self.heads: list[Item] = []
        self.hidden: set[int] = set()
        self.widths: dict[int, int] = {}
        self.chosen: list[int] = []
        self.rowCount = self.columnCount = 0
        self.frameWidth, self.least_height, self.most_height = 1, 0, 1 << 24
        self._across, self._down = Header(), Header()

    def setRowCount(self, count: int) -> None:  # noqa: N802
        self.rowCount = count
        self.cells = {spot: item for spot, item in self.cells.items() if spot[0] < count}

    def setMinimumHeight(self, pixels: int) -> None:  # noqa: N802
        self.least_height = pixels

    def setMaximumHeight(self, pixels: int) -> None:  # noqa: N802
        self.most_height = pixels

    def horizontalScrollBar(self) -> Any:  # noqa: N802
        size = types.SimpleNamespace(height=lambda: 14)
        return types.SimpleNamespace(sizeHint=size)

    def setColumnCount(self, count: int) -> None:  # noqa: N802
        self.columnCount = count

    def setHorizontalHeaderLabels(self, titles: Any) -> None:  # noqa: N802
        self.heads = [Item(title) for title in titles]

    def horizontalHeaderItem(self, column: int) -> Item:  # noqa: N802
        return self.heads[column]

    def horizontalHeader(self) -> Header:  # noqa: N802
        return self._across

    def verticalHeader(self) -> Header:  # noqa: N802
        return self._down

    def setItem(self, row: int, column: int, item: Item) -> None:  # noqa: N802
        item.table, item._place = self, (row, column)
        self.cells[row, column] = item
        self.emit("itemChanged(QTableWidgetItem*)", item)

    def item(self, row: int, column: int) -> Item | None:
        return self.cells.get((row, column))

    def setSortingEnabled(self, enabled: bool) -> None:  # noqa: N802
        self.sorting = enabled

    def setColumnHidden(self, column: int, hidden: bool) -> None:  # noqa: N802
        (self.hidden.add if hidden else self.hidden.discard)(column)

    def sizeHintForColumn(self, column: int) -> int:  # noqa: N802
        texts = [item.text() for (_, c), item in self.cells.items() if c == column]
        return CHARACTER * (2 + max(map(len, texts), default=0))

    def resizeColumnsToContents(self) -> None:  # noqa: N802
        for column in range(self.columnCount):
            title = CHARACTER * (6 + len(self.heads[column].text()))  # Qt: bold, and an arrow
            self.widths[column] = max(title, self.sizeHintForColumn(column))

    def columnWidth(self, column: int) -> int:  # noqa: N802
        return self.widths[column]

    def setColumnWidth(self, column: int, pixels: int) -> None:  # noqa: N802
        self.widths[column] = pixels

    def width_needed(self) -> int:
        """Pixels of the columns that are shown and do not stretch."""
        fixed = (c for c in range(self.columnCount) if c not in self.hidden)
        stretch = QHeaderView.Stretch
        return sum(self.widths[c] for c in fixed if self._across.modes.get(c) != stretch)

    def currentRow(self) -> int:  # noqa: N802
        return self.chosen[0] if self.chosen else -1

    def selectRow(self, row: int) -> None:  # noqa: N802
        self.chosen = [row]
        self.emit("itemSelectionChanged()")

    def clearSelection(self) -> None:  # noqa: N802
        self.chosen = []

    def selectionModel(self) -> Any:  # noqa: N802
        rows = [types.SimpleNamespace(row=lambda n=n: n) for n in self.chosen]

        def select(row: int, flags: int) -> None:
            self.chosen.append(row)

        return types.SimpleNamespace(selectedRows=lambda: rows, select=select)

    def model(self) -> Any:
        return types.SimpleNamespace(index=lambda row, column: row)

    def texts(self, column: int) -> list[str]:
        """What a column shows."""
        return [self.cells[row, column].text() for row in range(self.rowCount)]


class QHeaderView:
    """How a column's width follows."""

    Interactive, Stretch, Fixed, ResizeToContents = range(4)


class QItemSelectionModel:
    """Flags of a selection."""

    Select, Rows = 2, 32

    @staticmethod
    def SelectionFlags(flags: int) -> int:  # noqa: N802
        return flags


class QSettings:
    """A person's settings; those of one test."""

    kept: dict[str, Any] = {}

    def value(self, key: str) -> Any:
        return self.kept.get(key)

    def setValue(self, key: str, value: Any) -> None:  # noqa: N802
        self.kept[key] = value


class QMenu(Widget):
    """A menu that nobody opens."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()

    def setToolTipsVisible(self, visible: bool) -> None:  # noqa: N802
        self.tips = visible


class Ui:
    """The widgets of a .ui file by name; made as its classes say when they are first asked for."""

    KINDS = {
        "QPushButton": Button, "QCheckBox": Widget, "QTableWidget": Table, "QComboBox": Combo,
        "ctkCheckableComboBox": Combo, "qMRMLNodeComboBox": NodeBox, "QPlainTextEdit": TextView,
    }  # fmt: skip

    def __init__(self, ui_file: Any) -> None:
        import xml.etree.ElementTree as ElementTree

        for widget in ElementTree.parse(ui_file).iter("widget"):
            made = self.KINDS.get(widget.get("class", ""), Widget)()
            for key in ("visible", "enabled", "collapsed"):
                value = widget.find(f"property[@name='{key}']/bool")
                if value is not None:
                    made._values[key] = value.text == "true"
            setattr(self, widget.get("name", ""), made)


def module() -> types.ModuleType:
    """Return a module that stands in for ``qt``."""
    made = types.ModuleType("qt")
    plain = type("Plain", (), {"__init__": lambda self, *values: setattr(self, "values", values)})
    for name in ("QBrush", "QColor", "QFont", "QSize", "QPixmap", "QIcon"):
        setattr(made, name, type(name, (plain,), {"fill": lambda self, colour: None,
                                                  "setBold": lambda self, bold: None}))  # fmt: skip
    for each in (Qt, QHeaderView, QItemSelectionModel, QSettings, QMenu):
        setattr(made, each.__name__, each)
    made.QTableWidgetItem = Item
    return made


def install() -> None:
    """Have ``import qt`` find the stand-in, unless Qt itself is there."""
    sys.modules.setdefault("qt", module())
