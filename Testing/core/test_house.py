"""The house rules hold, and each of them can fail."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from house import RULES, imports, uses
from house import repository as git_rules
from house.source import Source, python_files

SOURCES = python_files()
LONG_BODY = "def f():\n" + "    pass\n" * 41
TABLE = "ROWS = (\n" + "    1,\n" * 400 + ")\n"

# For each rule, files that break it. The first is accused; the others only set the scene.
BAD: dict[str, list[dict[str, str]]] = {
    "dependencies point downwards": [
        {"flare_core/imaging/x.py": "from flare_core.segment.pipeline import segment_ct"},
        {"flare_core/anatomy/x.py": "def f():\n    import flare_core.imaging.volume"},
        {"flare_core/segment/x.py": "from flare_core import train"},
        {"flare_core/train/x.py": "from flare_core.evaluate.ranking.rank import rank"},
        {"flare_core/datasets/x.py": "from flare_core import segment_ct"},
        {"flare_core/errors.py": "from flare_core.models import package"},
        {"flare_core/plumbing/x.py": ""},
    ],
    "no module imports itself in a circle": [
        {
            "flare_core/imaging/x.py": "from flare_core.imaging.y import f",
            "flare_core/imaging/y.py": "def f():\n    from flare_core.imaging import x",
        },
        {
            "FLARESeg/FLARESegLib/a.py": "from FLARESegLib.run.b import f",
            "FLARESeg/FLARESegLib/run/b.py": "if TYPE_CHECKING:\n    from FLARESegLib.a import g",
        },
    ],
    "nothing is there for tests only": [
        {
            "flare_core/imaging/x.py": "def f():\n    return f()",
            "Testing/core/imaging/test_x.py": "from flare_core.imaging.x import f\nf()",
        },
        {"FLARESeg/FLARESegLib/x.py": "class A:\n    def b(self): ...\nA()"},
        {
            "flare_core/imaging/x.py": "def f(): ...",
            "flare_core/imaging/y.py": "from flare_core.imaging.x import f\n__all__ = ['f']",
        },
    ],
    "each layer imports only the packages it may": [
        {"flare_core/anatomy/x.py": "import numpy as np"},
        {"flare_core/networks/x.py": "from scipy import ndimage"},
        {"flare_core/cases/x.py": "def f():\n    import SimpleITK"},
        {"flare_core/segment/x.py": "import pandas"},
        {"flare_core/segment/x.py": "from . import cascade"},
    ],
    "the core knows no Slicer": [
        {"flare_core/segment/x.py": "import slicer.util"},
        {"flare_core/cli/x.py": "def f():\n    from qt import QTimer"},
    ],
    "functions are short": [{"flare_core/imaging/x.py": LONG_BODY}],
    "most functions are very short": [
        {"flare_core/x.py": "def f():\n" + "    pass\n" * 11 + "def g():\n" + "    pass\n" * 11}
    ],
    "files are short": [{"flare_core/imaging/x.py": "pass\n" * 601}],
    "few parameters": [
        {"flare_core/imaging/x.py": "def f(a, b, c, d, e, f, g): ..."},
        {"flare_core/imaging/x.py": "class A:\n    def f(self, a, b, c, d, e, f, /, g): ..."},
    ],
    "no names that say nothing": [
        {"flare_core/imaging/image_utils.py": ""},
        {"flare_core/helpers/x.py": ""},
        {"flare_core/imaging/x.py": "class ModelManager: ..."},
    ],
    "one name, one class": [
        {"flare_core/jobs/x.py": "class A: ...", "flare_core/train/x.py": "class A: ..."},
        {"flare_core/x.py": "class A: ...", "FLARETrain/FLARETrainLib/x.py": "class A: ..."},
    ],
    "modules say what they are": [
        {"flare_core/imaging/x.py": "from __future__ import annotations\n"},
        {"flare_core/imaging/__init__.py": '"""placeholder"""'},
        {"flare_core/imaging/x.py": '"""Doc."""\ndef f(): ...'},
        {"flare_core/x.py": '"""Doc."""\n# from __future__ import annotations\ndef f(): ...'},
    ],
    "no blind except": [
        {"flare_core/cases/x.py": f"try:\n    f()\nexcept{what}:\n    pass"}
        for what in ("", " Exception", " BaseException as e", " (OSError, Exception)")
    ],
    "dataclasses are frozen and explain their fields": [
        {"flare_core/imaging/x.py": '@dataclass\nclass A:\n    a: int\n    """Doc."""'},
        {"flare_core/imaging/x.py": "@dataclass(frozen=True)\nclass A:\n    a: int\n    b: int"},
        {"flare_core/x.py": '@dataclass(slots=True)\nclass A:\n    a: int = 1\n    """Doc."""'},
    ],
    "no **kwargs": [{"flare_core/imaging/x.py": "def f(a, **options): ..."}],
    "no settings from the environment": [
        {"flare_core/segment/x.py": "import os\nos.environ.get('FLARE_DEVICE')"},
        {"flare_core/segment/x.py": "from os import getenv\ngetenv('FLARE_DEVICE')"},
        {"flare_core/segment/x.py": "import os\nx = os.environ.setdefault('FLARE_DEVICE', 'cpu')"},
        {"flare_core/jobs/cluster.py": "import os  # and yet excused"},
    ],
    "registries list every file": [
        {
            "flare_core/networks/forgotten.py": "class Net: ...",
            "flare_core/networks/unet.py": "class UNet: ...",
            "flare_core/networks/__init__.py": (
                "from flare_core.networks.unet import UNet\nNETWORKS = {'unet': UNet}"
            ),
        },
        {
            "flare_core/networks/unet.py": "class UNet: ...",
            "flare_core/networks/__init__.py": "NETWORKS = {'unet': 'flare_core.networks.unet'}",
        },
        {"flare_core/networks/__init__.py": "from flare_core.networks import unet"},
        {
            "flare_core/cli/new.py": "NAME: str = 'new'\nHELP = ''\ndef run(arguments): ...",
            "flare_core/cli/old.py": "from flare_core.cli import new\nNAME = 'old'",
            "flare_core/cli/__init__.py": (
                "from flare_core.cli import old\nCOMMANDS: dict = {old.NAME: old}"
            ),
        },
    ],
    "every module has its test": [
        {"flare_core/imaging/x.py": "", "Testing/core/segment/test_x.py": ""},
        {"flare_core/imaging/x.py": "", "Testing/core/imaging/test_xy.py": ""},
        {"flare_core/imaging/x_part.py": "", "Testing/core/imaging/test_x.py": ""},
    ],
}

# Files that come close to breaking the rule, and may.
GOOD: dict[str, dict[str, str]] = {
    "dependencies point downwards": {
        "flare_core/imaging/x.py": "from flare_core.errors import InputError\n"
        "from flare_core.imaging.volume import Volume",
        "flare_core/train/x.py": "from flare_core.evaluate.metrics import METRICS",
        "flare_core/cli/x.py": "from flare_core.train.loop import train",
        "flare_core/segment/x.py": "from flare_core import __version__",
    },
    "each layer imports only the packages it may": {
        "flare_core/segment/x.py": "import torch.nn.functional as F\nfrom skimage import measure",
        "flare_core/anatomy/x.py": "import json.decoder\nfrom collections.abc import Sequence",
        "FLARESeg/FLARESeg.py": "import slicer",
    },
    "no module imports itself in a circle": {
        "flare_core/imaging/x.py": "from flare_core.imaging.y import f",
        "flare_core/imaging/y.py": "from flare_core import errors\nimport numpy",
        "flare_core/imaging/__init__.py": "from flare_core.imaging.x import f",
    },
    "nothing is there for tests only": {
        "flare_core/imaging/x.py": "def f(): ...\ndef g(): f()\nclass A:\n    def forward(): ...",
        "flare_core/imaging/y.py": "call('flare_core.imaging.x:g')\nuse(A)",
        "flare_core/z.py": "def library(): ...",
        "flare_core/__init__.py": "__all__ = ['library']",
    },
    "functions are short": {"flare_core/x.py": 'def f():\n    """' + "Doc.\n" * 50 + '    """\n'},
    "files are short": {"flare_core/anatomy/x.py": TABLE + "pass\n" * 340},
    "few parameters": {"flare_core/x.py": "def f(self, a, b, c, d, e, f, *, g, h): ..."},
    "no names that say nothing": {"flare_core/baseline.py": "class Database: ..."},
    "modules say what they are": {
        "flare_core/imaging/__init__.py": '"""Voxels in space."""\nfrom a import b',
        "Testing/core/test_x.py": "from __future__ import annotations\n\ndef test_x(): ...",
    },
    "no blind except": {"flare_core/cli/x.py": "try:\n    f()\nexcept Exception:\n    pass"},
    "dataclasses are frozen and explain their fields": {
        "flare_core/x.py": "@dataclass  # mutable: counts while it runs\nclass A:\n"
        '    a: int = 0\n    """Seen."""\n    _: KW_ONLY'
    },
    "registries list every file": {
        "flare_core/networks/blocks.py": "class Block: ...",
        "flare_core/networks/unet.py": "from flare_core.networks.blocks import Block",
        "flare_core/networks/__init__.py": (
            "from flare_core.networks.unet import UNet\nNETWORKS: dict = {'unet': UNet}"
        ),
    },
    "every module has its test": {
        "flare_core/imaging/x.py": "",
        "flare_core/imaging/x_part.py": "",
        "flare_core/imaging/__init__.py": "",
        "Testing/core/imaging/test_x_round_trip.py": "",
    },
}

WITHOUT_TORCH = sorted(
    source.module
    for source in SOURCES
    if source.module in ("flare_core", "flare_core.models.card", "flare_core.datasets.case")
    or source.path.startswith(("flare_core/anatomy/", "flare_core/imaging/", "flare_core/cli/"))
)


def written(files: dict[str, str]) -> list[Source]:
    return [Source(path, text) for path, text in files.items()]


def shown(problems: Sequence[str]) -> str:
    return "\n".join(["", *problems])


@pytest.mark.parametrize("rule", RULES)
def test_rule_holds(rule: str) -> None:
    problems = RULES[rule](SOURCES)
    assert not problems, shown(problems)


def test_rules_see_the_library() -> None:
    seen = {source.path for source in SOURCES}
    assert {"flare_core/errors.py", "flare_core/imaging/geometry.py"} <= seen


def test_every_rule_has_a_bad_example() -> None:
    assert set(BAD) == set(RULES) and set(GOOD) <= set(RULES)


@pytest.mark.parametrize(
    ("rule", "files"), [(rule, files) for rule, examples in BAD.items() for files in examples]
)
def test_rule_accuses_bad_source(rule: str, files: dict[str, str]) -> None:
    problems = RULES[rule](written(files))
    accused = next(iter(files)).removesuffix("__init__.py")
    assert problems and (accused in problems[0] or rule == "most functions are very short")


@pytest.mark.parametrize("rule", GOOD)
def test_rule_accepts_good_source(rule: str) -> None:
    problems = RULES[rule](written(GOOD[rule]))
    assert not problems, shown(problems)


def test_exempt_modules_really_lack_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    source = written({"flare_core/imaging/x.py": ""})
    monkeypatch.setattr(git_rules, "WITHOUT_TEST", {"flare_core/imaging/x.py": "a reason"})
    assert not git_rules.mirrored_tests(source)
    tested = [*source, *written({"Testing/core/imaging/test_x.py": ""})]
    assert "has a test or is gone" in git_rules.mirrored_tests(tested)[0]


def test_exempt_names_are_really_unused() -> None:
    accused = " ".join(uses.unused(SOURCES, exempt={}))
    assert all(f": {name} is used by tests at most" in accused for name in uses.CALLED_FROM_OUTSIDE)


def test_no_torch_where_none_is_needed(repository: Path) -> None:
    assert "flare_core" in WITHOUT_TORCH and len(WITHOUT_TORCH) > 10
    assert not imports.loaded_by(WITHOUT_TORCH, "torch", repository)


def test_loaded_by_names_the_culprit(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text("import json")
    (tmp_path / "loud.py").write_text("import quiet\nimport wave")
    assert imports.loaded_by(["quiet", "loud"], "wave", tmp_path) == ["loud"]
    assert imports.loaded_by(["quiet"], "wave", tmp_path) == []
    assert imports.loaded_by(["absent"], "wave", tmp_path)  # a module that fails is no pass


def test_public_names_are_few_and_real() -> None:
    package = importlib.import_module("flare_core")
    assert 1 <= len(package.__all__) <= 12
    assert all(getattr(package, name) is not None for name in package.__all__)


def test_one_version(repository: Path) -> None:
    version = importlib.import_module("flare_core").__version__
    cited = re.search(r"^version: (.+)$", (repository / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited and cited[1] == version


def test_declared_packages_are_those_of_pyproject(repository: Path) -> None:
    text = (repository / "pyproject.toml").read_text()
    named = {name.lower() for name in re.findall(r'"([A-Za-z-]+)>=', text.partition("test = ")[0])}
    as_imported = {"scikit-image": "skimage", "pillow": "pil", "dask-jobqueue": "dask_jobqueue"}
    assert {as_imported.get(name, name) for name in named} - {"setuptools"} == {
        name.lower() for name in imports.DECLARED
    }


def test_git_holds_no_scan_and_nothing_large(repository: Path) -> None:
    files = git_rules.files_for_git(repository)
    if files is None:
        pytest.skip("not a git checkout")
    assert repository / "pyproject.toml" in files
    problems = git_rules.scans(files) + git_rules.too_large(files)
    assert not problems, shown(problems)


def test_scans_and_large_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = tmp_path / "resources"
    resources.mkdir()
    for name in ("case.nii.gz", "resources/a.safetensors", "resources/b.safetensors"):
        (tmp_path / name).write_bytes(bytes(700_000))
    files = sorted(tmp_path.rglob("*.*"))
    assert [Path(p.split(":")[0]).name for p in git_rules.scans(files)] == ["case.nii.gz"]
    assert not git_rules.too_large(files)
    for limit, accused in (
        ("LARGEST_FILE_MIB", "case.nii.gz"),
        ("LARGEST_MODEL_MIB", "all resources"),
        ("LARGEST_REPOSITORY_MIB", "the repository"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(git_rules, limit, 0.5)
            assert accused in shown(git_rules.too_large(files))


def test_git_is_asked_about_its_own_folder(tmp_path: Path) -> None:
    assert git_rules.files_for_git(tmp_path) is None
