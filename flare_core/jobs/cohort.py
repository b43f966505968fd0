"""The page of a batch: every case with its volumes and a small picture, failed ones by name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flare_core import atomic
from flare_core.anatomy.organs import organ
from flare_core.jobs.one_case import Job
from flare_core.report.case.page import CohortEntry, cohort_page, thumbnail
from flare_core.segment.statistics import StatisticsRow
from flare_core.wording import many


def write_cohort_page(path: Path, jobs: Sequence[Job], failed: Mapping[str, str]) -> Path:
    """Write the page of a batch.

    Parameters
    ----------
    path : Path
        The page, in the folder of the cases' files.
    jobs : sequence of Job
        All cases of the batch.
    failed : mapping of str to str
        Case -> why it has no result.
    """
    entries = [_entry(job, failed.get(job.case, ""), path.parent) for job in jobs]
    keys = dict.fromkeys(row.organ for entry in entries for row in entry.rows)
    organs = sorted((organ(key) for key in keys), key=lambda each: each.id)
    atomic.write_text(path, cohort_page(many(len(jobs), "scan"), entries, organs))
    return path


def _entry(job: Job, error: str, folder: Path) -> CohortEntry:
    if error:
        return CohortEntry(job.case, error=error)
    files = job.paths.files(job.outputs)
    links = {
        name: files[key].relative_to(folder).as_posix()
        for name, key in (("page", "page"), ("picture", "png"), ("numbers", "statistics_csv"))
        if key in files and files[key].is_file()  # one of before may have been asked for less
    }
    picture = files.get("png")
    small = b"" if picture is None or not picture.is_file() else _small(picture)
    return CohortEntry(job.case, _rows(job), small, links)


def _small(picture: Path) -> bytes:
    with Image.open(picture) as opened:
        return thumbnail(np.asarray(opened.convert("RGB")))


def _rows(job: Job) -> list[StatisticsRow]:
    """Return the rows that are on disk; none if the file is gone or was changed by hand."""
    try:
        record = json.loads(job.paths.statistics_json.read_text(encoding="utf-8"))
        return [_row(each) for each in record["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _row(fields: Mapping[str, Any]) -> StatisticsRow:
    value = fields["value"]
    number = math.nan if value is None else float(value)
    return StatisticsRow(
        fields["organ"], fields["measure"], number, fields["unit"], None, fields["note"]
    )
