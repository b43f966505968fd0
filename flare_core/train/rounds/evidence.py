"""What speaks for and against a predicted label map, organ by organ, without any reference.

`case_evidence` looks at one prediction: how sure the model is inside each organ and along its own
border, whether folds agree, whether volume, pieces and side are a person's. `disagreement` compares
predictions of successive rounds. None of it needs more than the label map on the scan's grid and
the class scores at the network's own voxel size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from flare_core.anatomy.organs import Organ, organ
from flare_core.evaluate.metrics.dsc import dice
from flare_core.imaging.volume import Volume
from flare_core.segment.confidence import expected_dsc
from flare_core.segment.pipeline import Labelled
from flare_core.segment.postprocess import (
    ALL_NEIGHBOURS,
    correct_sides,
    organ_boxes,
    touches_border,
)
from flare_core.segment.stage import Scores
from flare_core.segment.statistics import outside_range
from flare_core.train.strategies.candidate import CaseEvidence, OrganEvidence
from flare_core.wording import many

Labels = npt.NDArray[np.generic]

SPECK = 0.05
"""A piece smaller than this share of the organ's largest is a speck and not counted."""

MOST_ON_OTHER_SIDE = 0.2
"""Share of a paired organ that may lie on the other side before it is called implausible."""

MOST_DISAGREEMENT = 2.0
"""Disagreement of two maps of the same size that do not meet at all; more is not told apart."""

FAR_OUTSIDE = 2.5
"""How many times smaller or larger than the usual range a volume must be to be called impossible. A
large spleen is a disease, and just the scan a model should learn from."""


def case_evidence(
    case: str, model: str, image: Volume, scored: Labelled, organs: Sequence[Organ]
) -> CaseEvidence:
    """Return the evidence of one prediction.

    Parameters
    ----------
    case, model : str
        Names, to be kept with it.
    image : Volume (Z, Y, X), HU
        The scan that was segmented.
    scored : Labelled
        Its labels and scores.
    organs : sequence of Organ
        What the model looks for.
    """
    features = scan_features(image, scored.labels)
    if not scored.folds:
        return CaseEvidence(case, model, features=features, notes=scored.notes)
    mean = scored.mean
    raw = mean.labels()
    sure = certainty(mean)
    agreement = fold_agreement(scored.folds, organs)
    shape = _shapes(scored.labels, raw, organs)
    strays = _on_other_side(raw, organs)
    found = {
        each.key: OrganEvidence(
            volume_ml=round(shape[each.key].volume_ml, 3),
            confidence=sure.get(each.key, (None, None))[0],
            border_entropy=sure.get(each.key, (None, None))[1],
            fold_agreement=agreement.get(each.key),
            volume_plausible=shape[each.key].plausible(each)
            and strays.get(each.key, 0.0) <= MOST_ON_OTHER_SIDE,
            pieces=shape[each.key].pieces,
            expected_dsc=_expected(each, scored, shape[each.key]),
        )
        for each in organs
    }
    remarks = {each.key: shape[each.key].remark(each, strays.get(each.key, 0.0)) for each in organs}
    remarks = {key: text for key, text in remarks.items() if text}
    return CaseEvidence(case, model, found, remarks=remarks, features=features, notes=scored.notes)


def _expected(target: Organ, scored: Labelled, shape: _Shape) -> float | None:
    """Return the DSC to expect of an organ; None where its scores were not looked at."""
    evidence = (scored.evidence or {}).get(target.key)
    if evidence is None or not shape.volume_ml:
        return None
    values = {"volume": shape.volume_ml, "touches_border": float(shape.cut)}
    return _unit(expected_dsc(target, evidence, values))


def compared(
    evidence: CaseEvidence, maps: Sequence[Labels], ids: Mapping[str, int]
) -> CaseEvidence:
    """Return the evidence with the disagreement of the last rounds' label maps filled in.

    Parameters
    ----------
    maps : sequence of (Z, Y, X)
        The case's label maps of the last rounds (three, for blackbean's formula), oldest first.
    ids : mapping
        Organ key -> label value.
    """
    if len(maps) < 2:
        return evidence
    organs = {
        key: replace(each, disagreement=disagreement([m == ids[key] for m in maps]))
        for key, each in evidence.organs.items()
    }
    return replace(evidence, organs=organs, disagreement=disagreement(maps))


