"""The model's labels that a person corrected, as a version of their own in the case store.

A correction counts where it differs from the version it was made from (`CaseStore.labels_before`).
So what the model said is stored before the first correction, and later ones are made from it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flare_core.anatomy.organs import Organ, organ
from flare_core.cases.store import CaseRecord, CaseStore, LabelFacts, LabelVersion
from flare_core.imaging.volume import Volume

PREDICTED = "pseudo"
"""Kind of a model's labels in the store."""


@dataclass(frozen=True, eq=False)
class Said:
    """What a model said of a scan."""

    labels: Volume
    """Organ ids on the scan's grid."""
    model: str
    """Which one, as ``name-version``."""
    settings: dict[str, Any]
    """How it was run."""


def made_from(
    store: CaseStore,
    record: CaseRecord,
    said: Said,
    now: Volume,
    reviewed: Sequence[Organ],
    scratch: Path,
) -> int | None:
    """Return the number of the version that holds what the model said; add it if need be.

    Parameters
    ----------
    store, record : CaseStore, CaseRecord
        The case.
    said, now : Said, Volume
        What the model said, and what the person makes of it.
    reviewed : sequence of Organ
        Only their voxels are compared.
    scratch : Path
        Folder for the file on its way.

    Returns
    -------
    int or None
        If nothing differs, or the model said nothing, the newest version; None without any.
    """
    from flare_core.imaging.files import write_labels

    absent = {organ(key).id for key in record.absent}  # a person's word, which no model contradicts
    labels = _only(said.labels, _there(said.labels) - absent)
    organs, ids = _there(labels), {target.id for target in reviewed}
    if not organs or _same(labels, now, ids):
        return record.latest
    for version in reversed(store.versions(record.name)):
        if _holds(version, labels, ids, said.model):
            return version.number
    path = scratch / "model.nii.gz"
    write_labels(path, labels, like=record.image)
    keys = tuple(organ(number).key for number in sorted(organs))
    facts = LabelFacts(PREDICTED, keys, model=said.model, settings=said.settings)
    return store.add_labels(record.name, path, facts).number


def _holds(version: LabelVersion, labels: Volume, ids: set[int], model: str) -> bool:
    """Whether a version has the model's voxels of these organs, and looked for all of them."""
    from flare_core.imaging.files import read_labels

    facts = version.facts
    known = {organ(key).id for key in facts.annotated}
    if not ids <= known and (facts.kind, facts.model) != (PREDICTED, model):
        return False
    return _same(read_labels(version.path), labels, ids)


def _same(one: Volume, other: Volume, ids: set[int]) -> bool:
    return np.array_equal(_only(one, ids).array, _only(other, ids).array)


def _there(labels: Volume) -> set[int]:
    """Return the organs that have voxels."""
    return {int(number) for number in np.flatnonzero(np.bincount(labels.array.ravel()))} - {0}


def _only(labels: Volume, ids: set[int]) -> Volume:
    table = np.zeros(256, np.uint8)
    table[list(ids)] = list(ids)
    return labels.with_array(table[labels.array])
