"""Cases into the folders that other programs read: nnU-Net raw, FLARE22, a list of cases.

A table ``cases.json`` beside them keeps what these layouts have no place for: the patient and the
organs annotated. `exchange_import` and `datasets.flare.dataset` read it back.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core import atomic
from flare_core.alive import new_folder
from flare_core.anatomy.organs import LESION, ORGANS, organ
from flare_core.datasets.case import PARTIAL_REACH_MM, Case
from flare_core.datasets.flare.folders import Finding
from flare_core.errors import InputError
from flare_core.imaging.apart import read_labels, read_volume
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.geometry import Box, Triple
from flare_core.imaging.label_map import part_of_host

OnDone = Callable[[], None]

FLARE22_ORGANS = tuple(row.key for row in ORGANS)


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    """Where."""
    names: tuple[str, ...]
    """Cases written."""
    organs: tuple[str, ...]
    """Organs that the label maps hold."""
    findings: tuple[Finding, ...]
    """Cases left out, and why."""


@dataclass(frozen=True)
class ExportSubset:
    """Cases that go into one pair of folders."""

    images: str
    """Folder of the scans, below the data set's."""
    labels: str
    """Folder of the label maps; empty: they are not written."""
    cases: tuple[Case, ...]
    """What goes there."""


def export_nnunet(
    folder: Path,
    training: Sequence[Case],
    testing: Sequence[Case] = (),
    *,
    organs: Sequence[str] = (),
    on_done: OnDone | None = None,
) -> Exported:
    """Write an nnU-Net raw data set into a new folder such as ``Dataset501_Abdomen``.

    nnU-Net takes every 0 for background, so cases that do not annotate all `organs` stay out. Where
    a scan may show more than is labelled, what is far from it becomes nnU-Net's label ``ignore``,
    the highest one, which no loss looks at; such cases are named.

    Parameters
    ----------
    training, testing : sequence of Case
        ``imagesTr`` with ``labelsTr`` (labelled ones only), and ``imagesTs`` with ``labelsTs``.
    organs : sequence of str
        Organs of the label maps, numbered 1, 2, ... in our order; by default those that most
        training cases annotate. Without lesions among them, these are part of their organs.

    Raises
    ------
    InputError
        If the folder is not empty, no case fits, or a file cannot be read or written.
    """
    wanted = _in_order(organs) or _most_common(training)
    fits = {case.name for case in (*training, *testing) if set(wanted) <= set(case.annotated)}
    findings = [
        Finding(
            "note", case.name, f"left out: does not annotate {', '.join(_missing(case, wanted))}"
        )
        for case in (*training, *testing)
        if case.labels is not None and case.name not in fits
    ]
    learnt = tuple(case for case in training if case.labels and case.name in fits)
    findings += filter(None, (_in_part(case, wanted) for case in learnt))
    tests = tuple(case for case in testing if not case.labels or case.name in fits)
    if not learnt:
        raise _nothing("labelled case that annotates " + ", ".join(wanted))
    parts = (
        ExportSubset("imagesTr", "labelsTr", learnt),
        ExportSubset("imagesTs", "labelsTs", tests),
    )
    with new_folder(folder) as part:
        names = _write(part, parts, wanted, on_done, renumber=True)
        ignores = any(set(wanted) & set(case.partly) for case in (*learnt, *tests))
        _write_dataset_json(part, folder.name, wanted, len(learnt), ignores=ignores)
    return Exported(folder, names, wanted, tuple(findings))


def export_flare22(
    folder: Path,
    training: Sequence[Case],
    testing: Sequence[Case] = (),
    *,
    on_done: OnDone | None = None,
) -> Exported:
    """Write FLARE22's folders: labelled, unlabelled and tuning cases.

    Lesions, which FLARE22 has no number for, become the organ around them; partly labelled cases
    are marked as such in ``cases.json``.

    Raises
    ------
    InputError
        If the folder is not empty, there is no case, or a file cannot be read or written.
    """
    findings = []
    kept = {}
    for case in (*training, *testing):
        if case.labels is not None and not set(case.annotated) & set(FLARE22_ORGANS):
            findings.append(Finding("note", case.name, "left out: FLARE22 has no lesions"))
        else:
            kept[case.name] = case
    labelled = tuple(case for case in training if case.labels and case.name in kept)
    bare = tuple(case for case in training if not case.labels)
    tests = tuple(case for case in testing if case.name in kept)
    if not (labelled or bare or tests):
        raise _nothing("case")
    top = f"Training/FLARE22_LabeledCase{len(labelled)}"
    parts = (
        ExportSubset(f"{top}/images", f"{top}/labels", labelled),
        ExportSubset(f"Training/FLARE22_UnlabeledCase1-{len(bare)}", "", bare),
        ExportSubset("Tuning/images", "Tuning/labels", tests),
    )
    with new_folder(folder) as part:
        names = _write(part, parts, FLARE22_ORGANS, on_done)
    return Exported(folder, names, FLARE22_ORGANS, tuple(findings))