def disagreement(maps: Sequence[Labels]) -> float:
    """Return how much label maps of successive rounds differ, relative to what is labelled.

    The mean over successive pairs of #(a != b) / #(b > 0), which for three rounds is the formula of
    blackbean (FLARE22): u = 1/2 [#(1 != 2) / #(2 > 0) + #(2 != 3) / #(3 > 0)]. A pair that labels
    nothing at all agrees; one whose later map is empty, or that differs more, counts as
    `MOST_DISAGREEMENT`.

    Examples
    --------
    >>> one, two = np.array([1, 1, 0, 0]), np.array([1, 2, 0, 0])
    >>> disagreement([one, two])
    0.5
    >>> disagreement([one, two, two])
    0.25
    """
    pairs = list(zip(maps, maps[1:], strict=False))
    return sum(_pair_disagreement(a, b) for a, b in pairs) / len(pairs)


def _pair_disagreement(before: Labels, after: Labels) -> float:
    differ = int(np.count_nonzero(before != after))
    size = int(np.count_nonzero(after))
    if not differ:
        return 0.0
    return min(MOST_DISAGREEMENT, differ / size) if size else MOST_DISAGREEMENT


def fold_agreement(folds: Sequence[Scores], organs: Sequence[Organ]) -> dict[str, float]:
    """Return organ key -> mean pairwise DSC of the folds (brananas: .85 is enough); {} for one.

    Two folds that both found nothing of an organ say nothing about it: such pairs do not count, and
    an organ that no fold found has no agreement.
    """
    if len(folds) < 2:
        return {}
    maps = [fold.labels().array.astype(np.uint8) for fold in folds]
    ids = [each.id for each in organs]
    pairs = list(combinations(maps, 2))
    there = [set(np.flatnonzero(np.bincount(each.ravel(), minlength=256))) for each in maps]
    either = [a | b for a, b in combinations(there, 2)]
    shares = [dice(a, b, ids) for a, b in pairs]
    found = {
        each.key: [
            dsc[each.id] for dsc, some in zip(shares, either, strict=True) if each.id in some
        ]
        for each in organs
    }
    return {key: float(np.mean(values)) for key, values in found.items() if values}


def certainty(scores: Scores) -> dict[str, tuple[float, float]]:
    """Return organ key -> (mean probability inside, mean entropy in bits of the border band).

    The border band is one voxel of the stage's grid to either side of the organ's surface, and the
    entropy that of "this organ or not": what is sure elsewhere cannot hide a doubtful border.
    """
    probabilities = scores.probabilities()
    labels = scores.labels().array
    found = {}
    boxes = organ_boxes(labels)
    for channel, key in scores.card.organ_channels:
        box = boxes.get(organ(key).id)
        if box is None:
            continue
        z, y, x = (slice(max(0, part.start - 1), part.stop + 1) for part in box)
        mask = labels[z, y, x] == organ(key).id
        p = probabilities[channel, z, y, x]
        inside = float(p[torch.from_numpy(mask)].mean())
        found[key] = (_unit(inside), _unit(_mean_entropy(p, border_band(mask))))
    return found


