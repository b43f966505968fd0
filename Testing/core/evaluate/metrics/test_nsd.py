from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.evaluate.metrics import hand_pairs as hand
from flare_core.evaluate.metrics.nsd import NSD, nsd
from flare_core.evaluate.metrics.pair import OrganPair


@pytest.mark.parametrize(("tolerance_mm", "wanted"), [(0.9, 0.0), (1.0, 0.5), (2.0, 1.0)])
def test_half_of_both_surfaces_is_within_one_millimetre(tolerance_mm: float, wanted: float) -> None:
    assert nsd(hand.two_apart(tolerance_mm)) == pytest.approx(wanted)


def test_spacing_decides() -> None:
    """The same step of two voxels is 2 mm along x and 6 mm along z."""
    along_z = hand.pair(hand.voxels((1, 2, 3)), hand.voxels((3, 2, 3)), tolerance_mm=5.0)
    assert nsd(along_z) == pytest.approx(0.5)


def test_the_two_surfaces_count_by_their_area() -> None:
    """Reference: two voxels far apart, one of them predicted: 7 + 7 of 21 mm2 are near."""
    both = hand.pair(hand.voxels((0, 0, 0)), hand.voxels((0, 0, 0), (4, 4, 8)))
    assert nsd(both) == pytest.approx(14 / 21)


def test_gate() -> None:
    """DSC is 0 here, below any gate; and of a pair with DSC 2/3 only a gate above that."""
    assert nsd(replace(hand.two_apart(), nsd_gate_dsc=0.2)) == 0.0
    half = hand.pair(hand.voxels((2, 2, 3)), hand.voxels((2, 2, 3), (2, 2, 4)))
    assert nsd(replace(half, nsd_gate_dsc=0.66)) > 0.0
    assert nsd(replace(half, nsd_gate_dsc=0.67)) == 0.0


def test_a_dsc_of_exactly_the_gate_is_not_below_it() -> None:
    row = [(0, 0, x) for x in range(9)]
    pair = hand.pair(hand.voxels(row[0]), hand.voxels(*row))  # DSC 2 / 10
    assert nsd(replace(pair, nsd_gate_dsc=0.2)) > 0.0


def test_empty_policy() -> None:
    assert nsd(hand.BOTH_EMPTY) == 1.0
    assert nsd(hand.NOTHING_PREDICTED) == nsd(hand.NOTHING_TRUE) == 0.0
    assert NSD.missing == 0.0


def test_an_organ_at_the_edge_scores_as_inside() -> None:
    small = hand.pair(hand.voxels((0, 0, 0)), hand.voxels((0, 0, 1)), tolerance_mm=1.0)
    wide = hand.pair(hand.voxels((2, 2, 3)), hand.voxels((2, 2, 4)), tolerance_mm=1.0)
    assert nsd(small) == pytest.approx(nsd(wide))
    cut = small.cropped()
    assert cut.prediction.shape == (1, 1, 2) and nsd(cut) == pytest.approx(nsd(small))


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("seed", range(12))
def test_reference_implementation(seed: int) -> None:
    package = pytest.importorskip("surface_distance")
    prediction, reference, spacing_mm = hand.random_masks(seed)
    if not (prediction.any() and reference.any()):
        pytest.skip("an empty mask")
    found = package.compute_surface_distances(
        np.ascontiguousarray(reference.T), np.ascontiguousarray(prediction.T), spacing_mm[::-1]
    )
    for tolerance_mm in (0.5, spacing_mm[1], 3.0):
        pair = OrganPair(
            prediction=prediction,
            reference=reference,
            spacing_mm=spacing_mm,
            tolerance_mm=tolerance_mm,
        )
        wanted = package.compute_surface_dice_at_tolerance(found, tolerance_mm)
        assert nsd(pair) == pytest.approx(wanted, abs=1e-12)
