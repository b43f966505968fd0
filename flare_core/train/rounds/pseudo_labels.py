"""Predicted labels that may be learnt from: only what was believed, and never over a person's.

A pseudo label map holds the organs a strategy accepted. Where a person annotated some organs of the
same scan, theirs stay as they are and the accepted ones fill the gaps (FLARE23's winners completed
partly labelled cases like this). A lesion lies in an organ: where students learn lesions and the
person marked none, it may lie in theirs. Everything goes into the case store as a version with its
model, evidence and reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import ALL_TARGETS, LESION, organ
from flare_core.cases.store import BY_PEOPLE, CaseRecord, CaseStore, LabelFacts, LabelVersion
from flare_core.datasets.soft_map import SURE, pack_soft
from flare_core.imaging.apart import read_labels
from flare_core.imaging.files import write_labels
from flare_core.imaging.label_map import part_of_host
from flare_core.imaging.resample import covered, resample_labels
from flare_core.imaging.volume import Volume
from flare_core.segment.pipeline import Labelled
from flare_core.segment.stage import organ_table
from flare_core.train.strategies.candidate import CaseEvidence, Decision

Ids = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Origin:
    """Which stage of which run made a label map; two maps of one origin are the same map."""

    run: str
    """Name of the run."""
    round: int
    """From 1."""
    strategy: dict[str, Any]
    """Settings of the strategy that accepted it."""

    def settings(self) -> dict[str, Any]:
        """Return it as the settings of a label version."""
        return {"self_training": {"run": self.run, "round": self.round}, "strategy": self.strategy}


def only(labels: Ids, organs: Sequence[str]) -> Ids:
    """Return a label map of these organs alone; the rest becomes background.

    Examples
    --------
    >>> only(np.array([[[1, 3, 2]]], np.uint8), ["liver", "right_kidney"]).tolist()
    [[[1, 0, 2]]]
    """
    table = np.zeros(256, np.uint8)
    for key in organs:
        table[organ(key).id] = organ(key).id
    return table[labels]


def completed(persons: Ids, annotated: Sequence[str], predicted: Ids) -> Ids:
    """Return a person's labels with predicted organs in their gaps.

    A predicted voxel counts only where the person labelled nothing, or is a lesion in what they
    labelled, and never for an organ that the person annotated: they would have labelled it.

    Examples
    --------
    >>> person, model = np.array([[[1, 1, 0, 0]]], np.uint8), np.array([[[3, 1, 1, 3]]], np.uint8)
    >>> completed(person, ["liver"], model).tolist()
    [[[1, 1, 0, 3]]]
    >>> completed(person, ["liver"], np.array([[[1, 14, 0, 0]]], np.uint8)).tolist()
    [[[1, 14, 0, 0]]]
    """
    theirs = [organ(key).id for key in annotated]
    free = ((persons == 0) | (predicted == LESION.id)) & ~np.isin(predicted, theirs)
    return np.where(free, predicted, persons).astype(np.uint8)


def add_pseudo_label(
    store: CaseStore,
    decision: Decision,
    prediction: Path,
    evidence: CaseEvidence,
    origin: Origin,
    *,
    scratch: Path,
    kind: str = "pseudo",
    lesions: bool = True,
) -> LabelVersion | None:
    """Add what a decision accepted as a new version of its case.

    Doing it again for the same origin adds nothing and returns the version that is there, so a
    killed stage can simply be repeated.

    Parameters
    ----------
    prediction : Path
        The predicted label map.
    scratch : Path
        Folder for the file on its way into the store.
    kind : str
        ``pseudo``, or ``soft`` where the model's doubt is kept beside the prediction.
    lesions : bool
        Whether the students learn lesions. Only then one may take the place of what a person
        labelled; others learn most from a person's organ with its tumours in it.

    Returns
    -------
    LabelVersion, or None
        None if nothing of the accepted organs is left beside the person's.
    """
    there = _version_of(store, decision.case, origin)
    if there is not None:
        return there
    record = store.case(decision.case)
    predicted = read_labels(prediction)
    person = _persons(store, record)
    labels, annotated = _label_map(person, decision, predicted, lesions=lesions)
    present = _present(labels)
    absent = () if person is None else person.facts.absent  # a person's word, kept as it is
    kept = tuple(key for key in annotated if key in present or key in absent)
    if not set(kept) - set(absent) & set(decision.organs):
        return None
    facts = LabelFacts(
        kind=kind,
        annotated=kept,
        model=evidence.model,
        settings=origin.settings(),
        evidence={key: asdict(each) for key, each in evidence.organs.items()},
        parent=None if person is None else person.number,
        note=decision.reason,
        absent=absent,
        partly=() if person is None else person.facts.partly,
    )
    path = scratch / f"{decision.case}.nii.gz"
    write_labels(path, predicted.with_array(labels))
    try:
        return store.add_labels(decision.case, path, facts)
    finally:
        path.unlink(missing_ok=True)


def _persons(store: CaseStore, record: CaseRecord) -> LabelVersion | None:
    """Return a person's labels of a case, if they are what is learnt from: not if rejected."""
    if record.kind not in BY_PEOPLE or record.chosen is None or record.status == "rejected":
        return None
    return store.version(record.name, record.chosen)


def _label_map(
    person: LabelVersion | None, decision: Decision, predicted: Volume, *, lesions: bool
) -> tuple[Ids, tuple[str, ...]]:
    """Return the label map of a decision and the organs it annotates."""
    array, organs = np.asarray(predicted.array, np.uint8), decision.organs
    if person is not None and not lesions:  # what is left of one beside their organs is none
        organs = tuple(key for key in organs if key != LESION.key)
    if LESION.key not in organs:  # no hole that would teach to leave tumours out
        array = part_of_host(array, LESION.id)
    accepted = only(array, organs)
    if person is None:
        return accepted, organs
    theirs = person.facts.annotated
    merged = completed(np.asarray(read_labels(person.path).array, np.uint8), theirs, accepted)
    more = tuple(key for key in organs if key not in theirs)
    return merged, (*theirs, *more)


def _version_of(store: CaseStore, case: str, origin: Origin) -> LabelVersion | None:
    """Return the version that this origin has already added."""
    mine = origin.settings()["self_training"]
    for version in store.versions(case):
        if version.facts.settings.get("self_training") == mine:
            return version
    return None


def _present(labels: Ids) -> set[str]:
    there = set(np.unique(labels).tolist())
    return {each.key for each in ALL_TARGETS if each.id in there}


def soft_maps(scored: Labelled) -> tuple[Volume, Volume]:
    """Return label map and soft map (`datasets.soft_map`) of a prediction on the scan's grid.

    They are made at the network's voxel size and brought to the scan's grid by the nearest voxel:
    whoever learns from them works at about the network's voxel size again. The label map is not
    cleaned: the soft map speaks of each voxel's two most likely organs.
    """
    mean, image = scored.mean, scored.labels.geometry
    table = organ_table(mean.card)
    labels, soft = pack_soft(mean.class_probabilities().numpy(), table.tolist())
    axes = image.canonical_map()
    target = image.permuted(axes)
    box = covered(mean.geometry, target)
    maps = []
    for array, rest in ((labels, 0), (soft, SURE)):
        whole = np.full(target.shape, rest, array.dtype)
        part = resample_labels(Volume(array, mean.geometry), target.crop(box))
        whole[box.slices] = part.array
        maps.append(Volume(np.ascontiguousarray(axes.undo(whole)), image))
    return maps[0], maps[1]