def border_band(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the voxels on either side of a mask's surface (faces, edges and corners touch).

    Examples
    --------
    >>> border_band(np.array([[[False, False, True, True, True, False]]]))[0, 0].tolist()
    [False, True, True, True, True, True]
    """
    wide = ndimage.binary_dilation(mask, ALL_NEIGHBOURS)
    deep = ndimage.binary_erosion(mask, ALL_NEIGHBOURS, border_value=0)
    return np.logical_and(wide, ~deep)


def _mean_entropy(p: Tensor, band: npt.NDArray[np.bool_]) -> float:
    """Return the mean entropy of p against 1 - p over `band`, bits."""
    q = p[torch.from_numpy(band)].double().clamp_(1e-9, 1 - 1e-9)
    bits = -(q * q.log2() + (1 - q) * (1 - q).log2())
    return float(bits.mean())


@dataclass(frozen=True)
class _Shape:
    """Size and pieces of one organ."""

    volume_ml: float
    """After clean-up, on the scan's grid."""
    cut: bool
    """Whether it reaches the scan's border."""
    pieces: int
    """Before clean-up, specks left out, at the stage's voxel size."""

    def plausible(self, target: Organ) -> bool:
        """Whether a person can have such a volume, as far as anyone can say."""
        if target.volume_range_ml is None:
            return True
        low, high = target.volume_range_ml
        wide = (low / FAR_OUTSIDE, high * FAR_OUTSIDE)
        return outside_range(self.volume_ml, wide, cut=self.cut) != 1.0

    def remark(self, target: Organ, strays: float) -> str:
        """Return what a person would wonder about; empty if nothing."""
        texts = []
        if not self.volume_ml:
            return "not found"
        usual = target.volume_range_ml
        if usual and outside_range(self.volume_ml, usual, cut=self.cut) == 1.0:
            texts.append(f"{self.volume_ml:.0f} mL, usual are {usual[0]:g} to {usual[1]:g}")
        if self.pieces > 1:
            texts.append(many(self.pieces, "piece"))
        if strays > MOST_ON_OTHER_SIDE:
            texts.append(f"{100 * strays:.0f} % of it on the other side of the body")
        return ", ".join(texts)


def _shapes(labels: Volume, raw: Volume, organs: Sequence[Organ]) -> dict[str, _Shape]:
    """Measure organs in the final labels, and their pieces in those before clean-up."""
    boxes, rough = organ_boxes(labels.array), organ_boxes(raw.array)
    shapes = {}
    for each in organs:
        box, place = boxes.get(each.id), rough.get(each.id)
        ml = 0.0
        if box is not None:
            ml = np.count_nonzero(labels.array[box] == each.id) * labels.geometry.voxel_ml
        cut = box is not None and touches_border(box, labels.geometry.shape)
        pieces = pieces_of(raw.array[place] == each.id) if place is not None else 0
        shapes[each.key] = _Shape(ml, cut, pieces)
    return shapes


def pieces_of(mask: npt.NDArray[np.bool_]) -> int:
    """Return the number of connected pieces that are no specks.

    Examples
    --------
    >>> row = np.zeros((1, 1, 70), bool)
    >>> row[..., :30] = row[..., 40:60] = row[..., 65] = True  # 30, 20 and 1 voxel
    >>> pieces_of(row)
    2
    """
    pieces, count = ndimage.label(mask, ALL_NEIGHBOURS)
    if not count:
        return 0
    sizes = np.bincount(pieces.ravel())[1:]
    return int(np.count_nonzero(sizes >= SPECK * sizes.max()))


def _on_other_side(labels: Volume, organs: Sequence[Organ]) -> dict[str, float]:
    """Return organ key -> share of a paired organ that lies on the wrong side of the body."""
    sided, _ = correct_sides(labels, organs)
    shares: dict[str, float] = {}
    for each in (each for each in organs if each.modifier is not None):
        mine = labels.array == each.id
        size = int(np.count_nonzero(mine))
        if size:
            shares[each.key] = 1.0 - int(np.count_nonzero(sided.array[mine] == each.id)) / size
    return shares


def scan_features(image: Volume, labels: Volume) -> dict[str, float]:
    """Return what a scan is like: voxel size and height in mm, organ volumes in mL, organ HU."""
    geometry = image.geometry
    facts = dict(zip(("spacing_z", "spacing_y", "spacing_x"), geometry.spacing_mm, strict=True))
    facts["height"] = geometry.shape[0] * geometry.spacing_mm[0]
    for number, box in organ_boxes(labels.array).items():
        mask = labels.array[box] == number
        facts[f"ml_{number}"] = float(np.count_nonzero(mask)) * geometry.voxel_ml
        facts[f"hu_{number}"] = float(image.array[box][mask].mean())
    return {key: round(value, 3) for key, value in facts.items() if math.isfinite(value)}


def _unit(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 5)
