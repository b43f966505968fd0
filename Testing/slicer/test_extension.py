"""The extension as Slicer's build and the Extensions Index see it.

The checks of the index (scripts/check_description_files.py) that can be made without a network, the
CMake lists against the tree, and the .ui files against the classes and the code that use them.
"""

from __future__ import annotations

import ast
import json
import re
import struct
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = [
    folder for folder in ("FLARESeg", "FLARETrain") if (ROOT / folder / "CMakeLists.txt").exists()
]
UI_FILES = [
    path for module in MODULES for path in sorted((ROOT / module).glob("Resources/UI/*.ui"))
]

CATEGORIES = {"Segmentation", "Active Learning", "Quantification", "Training", "Analysis"}
"""Those of the index's list that could fit."""
SCHEMA_KEYS = {
    "$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies",
    "dicom_support_rule", "build_subdirectory", "enabled", "tier",
}  # fmt: skip
LARGEST_CHECKOUT_MIB = 100

QT = {
    "QWidget", "QLabel", "QFrame", "QPushButton", "QToolButton", "QCheckBox", "QRadioButton",
    "QComboBox", "QLineEdit", "QSpinBox", "QDoubleSpinBox", "QSlider", "QProgressBar",
    "QPlainTextEdit", "QTextEdit", "QTextBrowser", "QTableWidget", "QTableView", "QTreeWidget",
    "QListWidget", "QListView", "QTreeView", "QTabWidget", "QStackedWidget", "QGroupBox",
    "QScrollArea", "QSplitter", "QDialog", "QButtonGroup",
}  # fmt: skip
CTK = {
    "ctkCollapsibleButton", "ctkCollapsibleGroupBox", "ctkCheckableComboBox", "ctkPathLineEdit",
    "ctkDirectoryButton", "ctkMenuButton", "ctkSliderWidget", "ctkDoubleSpinBox", "ctkComboBox",
    "ctkSearchBox", "ctkRangeWidget", "ctkExpandableWidget", "ctkPushButton",
}  # fmt: skip
SLICER = {
    "qMRMLWidget", "qMRMLNodeComboBox", "qMRMLTableView", "qMRMLCheckableNodeComboBox",
    "qMRMLSegmentationShow3DButton", "qMRMLSegmentsTableView", "qMRMLSegmentSelectorWidget",
    "qMRMLSegmentEditorWidget", "qMRMLPlotView", "qMRMLSubjectHierarchyTreeView",
    "qSlicerWidget",
}  # fmt: skip
"""Class names read in the sources of Qt 5.15/6, CTK and Slicer 5.12."""


def cmake_value(name: str) -> str:
    """The value that the top CMakeLists.txt sets a variable to, found as the index finds it."""
    text = (ROOT / "CMakeLists.txt").read_text("utf-8")
    return re.findall(rf'set\s*\({name}\s*"([^"]+)"[ ]*\)', text)[0]


def description() -> dict:
    return json.loads((ROOT / "FLARESeg.json").read_text("utf-8"))


def raw_path(url: str) -> Path:
    """The file in the tree that an address of the repository's raw files speaks of."""
    repository = description()["scm_url"].removesuffix(".git").removeprefix("https://github.com/")
    head = f"https://raw.githubusercontent.com/{repository}/{description()['scm_revision']}/"
    assert url.startswith(head), f"{url} is not below {head}"
    return ROOT / url.removeprefix(head)


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()[:24]
    assert data[:8] == b"\x89PNG\r\n\x1a\n", f"{path} is no PNG"
    return struct.unpack(">II", data[16:24])


# --- the Extensions Index -------------------------------------------------------------------------


def test_name_of_extension_repository_and_project_agree():
    project = re.findall(r"project\s*\(\s*([^\s\)]+)", (ROOT / "CMakeLists.txt").read_text("utf-8"))
    assert project[0] == "FLARESeg" and (ROOT / "FLARESeg.json").is_file()
    assert not project[0].startswith("Slicer")
    url = description()["scm_url"]
    assert re.match(r"(https|git)://", url)
    assert "slicer" in url.rpartition("/")[2].lower()
    assert cmake_value("EXTENSION_HOMEPAGE").startswith(url.removesuffix(".git"))


def test_description_fits_the_schema():
    text = (ROOT / "FLARESeg.json").read_bytes()
    assert b"\r" not in text and text.endswith(b"\n")
    fields = description()
    assert set(fields) <= SCHEMA_KEYS
    assert {"$schema", "category", "scm_url"} <= set(fields)
    assert "entry-schema-v1.0.2.json" in fields["$schema"]
    assert fields["category"] in CATEGORIES
    assert fields["tier"] in range(1, 6)
    assert all(isinstance(name, str) and name for name in fields["build_dependencies"])


