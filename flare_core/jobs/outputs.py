"""Write what a case gives: label map, statistics as CSV and JSON, picture, page, DICOM objects.

Invariant: the files of a case appear together, and the label map last. So "CASE.nii.gz exists"
means that the case is done and that the files beside it belong to it. If writing fails, none of
the new files is left and earlier ones stay as they were.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core import atomic
from flare_core.anatomy.organs import LESION, parse_organs
from flare_core.atomic import check_names as check_names
from flare_core.atomic import written_together as written_together
from flare_core.errors import InputError

if TYPE_CHECKING:  # what computes and draws is imported where it is used
    import numpy as np
    import numpy.typing as npt

    from flare_core.anatomy.organs import Organ
    from flare_core.imaging.volume import Volume
    from flare_core.report.case.overlay import Pixels
    from flare_core.segment.pipeline import Segmentation

USUAL = ("labels", "statistics", "png")
"""What is written if nobody says otherwise; `statistics` is two files."""

OUTPUTS = (*USUAL, "page", "dicom-seg", "dicom-sr")
"""What can be asked for; a report (sr) comes with the segmentation (seg) that it refers to."""

LABEL_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Endings that make an output a file name; the uncompressed ones are for fast exchange."""

OUR_SCHEME = "flare23"
"""Scheme whose numbers are our organ ids."""

RESEARCH_USE = "For research use; not a medical device."


@dataclass(frozen=True)
class OutputPaths:
    """Where the files of one case go."""

    labels: Path
    """Label map."""
    statistics_csv: Path
    """One line per organ and measure."""
    statistics_json: Path
    """The same rows with where they come from."""
    png: Path
    """Overlay montage."""
    page: Path
    """Everything a person wants to see, as one HTML file."""
    dicom_seg: Path
    """DICOM segmentation of a DICOM series."""
    dicom_sr: Path
    """DICOM measurement report that refers to it."""

    def files(self, outputs: Sequence[str] = USUAL) -> dict[str, Path]:
        """Return the wanted files by key; the label map, if wanted, is the last."""
        files = {}
        if "statistics" in outputs:
            files["statistics_csv"] = self.statistics_csv
            files["statistics_json"] = self.statistics_json
        if "png" in outputs:
            files["png"] = self.png
        if "page" in outputs:
            files["page"] = self.page
        if "dicom-seg" in outputs:
            files["dicom_seg"] = self.dicom_seg
        if "dicom-sr" in outputs:
            files["dicom_sr"] = self.dicom_sr
        if "labels" in outputs:
            files["labels"] = self.labels
        return files


@dataclass(frozen=True)
class CaseSource:
    """Where a case comes from."""

    case: str
    """Name of the case."""
    path: Path
    """The scan: a file, whose header the label map takes over, or a DICOM folder."""
    facts: dict[str, Any]
    """Input path, series, versions, date: plain values for JSON."""
    scheme: str = OUR_SCHEME
    """Whose numbers the label map gets (`anatomy.label_schemes`); the rest keeps our organ ids."""
    series: str | None = None
    """Which series of a DICOM folder."""


