"""Rules about the repository: registries, mirrored tests, what git holds."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from house.imports import imports_of
from house.source import Source, core_only

REGISTRIES = {
    "flare_core/networks": "NETWORKS",
    "flare_core/cli": "COMMANDS",
    "flare_core/train/strategies": "STRATEGIES",
    "flare_core/train/recipes": "RECIPES",
    "flare_core/evaluate/metrics": "METRICS",
}
"""Folders in which a new file is found through a dictionary in their `__init__.py`."""

COMMAND_MARK = {"NAME", "HELP", "run"}
"""What a module of `cli` has at its top level if it is a command."""

WITHOUT_TEST: dict[str, str] = {}
"""Modules that may stay without a mirrored test, and why; an entry that is not needed fails."""

INIT = "/__init__.py"
SCANS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm", ".npz", ".npy")
LARGEST_REPOSITORY_MIB = 60
LARGEST_FILE_MIB = 12
LARGEST_MODEL_MIB = 20


def registries(sources: Sequence[Source]) -> list[str]:
    """Find files that no registry reaches: written, but never offered to anyone."""
    by_path = {source.path: source for source in sources}
    problems = []
    for folder, name in REGISTRIES.items():
        head = by_path.get(f"{folder}/__init__.py")
        if head is None:
            continue  # a folder of a later issue
        listed = listed_modules(head, name)
        if listed is None:
            problems.append(f"{head.path}: no dictionary {name} of imported names")
            continue
        siblings = {
            s.module: s for s in sources if PurePosixPath(s.path).parent.as_posix() == folder
        }
        reached = _reached({*listed, head.module}, siblings)
        problems += [
            f"{siblings[module].path}: not in {name}, and nothing in {name} uses it"
            for module in siblings
            if module not in reached
        ]
        problems += [
            f"{source.path}: a command that {name} does not list"
            for module, source in siblings.items()
            if module not in listed and _top_level_names(source) >= COMMAND_MARK
        ]
    return problems


def listed_modules(head: Source, name: str) -> set[str] | None:
    """Return the modules that the values of the dictionary `name` come from; None without one.

    A value is a name imported from the module, or the module itself; anything else (a string,
    say) is ignored and so leaves its file unlisted.
    """
    origin = {one.module.rpartition(".")[2]: one.module for one in imports_of(head)}
    for node in head.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Dict) and any(
            isinstance(t, ast.Name) and t.id == name for t in targets
        ):
            values = [origin.get(ast.unparse(each), "") for each in value.values]
            return {
                m for v in values for m in (v, v.rpartition(".")[0]) if m not in ("", head.module)
            }
    return None


def _reached(start: set[str], siblings: dict[str, Source]) -> set[str]:
    """Follow imports among the siblings. The head's own imports count: it may need more files."""
    reached: set[str] = set()
    waiting = start & siblings.keys()
    while waiting:
        source = siblings[waiting.pop()]
        reached.add(source.module)
        named = {one.module for one in imports_of(source)}
        named |= {module.rpartition(".")[0] for module in named}
        waiting |= (named & siblings.keys()) - reached
    return reached


def _top_level_names(source: Source) -> set[str]:
    found = set()
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def mirrored_tests(sources: Sequence[Source]) -> list[str]:
    """Find modules of the core without a test at the same place under Testing/core.

    `a/b.py` has `a/test_b.py` or `a/test_b_more.py`; `a/b_part.py` may leave it to the test of the
    `a/b.py` that it is a part of, and any module of a room to the one where the room's `__init__`
    says to start.
    """
    paths = {source.path for source in sources}
    starts = {source.path: _start(source) for source in sources if source.path.endswith(INIT)}
    missing = {
        source.path
        for source in core_only(sources)
        if not PurePosixPath(source.path).name.startswith("__")
        and not _tests_of(source.path, paths)
        and not _tests_of(starts.get(f"{PurePosixPath(source.path).parent}{INIT}", ""), paths)
    }
    problems = [f"{path}: no test at {_test_path(path)}" for path in sorted(missing)]
    return [p for p in problems if p.partition(":")[0] not in WITHOUT_TEST] + [
        f"WITHOUT_TEST names {path}, which has a test or is gone"
        for path in WITHOUT_TEST
        if path not in missing
    ]


def _start(source: Source) -> str:
    """Path of the module where the docstring of a room says to start; empty if it does not."""
    said = re.search(r"Start at `(\w+)`", ast.get_docstring(source.tree) or "")
    return f"{source.path.removesuffix(INIT)}/{said[1]}.py" if said else ""


def _test_path(path: str) -> str:
    below = PurePosixPath(path).relative_to("flare_core")
    return (PurePosixPath("Testing/core") / below.parent / f"test_{below.name}").as_posix()


def _tests_of(path: str, paths: set[str]) -> list[str]:
    if not path:
        return []
    wanted = _test_path(path).removesuffix(".py")
    found = [p for p in paths if p == f"{wanted}.py" or p.startswith(f"{wanted}_")]
    whole = [w for w in paths if w != path and path.startswith(w.removesuffix(".py") + "_")]
    return found or [test for each in whole for test in _tests_of(each, paths)]


def files_for_git(root: Path) -> list[Path] | None:
    """Return what git holds or would take next; None where there is no git or no repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    found = (root / name for name in done.stdout.decode("utf-8").split("\0") if name)
    return [path for path in found if path.is_file()]


def scans(files: Sequence[Path]) -> list[str]:
    """Find medical images and arrays: patients' data stays out, and phantoms are made by code."""
    return [f"{path}: a scan in the repository" for path in files if path.name.endswith(SCANS)]


def too_large(files: Sequence[Path]) -> list[str]:
    """Find single files that are too large, and a repository that is."""
    mib = {path: path.stat().st_size / 2**20 for path in files}
    model = sum(size for path, size in mib.items() if "resources" in path.parts)
    limits = [
        *((str(path), size, LARGEST_FILE_MIB) for path, size in mib.items()),
        ("all resources", model, LARGEST_MODEL_MIB),
        ("the repository", sum(mib.values()), LARGEST_REPOSITORY_MIB),
    ]
    return [f"{what}: {size:.1f} MiB (<= {limit})" for what, size, limit in limits if size > limit]
