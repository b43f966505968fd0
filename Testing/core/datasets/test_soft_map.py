from __future__ import annotations

import numpy as np
import pytest

from flare_core.anatomy.organs import ALL_TARGETS
from flare_core.datasets.soft_map import SURE, pack_soft
from sample_arrays import unpack_soft


def test_two_classes_come_back_to_a_255th() -> None:
    random = np.random.default_rng(0)
    share = random.uniform(0, 1, (4, 5, 6)).astype(np.float32)
    p = np.zeros((4, 4, 5, 6), np.float32)
    p[1], p[3] = share, 1 - share
    labels, soft = pack_soft(p, (0, 9, 2, 14))
    second, first_share = unpack_soft(soft)
    assert labels.dtype == np.uint8 and soft.dtype == np.int16
    assert np.array_equal(labels, np.where(share >= 0.5, 9, 14))
    assert np.array_equal(second, np.where(share >= 0.5, 14, 9))
    assert np.abs(first_share - np.maximum(share, 1 - share)).max() <= 0.5 / 255 + 1e-6


def test_a_third_class_is_dealt_out_to_the_two() -> None:
    p = np.array([0.4, 0.35, 0.25]).reshape(3, 1, 1, 1)
    labels, soft = pack_soft(p, (0, 1, 2))
    second, share = unpack_soft(soft)
    assert (labels.item(), second.item()) == (0, 1)
    assert share.item() == pytest.approx(0.4 / 0.75, abs=0.003)


def test_what_is_sure_is_sure() -> None:
    p = np.zeros((3, 2, 2, 2), np.float32)
    p[2] = 1.0
    labels, soft = pack_soft(p, (0, 1, 2))
    assert np.all(labels == 2) and np.all(soft & 255 == SURE)


def test_every_organ_fits() -> None:
    assert max(each.id for each in ALL_TARGETS) < 128
