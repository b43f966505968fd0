from __future__ import annotations

import re
import subprocess
import sys
import types
from importlib import metadata

import pytest
from FLARESegLib import dependencies
from FLARESegLib.dependencies import PROTECTED, Requirement, ensure, missing, requirements
from FLARESegLib.installer import SlicerInstaller
from FLARESegLib.run.failures import RunFailed
from process_double import ROOT

TORCH = Requirement("torch", "2.4")
IMAGE = Requirement("scikit-image", "0.22")


def versions(**installed):
    """A stand-in for `importlib.metadata.version`."""

    def version_of(name):
        try:
            return installed[name.replace("-", "_")]
        except KeyError:
            raise metadata.PackageNotFoundError(name) from None

    return version_of


class FakeInstaller:
    """Keeps what it was asked for."""

    def __init__(self, *, extension=True, extension_works=True, error=None) -> None:
        self.calls: list = []
        self.extension = extension
        self.extension_works = extension_works
        self.error = error
        self.constraints = ""

    def has_torch_extension(self):
        return self.extension

    def install_torch_extension(self):
        self.calls.append("extension")
        return self.extension_works

    def install_torch(self, wanted):
        self.calls.append(str(wanted))
        if self.error:
            raise self.error

    def install_packages(self, wanted, constraints):
        self.calls.append([str(each) for each in wanted])
        self.constraints = constraints.read_text()


@pytest.fixture
def lacking(monkeypatch):
    """A function that says what `missing` returns, call by call."""

    def say(*answers):
        given = iter(answers)
        monkeypatch.setattr(dependencies, "missing", lambda: next(given))

    return say


def test_the_list_agrees_with_the_project():
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    declared = dict(re.findall(r'"([A-Za-z-]+)>=([\d.]+)"', block))
    ours = {each.name: each.at_least for each in requirements()}
    assert ours == {name: declared[name] for name in ours}
    needed = set(re.findall(r'"([A-Za-z-]+)>=', block.split("[project.optional")[0])) | {"torch"}
    assert needed == set(ours) | set(PROTECTED)


def test_everything_is_there_in_this_environment():
    assert missing() == ()


def test_what_is_absent_or_too_old_is_missing():
    wanted = (TORCH, IMAGE, Requirement("pillow", "10.1"))
    found = missing(wanted, versions(torch="2.3.1+cu118", pillow="12.0.0"))
    assert found == (TORCH, IMAGE)
    assert missing(wanted, versions(torch="2.13.0", scikit_image="0.22.0rc1", pillow="10.1")) == ()
    assert missing((TORCH,), versions(torch="")) == (TORCH,)


