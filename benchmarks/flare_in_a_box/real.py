"""The same folders from real scans: links to somebody's scans and organ labels, parted by patient.

The scans' folder holds ct/CASE.nii.gz, labels/CASE.nii.gz (FLARE's organ numbers) and cases.json
(CASE -> {"patient": NAME, ...}). Real lesions are mostly not labelled, so the recipes that learn
lesions learn them from the lesion cases of the made cohort; lesions are not to be scored on these.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from cohort import SIZES, TEST, TRAINING, TUNING, UNLABELLED, make_case, settings_of

ROLES = ("test", "tuning", "full", "test", "bare", "full", "test", "full", "bare")
"""Of nine patients in the order of their names: 3 are hidden, 1 tunes, 2 are bare, 3 teach."""

PLACES = {
    "test": TEST,
    "tuning": TUNING,
    "full": TRAINING,
    "bare": (UNLABELLED, ""),
}


def roles_of(scans: Path) -> dict[str, str]:
    """Return what each case is for; all scans of a patient are for the same."""
    cases = json.loads((scans / "cases.json").read_text("utf-8"))
    patients: defaultdict[str, list[str]] = defaultdict(list)
    for name, facts in cases.items():
        patients[facts["patient"]].append(name)
    return {
        name: ROLES[number % len(ROLES)]
        for number, patient in enumerate(sorted(patients))
        for name in patients[patient]
    }


def link_cohort(folder: Path, scans: Path) -> None:
    """Link the scans into FLARE's folders, and make the cases that have lesions."""
    for name, role in roles_of(scans).items():
        images, labels = PLACES[role]
        _link(scans / "ct" / f"{name}.nii.gz", folder / images / f"{name}_0000.nii.gz")
        if labels:
            _link(scans / "labels" / f"{name}.nii.gz", folder / labels / f"{name}.nii.gz")
    size = SIZES["small"]
    for number in range(size.full + 1, size.full + size.lesions + 1):
        make_case(folder, "lesions", number, settings_of("lesions", number, size))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_symlink():
        target.symlink_to(source.resolve())
