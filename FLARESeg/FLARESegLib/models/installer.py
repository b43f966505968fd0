"""Bringing models in and removing them: one thing at a time, each in a child process.

chosen entry -> sizes from the servers -> consent -> packages that are missing -> process -> chosen
Invariant: nothing is fetched over the network, beyond the sizes, before a person has agreed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import FlareError
from FLARESegLib.models import messages as model_messages
from FLARESegLib.models import offers as model_offers
from FLARESegLib.models.process import ModelProcess
from FLARESegLib.models.sizes import ask_sizes
from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.translation import _
from FLARESegLib.run.child_process import Child
from FLARESegLib.run.worker_process import Command

if TYPE_CHECKING:
    from flare_core.home import Home
    from flare_core.models.catalogue import PublicModel
    from FLARESegLib.models.sizes import SizeOf


@dataclass(frozen=True)
class ModelTools:
    """What installing needs; tests put their own in its place."""

    home: Home
    """Where models are installed."""
    catalogue: Mapping[str, PublicModel]
    """Public models."""
    loop: EventLoop
    """Calls later."""
    new_child: Callable[[], Child]
    """Makes a process that is not started yet."""
    command: Callable[[list[str]], Command]
    """Program and arguments of ``flare WORDS``."""
    size_of: SizeOf
    """Asks a server for a size; may block."""
    agree: Callable[[str], bool]
    """Shows a question; False where nobody is there to answer."""
    choose_file: Callable[[str], str]
    """Asks for a file, with this title; empty if there is none."""
    choose_folder: Callable[[str], str]
    """Asks for a folder, with this title; empty if there is none."""
    ensure: Callable[[], None]
    """Has missing Python packages installed, after asking; raises `RunFailed`."""


class ModelInstaller:
    """Does one thing at a time.

    Parameters
    ----------
    tools : ModelTools
        What it works with.
    """

    def __init__(self, tools: ModelTools) -> None:
        self.tools = tools
        self.busy_changed = Signal()
        """Called with whether something goes on."""
        self.progressed = Signal()
        """Called with a line of text, the fraction 0..1 of the whole, and a file's name."""
        self.said = Signal()
        """Called with a text, and ``info``, ``good`` or ``bad``."""
        self.installed = Signal()
        """Called with ``name@version``."""
        self.removed = Signal()
        """Called with ``name@version``."""
        self._task: object | None = None
        self._process: ModelProcess | None = None

    @property
    def busy(self) -> bool:
        """Whether something goes on."""
        return self._task is not None

    def installable(self) -> tuple[PublicModel, ...]:
        """Return what the catalogue has and this computer has not."""
        return model_offers.installable(self.tools.home, self.tools.catalogue)

    def removable(self) -> tuple[str, ...]:
        """Return what can be removed, as ``name@version``."""
        return model_offers.removable(self.tools.home)

    def install(self, model: PublicModel) -> None:
        """Install a public model, once a person has agreed."""
        if self.busy:
            return
        if not model.downloadable:
            self._install_by_hand(model)
            return
        from flare_core.models.install import downloads

        task = self._begin(_("Asking how large it is"))
        files = downloads(model, self.tools.home)

        def sizes_known(sizes: list[int | None]) -> None:
            if task is self._task:
                urls = [file.url for file in files]
                self._ask_consent(model, list(zip(urls, sizes, strict=True)))

        ask_sizes(self.tools.loop, files, self.tools.size_of, sizes_known)

    def add_file(self) -> None:
        """Install a package, or a zip of a model folder, that a person has."""
        path = "" if self.busy else self.tools.choose_file(model_messages.file_question())
        if not path:
            return
        task = self._begin(model_messages.reading_text(Path(path)))

        def known(future: Future[bool]) -> None:
            if task is self._task:
                package = future.result()
                words = ["install" if package else "import", path]
                self._run(words, self._installed, converts=not package)

        in_background(self.tools.loop, lambda: model_offers.is_package(Path(path)), known)

    def add_folder(self) -> None:
        """Convert a model folder of nnU-Net that a person has."""
        path = "" if self.busy else self.tools.choose_folder(model_messages.folder_question())
        if path:
            self._begin("")
            self._run(["import", path], self._installed, converts=True)

    def remove(self, name: str) -> None:
        """Remove ``name@version``, once a person has agreed."""
        if not self.busy and self.tools.agree(model_offers.removal_text(name, self.tools.home)):
            self._begin("")
            self._run(["remove", name, "--yes"], self._removed, converts=False)

    def cancel(self) -> None:
        """Stop what goes on."""
        if self._process is not None:
            self.progressed.emit(_("Stopping"), None, "")
            self._process.cancel()
        elif self.busy:
            self._end()
            self.said.emit(_("Stopped. Nothing was downloaded."), "info")

    def close(self) -> None:
        """Stop at once and tell nobody: the widgets are about to vanish. Blocks briefly."""
        self._task = None
        for signal in (self.busy_changed, self.progressed, self.said):
            signal.clear()
        self.installed.clear()
        self.removed.clear()
        if self._process is not None:
            self._process.close()

    def _install_by_hand(self, model: PublicModel) -> None:
        """Take the file that a person has downloaded."""
        if not self.tools.agree(model_offers.by_hand_text(model)):
            return
        path = self.tools.choose_file(model_messages.file_question())
        if path:
            self._begin("")
            self._run(["install", model.key, "--from", path], self._installed, converts=True)

    def _ask_consent(self, model: PublicModel, files: list[tuple[str, int | None]]) -> None:
        task = self._task
        agreed = self.tools.agree(model_offers.consent_text(model, files, self.tools.home))
        if task is not self._task or task is None:  # closed while the question stood there
            return
        if agreed:
            self._run(["install", model.key, "--yes"], self._installed, converts=True)
        else:
            self._end()
            self.said.emit(_("Nothing was downloaded."), "info")

    def _begin(self, text: str) -> object:
        self._task = task = object()
        self.said.emit("", "info")
        self.busy_changed.emit(True)
        self.progressed.emit(text, 0.0, "")
        return task

    def _end(self) -> None:
        self._task = self._process = None
        self.busy_changed.emit(False)

    def _run(self, words: list[str], on_result: Callable[[str], None], *, converts: bool) -> None:
        """Start the process; `converts`: it needs the Python packages that a run needs."""
        home = ["--home", str(self.tools.home.path)]
        try:
            if converts:
                self.tools.ensure()
            command = self.tools.command(["models", *words, *home, "--progress", "json"])
        except FlareError as error:
            self._failed(error)
            return
        process = self._process = ModelProcess(self.tools.new_child(), self.tools.loop)
        process.progressed.connect(self._show)
        process.ended.connect(lambda result, error: self._over(result, error, on_result))
        process.start(command)

    def _show(self, event: dict[str, Any]) -> None:
        fraction = float(event.get("fraction", 0.0))
        line = model_messages.progress_text(
            str(event.get("stage", "")), fraction, event.get("done"), event.get("total")
        )
        self.progressed.emit(line, fraction, str(event.get("file", "")))

    def _over(
        self,
        result: dict[str, Any] | None,
        error: FlareError | None,
        on_result: Callable[[str], None],
    ) -> None:
        if result is not None:
            self._end()
            on_result(f"{result.get('name')}@{result.get('version')}")
        elif error is not None:
            self._failed(error)

    def _failed(self, error: FlareError) -> None:
        self._end()
        stopped = getattr(error, "kind", "") == "cancelled"
        self.said.emit(model_messages.error_text(error), "info" if stopped else "bad")

    def _installed(self, name: str) -> None:
        self.installed.emit(name)
        self.said.emit(model_messages.installed_text(name), "good")

    def _removed(self, name: str) -> None:
        self.removed.emit(name)
        self.said.emit(model_messages.removed_text(name), "good")
