from __future__ import annotations

import sys
import threading
from dataclasses import replace

import pytest
from FLARESegLib.core_path import core_folder
from FLARESegLib.models.installer import ModelInstaller, ModelTools
from FLARESegLib.models.offers import is_package
from FLARESegLib.models.sizes import ask_sizes
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.run.child_process import ThreadedChild
from FLARESegLib.run.failures import RunFailed
from process_double import alive, until

import tiny_catalogue
from file_server import Site, serving
from flare_core.home import Home
from flare_core.models.archive import pack
from flare_core.models.package import load_package
from flare_core.models.remote_file import RemoteFile, remote_size
from nnunet_zips import nnunet_zip

CONTENT = nnunet_zip("Dataset001_tiny", ["liver", "aorta"])


@pytest.fixture
def site():
    """A server with the one file of the model called tiny."""
    with serving(Site({"/tiny.zip": CONTENT})) as made:
        yield made


class Person:
    """Answers questions, chooses files, hears what is said."""

    def __init__(self) -> None:
        self.says, self.path = True, ""
        self.asked, self.told, self.progress, self.installed, self.removed = [], [], [], [], []

    def agree(self, text: str) -> bool:
        self.asked.append(text)
        return self.says

    def listen(self, installer: ModelInstaller) -> None:
        installer.said.connect(lambda text, how: self.told.append((text, how)))
        installer.progressed.connect(lambda *fields: self.progress.append(fields))
        installer.installed.connect(self.installed.append)
        installer.removed.connect(self.removed.append)


@pytest.fixture
def person():
    return Person()


@pytest.fixture
def loop():
    return PlainLoop()


@pytest.fixture
def children():
    """The processes that were started."""
    return []


@pytest.fixture
def installer(tmp_path, site, person, loop, children):
    """An installer whose processes know the model tiny, and whose person is ours."""
    address = f"{site.url}/tiny.zip"

    def new_child():
        children.append(ThreadedChild(loop))
        return children[-1]

    def command(words):
        program = ["-X", "utf8", tiny_catalogue.__file__, str(core_folder()), address]
        return sys.executable, [*program, *words]

    tools = ModelTools(
        home=Home(tmp_path / "home ü"),
        catalogue={"tiny": tiny_catalogue.tiny_model(address)},
        loop=loop,
        new_child=new_child,
        command=command,
        size_of=remote_size,
        agree=person.agree,
        choose_file=lambda title: person.path,
        choose_folder=lambda title: person.path,
        ensure=lambda: None,
    )
    made = ModelInstaller(tools)
    person.listen(made)
    yield made
    made.close()


def finish(installer):
    until(installer.tools.loop, lambda: not installer.busy)


def changed(installer, **tools):
    """Give it other tools."""
    installer.tools = replace(installer.tools, **tools)


def test_a_public_model_is_installed_after_a_yes_and_removed_after_another(
    installer, person, site, children
):
    (tiny,) = installer.installable()
    installer.install(tiny)
    assert installer.busy and person.asked == []  # the server is asked first, elsewhere
    finish(installer)
    (question,) = person.asked
    size = f"{len(CONTENT) / 1e6:.1f} MB"
    for words in ("Tiny organs", f"{site.url}/tiny.zip ({size})", "Apache-2.0", "Wasserthal"):
        assert words in question
    assert person.installed == ["tiny@2.0.0"] and person.told[-1][1] == "good"
    assert any("Downloading" in line for line, _fraction, _file in person.progress)
    assert installer.installable() == () and installer.removable() == ("tiny@2.0.0",)
    assert load_package("tiny", home=installer.tools.home).card.licence == "Apache-2.0"
    installer.remove("tiny@2.0.0")
    assert installer.busy and "tiny@2.0.0" in person.asked[-1]
    finish(installer)
    assert person.removed == ["tiny@2.0.0"] and installer.removable() == ()
    assert len(children) == 2


def test_without_a_yes_nothing_is_asked_for_or_removed(installer, person, site, children):
    person.says = False
    installer.install(installer.installable()[0])
    finish(installer)
    installer.remove("tiny@2.0.0")
    assert len(person.asked) == 2 and children == [] and site.asked == []
    assert "Nothing was downloaded" in person.told[-1][0]


def test_a_server_that_does_not_answer_leaves_the_size_open(installer, person, site):
    site.files["/other"] = site.files.pop("/tiny.zip")
    installer.install(installer.installable()[0])
    finish(installer)
    assert "(size unknown)" in person.asked[0] and "In all: size unknown" in person.asked[0]
    text, how = person.told[-1]  # it is not there, says the server now
    assert how == "bad" and "404" in text and "needed:" in text
    assert installer.removable() == ()


