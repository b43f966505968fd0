"""Self-tests of the model menu: what is offered, asked, shown and chosen; without network."""

from __future__ import annotations

import importlib.util
import sys
import unittest
from pathlib import Path
from typing import Any

import qt
from self_test_scene import HERE, PanelTestCase, add_ct, library, load_ui, pump, until

import slicer

if str(HERE.parent) not in sys.path:  # file_server, nnunet_zips, tiny_catalogue
    sys.path.append(str(HERE.parent))

TORCH = importlib.util.find_spec("torch") is not None


class FLARESegModelTestCase(PanelTestCase):
    """Get models, from a file and from a catalogue, and remove them."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[str] = []
        self.says = True
        self.path = ""
        self.address = "http://127.0.0.1:1/tiny.zip"  # nobody is there

    def open_with_models(self, *words: str) -> Any:
        """A panel whose models are in a folder of its own, with one more in the catalogue."""
        from self_test_scene import double_workplace

        import tiny_catalogue

        self.top, self.ui = load_ui()
        place = double_workplace(self.temporary, *words)
        self.logic = library("logic").FLARESegLogic(workplace=place)
        menus, installers = library("models.menu"), library("models.installer")
        from flare_core.home import Home
        from flare_core.models.remote_file import remote_size

        core = str(library("core_path").core_folder())
        program = ["-X", "utf8", tiny_catalogue.__file__, core, self.address]
        python = library("run.workplace").python_program()
        tools = installers.ModelTools(
            home=Home(self.folder / "home"),
            catalogue={"tiny": tiny_catalogue.tiny_model(self.address)},
            loop=place.loop,
            new_child=menus.tools_of(self.logic).new_child,
            command=lambda words: (python, [*program, *words]),
            size_of=remote_size,
            agree=self.agree,
            choose_file=lambda title: self.path,
            choose_folder=lambda title: self.path,
            ensure=lambda: None,
        )
        self.panel = library("panel").Panel(self.ui, self.logic, tools)
        self.panel.enter()
        self.ui.settingsSection.collapsed = False
        pump(0.05)
        return self.panel.models

    def agree(self, text: str) -> bool:
        self.asked.append(text)
        return self.says

    def lines(self, menu: Any) -> dict[str, Any]:
        """The menu's lines by their text, separators left out."""
        return {action.text: action for action in menu.actions() if action.text}

    def choose(self, models: Any, start: str) -> None:
        """Choose the line that begins like this."""
        models.fill()
        (action,) = [each for text, each in self.lines(models.menu).items()
                     if text.startswith(start)]  # fmt: skip
        self.trigger(models, action)

    def trigger(self, models: Any, action: Any) -> None:
        """Choose a line; what it does begins when Qt has come round."""
        begun: list[bool] = []
        models.installer.busy_changed.connect(begun.append)
        action.trigger()
        until(lambda: begun, "the beginning")

    def finish(self, models: Any) -> None:
        until(lambda: not models.installer.busy, "the end of the installation")
        pump(0.05)

    def titles(self) -> list[str]:
        return [self.ui.modelBox.itemText(row) for row in range(self.ui.modelBox.count)]

    def packed_default(self) -> str:
        from flare_core.models.archive import pack
        from flare_core.models.package import load_package

        return str(pack(load_package("default"), self.folder / "package.zip"))

    def test_the_menu_offers_the_catalogue_and_shows_no_bar(self) -> None:
        models = self.open_with_models()
        models.fill()
        lines = self.lines(models.menu)
        self.assertEqual(list(lines)[0], "Tiny organs (Apache-2.0)...")
        self.assertIn("From file...", lines)
        self.assertFalse(lines["Remove"].enabled)
        for widget in (self.ui.modelProgressBar, self.ui.modelCancelButton, self.ui.modelMessage):
            self.assertFalse(widget.isVisibleTo(self.top))
        self.assertTrue(self.ui.getModelsButton.enabled)

    def test_nobody_there_means_no(self) -> None:
        dialogs = library("qt.dialogs")
        self.open_with_models()
        tools = library("models.menu").tools_of(self.logic)
        self.assertIs(tools.agree, dialogs.agree)
        if dialogs.allowed():
            self.skipTest("somebody could answer here")
        self.assertFalse(tools.agree("?"))
        self.assertEqual((tools.choose_file("?"), tools.choose_folder("?")), ("", ""))

    def test_a_package_is_installed_chosen_used_and_removed(self) -> None:
        add_ct()
        models = self.open_with_models()
        self.path = self.packed_default()
        self.choose(models, "From file")
        self.finish(models)
        self.assertIn("installed", self.ui.modelMessage.text)
        self.assertEqual(len(self.titles()), 2)
        name = self.panel.choices.settings.model
        self.assertIn("@", name)
        self.assertEqual(library("parameters").parameter_node().model, name)
        self.assertEqual(self.ui.modelBox.currentIndex, 1)
        self.apply()
        self.assertEqual(len(self.nodes("vtkMRMLSegmentationNode")), 1)
        models.fill()
        (action,) = self.lines(self.lines(models.menu)["Remove"].menu()).values()
        self.assertEqual(action.text, f"{name}...")
        self.trigger(models, action)
        self.finish(models)
        self.assertIn(name, self.asked[-1])
        self.assertEqual((len(self.titles()), self.panel.choices.settings.model), (1, "default"))

    def test_a_model_that_comes_while_the_module_is_left_is_chosen_at_return(self) -> None:
        models = self.open_with_models()
        self.path = self.packed_default()
        self.choose(models, "From file")
        self.panel.exit()
        self.finish(models)
        self.panel.enter()
        self.assertEqual(self.ui.modelBox.currentIndex, 1)

    def test_no_means_no_and_errors_are_said_in_words(self) -> None:
        models = self.open_with_models()
        self.says = False
        self.choose(models, "Tiny")
        self.finish(models)
        self.assertIn("Apache-2.0", self.asked[0])
        self.assertIn("size unknown", self.asked[0])
        self.assertIn("Nothing was downloaded", self.ui.modelMessage.text)
        letter = self.folder / "letter.zip"
        letter.write_bytes(b"Dear colleague")
        self.path = str(letter)
        self.choose(models, "From file")
        self.finish(models)
        self.assertIn("letter.zip", self.ui.modelMessage.text)
        self.assertNotIn("Traceback", self.ui.modelMessage.text)
        self.assertEqual(len(self.titles()), 1)

    def test_a_download_can_be_cancelled_while_a_ct_is_segmented(self) -> None:
        from file_server import Site, serving

        with serving(Site({"/tiny.zip": bytes(500_000)}, ["stall"] * 6)) as site:
            self.address = f"{site.url}/tiny.zip"
            add_ct()
            models = self.open_with_models()
            self.choose(models, "Tiny")
            until(lambda: self.ui.modelProgressBar.value > 0, "the first bytes")
            self.assertIn("Downloading", self.ui.modelProgressBar.format)
            self.assertFalse(self.ui.getModelsButton.enabled)
            self.apply()
            self.assertEqual(len(self.nodes("vtkMRMLSegmentationNode")), 1)
            self.assertTrue(models.installer.busy)
            self.ui.modelCancelButton.click()
            self.finish(models)
        self.assertIn("Stopped", self.ui.modelMessage.text)
        self.assertTrue(self.ui.getModelsButton.enabled)
        self.assertFalse(self.ui.modelProgressBar.isVisibleTo(self.top))
        part = self.folder / "home" / "cache" / "downloads" / "tiny.zip.part"
        self.assertTrue(part.is_file())

    @unittest.skipUnless(TORCH, "nnU-Net's weights are read with torch")
    def test_a_public_model_is_downloaded_converted_and_chosen(self) -> None:
        from file_server import Site, serving
        from nnunet_zips import nnunet_zip

        content = nnunet_zip("Dataset001_tiny", ["liver", "aorta"])
        with serving(Site({"/tiny.zip": content})) as site:
            self.address = f"{site.url}/tiny.zip"
            models = self.open_with_models()
            self.choose(models, "Tiny")
            self.finish(models)
        self.assertIn("MB", self.asked[0])
        self.assertEqual(self.panel.choices.settings.model, "tiny@2.0.0")
        self.assertIn("Apache-2.0", self.ui.modelBox.toolTip)
        organs = [self.ui.organBox.itemText(row) for row in range(self.ui.organBox.count)]
        self.assertEqual(organs, ["Liver", "Aorta"])

    def test_the_panel_may_vanish_in_the_middle(self) -> None:
        from file_server import Site, serving

        with serving(Site({"/tiny.zip": bytes(500_000)}, ["stall"] * 6)) as site:
            self.address = f"{site.url}/tiny.zip"
            models = self.open_with_models()
            self.choose(models, "Tiny")
            until(lambda: self.ui.modelProgressBar.value > 0, "the first bytes")
            self.panel.cleanup()
            pump(0.2)
        self.assertIsNone(qt.QApplication.overrideCursor())
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"), [])
        self.assertFalse(Path(self.folder / "home" / "models").exists())
