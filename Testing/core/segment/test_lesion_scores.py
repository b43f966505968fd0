"""From a lesion stage's scores to lesions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from flare_core.imaging.geometry import Geometry
from flare_core.models.stage_card import NnunetGrids
from flare_core.segment.lesion_scores import lesions_above, unsure
from flare_core.segment.stage import Scores
from stub_models import stage_card


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("average", [None, "probabilities"])
def test_a_voxel_is_a_lesion_exactly_above_the_threshold(
    regions: bool, threshold: float, average: str | None
) -> None:
    """Whether channels exclude one another or not, and whether logits or probabilities are kept."""
    p = torch.linspace(0.02, 0.98, 49).reshape(1, 7, 7)  # lesion
    labels = ("lesion",) if regions else ("background", "lesion")
    card = stage_card("lesions", labels, regions=regions)
    if average is not None:
        card = replace(card, nnunet=NnunetGrids(average=average))
    if average is None:
        logits = torch.logit(p)[None] if regions else torch.stack((1 - p, p)).log()
    else:
        logits = (p - 0.5)[None] if regions else torch.stack((1 - p, p))
    grid = Geometry((1, 7, 7), (4.0, 3.0, 3.0))
    mask, likely = lesions_above(Scores(logits.clone(), grid, card), threshold, grid)
    assert likely.array == pytest.approx(p.numpy(), abs=1e-5)
    assert np.array_equal(mask.array, p.numpy() > threshold)


@pytest.mark.parametrize("average", [None, "probabilities"])
def test_a_finding_that_nowhere_is_sure_is_none(average: str | None) -> None:
    """Its neighbour that is sure somewhere keeps all that lies above the threshold."""
    p = torch.full((1, 7, 7), 0.05)
    p[0, 1:3, 1:3] = 0.8
    p[0, 4:6, 3:6] = 0.6
    p[0, 5, 5] = 0.97
    card = stage_card("lesions", ("background", "lesion"))
    if average is not None:
        card = replace(card, nnunet=NnunetGrids(average=average))
    logits = torch.stack((1 - p, p)) if average else torch.stack((1 - p, p)).log()
    grid = Geometry((1, 7, 7), (4.0, 3.0, 3.0))
    mask, likely = lesions_above(Scores(logits.clone(), grid, card), 0.5, grid, 0.95)
    sure = p.numpy() > 0.5
    sure[0, :4] = False
    assert np.array_equal(mask.array, sure)
    assert likely.array == pytest.approx(p.numpy(), abs=1e-5)
    none, _ = lesions_above(Scores(logits.clone(), grid, card), 0.98, grid, 0.99)
    assert not none.array.any()


def test_what_a_second_look_finds_needs_no_peak_and_takes_no_weak_neighbour_along() -> None:
    """The weak piece beside it is out of sight, also where the two touch."""
    p = torch.full((1, 7, 7), 0.05)
    p[0, 1:3, 1:3] = 0.99
    p[0, 5, 1:4] = 0.7
    told: list[np.ndarray] = []

    def look_again(found: np.ndarray) -> Tensor:
        told.append(found.copy())
        more = torch.full((1, 7, 7), -torch.inf)
        more[0, 5, 4:6] = 2.0
        more[0, 4, 4:6] = -3.0
        return more

    card = stage_card("lesions", ("lesion",), regions=True)
    grid = Geometry((1, 7, 7), (4.0, 3.0, 3.0))
    mask, likely = lesions_above(
        Scores(torch.logit(p)[None], grid, card), 0.5, grid, 0.95, [look_again]
    )
    first, more = np.zeros((2, 1, 7, 7), bool)
    first[0, 1:3, 1:3] = more[0, 5, 4:6] = True
    assert np.array_equal(told[0], first)
    assert np.array_equal(mask.array, first | more)
    assert likely.array[more] == pytest.approx(torch.tensor(2.0).sigmoid().item())
    assert likely.array[first] == pytest.approx(0.99)


def test_a_second_look_that_finds_nothing_changes_nothing() -> None:
    logits = torch.linspace(-3, 3, 49).reshape(1, 1, 7, 7)
    card = stage_card("lesions", ("lesion",), regions=True)
    grid = Geometry((1, 7, 7), (4.0, 3.0, 3.0))
    one, _ = lesions_above(Scores(logits.clone(), grid, card), 0.5, grid, 0.9)
    two, _ = lesions_above(Scores(logits.clone(), grid, card), 0.5, grid, 0.9, [lambda found: None])
    assert one.array.any() and np.array_equal(one.array, two.array)


@pytest.mark.parametrize(("threshold", "peak"), [(0.5, 0.8), (0.7, 0.75), (0.2, 0.9)])
def test_a_piece_is_unsure_if_its_largest_probability_is(threshold: float, peak: float) -> None:
    random = np.random.default_rng(4)
    likely = ndimage.gaussian_filter(random.random((9, 20, 24)), 1).astype(np.float32)
    likely = (likely - likely.min()) / (likely.max() - likely.min())
    pieces, count = ndimage.label(likely > threshold, np.ones((3, 3, 3)))
    weak = [n for n in range(1, count + 1) if likely[pieces == n].max() < peak]
    assert count > len(weak)
    np.testing.assert_array_equal(unsure(likely, threshold, peak), np.isin(pieces, weak))


def test_nothing_above_the_threshold_is_not_unsure() -> None:
    assert not unsure(np.full((2, 3, 4), 0.4, np.float32), 0.5, 0.9).any()
