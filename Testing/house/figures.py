"""Print how the house is built, as a table with a column for every checkout that is named.

    cd Testing && python -m house.figures                     this repository
    cd Testing && python -m house.figures ../../before .      an older checkout beside it

Product files are those of flare_core, FLARESeg and FLARETrain. The last lines follow one CT: a
small phantom goes through ``flare segment`` with a model that says liver everywhere, while
`house.follow` notes which files execute a function, in the order in which they first do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from statistics import median

from house.circles import PRODUCT, circles, module_imports
from house.shape import body_lines
from house.source import ROOT, Source, python_files

SMALL_FILE = 60
MODEL = "from constant_model import write_constant_model as w; w(__import__('pathlib').Path({!r}))"
PHANTOM = ("--spacing", "10,5,5")


def figures(root: Path) -> dict[str, str]:
    """Return what is printed of one checkout, by the name of its line."""
    sources = [one for one in python_files(root) if one.path.startswith(PRODUCT)]
    bodies = [body_lines(node) for source in sources for node in source.functions()]
    path = followed(root)
    rooms = [PurePosixPath(each).parent.as_posix() for each in path]
    return {
        "product files": str(len(sources)),
        "folders": str(len({PurePosixPath(one.path).parent for one in sources})),
        "lines": str(sum(len(one.text.splitlines()) for one in sources)),
        f"files of at most {SMALL_FILE} lines": str(sum(_is_small(one) for one in sources)),
        "modules with exactly one importer": str(_imported_once(sources)),
        "import circles (files in each)": _sizes(circles(sources)),
        "circles without imports for types": _sizes(circles(sources, types=False)),
        "circles of what loads at once": _sizes(circles(sources, lazy=False, types=False)),
        "median body of a function": f"{median(bodies):g}",
        "largest body of a function": str(max(bodies)),
        "one CT: files": str(len(path)),
        "one CT: rooms": str(len(set(rooms))),
        "one CT: moves to another room": str(len(entered(rooms)) - 1),
        "one CT: returns to a room left before": str(returns(rooms)),
    }


def returns(rooms: Sequence[str]) -> int:
    """Count how often a way leads into a room that was left before.

    Examples
    --------
    >>> returns(["a", "a", "b", "a", "b", "c"])
    2
    """
    return len(entered(rooms)) - len(set(rooms))


def entered(rooms: Sequence[str]) -> list[str]:
    """Return the rooms of a way, one after the other, without staying."""
    return [room for room, _ in groupby(rooms)]


def followed(root: Path) -> list[str]:
    """Return the product files that one CT passes, in the order in which it first does."""
    with tempfile.TemporaryDirectory() as scratch:
        scan, model = f"{scratch}/phantom_0000.nii.gz", f"{scratch}/model"
        _run(root, "-c", MODEL.format(model))
        follow = str(Path(__file__).with_name("follow.py"))
        _run(root, follow, "phantom", f"{scratch}/phantom.nii.gz", *PHANTOM)
        said = _run(root, follow, "segment", scan, "-o", f"{scratch}/out", "--model", model)
    return [line for line in said.splitlines() if line.endswith(".py")]


def _run(root: Path, *arguments: str) -> str:
    """Run Python with a checkout's own modules first; return what it printed."""
    places = (root, root / "Testing", root / "Testing/core/cli")  # the model's place, now and once
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    command = (sys.executable, "-P", *arguments)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{root}: {done.stderr}")
    return done.stdout


def _is_small(source: Source) -> bool:
    return len(source.text.splitlines()) <= SMALL_FILE


def _imported_once(sources: Sequence[Source]) -> int:
    """Count the modules that exactly one other module imports."""
    graph = module_imports(sources)
    importers = Counter(module for used in graph.values() for module in used)
    return sum(count == 1 for count in importers.values())


def _sizes(found: Sequence[Sequence[str]]) -> str:
    sizes = ", ".join(str(len(each)) for each in found)
    return f"{len(found)} ({sizes})" if found else "0"


def table(columns: dict[str, dict[str, str]]) -> Iterator[str]:
    """Yield the lines of a table of figures, a column for each checkout."""
    names = list(next(iter(columns.values())))
    left = max(map(len, names))
    widths = [max(map(len, [head, *column.values()])) for head, column in columns.items()]
    yield "  ".join([" " * left, *(h.rjust(w) for h, w in zip(columns, widths, strict=True))])
    for name in names:
        cells = [c[name].rjust(w) for c, w in zip(columns.values(), widths, strict=True)]
        yield "  ".join([name.ljust(left), *cells])


def main(checkouts: Sequence[str]) -> int:
    """Print the figures of all checkouts; without any, those of this repository."""
    roots = [Path(each).resolve() for each in checkouts] or [ROOT]
    print(*table({root.name: figures(root) for root in roots}), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
