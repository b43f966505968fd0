"""FLARE23's 14 lies over the organs, and nowhere else."""

from __future__ import annotations

import numpy as np

from flare_core.anatomy.organs import LESION
from flare_core.datasets.lesions.records import LesionScan


def test_the_lesion_label_comes_on_top() -> None:
    labels = np.array([[[1, 1, 0, 3]]], np.uint8)
    instances = np.array([[[0, 2, 1, 0]]], np.uint16)
    scan = LesionScan(labels.astype(np.int16), labels, instances, (), (), "portal")
    marked = scan.with_lesion_label()
    assert marked.tolist() == [[[1, LESION.id, LESION.id, 3]]] and marked.dtype == np.uint8
    assert labels.tolist() == [[[1, 1, 0, 3]]]
