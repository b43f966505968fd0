"""The Python files the rules read."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""
FOLDERS = ("flare_core", "FLARESeg", "FLARETrain", "Testing", "benchmarks")
"""Where Python files of this project may be."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file, read; rules never open files themselves, so they can be shown bad sources."""

    path: str
    """Relative to the repository, with forward slashes."""
    text: str
    """What is in it."""

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text, self.path)

    @property
    def is_core(self) -> bool:
        """Whether the file belongs to the library."""
        return self.path.startswith("flare_core/")

    @property
    def layer(self) -> str:
        """The sub-package of flare_core, or the module's name for files at its root."""
        part = self.path.split("/")[1]
        return part.removesuffix(".py")

    @property
    def module(self) -> str:
        """The dotted name, as it is imported."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def at(self, node: ast.AST) -> str:
        """Path and line, in the form that editors open."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def classes(self) -> Iterator[ast.ClassDef]:
        """Every class."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))


def python_files(root: Path = ROOT) -> list[Source]:
    """Return the project's Python files, sorted by path."""
    found = (path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py")))
    return [Source(p.relative_to(root).as_posix(), p.read_text("utf-8")) for p in found]


def core_only(sources: Sequence[Source]) -> list[Source]:
    """Return the files of flare_core."""
    return [source for source in sources if source.is_core]
