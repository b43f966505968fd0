"""``flare rank``: FLARE's rank-then-aggregate over the teams' results, and how far to trust it.

    flare rank RESULTS -o OUT [--scheme flare23]

RESULTS holds TEAM.csv, or a folder TEAM/ with what flare evaluate and flare measure wrote, for
each team: a line for each case with the columns organ_dsc, organ_nsd, lesion_dsc, lesion_nsd,
runtime_s, gpu_max_mib, auc_gpu_mib_s (scheme flare23), or one column for each organ as in
liver_dsc, or lines case,organ,metric,value. A missing value ranks last.

OUT gets ranking.html, ranking.json, standings.csv, ranks.csv (every value and its rank),
kendall.csv (bootstrap), pairs.csv (Wilcoxon). With --predictions FOLDER (FOLDER/TEAM/CASE.nii.gz)
the label maps of the best teams are combined by majority vote into OUT/ensemble_topN/.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.errors import InputError
from flare_core.jobs.progress import PROGRESS, Reporter, reporting
from flare_core.jobs.result_files import RANKING_PAGE
from flare_core.segment.progress import Progress
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.evaluate.ranking.rank import Ranking

NAME = "rank"
HELP = "rank teams from their results, with bootstrap and tests"

MOST_BOOTSTRAPS = 100_000
DEFAULT_ENSEMBLES = (3, 5)
SHOWN_TEAMS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``flare rank``."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder of all teams")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="folder for the ranking")
    parser.add_argument(
        "--scheme",
        default="flare23",
        metavar="NAME",
        help="flare21, flare22, flare23 or a JSON file (default: %(default)s)",
    )
    parser.add_argument(
        "--bootstraps", type=int, default=1000, metavar="N", help="samples (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=2023, help="of the samples (default: 2023)")
    parser.add_argument(
        "--predictions", type=Path, metavar="FOLDER", help="label maps, FOLDER/TEAM/CASE.nii.gz"
    )
    parser.add_argument(
        "--ensemble",
        type=int,
        nargs="+",
        metavar="N",
        help="how many of the best teams vote (default: 3 5)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier ranking")
    parser.add_argument(
        "--progress", choices=PROGRESS, default="bar", help="for people, programs, nobody"
    )


def run(arguments: argparse.Namespace) -> int:
    """Rank, write, vote; return the exit code.

    Raises
    ------
    InputError
        If the arguments or the results cannot be used.
    """
    _check(arguments)
    from flare_core.evaluate.ranking.rank import rank_teams
    from flare_core.evaluate.ranking.schemes import find_scheme
    from flare_core.evaluate.ranking.table import read_results
    from flare_core.jobs.outputs import make_folder
    from flare_core.jobs.result_files import write_ranking

    with reporting(arguments.progress, "ranking") as reporter:
        reporter.show(Progress("reading the results", 0.0))
        table = read_results(arguments.results, find_scheme(arguments.scheme))
        voters = _ensembles(arguments, table.teams)
        reporter.show(Progress("ranking", 0.2))
        ranking = rank_teams(table, bootstraps=arguments.bootstraps, seed=arguments.seed)
        reporter.show(Progress("writing", 0.6))
        make_folder(arguments.output)
        files = write_ranking(arguments.output, ranking)
        for count in voters:
            vote(ranking, count, arguments, reporter)
        _tell(ranking, files, reporter)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what can be seen to be wrong before anything is read."""
    if arguments.output is None:
        action = "Add -o FOLDER to the command."
        raise InputError("--output", "nothing", "a folder for the ranking", action)
    if not 0 <= arguments.bootstraps <= MOST_BOOTSTRAPS:
        legal = f"0 to {MOST_BOOTSTRAPS}"
        raise InputError("--bootstraps", str(arguments.bootstraps), legal, "1000 is usual.")
    if arguments.seed < 0:
        raise InputError("--seed", str(arguments.seed), "0 or more", "Leave it out.")
    results, goal = arguments.results.resolve(), arguments.output.resolve()
    if results == goal or results in goal.parents:
        came = f"{arguments.output}, in the folder of the results"
        legal = "a folder elsewhere: what lies there is taken for a team's results the next time"
        raise InputError("--output", came, legal, "Name a folder beside it.")
    if (arguments.output / RANKING_PAGE).exists() and not arguments.overwrite:
        came = f"{arguments.output}, which holds a ranking"
        legal = "a new folder"
        raise InputError("--output", came, legal, "Choose another, or add --overwrite.")