def test_patience_with_a_server_ends():
    loop, answers, never = PlainLoop(), [], threading.Event()

    def size_of(file):
        return never.wait(60) and None if file.url.endswith("slow") else 5

    files = [RemoteFile("https://a.org/slow"), RemoteFile("https://a.org/quick")]
    ask_sizes(loop, files, size_of, answers.append, patience_s=0.5)
    assert answers == []
    until(loop, lambda: answers)
    never.set()
    assert answers == [[None, 5]]


def test_cancel_while_the_server_is_asked(installer, person, children):
    hang = threading.Event()
    changed(installer, size_of=lambda file: hang.wait(60) and None)
    installer.install(installer.installable()[0])
    installer.cancel()
    hang.set()
    installer.tools.loop.pump(0.2)
    assert not installer.busy and person.asked == [] and children == []


def test_cancel_while_it_downloads_and_go_on_later(installer, person, site, children):
    site.files["/tiny.zip"] = CONTENT + b"\0" * 400_000  # comes in several pieces
    site.faults[:] = ["stall"] * 6
    installer.install(installer.installable()[0])
    until(installer.tools.loop, lambda: any(fraction for _, fraction, _ in person.progress))
    installer.cancel()
    finish(installer)
    text, how = person.told[-1]
    assert how == "info" and "kept" in text and installer.removable() == ()
    part = installer.tools.home.cache / "downloads" / "tiny.zip.part"
    have = part.stat().st_size
    site.faults.clear()
    installer.install(installer.installable()[0])
    finish(installer)
    assert site.asked[-1] == ("/tiny.zip", f"bytes={have}-")


def test_closing_leaves_no_process(installer, person, site, children):
    site.faults[:] = ["stall"] * 6
    installer.install(installer.installable()[0])
    until(installer.tools.loop, lambda: children)
    until(installer.tools.loop, lambda: installer._process._pid)
    pid, told = installer._process._pid, len(person.told)
    installer.close()
    assert not alive(pid) and len(person.told) == told


def test_a_package_is_installed_once(installer, person, tmp_path):
    ready = load_package("default")
    person.path = str(pack(ready, tmp_path / "ours.zip"))
    assert is_package(tmp_path / "ours.zip")
    installer.add_file()
    finish(installer)
    name = f"{ready.card.name}@{ready.card.version}"
    assert person.installed == [name] and installer.removable() == (name,)
    assert person.asked == []  # nothing is downloaded
    installer.add_file()
    finish(installer)
    text, how = person.told[-1]
    assert how == "bad" and "exists already" in text


def test_files_that_are_no_package_are_imported(installer, person, tmp_path):
    path = tmp_path / "theirs.zip"
    path.write_bytes(CONTENT)
    assert not is_package(path)
    letter = tmp_path / "letter.zip"
    letter.write_bytes(b"Dear colleague")
    person.path = str(letter)
    installer.add_file()
    finish(installer)
    text, how = person.told[-1]
    assert how == "bad" and "letter.zip" in text and "Traceback" not in text
    person.path = str(tmp_path)
    installer.add_folder()
    finish(installer)
    assert person.told[-1][1] == "bad" and installer.removable() == ()
    person.path = ""  # changed their mind
    installer.add_file()
    installer.add_folder()
    assert not installer.busy


def test_a_model_that_is_downloaded_by_hand(installer, person, site, tmp_path):
    person.path = str(tmp_path / "saved.zip")
    (tmp_path / "saved.zip").write_bytes(b"not what it should be")
    words = []
    command = installer.tools.command
    changed(installer, command=lambda these: command(words.append(these) or these))
    installer.install(tiny_catalogue.tiny_model(""))
    finish(installer)
    assert "by hand" in person.asked[0] and "github.com" in person.asked[0]
    assert words[0][:5] == ["models", "install", "tiny", "--from", person.path]
    assert "saved.zip" in person.told[-1][0] and site.asked == []


def test_missing_packages_and_a_missing_program(installer, person):
    def refuse():
        raise RunFailed("declined", "Nothing was installed.")

    changed(installer, ensure=refuse)
    installer.install(installer.installable()[0])
    finish(installer)
    assert "accept" in person.told[-1][0]
    changed(installer, ensure=lambda: None, command=lambda words: ("/no/such/program", []))
    installer.install(installer.installable()[0])
    finish(installer)
    assert "could not be started" in person.told[-1][0]


def test_a_process_that_dies_says_its_last_words(installer, person):
    code = "import sys; print('libtorch is broken', file=sys.stderr); sys.exit(3)"
    changed(installer, command=lambda words: (sys.executable, ["-c", code]))
    installer.install(installer.installable()[0])
    finish(installer)
    text, how = person.told[-1]
    assert how == "bad" and "code 3" in text and "libtorch is broken" in text
