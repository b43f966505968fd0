"""Try everything; print one row a harness; exit 1 if anything failed."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[name] = "1"  # read at the first import; forked processes must have no threads

from force.budget import Budget  # noqa: E402
from force.counts import Counts, one, table  # noqa: E402
from force.harnesses import HARNESSES, SLOW  # noqa: E402


def arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m force", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few attempts each: seconds")
    parser.add_argument("--long", action="store_true", help="all that --minutes allow (default)")
    parser.add_argument("--minutes", type=float, default=60.0, help="of all harnesses together")
    parser.add_argument("--only", action="append", choices=sorted(HARNESSES), help="not all")
    parser.add_argument("--seed", type=int, default=0, help="of the first attempt")
    parser.add_argument("--count", type=int, help="attempts of each at most")
    parser.add_argument("--list", action="store_true", help="names of the harnesses")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Run the chosen harnesses one after the other."""
    given = arguments(words)
    if given.list:
        print(*HARNESSES, sep="\n")
        return 0
    chosen = given.only or [name for name in HARNESSES if not (given.short and name in SLOW)]
    weights = {name: HARNESSES[name].weight for name in chosen}
    rows: dict[str, Counts] = {}
    end = time.monotonic() + given.minutes * 60
    for name in chosen:
        left = sum(weights[other] for other in chosen if other not in rows)
        seconds = max(1.0, (end - time.monotonic()) * weights[name] / left)
        most = given.count or (HARNESSES[name].short if given.short else 10**9)
        budget = Budget(seconds, most, given.seed)
        try:
            with tempfile.TemporaryDirectory(prefix="force-") as folder:
                rows[name] = HARNESSES[name].run(budget, Path(folder))
        except Exception:  # noqa: BLE001 - a harness's own fault; the others' work is not lost
            rows[name] = one("unclear", f"--only {name}", traceback.format_exc(limit=-1))
        print(table({name: rows[name]}), file=sys.stderr, flush=True)
    print(table(rows))
    return int(not all(counts.good for counts in rows.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