def _ensembles(arguments: argparse.Namespace, teams: tuple[str, ...]) -> list[int]:
    """Return how many teams vote, for each ensemble; none without predictions."""
    folder, asked = arguments.predictions, arguments.ensemble
    if folder is None:
        if asked:
            raise InputError(
                "--predictions", "nothing", "FOLDER/TEAM/CASE.nii.gz", "Add it, to vote."
            )
        return []
    counts = asked or [count for count in DEFAULT_ENSEMBLES if count <= len(teams)]
    for count in counts:
        if not 2 <= count <= len(teams):
            legal = f"2 to {len(teams)}, the number of teams"
            raise InputError("--ensemble", str(count), legal, "Correct the number.")
    absent = [team for team in teams if not (folder / team).is_dir()]
    if absent:
        came = f"{folder} without {', '.join(absent[:5])}"
        legal = "a folder of label maps for each team of the results"
        raise InputError("--predictions", came, legal, "Correct the path or the folders' names.")
    own = {(folder / team).resolve() for team in teams}
    for goal in (arguments.output / f"ensemble_top{count}" for count in counts):
        if goal.resolve() in own:
            came = f"{goal}, which holds a team's label maps"
            legal = "a folder whose ensemble_topN are new"
            raise InputError("--output", came, legal, "Choose another folder.")
    return list(dict.fromkeys(counts))


def vote(ranking: Ranking, count: int, arguments: argparse.Namespace, reporter: Reporter) -> None:
    """Combine the label maps of the best `count` teams by majority vote."""
    from flare_core.evaluate.ranking.ensemble import ensemble_folders

    best = [ranking.table.teams[t] for t in ranking.order[:count]]
    target = arguments.output / f"ensemble_top{count}"
    cases = ensemble_folders(
        [arguments.predictions / team for team in best],
        target,
        on_case=lambda done, of, case: reporter.show(
            Progress(f"majority vote of {count}: {case}", done / of)
        ),
    )
    absent = {each.case: each.absent for each in cases if each.absent}
    notes = [f"  note: {case} without {', '.join(names)}" for case, names in absent.items()]
    event = {"event": "ensemble", "teams": best, "folder": str(target), "absent": absent}
    reporter.tell("\n".join([f"Majority vote of {', '.join(best)}: {target}", *notes]), event)


def _tell(ranking: Ranking, written: Sequence[Path], reporter: Reporter) -> None:
    """Tell the best teams and where everything is; the page, written last, comes first."""
    *tables, page = map(str, written)
    files = [page, *tables]
    names = [ranking.table.teams[t] for t in ranking.order]
    event = {"event": "result", "order": names, "notes": ranking.table.notes}
    notes = [f"note: {note}" for note in ranking.table.notes]
    reporter.tell("\n".join([standings_text(ranking), *notes]), event)
    text = f"Written: {page} and {many(len(tables), 'table')}"
    reporter.tell(text, {"event": "done", "files": files})


def standings_text(ranking: Ranking) -> str:
    """Return the best teams as a table for a terminal."""
    lines = [f"{'place':>5}  {'95 %':>9}  {'mean rank':>9}  team"]
    intervals = ranking.stability.intervals()
    for t in ranking.order[:SHOWN_TEAMS]:
        low, high = intervals[t]
        between = f"{low:g}-{high:g}" if low == low else ""
        mean = f"{ranking.ranks.final[t]:.3f}"
        name = ranking.table.teams[t]
        lines.append(f"{ranking.ranks.places[t]:>5}  {between:>9}  {mean:>9}  {name}")
    if len(ranking.order) > SHOWN_TEAMS:
        lines.append(f"       ... and {len(ranking.order) - SHOWN_TEAMS} more")
    return "\n".join(lines)
