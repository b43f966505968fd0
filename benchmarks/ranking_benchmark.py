"""Seconds that a ranking takes: 40 teams x 400 cases x 6 metrics, 1000 bootstrap samples.

    python benchmarks/ranking_benchmark.py [--teams 40] [--cases 400] [--bootstraps 1000]

The limit is 30 s on two cores, from the teams' CSV files to the written page.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from flare_core.cli import main as flare
from flare_core.evaluate.ranking.rank import rank_teams
from flare_core.evaluate.ranking.schemes import find_scheme
from flare_core.evaluate.ranking.table import read_results

LIMIT_S = 30.0
HEAD = "case,organ_dsc,organ_nsd,lesion_dsc,lesion_nsd,runtime_s,gpu_max_mib,auc_gpu_mib_s"


def write_results(folder: Path, teams: int, cases: int) -> None:
    """Write invented results: teams differ in skill, cases in difficulty."""
    random = np.random.default_rng(1)
    difficulty = random.beta(2, 12, cases)
    for number in range(teams):
        skill = random.uniform(0.6, 1.4)
        seconds, peak = random.lognormal(2.8, 0.6), random.choice([3000, 3900, 6000, 9000])
        lines = [HEAD]
        for case in range(cases):
            wrong = np.clip(difficulty[case] * skill * random.lognormal(0, 0.3, 4), 0, 1)
            dsc, nsd, lesion_dsc, lesion_nsd = np.round(1 - wrong * (1, 0.8, 3, 3.5), 4).clip(0)
            took = seconds * random.lognormal(0, 0.2)
            lines.append(
                f"Case_{case:04d},{dsc},{nsd},{lesion_dsc},{lesion_nsd},"
                f"{took:.2f},{peak},{peak * took:.0f}"
            )
        (folder / f"team{number:02d}.csv").write_text("\n".join(lines) + "\n")


def main() -> int:
    """Time the steps and the whole command; return 1 if the limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teams", type=int, default=40)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--bootstraps", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        results, out = Path(name) / "results", Path(name) / "out"
        results.mkdir()
        write_results(results, options.teams, options.cases)
        start, busy = time.perf_counter(), time.process_time()
        table = read_results(results, find_scheme("flare23"))
        read = time.perf_counter()
        rank_teams(table, bootstraps=options.bootstraps)
        ranked = time.perf_counter()
        words = ["rank", str(results), "-o", str(out), "--bootstraps", str(options.bootstraps)]
        with contextlib.redirect_stdout(io.StringIO()):
            code = flare([*words, "--progress", "none"])
        whole = time.perf_counter() - ranked
        busy = time.process_time() - busy
    print(f"{options.teams} teams x {options.cases} cases x {len(table.scheme.metrics)} metrics")
    print(f"  read the tables:             {read - start:6.2f} s")
    print(f"  rank, bootstrap, test pairs: {ranked - read:6.2f} s")
    print(f"  flare rank, all of it:       {whole:6.2f} s (limit {LIMIT_S:g} s)")
    print(f"  processor time of all three: {busy:6.2f} s (on a busy machine look at this)")
    return int(code != 0 or whole > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