def check_outputs(names: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted outputs, each of a known name; a report brings its segmentation.

    Raises
    ------
    InputError
        If there is none or an unknown one.

    Examples
    --------
    >>> check_outputs(["labels", "png"])
    ('labels', 'png')
    >>> check_outputs(["dicom-sr"])
    ('dicom-sr', 'dicom-seg')
    """
    wanted = tuple(names)
    if not wanted or any(name not in OUTPUTS for name in wanted):
        raise InputError("outputs", repr(wanted), f"some of {', '.join(OUTPUTS)}", "Correct it.")
    if "dicom-sr" in wanted and "dicom-seg" not in wanted:
        return (*wanted, "dicom-seg")
    return wanted


def check_dicom(outputs: Sequence[str], inputs: Iterable[Path]) -> None:
    """Refuse DICOM outputs that cannot be made, before anything is computed.

    Raises
    ------
    InputError
        If highdicom is missing, or an input is no DICOM series.
    """
    from flare_core.imaging.dicom.extra import require

    wanted = [name for name in outputs if name.startswith("dicom-")]
    if not wanted:
        return
    option = f"--outputs {wanted[0]}"
    require("highdicom", option)
    for path in inputs:
        if not path.is_dir():
            raise InputError(
                option,
                f"{path}, which is no DICOM series",
                "folders of DICOM series: a DICOM object refers to the slices it is about",
                "Give the DICOM folder that the file was made from, or leave these outputs out.",
            )


def is_file_name(output: str | os.PathLike[str]) -> bool:
    """Return whether an output names a label file rather than a folder.

    Examples
    --------
    >>> is_file_name("a/liver.nii.gz"), is_file_name("a/results")
    (True, False)
    """
    return os.fspath(output).lower().endswith(LABEL_SUFFIXES)


def output_paths(output: str | os.PathLike[str], case: str) -> OutputPaths:
    """Return where a case's files go: into the folder `output`, or beside the file `output`.

    Examples
    --------
    >>> output_paths("out", "case7").png.as_posix()
    'out/case7.png'
    >>> output_paths("out/liver.nii.gz", "case7").statistics_csv.as_posix()
    'out/liver_statistics.csv'
    """
    target = Path(output)
    labels = target if is_file_name(target) else target / f"{case}.nii.gz"
    suffix = next(end for end in LABEL_SUFFIXES if labels.name.lower().endswith(end))
    stem = labels.name[: -len(suffix)]
    return OutputPaths(
        labels=labels,
        statistics_csv=labels.with_name(f"{stem}_statistics.csv"),
        statistics_json=labels.with_name(f"{stem}_statistics.json"),
        png=labels.with_name(f"{stem}.png"),
        page=labels.with_name(f"{stem}.html"),
        dicom_seg=labels.with_name(f"{stem}_seg.dcm"),
        dicom_sr=labels.with_name(f"{stem}_sr.dcm"),
    )


def make_folder(folder: Path) -> None:
    """Create `folder` if needed and try to write into it, before anything is computed.

    Raises
    ------
    InputError
        If it is a file, or may not be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{atomic.new_mark()}.part"
        probe.touch()
        probe.unlink(missing_ok=True)  # another run may have swept it
    except OSError as error:
        raise InputError(
            "output",
            f"{folder}: {atomic.reason(error)}",
            "a folder that can be created and written, or a file name ending .nii.gz",
            "Choose another output folder or change its permissions.",
        ) from error


@contextmanager
def output_folder(folder: Path | None) -> Iterator[None]:
    """Make a folder for results; at the end, take away what was made of it if nothing is in it.

    Parameters
    ----------
    folder : Path or None
        None: there is none to make.

    Raises
    ------
    InputError
        As `make_folder`.
    """
    above = () if folder is None else (folder, *folder.parents)
    new = [place for place in above if not os.path.exists(place)]
    try:
        if folder is not None:
            make_folder(folder)
        yield
    finally:
        with suppress(OSError):  # it is not empty, or was never made
            for each in new:
                each.rmdir()


def write_outputs(
    paths: Mapping[str, Path], image: Volume, segmentation: Segmentation, source: CaseSource
) -> None:
    """Write the files of one case, all at the same time, and show them together.

    The writers run in threads: compression and picture scaling leave Python's lock alone.

    Raises
    ------
    InputError
        If a file cannot be written; none of them is left then.
    """
    tasks = _writers(image, segmentation, source)
    if "dicom_seg" in paths:
        tasks |= _dicom_writers(image, segmentation, source)
    targets = list(paths.values())
    with written_together(targets) as parts, ThreadPoolExecutor(len(tasks)) as pool:
        jobs = [pool.submit(tasks[key], part) for key, part in zip(paths, parts, strict=True)]
        for job in jobs:
            job.result()


def _writers(
    image: Volume, found: Segmentation, source: CaseSource
) -> dict[str, Callable[[Path], object]]:
    """Return a function for each output that writes it to the path it is given."""
    return {
        "labels": lambda part: _write_labels(part, found.labels, source),
        "statistics_csv": lambda part: part.write_bytes(_table(found).encode("utf-8")),
        "statistics_json": lambda part: part.write_bytes(
            atomic.json_text(record(found, source)).encode("utf-8", "backslashreplace")
        ),
        "png": lambda part: _write_png(part, image, found, source),
        "page": lambda part: _write_page(part, image, found, source),
    }


def _dicom_writers(
    image: Volume, found: Segmentation, source: CaseSource
) -> dict[str, Callable[[Path], object]]:
    """Return the writers of two objects that share their identifiers."""
    from flare_core.jobs import dicom_out

    content = dicom_out.content_of(image, found)
    scan, series = source.path, source.series
    return {
        "dicom_seg": lambda part: dicom_out.write_segmentation(part, scan, series, content),
        "dicom_sr": lambda part: dicom_out.write_report(part, scan, series, content),
    }


def _table(found: Segmentation) -> str:
    """Return organs and behind them lesions as CSV text."""
    from flare_core.segment.lesion_list import lesion_rows
    from flare_core.segment.statistics import rows_to_csv

    return rows_to_csv((*found.rows, *lesion_rows(found.lesions or ())))


def _write_labels(path: Path, labels: Volume, source: CaseSource) -> None:
    from flare_core.imaging.files import write_labels, write_volume

    if source.scheme != OUR_SCHEME:
        labels = _with_own_lesions(labels, source.scheme)
        labels = labels.with_array(_renumbered(labels.array, source.scheme))
    if path.name.lower().endswith((".nii.gz", ".nii")):
        write_labels(path, labels, like=source.path)
    else:
        write_volume(path, labels, compressed=False)


def _with_own_lesions(labels: Volume, key: str) -> Volume:
    """Return labels whose lesions are part of their organs, if a scheme has no number for them."""
    from flare_core.segment.statistics import with_lesions

    return with_lesions(labels) if _unnumbered(key, [LESION]) else labels


def _unnumbered(key: str, organs: Iterable[Organ]) -> list[Organ]:
    from flare_core.anatomy.label_schemes import scheme

    return [organ for organ in organs if scheme(key).number_of(organ.key) is None]


def check_scheme(key: str, organs: Sequence[str] | None) -> None:
    """Refuse a scheme that has a number for none of the organs that are asked for.

    Raises
    ------
    InputError
        If the label map would be empty whatever the scan shows.
    """
    wanted = parse_organs(organs) if organs else ()
    if wanted and len(_unnumbered(key, wanted)) == len(wanted):
        raise InputError(
            "scheme",
            f"{key}, which has no number for {', '.join(organ.key for organ in wanted)}",
            "the scheme of an edition that has the organs asked for",
            "Choose other organs or another scheme, or leave one of the two out.",
        )


def scheme_notes(key: str, organs: Sequence[str] | None, found: Segmentation) -> tuple[str, ...]:
    """Return what of a result, or of what was asked for, its label map has no number for."""
    notes = []
    if found.lesions and _unnumbered(key, [LESION]):
        notes.append(f"{key} has no number for lesions: in the label map they are their organ.")
    asked = [each for each in (parse_organs(organs) if organs else ()) if each != LESION]
    if lacking := _unnumbered(key, asked):
        names = ", ".join(each.name.lower() for each in lacking)
        notes.append(f"{key} has no number for {names}: not in the label map.")
    return tuple(notes)


def _renumbered(labels: npt.NDArray[Any], key: str) -> npt.NDArray[np.uint8]:
    """Return our organ ids, any shape, as the numbers of a scheme; organs it lacks become 0."""
    import numpy as np

    from flare_core.anatomy.label_schemes import scheme

    numbers = scheme(key).from_organ_ids()
    return np.array([numbers[number] for number in range(len(numbers))], np.uint8)[labels]


def _write_png(path: Path, image: Volume, found: Segmentation, source: CaseSource) -> None:
    from flare_core.report.case.overlay import write_png

    write_png(path, _picture(image, found, source))


def _write_page(path: Path, image: Volume, found: Segmentation, source: CaseSource) -> None:
    from flare_core.report.case.page import case_page

    html = case_page(source.case, found, _picture(image, found, source), _looked_for(found))
    path.write_bytes(html.encode("utf-8", "backslashreplace"))


def _picture(image: Volume, found: Segmentation, source: CaseSource) -> Pixels:
    from flare_core.report.case.overlay import overlay_montage

    return overlay_montage(
        image,
        found.labels,
        _looked_for(found),
        case=source.case,
        notes=found.notes,
        lesions=found.lesions or (),
    )


def _looked_for(found: Segmentation) -> list[Organ]:
    from flare_core.anatomy.organs import organ

    return [organ(key) for key in dict.fromkeys(row.organ for row in found.rows)]


def record(segmentation: Segmentation, source: CaseSource) -> dict[str, Any]:
    """Return everything about a case as plain values: rows, notes, times and provenance."""
    from flare_core.segment.lesion_list import lesions_to_json
    from flare_core.segment.statistics import rows_to_json

    return {
        "case": source.case,
        "intended_use": RESEARCH_USE,
        "rows": rows_to_json(segmentation.rows),
        "lesions": lesions_to_json(segmentation.lesions),
        "notes": list(segmentation.notes),
        "timings_s": plain(segmentation.timings),
        "provenance": plain({**segmentation.provenance, **source.facts}),
    }


def table_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the JSON rows of several cases, each with its `case`, as one CSV text."""
    from flare_core.segment.statistics import CSV_COLUMNS

    stream = io.StringIO()
    columns = ["case", *CSV_COLUMNS]
    writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in records:
        code = row.get("code") or {}
        writer.writerow({**row, **{f"code_{key}": text for key, text in code.items()}})
    return stream.getvalue()


def plain(value: Any) -> Any:
    """Return `value` with only what strict JSON has: NaN and infinity become None.

    Examples
    --------
    >>> plain({"a": (1, float("nan")), "b": Path("x")})
    {'a': [1, None], 'b': 'x'}
    """
    if isinstance(value, str):  # a file name may hold bytes that are no text
        return value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # a number or an array of numpy or torch
        return plain(value.tolist())
    return str(value)
