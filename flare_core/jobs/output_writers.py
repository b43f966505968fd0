"""How each file of a case is written; `outputs` shows them together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core import atomic
from flare_core.anatomy.label_schemes import scheme
from flare_core.anatomy.organs import Organ, organ
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.volume import Volume
from flare_core.jobs.outputs import OUR_SCHEME, Source, record
from flare_core.report.case.overlay import Pixels, overlay_montage, write_png
from flare_core.segment.lesion_list import lesion_rows
from flare_core.segment.pipeline import Segmentation
from flare_core.segment.statistics import rows_to_csv


def writers(
    image: Volume, found: Segmentation, source: Source
) -> dict[str, Callable[[Path], object]]:
    """Return a function for each output that writes it to the path it is given."""
    return {
        "labels": lambda part: _write_labels(part, found.labels, source),
        "statistics_csv": lambda part: part.write_bytes(_table(found).encode("utf-8")),
        "statistics_json": lambda part: part.write_bytes(
            atomic.json_text(record(found, source)).encode("utf-8", "backslashreplace")
        ),
        "png": lambda part: write_png(part, _picture(image, found, source)),
        "page": lambda part: _write_page(part, image, found, source),
    }


def _table(found: Segmentation) -> str:
    """Return organs and behind them lesions as CSV text."""
    return rows_to_csv((*found.rows, *lesion_rows(found.lesions or ())))


def _write_labels(path: Path, labels: Volume, source: Source) -> None:
    if source.scheme != OUR_SCHEME:
        labels = labels.with_array(_renumbered(labels.array, source.scheme))
    if path.name.lower().endswith((".nii.gz", ".nii")):
        write_labels(path, labels, like=source.path)
    else:
        write_volume(path, labels, compressed=False)


def _renumbered(labels: npt.NDArray[np.uint8], key: str) -> npt.NDArray[np.uint8]:
    """Return our organ ids, any shape, as the numbers of a scheme; organs it lacks become 0."""
    numbers = scheme(key).from_organ_ids()
    return np.array([numbers[number] for number in range(len(numbers))], np.uint8)[labels]


def _looked_for(found: Segmentation) -> list[Organ]:
    return [organ(key) for key in dict.fromkeys(row.organ for row in found.rows)]


def _picture(image: Volume, found: Segmentation, source: Source) -> Pixels:
    organs = _looked_for(found)
    return overlay_montage(
        image,
        found.labels,
        organs,
        case=source.case,
        notes=found.notes,
        lesions=found.lesions or (),
    )


def _write_page(path: Path, image: Volume, found: Segmentation, source: Source) -> None:
    from flare_core.report.case.page import case_page

    html = case_page(source.case, found, _picture(image, found, source), _looked_for(found))
    path.write_bytes(html.encode("utf-8", "backslashreplace"))
