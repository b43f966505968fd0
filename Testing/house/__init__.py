"""The house rules of shared/ARCHITECTURE.md as programs: each reads sources, returns what is wrong.

`python -m house` (from Testing/) prints every problem; Testing/core/test_house.py runs the same
rules and proves on small bad sources that each of them can fail.

★ Add a rule: a function `(sources) -> list[str]` in one of these files and a line in RULES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from house import circles, imports, repository, shape, uses
from house.source import Source

Rule = Callable[[Sequence[Source]], list[str]]

RULES: dict[str, Rule] = {
    "dependencies point downwards": imports.direction,
    "no module imports itself in a circle": circles.no_circles,
    "each layer imports only the packages it may": imports.packages,
    "the core knows no Slicer": imports.no_slicer,
    "functions are short": shape.function_length,
    "most functions are very short": shape.median_length,
    "files are short": shape.file_length,
    "few parameters": shape.parameters,
    "no names that say nothing": shape.names,
    "one name, one class": shape.class_names,
    "modules say what they are": shape.module_head,
    "no blind except": shape.blind_except,
    "dataclasses are frozen and explain their fields": shape.dataclasses,
    "no **kwargs": shape.keyword_dictionaries,
    "no settings from the environment": shape.environment,
    "nothing is there for tests only": uses.unused,
    "registries list every file": repository.registries,
    "every module has its test": repository.mirrored_tests,
}