def test_dependencies_agree():
    assert cmake_value("EXTENSION_DEPENDS").split() == description()["build_dependencies"]
    assert "PyTorch" in description()["build_dependencies"]  # torch comes through it, never by pip


def test_icon_and_screenshots_are_images_in_the_tree():
    assert png_size(raw_path(cmake_value("EXTENSION_ICONURL"))) == (128, 128)
    shots = cmake_value("EXTENSION_SCREENSHOTURLS").split()
    assert shots
    for url in shots:
        width, height = png_size(raw_path(url))
        assert width >= 300 and height >= 200


def test_description_says_what_for_and_that_it_is_no_medical_device():
    text = cmake_value("EXTENSION_DESCRIPTION")
    assert "abdominal CT" in text and "not a medical device" in text
    assert cmake_value("EXTENSION_CONTRIBUTORS")


def test_licence_lies_in_the_root():
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")


def test_checkout_is_small_enough():
    """The index's checks measure a clone, .git and all."""
    try:
        names = (
            subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
            .stdout.decode("utf-8")
            .split("\0")
        )
        count = subprocess.run(
            ["git", "count-objects", "-v"], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git repository")
    files = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    tree_mib = sum(path.stat().st_size for path in files) / 2**20
    packs_kib = re.findall(r"^size(?:-pack)?: (\d+)", count, re.MULTILINE)
    assert tree_mib + sum(map(int, packs_kib)) / 2**10 < LARGEST_CHECKOUT_MIB


# --- CMake ----------------------------------------------------------------------------------------


def cmake_list(module: str, name: str) -> list[str]:
    text = (ROOT / module / "CMakeLists.txt").read_text("utf-8")
    inside = re.search(rf"set\({name}\s+([^)]*)\)", text)
    assert inside, f"{module}/CMakeLists.txt sets no {name}"
    return inside[1].replace("${MODULE_NAME}", module).split()


def tree_files(module: str, *patterns: str) -> set[str]:
    folder = ROOT / module
    found = (path for pattern in patterns for path in folder.rglob(pattern))
    return {
        path.relative_to(folder).as_posix() for path in found if "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_script_is_listed_once(module):
    """The commonest packaging defect: a script that works from the sources is not installed."""
    listed = cmake_list(module, "MODULE_PYTHON_SCRIPTS")
    assert len(set(listed)) == len(listed)
    assert set(listed) == tree_files(module, "*.py")


@pytest.mark.parametrize("module", MODULES)
def test_every_resource_is_listed_once(module):
    listed = cmake_list(module, "MODULE_PYTHON_RESOURCES")
    assert len(set(listed)) == len(listed)
    resources = {name for name in tree_files(module, "*") if name.startswith("Resources/")}
    assert set(listed) == {name for name in resources if (ROOT / module / name).is_file()}


@pytest.mark.parametrize("module", MODULES)
def test_every_script_right_in_a_module_folder_is_a_module_to_slicer(module):
    """Slicer takes each of them for a module, runs it at start, and wants a class of its name."""
    for path in (ROOT / module).glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        assert path.stem in classes, f"{path.name} would be an error at every start of Slicer"


@pytest.mark.parametrize("module", MODULES)
def test_module_is_part_of_the_build(module):
    assert f"add_subdirectory({module})" in (ROOT / "CMakeLists.txt").read_text("utf-8")


def test_core_is_installed_beside_the_modules():
    text = (ROOT / "CMakeLists.txt").read_text("utf-8")
    assert re.search(
        r"install\(DIRECTORY flare_core\s+DESTINATION \$\{Slicer_INSTALL_QTSCRIPTED", text
    )


def test_every_self_test_is_registered():
    text = (ROOT / "Testing" / "slicer" / "CMakeLists.txt").read_text("utf-8")
    there = {path.name for path in (ROOT / "Testing" / "slicer").glob("*TestCase.py")}
    assert there and set(re.findall(r"\w+TestCase\.py", text)) == there


# --- modules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_module_file_is_thin(module):
    assert len((ROOT / module / f"{module}.py").read_text("utf-8").splitlines()) < 300


@pytest.mark.parametrize("module", MODULES)
def test_what_slicer_runs_at_start_imports_nothing_that_may_be_missing(module):
    for path in (ROOT / module).glob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                light = name in OWN_AND_LIGHT or name.partition(".")[0] in AT_START
                assert light, f"{path.name} imports {name}"


AT_START = {
    "slicer", "vtk", "qt", "ctk", "__future__", "argparse", "collections", "dataclasses",
    "functools", "importlib", "logging", "os", "pathlib", "sys", "typing",
}  # fmt: skip
OWN_AND_LIGHT = {"FLARESegLib.core_path", "FLARETrainLib.core_path", "flare_core.errors"}


@pytest.mark.parametrize("module", MODULES)
def test_module_has_the_classes_slicer_looks_for(module):
    tree = ast.parse((ROOT / module / f"{module}.py").read_text("utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {module, f"{module}Widget", f"{module}Test"} <= classes
    assert "not a medical device" in (ROOT / module / f"{module}.py").read_text("utf-8")


@pytest.mark.parametrize("module", MODULES)
def test_module_icon_is_there(module):
    assert png_size(ROOT / module / "Resources" / "Icons" / f"{module}.png") == (128, 128)


def forbidden_uses(text: str) -> list[str]:
    """What is gone in Qt 6 or in Python 3.12, or blocks or asks at the wrong place."""
    words = (
        r"\bQRegExp\b",
        r"\bQTextCodec\b",
        r"\bimport imp\b",
        r"\.exec_\(",
        r"\bQDesktopWidget\b",
    )
    return [word for word in words if re.search(word, text)]


def test_forbidden_uses_are_found():
    assert forbidden_uses("d.exec_()") and forbidden_uses("import imp\n")
    assert not forbidden_uses("import importlib\nd.exec()")


@pytest.mark.parametrize("module", MODULES)
def test_code_works_with_qt_5_and_6_and_python_3_12(module):
    for name in tree_files(module, "*.py"):
        assert not forbidden_uses((ROOT / module / name).read_text("utf-8")), name


# --- .ui files ------------------------------------------------------------------------------------


def widgets_of(path: Path) -> dict[str, str]:
    """Widget name -> class."""
    return {w.get("name"): w.get("class") for w in ElementTree.parse(path).getroot().iter("widget")}


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.name)
def test_ui_uses_classes_that_exist(path):
    classes = set(widgets_of(path).values())
    assert not classes - QT - CTK - SLICER
    declared = {e.findtext("class") for e in ElementTree.parse(path).getroot().iter("customwidget")}
    assert classes - QT <= declared


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.name)
def test_ui_connects_the_scene_to_every_widget_that_needs_it(path):
    root = ElementTree.parse(path).getroot()
    names = [w.get("name") for w in root.iter("widget")]
    assert len(set(names)) == len(names)
    receivers = {c.findtext("receiver") for c in root.iter("connection")}
    needing = {
        n for n, kind in widgets_of(path).items() if kind in ("qMRMLNodeComboBox", "qMRMLTableView")
    }
    assert needing <= receivers <= set(names)


@pytest.mark.parametrize("module", MODULES)
def test_code_and_ui_speak_of_the_same_widgets(module):
    """`ui.NAME` in the code exists in the .ui file; every widget that can be used is used."""
    names = {}
    for path in (ROOT / module).glob("Resources/UI/*.ui"):
        names |= widgets_of(path)
    used = set()
    for name in tree_files(module, "*.py"):
        used |= set(re.findall(r"\b_?ui\.(\w+)", (ROOT / module / name).read_text("utf-8")))
    assert not used - set(names), "the code names widgets that no .ui file has"
    silent = {"QLabel", "QWidget", "QFrame", "qMRMLWidget", "ctkCollapsibleButton", "QGroupBox"}
    bound = {
        w.get("name")
        for path in (ROOT / module).glob("Resources/UI/*.ui")
        for w in ElementTree.parse(path).getroot().iter("widget")
        if any(p.get("name") == "SlicerParameterName" for p in w.findall("property"))
    }
    idle = {n for n, kind in names.items() if kind not in silent} - used - bound
    assert not idle, "widgets that nothing uses"


@pytest.mark.parametrize("module", MODULES)
def test_bound_parameters_exist(module):
    """A SlicerParameterName without such a parameter raises only when the panel opens."""
    parameters = ROOT / module / f"{module}Lib" / "parameters.py"
    declared = {
        node.target.id
        for cls in ast.parse(parameters.read_text("utf-8")).body
        if isinstance(cls, ast.ClassDef) and cls.name == f"{module}ParameterNode"
        for node in cls.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    root = ElementTree.parse(ROOT / module / "Resources" / "UI" / f"{module}.ui").getroot()
    bound = [
        p.findtext("string")
        for p in root.iter("property")
        if p.get("name") == "SlicerParameterName"
    ]
    assert bound and set(bound) <= declared


@pytest.mark.parametrize("module", MODULES)
def test_texts_for_people_can_be_translated(module):
    """A text that goes straight into a widget is one nobody can translate."""
    setters = r"\.(?:setText|setToolTip|setWindowTitle|say)\(\s*f?[\"']"
    for path in (ROOT / module / f"{module}Lib").glob("*.py"):
        found = re.findall(setters + r"[^\"']*[A-Za-z]", path.read_text("utf-8"))
        assert not found, f"{path.name}: {found}"
