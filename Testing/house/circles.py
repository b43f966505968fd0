"""Which module imports which, and the circles among them.

A circle is a group of modules each of which needs, directly or through others, every other one
(a strongly connected component). Nobody can read, test or move one of them alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from house.source import Source

SLICER_MODULES = ("FLARESeg/", "FLARETrain/")
"""Folders that Slicer puts on the path: what is in them is imported without their name."""
PRODUCT = ("flare_core/", *SLICER_MODULES)


def no_circles(sources: Sequence[Source]) -> list[str]:
    """Find modules that import each other. Imports inside functions and for types count too.

    They hide a circle from Python, but not from whoever wants to understand one of its modules
    without the others.
    """
    by_module = {importable(source): source.path for source in sources}
    product = [source for source in sources if source.path.startswith(PRODUCT)]
    return [
        f"{by_module[each[0]]}: imports itself through {', '.join(each[1:])}"
        for each in circles(product)
    ]


def module_imports(
    sources: Sequence[Source], *, lazy: bool = True, types: bool = True
) -> dict[str, set[str]]:
    """Return, for each module, those of `sources` that it imports, itself never among them.

    Parameters
    ----------
    lazy : bool
        Whether imports inside functions count.
    types : bool
        Whether imports under ``if TYPE_CHECKING`` count.
    """
    modules = {importable(source): source for source in sources}
    return {
        name: {
            found
            for wanted in _imported(source, lazy=lazy, types=types)
            if (found := _module_of(wanted, modules)) and found != name
        }
        for name, source in modules.items()
    }


def circles(sources: Sequence[Source], *, lazy: bool = True, types: bool = True) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle, the largest first."""
    groups = _strongly_connected(module_imports(sources, lazy=lazy, types=types))
    return sorted((sorted(each) for each in groups if len(each) > 1), key=lambda g: (-len(g), g))


def importable(source: Source) -> str:
    """Return the name under which a file is imported.

    Examples
    --------
    >>> importable(Source("FLARESeg/FLARESegLib/run/work.py", ""))
    'FLARESegLib.run.work'
    """
    inside = next((f for f in SLICER_MODULES if source.path.startswith(f)), "")
    return source.module.removeprefix(inside.replace("/", "."))


def _module_of(wanted: str, modules: Mapping[str, Source]) -> str:
    """Return the module that an import of the name `wanted` reaches; empty if none of ours."""
    if wanted in modules:
        return wanted
    above = wanted.rpartition(".")[0]
    return above if above in modules else ""


def _imported(source: Source, *, lazy: bool, types: bool) -> Iterator[str]:
    """Yield the dotted names that a file imports."""
    for node in _counted(source.tree, lazy=lazy, types=types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            place = _absolute(source, node)
            yield from (f"{place}.{alias.name}" for alias in node.names)


def _counted(node: ast.AST, *, lazy: bool, types: bool) -> Iterator[ast.AST]:
    """Walk a file, without its functions unless `lazy`, without what is for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and not types:
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            continue
        yield child
        yield from _counted(child, lazy=lazy, types=types)


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    """Return the dotted name behind ``from``, its leading dots resolved."""
    if not node.level:
        return node.module or ""
    parts = importable(source).split(".")
    is_package = source.path.endswith("/__init__.py")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


def _strongly_connected(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected components of a graph (Tarjan 1972), without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []
    for start in graph:
        if start in index:
            continue
        path = [(start, iter(sorted(graph[start])))]
        index[start] = low[start] = len(index)
        stack.append(start)
        while path:
            node, following = path[-1]
            new = next((each for each in following if each not in index), None)
            if new is not None:
                index[new] = low[new] = len(index)
                stack.append(new)
                path.append((new, iter(sorted(graph[new]))))
                continue
            path.pop()
            waiting = set(stack)
            low[node] = min([low[node], *(low[each] for each in graph[node] if each in waiting)])
            if low[node] == index[node]:
                at = stack.index(node)
                found.append(set(stack[at:]))
                del stack[at:]
    return found
