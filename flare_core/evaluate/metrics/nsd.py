"""Normalised surface distance: the share of both surfaces that lies within a tolerance."""

from __future__ import annotations

import numpy as np

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.dsc import overlap
from flare_core.evaluate.metrics.pair import OrganPair


def nsd(pair: OrganPair) -> float:
    """Return the NSD at ``pair.tolerance_mm``, 0 to 1.

    Examples
    --------
    >>> cube = np.zeros((3, 3, 3), bool)
    >>> cube[1, 1, 1] = True
    >>> nsd(OrganPair(prediction=cube, reference=cube, spacing_mm=(5.0, 1.0, 1.0)))
    1.0
    """
    if pair.both_empty:
        return 1.0
    if pair.one_empty or overlap(pair) < pair.nsd_gate_dsc:
        return 0.0
    surfaces = pair.surfaces
    near = np.sum(surfaces.prediction_mm2[surfaces.prediction_mm <= pair.tolerance_mm])
    near += np.sum(surfaces.reference_mm2[surfaces.reference_mm <= pair.tolerance_mm])
    return float(near / (np.sum(surfaces.prediction_mm2) + np.sum(surfaces.reference_mm2)))


NSD = Metric(
    key="nsd",
    name="Normalised surface distance",
    unit="1",
    direction="higher",
    empty="both empty: 1; exactly one empty: 0; 0 also where DSC is below the edition's gate",
    missing=0.0,
    function=nsd,
    most=1.0,
    official=True,
    source="Nikolov et al., arXiv 1809.04430 (surface Dice)",
)