def _write(
    folder: Path,
    parts: Sequence[ExportSubset],
    organs: Sequence[str],
    on_done: OnDone | None,
    *,
    renumber: bool = False,
) -> tuple[str, ...]:
    """Write scans, label maps and the table of a data set; return the cases' names."""
    for part in parts:
        for name in filter(None, (part.images, part.labels)):
            if part.cases:
                (folder / name).mkdir(parents=True, exist_ok=True)
        for case in part.cases:
            _write_scan(case.image, folder / part.images / f"{case.name}_0000.nii.gz")
            if case.labels is not None and part.labels:
                target = folder / part.labels / f"{case.name}.nii.gz"
                _write_map(case, target, organs, renumber=renumber)
            if on_done:
                on_done()
    cases = [case for part in parts for case in part.cases]
    rows = {case.name: _row(case, organs) for case in cases}
    atomic.write_json(folder / "cases.json", rows)
    return tuple(rows)


def _row(case: Case, organs: Sequence[str]) -> dict[str, object]:
    row: dict[str, object] = {"patient": case.patient, "kind": case.kind}
    if case.labels is not None:
        row["annotated"] = [key for key in organs if key in case.annotated]
        if case.absent:
            row["absent"] = [key for key in organs if key in case.absent]
        if partly := [key for key in organs if key in case.partly]:
            row["partly"] = partly
    return row


def _write_scan(image: Path, target: Path) -> None:
    if image.name.lower().endswith(".nii.gz"):
        with atomic.atomic_path(target) as part:
            shutil.copyfile(image, part)  # without the store's read-only bit
    else:
        write_volume(target, read_volume(image))


def _write_map(case: Case, target: Path, organs: Sequence[str], *, renumber: bool) -> None:
    """Write a label map with these organs only, in our numbers or, for nnU-Net, in 1, 2, ..."""
    assert case.labels is not None  # the caller asks labelled cases only
    table = np.zeros(256, np.uint8)
    for number, key in enumerate(organs, 1):
        table[organ(key).id] = number if renumber else organ(key).id
    ids = [organ(key).id for key in case.annotated]
    hidden = [organ(key).id for key in organs if renumber and key in case.partly]
    if case.labels.name.endswith(".nii.gz") and not hidden and all(table[i] == i for i in ids):
        _write_scan(case.labels, target)
        return
    labels = read_labels(case.labels)
    if LESION.key not in organs:  # no hole in its organ
        whole = part_of_host(np.asarray(labels.array, np.uint8), LESION.id)
        labels = labels.with_array(whole)
    numbers = table[labels.array]
    if hidden:
        far = _far_from(np.isin(labels.array, hidden), labels.geometry.spacing_mm)
        numbers[far & (numbers == 0)] = len(organs) + 1
    write_labels(target, labels.with_array(numbers), like=case.labels)


def _far_from(mask: npt.NDArray[np.bool_], spacing_mm: Triple) -> npt.NDArray[np.bool_]:
    """Return the voxels (Z, Y, X) farther than `PARTIAL_REACH_MM` from a mask, all if it is empty.

    Distances are only measured in the box around the mask.
    """
    far = np.ones(mask.shape, bool)
    box = Box.of_mask(mask)
    if box is not None:
        z, y, x = (math.ceil(PARTIAL_REACH_MM / mm) for mm in spacing_mm)
        around = box.grow((z, y, x), mask.shape).slices
        away_mm = ndimage.distance_transform_edt(~mask[around], sampling=spacing_mm)
        far[around] = away_mm > PARTIAL_REACH_MM
    return far


def _write_dataset_json(
    folder: Path, name: str, organs: Sequence[str], count: int, *, ignores: bool
) -> None:
    """Write nnU-Net's table; the label ``ignore``, where there is one, must be the highest."""
    labels = {"background": 0} | {key: number for number, key in enumerate(organs, 1)}
    if ignores:
        labels["ignore"] = len(organs) + 1
    text = {
        "name": name,
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    atomic.write_text(folder / "dataset.json", json.dumps(text, indent=1) + "\n")


def _in_order(organs: Sequence[str]) -> tuple[str, ...]:
    return tuple(row.key for row in sorted((organ(key) for key in organs), key=lambda o: o.id))


def _most_common(cases: Sequence[Case]) -> tuple[str, ...]:
    kinds = Counter(_in_order(case.annotated) for case in cases if case.labels is not None)
    if not kinds:
        raise _nothing("labelled case")
    return kinds.most_common(1)[0][0]


def _missing(case: Case, wanted: Sequence[str]) -> list[str]:
    return [key for key in wanted if key not in case.annotated]


def _in_part(case: Case, wanted: Sequence[str]) -> Finding | None:
    """Return what to tell of a case of which a 0 may hide more of an organ; None of others."""
    keys = [key for key in wanted if key in case.partly]
    names = ", ".join(keys)
    what = f"labels {names} in part: farther than {PARTIAL_REACH_MM:g} mm from it nnU-Net ignores 0"
    return Finding("note", case.name, what) if keys else None


def _nothing(what: str) -> InputError:
    return InputError(
        "cases", f"no {what}", "at least one", "Choose other statuses, kinds or organs."
    )
