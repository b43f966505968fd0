"""What the house's figures count, on houses small enough to count by hand."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from house import figures
from house.circles import circles, importable, module_imports
from house.follow import Follower
from house.source import Source

A, B, C = (f"flare_core/{name}.py" for name in "abc")


def house(files: dict[str, str]) -> list[Source]:
    return [Source(path, text) for path, text in files.items()]


def test_circle_of_three_is_one_circle() -> None:
    files = {
        A: "from flare_core.b import f",
        B: "from flare_core import c",
        C: "import flare_core.a\nimport json",
        "flare_core/d.py": "from flare_core.a import g",
    }
    assert circles(house(files)) == [["flare_core.a", "flare_core.b", "flare_core.c"]]
    assert circles(house(files | {C: "import json"})) == []


def test_two_circles_come_apart_and_the_larger_is_first() -> None:
    files = {
        "flare_core/x.py": "import flare_core.y\nimport flare_core.a",
        "flare_core/y.py": "import flare_core.x",
        A: "import flare_core.b",
        B: "import flare_core.c",
        C: "import flare_core.a",
    }
    assert [len(each) for each in circles(house(files))] == [3, 2]


@pytest.mark.parametrize(
    ("text", "lazy", "types"),
    [
        ("def f():\n    from flare_core.b import g", True, False),
        ("class X:\n    def f(self):\n        import flare_core.b", True, False),
        ("if TYPE_CHECKING:\n    from flare_core.b import g", False, True),
        ("if typing.TYPE_CHECKING:\n    import flare_core.b", False, True),
    ],
)
def test_lazy_imports_and_those_for_types_count_if_asked(
    text: str, lazy: bool, types: bool
) -> None:
    sources = house({A: text, B: "import flare_core.a"})
    assert len(circles(sources)) == 1
    assert len(circles(sources, types=False)) == lazy
    assert len(circles(sources, lazy=False)) == types


def test_names_are_those_under_which_files_are_imported() -> None:
    files = {
        "FLARESeg/FLARESegLib/__init__.py": "",
        "FLARESeg/FLARESegLib/run/__init__.py": "from . import work",
        "FLARESeg/FLARESegLib/run/work.py": "from FLARESegLib.scene.show import f",
        "FLARESeg/FLARESegLib/scene/show.py": "from ..run import work\nfrom .other import g",
    }
    sources = house(files)
    assert [importable(one) for one in sources][2:] == [
        "FLARESegLib.run.work",
        "FLARESegLib.scene.show",
    ]
    assert module_imports(sources)["FLARESegLib.run"] == {"FLARESegLib.run.work"}
    assert circles(sources) == [["FLARESegLib.run.work", "FLARESegLib.scene.show"]]


def test_way_of_one_ct_is_counted_by_hand() -> None:
    assert figures.returns(["a", "a", "b", "a", "b", "c"]) == 2
    assert figures.returns(["a"]) == 0


def test_only_what_the_package_runs_after_the_imports_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "inner_way.py").write_text("def g(): return 1\nclass K: h = g()")
    (package / "outer_way.py").write_text("import inner_way\ndef f(): return inner_way.g()")
    (package / "other_way.py").write_text("import inner_way\ndef f(): ...\ninner_way.g()")
    (tmp_path / "beside_way.py").write_text("import outer_way\ndef f(): ...\nf(); outer_way.f()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(package)
    follower = Follower(package)
    before = sys.getprofile()
    sys.setprofile(follower)
    try:
        for each in ("inner", "other", "outer"):
            importlib.import_module(f"{each}_way")
        imported = list(follower.files)
        importlib.import_module("beside_way")
    finally:
        sys.setprofile(before)
    assert imported == [] and follower.files == ["package/outer_way.py", "package/inner_way.py"]
