"""Rules about the shape of files, functions and names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from statistics import median

from house.source import Function, Source, core_only

LONGEST_BODY = 40
LONGEST_MEDIAN = 10
LONGEST_FILE = 600
MOST_POSITIONAL = 6
TABLE_LINES = 10
"""An assignment at the top level of a module that is longer than this is a table of data."""
SAYS_NOTHING = {"util", "utils", "helper", "helpers", "common", "manager", "base", "misc"}
MODULES = ("FLARESeg", "FLARETrain")
"""Slicer's modules: what the core calls something is known in both."""
READS_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}
PUTS_BACK = {"flare_core/jobs/cluster.py": "Dask sets its workers' variables in this process"}
"""Modules that leave the environment as they found it, and why; one that does not need it fails."""


def function_length(sources: Sequence[Source]) -> list[str]:
    """Find functions whose body is too long to see at once."""
    return [
        f"{source.at(node)}: {node.name} has a body of {body_lines(node)} lines (<= {LONGEST_BODY})"
        for source in sources
        for node in source.functions()
        if body_lines(node) > LONGEST_BODY
    ]


def median_length(sources: Sequence[Source]) -> list[str]:
    """Find out whether the core's functions have grown."""
    lengths = [body_lines(node) for source in core_only(sources) for node in source.functions()]
    middle = median(lengths or [0])
    return [f"median body: {middle} lines (<= {LONGEST_MEDIAN})"] * (middle > LONGEST_MEDIAN)


def body_lines(node: Function) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def file_length(sources: Sequence[Source]) -> list[str]:
    """Find files that are too long, tables of data not counted."""
    lengths = {source.path: _lines_without_tables(source) for source in sources}
    return [
        f"{path}: {lines} lines besides its tables (<= {LONGEST_FILE})"
        for path, lines in lengths.items()
        if lines > LONGEST_FILE
    ]


def _lines_without_tables(source: Source) -> int:
    tables = (
        (node.end_lineno or 0) - node.lineno + 1
        for node in source.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
    )
    return len(source.text.splitlines()) - sum(n for n in tables if n > TABLE_LINES)


def parameters(sources: Sequence[Source]) -> list[str]:
    """Find functions with too many parameters that can be given by position (self not counted)."""
    return [
        f"{source.at(node)}: {node.name} takes {count} by position (<= {MOST_POSITIONAL})"
        for source in sources
        if not source.path.startswith("Testing/")  # fixtures arrive by position
        for node in source.functions()
        if (count := _positional(node)) > MOST_POSITIONAL
    ]


def _positional(node: Function) -> int:
    names = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def names(sources: Sequence[Source]) -> list[str]:
    """Find files, folders and classes named after nothing in particular."""
    places = [(source.path, re.split(r"[/_.]", source.path)) for source in sources]
    for source in sources:
        for node in source.classes():
            words = re.findall("[A-Z]+[a-z]*|[a-z]+", node.name)
            places.append((f"{source.at(node)}: {node.name}", words))
    return [
        f"{place}: say what it is instead of '{word}'"
        for place, words in places
        for word in words
        if word.lower() in SAYS_NOTHING
    ]


def class_names(sources: Sequence[Source]) -> list[str]:
    """Find classes of the core and one Slicer module, or of two rooms, that share a name.

    FLARESeg and FLARETrain never meet in a file: each has its Panel. A name that begins with an
    underscore is its own file's.
    """
    seen: dict[tuple[str, str], str] = {}
    problems = []
    for source in sources:
        room = source.path.partition("/")[0]
        if room not in ("flare_core", *MODULES):
            continue
        for node in source.tree.body:
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            scopes = [(each, node.name) for each in (MODULES if room == "flare_core" else (room,))]
            first = sorted({seen[scope] for scope in scopes if scope in seen})
            problems += [f"{source.at(node)}: {node.name} is also at {each}" for each in first]
            seen.update(dict.fromkeys(scopes, source.at(node)))
    return problems


def module_head(sources: Sequence[Source]) -> list[str]:
    """Find modules without a docstring, or without `from __future__ import annotations`.

    A test's name is its docstring, and a file that only passes names on has no annotations.
    """
    problems = []
    for source in sources:
        said = (ast.get_docstring(source.tree) or "").strip(" .").lower()
        if said in ("", "placeholder") and not source.path.startswith("Testing/"):
            problems.append(f"{source.path}: no docstring that says what it is")
        has_code = any(source.functions()) or any(source.classes())
        if has_code and "\nfrom __future__ import annotations\n" not in f"\n{source.text}":
            problems.append(f"{source.path}: 'from __future__ import annotations' is missing")
    return problems


def blind_except(sources: Sequence[Source]) -> list[str]:
    """Find handlers that catch everything, outside the command line and the jobs.

    What spreads cases hands every error over in the case's outcome.
    """
    return [
        f"{source.at(node)}: catches everything; name the errors"
        for source in core_only(sources)
        if source.layer not in ("cli", "jobs", "spread")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and _is_blind(node.type)
    ]


def _is_blind(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    each = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(e, ast.Name) and e.id in ("Exception", "BaseException") for e in each)


def dataclasses(sources: Sequence[Source]) -> list[str]:
    """Find dataclasses of the core that can change, or with a field that nobody explains.

    One that must change says why in a comment behind its decorator: `@dataclass  # mutable: ...`.
    """
    problems = []
    for source in core_only(sources):
        for node in source.classes():
            decorator = next(
                (d for d in node.decorator_list if "dataclass" in ast.unparse(d)), None
            )
            if decorator is None:
                continue
            reason = "# mutable: " in source.text.splitlines()[decorator.lineno - 1]
            if not reason and "frozen=True" not in ast.unparse(decorator):
                problems.append(f"{source.at(node)}: {node.name} is not frozen")
            for name in _silent_fields(node):
                problems.append(f"{source.at(node)}: {node.name}.{name} has no docstring under it")
    return problems


def _silent_fields(node: ast.ClassDef) -> Iterator[str]:
    for field, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and not _is_text(following):
            name = ast.unparse(field.target)
            if name != "_":  # `_: KW_ONLY` is no field
                yield name


def _is_text(node: ast.stmt | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def keyword_dictionaries(sources: Sequence[Source]) -> list[str]:
    """Find functions of the core that take any keyword."""
    return [
        f"{source.at(node)}: {node.name} takes **{node.args.kwarg.arg}; name its parameters"
        for source in core_only(sources)
        for node in source.functions()
        if node.args.kwarg is not None
    ]


def environment(sources: Sequence[Source]) -> list[str]:
    """Find code of the core that reads environment variables; to give one a default is none."""
    found = {source.path: _environments(source) for source in core_only(sources)}
    return [line for path, lines in found.items() if path not in PUTS_BACK for line in lines] + [
        f"PUTS_BACK names {path}, which does not touch the environment"
        for path in PUTS_BACK
        if path in found and not found[path]
    ]


def _environments(source: Source) -> list[str]:
    given = _environments_given_defaults(source.tree)
    return [
        f"{source.at(node)}: os.{name}; settings come as arguments"
        for node in ast.walk(source.tree)
        if (name := getattr(node, "attr", getattr(node, "id", ""))) in READS_ENVIRONMENT
        and node not in given
    ]


def _environments_given_defaults(tree: ast.AST) -> list[ast.expr]:
    """Return the `os.environ` of statements ``os.environ.setdefault(...)``, their value unused."""
    calls = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    methods = [call.func for call in calls if isinstance(call, ast.Call)]
    return [m.value for m in methods if isinstance(m, ast.Attribute) and m.attr == "setdefault"]
