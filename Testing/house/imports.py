"""Rules about imports. Lazy ones, inside functions, and those for type checkers count as well."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from house.source import ROOT, Source, core_only

EVERYWHERE = {
    "wording",
    "alive",
    "errors",
    "atomic",
    "home",
    "json_fields",
    "paths",
    "processes",
    "__version__",
}
"""Parts of flare_core that every layer may use; they themselves use only each other."""

BELOW: dict[str, set[str]] = {
    "errors": set(),
    "wording": set(),
    "atomic": set(),
    "home": set(),
    "json_fields": set(),
    "paths": set(),
    "alive": set(),
    "processes": set(),
    "spread": set(),
    "anatomy": set(),
    "imaging": set(),
    "networks": {"models.stage_card"},
    "models": {"imaging", "anatomy"},
    "cases": {"imaging", "anatomy"},
    "datasets": {"cases", "imaging", "anatomy", "spread"},
    "segment": {"models", "networks", "imaging", "anatomy"},
    "evaluate": {"datasets", "imaging", "anatomy", "spread"},
    "train": {
        "segment",
        "datasets",
        "networks",
        "models",
        "cases",
        "imaging",
        "anatomy",
        "evaluate.metrics",
        "spread",
    },
    "report": {"train", "evaluate", "segment", "datasets", "imaging", "anatomy"},
    "jobs": {
        "report",
        "evaluate",
        "segment",
        "datasets",
        "models",
        "imaging",
        "anatomy",
        "spread",
    },
}
"""What each layer may use besides itself. Files that are no layer (`__init__`, `__main__`) and the
command line may use all of it."""

TOP = {"__init__", "__main__", "cli"}

PACKAGES: dict[str, set[str]] = {
    "errors": set(),
    "wording": set(),
    "atomic": set(),
    "home": set(),
    "json_fields": set(),
    "paths": set(),
    "alive": set(),
    "processes": set(),
    "spread": {"distributed"},
    "anatomy": set(),
    "imaging": {"numpy", "SimpleITK", "torch", "pydicom", "highdicom"},
    "networks": {"torch"},
    "models": {"requests", "safetensors", "torch"},
    "cases": set(),
}
"""What each layer may import from outside; the others may import whatever pyproject.toml names."""

DECLARED = {
    *("numpy", "scipy", "SimpleITK", "skimage", "PIL", "safetensors", "requests", "torch"),
    *("pydicom", "highdicom"),
    *("dask", "distributed", "dask_jobqueue"),
}
"""Import names of the dependencies in pyproject.toml."""

SLICER = {"slicer", "qt", "ctk", "vtk", "mrml", "PythonQt", "FLARESegLib", "FLARETrainLib"}


@dataclass(frozen=True)
class Import:
    """One imported name."""

    where: str
    """Path and line."""
    module: str
    """Dotted name; for `from a import b` it is `a.b`, whether b is a module or not."""

    @property
    def package(self) -> str:
        """The first part of the dotted name."""
        return self.module.partition(".")[0]


def imports_of(source: Source) -> Iterator[Import]:
    """Every import of a file, wherever in it."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (Import(source.at(node), alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level  # relative imports come out as ".name" and match nothing
            for alias in node.names:
                yield Import(source.at(node), f"{dots}{node.module or ''}.{alias.name}")


def direction(sources: Sequence[Source]) -> list[str]:
    """Find imports of flare_core that point upwards or sideways."""
    problems = []
    for source in core_only(sources):
        if source.layer in TOP:
            continue
        if source.layer not in BELOW:
            problems.append(f"{source.path}: {source.layer} has no place in the house")
            continue
        allowed = BELOW[source.layer] | EVERYWHERE | {source.layer}
        for one in imports_of(source):
            if one.package == "flare_core" and not _is_within(one.module, allowed):
                problems.append(f"{one.where}: {source.layer} must not import {one.module}")
    return problems


def _is_within(module: str, allowed: set[str]) -> bool:
    below = module.removeprefix("flare_core") + "."
    return any(below.startswith(f".{each}.") for each in allowed)


def packages(sources: Sequence[Source]) -> list[str]:
    """Find imports of packages that a layer may not use, or that pyproject.toml does not name."""
    own = {"flare_core", *sys.stdlib_module_names}
    return [
        f"{one.where}: {source.layer} must not import {one.package or one.module}"
        for source in core_only(sources)
        for one in imports_of(source)
        if one.package not in own | PACKAGES.get(source.layer, DECLARED)
    ]


def no_slicer(sources: Sequence[Source]) -> list[str]:
    """Find imports of Slicer, Qt or VTK in the core."""
    return [
        f"{one.where}: {one.package} belongs to the Slicer modules"
        for source in core_only(sources)
        for one in imports_of(source)
        if one.package in SLICER
    ]


def loaded_by(modules: Sequence[str], package: str, folder: Path = ROOT) -> list[str]:
    """Return those of `modules` whose import, in a new process, loads `package`.

    The order of `modules` matters for the blame only: the first that loads it is named.
    """
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[2:]:\n"
        "    importlib.import_module(name)\n"
        "    if sys.argv[1] in sys.modules:\n"
        "        sys.exit(name)\n"
    )
    command = [sys.executable, "-c", program, package, *modules]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1:] if done.returncode else []