def test_looking_imports_nothing_and_opens_no_connection():
    program = (
        f"import sys, socket; sys.path[:0] = [{str(ROOT / 'FLARESeg')!r}, {str(ROOT)!r}]\n"
        "def forbidden(*a, **k): raise OSError('network')\n"
        "socket.socket = socket.create_connection = forbidden\n"
        "from FLARESegLib import dependencies as d\n"
        "d.ensure(None, None)\n"
        "print([m for m in ('torch', 'skimage', 'scipy', 'PIL', 'pip') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_nothing_missing_asks_nothing(lacking):
    lacking(())
    ensure(FakeInstaller(error=AssertionError), ask=lambda text: pytest.fail("asked"))


def test_one_question_before_anything_is_installed(lacking):
    lacking((TORCH, IMAGE), ())
    installer, asked = FakeInstaller(), []

    def ask(text):
        asked.append(text)
        assert installer.calls == []
        return True

    ensure(installer, ask)
    assert installer.calls == ["torch>=2.4", ["scikit-image>=0.22"]]
    (text,) = asked
    for words in (
        "torch>=2.4",
        "3 GB",
        "scikit-image",
        "30 MB",
        "download.pytorch.org",
        "pypi.org",
    ):
        assert words in text
    assert "restart" not in text.lower()


def test_a_no_installs_nothing(lacking):
    lacking((TORCH,))
    installer = FakeInstaller()
    with pytest.raises(RunFailed) as caught:
        ensure(installer, lambda text: False)
    assert (caught.value.kind, installer.calls) == ("declined", [])


def test_without_the_extension_it_comes_first_and_needs_a_restart(lacking):
    lacking((TORCH, IMAGE))
    installer, asked = FakeInstaller(extension=False), []
    with pytest.raises(RunFailed) as caught:
        ensure(installer, lambda text: asked.append(text) or True)
    assert caught.value.kind == "restart"
    assert installer.calls == ["extension"]
    assert "extension PyTorch" in asked[0]
    assert "restarted once" in asked[0]


def test_an_extension_that_cannot_be_installed_is_explained(lacking):
    lacking((TORCH,))
    installer = FakeInstaller(extension=False, extension_works=False)
    with pytest.raises(RunFailed, match="Extensions Manager") as caught:
        ensure(installer, lambda text: True)
    assert caught.value.kind == "install"


@pytest.mark.parametrize(
    "error",
    [
        subprocess.CalledProcessError(1, "pip"),
        RuntimeError("no"),
        ImportError("DLL load failed"),
        OSError("network"),
    ],
)
def test_a_failure_says_what_to_do(lacking, error):
    lacking((TORCH,))
    with pytest.raises(RunFailed, match="firewall") as caught:
        ensure(FakeInstaller(error=error), lambda text: True)
    assert caught.value.kind == "install"
    assert type(error).__name__ in str(caught.value)


def test_what_is_still_missing_afterwards_is_a_failure(lacking):
    lacking((IMAGE,), (IMAGE,))
    with pytest.raises(RunFailed, match=r"still missing: scikit-image>=0\.22"):
        ensure(FakeInstaller(), lambda text: True)


def test_what_slicer_rests_on_is_never_replaced(lacking):
    lacking((IMAGE,), ())
    installer = FakeInstaller()
    ensure(installer, lambda text: True)
    pinned = dict(line.split("==") for line in installer.constraints.splitlines())
    assert pinned == {name: metadata.version(name) for name in PROTECTED}
    text = dependencies.constraints_text(versions(numpy="2.0.2", requests="2.32.3"))
    assert text == "numpy==2.0.2\nrequests==2.32.3\n"


class FakeSlicer(types.ModuleType):
    """``slicer`` with what the installer uses, and a list of its calls."""

    def __init__(self) -> None:
        super().__init__("slicer")
        self.calls: list = []
        self.util = types.SimpleNamespace(pip_install=lambda words: self.calls.append(words))
        self.app = types.SimpleNamespace(extensionsManagerModel=lambda: self.model)
        self.model = types.SimpleNamespace(
            interactive=True, installExtensionFromServer=self._install_extension
        )

    def _install_extension(self, name, restart):
        self.calls.append((name, restart, self.model.interactive))
        return True


@pytest.fixture
def slicer_double(monkeypatch):
    double = FakeSlicer()
    monkeypatch.setitem(sys.modules, "slicer", double)
    monkeypatch.delitem(sys.modules, "slicer.packaging", raising=False)
    return double


def test_slicer_5_10_installs_through_its_util(slicer_double, tmp_path):
    SlicerInstaller().install_packages([IMAGE], tmp_path / "c.txt")
    assert slicer_double.calls == [["scikit-image>=0.22", "--constraint", str(tmp_path / "c.txt")]]


def test_slicer_5_12_installs_through_its_packaging(slicer_double, tmp_path, monkeypatch):
    calls = []
    packaging = types.ModuleType("slicer.packaging")
    packaging.pip_ensure = lambda names, **options: calls.append((names, options))
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    SlicerInstaller().install_packages([IMAGE], tmp_path / "c.txt")
    ((names, options),) = calls
    assert names == ["scikit-image>=0.22"]
    assert options["constraints"] == str(tmp_path / "c.txt")
    assert options["prompt_install"] is options["prompt_restart"] is False
    assert slicer_double.calls == []


def test_torch_comes_from_the_extension(monkeypatch):
    asked = []

    class Logic:
        def installTorch(self, **options):  # noqa: N802 - the extension's name
            asked.append(options)
            return None if len(asked) > 1 else "torch"

    assert SlicerInstaller().has_torch_extension() is False
    utilities = types.ModuleType("PyTorchUtils")
    utilities.PyTorchUtilsLogic = Logic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utilities)
    assert SlicerInstaller().has_torch_extension() is True
    SlicerInstaller().install_torch(TORCH)
    assert asked == [{"askConfirmation": False, "torchVersionRequirement": ">=2.4"}]
    with pytest.raises(RuntimeError):
        SlicerInstaller().install_torch(TORCH)


def test_the_extension_is_installed_without_other_questions(slicer_double):
    assert SlicerInstaller().install_torch_extension() is True
    assert slicer_double.calls == [("PyTorch", False, False)]
    assert slicer_double.model.interactive is True
    slicer_double.app = types.SimpleNamespace()
    assert SlicerInstaller().install_torch_extension() is False
