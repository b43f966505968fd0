"""Print every problem; exit 1 if there is one."""

from __future__ import annotations

import sys

from house import RULES
from house.source import python_files


def main() -> int:
    """Run all rules over the repository."""
    sources = python_files()
    problems = {name: rule(sources) for name, rule in RULES.items()}
    for name, found in problems.items():
        if found:
            print(f"{name}:", *found, sep="\n  ")
    return int(any(problems.values()))


if __name__ == "__main__":
    sys.exit(main())
