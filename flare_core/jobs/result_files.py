"""The files of an evaluation, a ranking and a data set's summary: tables, numbers, the page.

Invariant: those of an evaluation or a ranking appear together, or none of them does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.jobs.outputs import RESEARCH_USE, plain, written_together

if TYPE_CHECKING:
    from flare_core.datasets.summary.summarise import Summary
    from flare_core.datasets.summary.tables import Table
    from flare_core.evaluate.evaluate import Evaluation
    from flare_core.evaluate.ranking.rank import Ranking
    from flare_core.report.evaluation.figures import Sources

RANKING_PAGE = "ranking.html"
"""Written last: it stands for the others."""


def write_evaluation(folder: Path, evaluation: Evaluation, sources: Sources) -> list[Path]:
    """Write the scores, their sums and the page; ``summary.json`` is the last.

    Parameters
    ----------
    folder : Path
        Where they go.
    evaluation : Evaluation
        What was scored.
    sources : Sources
        Where the page's pictures come from.

    Raises
    ------
    InputError
        If they cannot be written.
    """
    from flare_core.evaluate import tables
    from flare_core.report.evaluation.page import page_of

    record = plain(tables.summary_record(evaluation))
    texts = {
        "scores.csv": tables.scores_csv(evaluation),
        "per_case.csv": tables.per_case_csv(evaluation),
        "per_organ.csv": tables.per_organ_csv(evaluation),
        "evaluation.html": page_of(evaluation, sources),
        "summary.json": json.dumps(record, indent=1, allow_nan=False) + "\n",
    }
    return _write_together(folder, texts)


def write_ranking(folder: Path, ranking: Ranking) -> list[Path]:
    """Write the tables of a ranking and its page, `RANKING_PAGE`, which is the last.

    Raises
    ------
    InputError
        If they cannot be written.
    """
    from flare_core.evaluate.ranking import results
    from flare_core.report.ranking import ranking_page, view_of

    facts = plain({**_provenance(), **results.record(ranking)})
    texts = {
        "standings.csv": results.standings_csv(ranking),
        "ranks.csv": results.ranks_csv(ranking),
        "kendall.csv": results.kendall_csv(ranking),
        "pairs.csv": results.pairs_csv(ranking),
        "ranking.json": json.dumps(facts, indent=1, ensure_ascii=False) + "\n",
        RANKING_PAGE: ranking_page(view_of(ranking)),
    }
    return _write_together(folder, texts)


def write_summary(folder: Path, found: Summary, tables: Sequence[Table]) -> Path:
    """Write a data set's summary: Markdown, a CSV per table, one with a row per case, the page.

    Returns
    -------
    Path
        The page.
    """
    from flare_core.datasets.summary.tables import case_table, to_csv, to_markdown
    from flare_core.report.dataset import dataset_page, galleries_of

    notes = [f"Left out: {each.where}: {each.what}" for each in found.left_out]
    page = dataset_page(found.title, tables, galleries_of(found), notes)
    every = (*tables, case_table(found))
    texts = {"summary.md": to_markdown(found.title, tables)}
    texts |= {f"{table.key}.csv": to_csv(table) for table in every}
    return _write_together(folder, texts | {"summary.html": page})[-1]


def _write_together(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    targets = [folder / name for name in texts]
    with written_together(targets) as parts:
        for part, text in zip(parts, texts.values(), strict=True):
            part.write_bytes(text.encode("utf-8", "backslashreplace"))
    return targets


def _provenance() -> dict[str, Any]:
    from flare_core import __version__

    return {"made_by": f"flare {__version__}", "intended_use": RESEARCH_USE}
